"""Turns the values of a file into stored values of fields, and says what is wrong with those that do not fit."""

from __future__ import annotations

import re
from typing import Any

from groundplane.clock import now
from groundplane.imports.infer import BOOL_WORDS, LATITUDES, LONGITUDES, NUMBER
from groundplane.imports.spelled_dates import read_date
from groundplane.schema.fields.autodate import AutodateField
from groundplane.schema.fields.base import Field, Kind
from groundplane.schema.fields.text import TextField
from groundplane.schema.json_text import INVALID

THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d*)?")
WORDS = BOOL_WORDS | {"1": True, "0": False, "y": True, "n": False, "on": True, "off": False}
SEPARATORS = re.compile(r"\s*[|;,]\s*")
SHOWN_CHARACTERS = 60


class BadCell(Exception):
    """A value does not fit its field; the text says why."""


def shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


def cast(field: Field, raw: Any, order: str = "") -> Any:
    """Convert one value of a file to the field's stored form; raises BadCell.

    Stricter than the API, which takes everything: what is no number must not silently become 0.
    """
    if raw is None or raw == "":
        return field.zero
    match field.kind:
        case Kind.NUMBER:
            return _number(raw)
        case Kind.BOOL:
            return _bool(raw)
        case Kind.DATE:
            moment = read_date(raw, order) if isinstance(raw, str) else None
            if moment is None:
                raise BadCell(f"{shown(raw)} is no date")
            return moment
        case Kind.JSON:
            text = field.from_input(raw)
            if text == INVALID:
                raise BadCell("it cannot be stored as JSON")
            return text
        case Kind.GEO:
            return _place(field, raw)
    if isinstance(raw, dict) or (isinstance(raw, list) and field.type_name not in ("select", "relation")):
        raise BadCell(f"{shown(raw)} is no text")
    if field.is_multiple and isinstance(raw, str) and "[" not in raw:
        return field.from_input(SEPARATORS.split(raw.strip()))
    return field.from_input(raw)


def _number(raw: Any) -> float:
    if isinstance(raw, str):
        text = raw.strip()
        if THOUSANDS.fullmatch(text):
            text = text.replace(",", "")
        if not NUMBER.fullmatch(text):
            raise BadCell(f"{shown(raw)} is no number")
        return float(text)
    if isinstance(raw, (bool, int, float)):
        try:
            return float(raw)
        except OverflowError:
            raise BadCell(f"{shown(raw)} is too large") from None
    raise BadCell(f"{shown(raw)} is no number")


def _bool(raw: Any) -> bool:
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, (int, float)) and raw in (0, 1):
        return bool(raw)
    if isinstance(raw, str) and raw.strip().lower() in WORDS:
        return WORDS[raw.strip().lower()]
    raise BadCell(f"{shown(raw)} is neither true nor false")


def _place(field: Field, raw: Any) -> Any:
    if isinstance(raw, dict):
        lower = {str(key).lower(): value for key, value in raw.items()}
        lat = next((lower[key] for key in LATITUDES if key in lower), None)
        lon = next((lower[key] for key in LONGITUDES if key in lower), None)
        return place(lon, lat)
    if isinstance(raw, str) and raw.lstrip().startswith("{"):
        return field.from_input(raw)
    raise BadCell(f"{shown(raw)} is no object with lon and lat")


def place(lon: Any, lat: Any) -> tuple[float, float]:
    """A geoPoint of two values; nowhere when one is missing."""
    if lon in (None, "") or lat in (None, ""):
        return (0.0, 0.0)
    return (_number(lon), _number(lat))


def checked(field: Field, value: Any) -> Any:
    """Apply the field's own checks, after filling in what the server generates; raises BadCell."""
    if isinstance(field, AutodateField):
        return value if value is not None else now()
    if isinstance(field, TextField):
        if value == "" and field.autogenerate_pattern:
            value = field.generate()
        error = field.check(value) or (field.check_id(value) if field.primary_key else None)
    else:
        error = field.check(value)
    if error is not None:
        raise BadCell(error.message)
    return value
