"""Values that need no second thought: for each field, from what a client sends to the stored form in one call.

Compiled once per schema version. Whatever is not plainly right is left to the ordinary way, which casts, checks
and explains it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from groundplane.schema.casting import NUL, clean_text
from groundplane.schema.dates import parse_date
from groundplane.schema.fields.base import Field
from groundplane.schema.fields.boolean import BoolField
from groundplane.schema.fields.date import DateField
from groundplane.schema.fields.number import NumberField
from groundplane.schema.fields.select import SelectField
from groundplane.schema.fields.text import DEFAULT_MAX, TextField
from groundplane.schema.patterns import compile_pattern

Take: TypeAlias = Callable[[Any], Any]


class Unusual(Exception):
    """The ordinary way has to look at this."""


def taker_of(field: Field) -> Take:
    """What turns input into the stored form of a value that passes the field's checks; raises Unusual."""
    match field:
        case TextField() if not field.primary_key:
            return text_taker(field)
        case NumberField():
            return number_taker(field)
        case BoolField() if not field.required:
            return take_bool
        case DateField() if not (field.min or field.max):
            return date_taker(field)
        case SelectField() if field.max_select <= 1:
            return choice_taker(field)
    if field.type_name in ("file", "password"):
        return refuse
    if field.type_name == "relation" and not field.is_multiple:
        return reference_taker(field)
    return checked_taker(field)


def refuse(raw: Any) -> Any:
    raise Unusual()


def checked_taker(field: Field) -> Take:
    """For every type: cast and check as the ordinary way does."""

    def take(raw: Any) -> Any:
        value = field.from_input(raw)
        if field.check(value) is not None:
            raise Unusual()
        return value

    return take


def text_taker(field: TextField) -> Take:
    least, most, required = field.min, field.max or DEFAULT_MAX, field.required
    pattern = compile_pattern(field.pattern) if field.pattern else None
    if field.pattern and pattern is None:
        return refuse

    def take(raw: Any) -> str:
        if type(raw) is not str:
            raise Unusual()
        if not raw:
            if required:
                raise Unusual()
            return raw
        text = raw if raw.isascii() else clean_text(raw)
        if not least <= len(text) <= most or NUL in text or (pattern and not pattern.search(text)):
            raise Unusual()
        return text

    return take


def number_taker(field: NumberField) -> Take:
    check = field.check

    def take(raw: Any) -> float:
        if type(raw) is not int and type(raw) is not float:
            raise Unusual()
        value: float = field.from_input(raw)
        if check(value) is not None:
            raise Unusual()
        return value

    return take


def take_bool(raw: Any) -> bool:
    if type(raw) is not bool:
        raise Unusual()
    return raw


def date_taker(field: DateField) -> Take:
    required = field.required

    def take(raw: Any) -> Any:
        moment = parse_date(raw) if type(raw) is str else None
        if moment is None and (raw != "" or required):
            raise Unusual()
        return moment

    return take


def choice_taker(field: SelectField) -> Take:
    # A text with a bracket may be a list in JSON.
    allowed = frozenset(value for value in field.values if "[" not in value)
    if not field.required:
        allowed |= {""}

    def take(raw: Any) -> str:
        if type(raw) is not str or raw not in allowed:
            raise Unusual()
        return raw

    return take


def reference_taker(field: Field) -> Take:
    check = field.check

    def take(raw: Any) -> str:
        if (
            type(raw) is not str
            or not (not raw or (raw.isascii() and raw.isalnum()))
            or check(raw) is not None
        ):
            raise Unusual()
        return raw

    return take
