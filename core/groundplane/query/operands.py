"""The sides of a comparison: SQL for the number and the text that a value may be, and how it converts.

Every value is, at run time, a number, a text or NULL (contract, filters §6). An operand therefore has up to
two SQL expressions, `number` and `text`; where both exist at most one is not NULL. Which exist is known at
compile time, so the comparison of two operands is decided there and no cast can fail.
"""

from __future__ import annotations

import enum
import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from groundplane.query.values import Values
from groundplane.schema.casting import nearest_float, plain_number
from groundplane.schema.fields.base import Kind
from groundplane.schema.json_text import json_text

if TYPE_CHECKING:
    from groundplane.query.joins import Join


class State(enum.Enum):
    """What is known of a value before the statement runs (contract, filters §5)."""

    EMPTY = "empty"
    KNOWN = "known"
    OPEN = "open"


class Affinity(enum.Enum):
    """How a value converts when compared (contract, filters §6): T, N, P, and the rest."""

    TEXT = "text"
    NUMBER = "number"
    NONE = "none"
    PARAMETER = "parameter"


@dataclass(frozen=True, slots=True)
class Operand:
    """One side of a comparison.

    `number` `text`   SQL of type double precision (or integer) and text; None when never of that type
    `nullable`        whether both may be NULL
    `is_json`         compared without the NULL and '' rules of columns
    `strict`          whether missing joined rows make it NULL
    `moment`          the timestamptz column of a date; `present` then tells a missing row from an unset date
    `boolean`         the boolean column, for plain conditions on it
    `collated`        whether `text` already has collation "C"
    `constant`        the Python value of a parameter
    `joins`           the joined rows it reads; `multi`: more than one of them may belong to one record
    `visible`         conditions under which a client may compare it (emailVisibility)
    `listed_in`       the record's own list that holds it; unless `may_dangle`, nothing but such values
    """

    number: str | None = None
    text: str | None = None
    affinity: Affinity = Affinity.NONE
    state: State = State.OPEN
    nullable: bool = True
    is_json: bool = False
    strict: bool = True
    moment: str | None = None
    present: str | None = None
    boolean: str | None = None
    collated: bool = False
    constant: str | float | bool | None = None
    joins: frozenset[Join] = frozenset()
    multi: bool = False
    visible: tuple[str, ...] = ()
    listed_in: str | None = None
    may_dangle: bool = True

    @property
    def is_null(self) -> bool:
        """Whether it is known to be NULL."""
        return self.number is None and self.text is None

    @property
    def is_parameter(self) -> bool:
        return self.affinity is Affinity.PARAMETER

    @property
    def as_text(self) -> str:
        """SQL of the value as text, a number in the form of its JSON."""
        if self.number is None:
            return "NULL::text" if self.text is None else self.text
        shown = f"gp.number_text({self.number})"
        return shown if self.text is None else f"COALESCE({self.text}, {shown})"


NULL = Operand(affinity=Affinity.PARAMETER, state=State.EMPTY)
NUMERIC = re.compile(r"[ \t\n\v\f\r]*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[ \t\n\v\f\r]*")


def parameter(value: Any, values: Values) -> Operand:
    """Make the operand of a literal or request value; lists and objects become their compact JSON text."""
    if value is None:
        return NULL
    if isinstance(value, bool | int | float):
        number = nearest_float(value) if isinstance(value, int) else value
        if math.isnan(number):
            return NULL
        return Operand(
            number=f"{values.put(number)}::double precision",
            affinity=Affinity.PARAMETER,
            state=State.KNOWN,
            nullable=False,
            constant=value,
        )
    text = value if isinstance(value, str) else json_text(value) or ""
    return Operand(
        text=f"{values.put(text)}::text",
        affinity=Affinity.PARAMETER,
        state=State.KNOWN if text else State.EMPTY,
        nullable=False,
        constant=text,
    )


def compact_list(items: list[str]) -> str:
    """Return the JSON text of a list as `array_to_json` writes it: no blanks, nothing but JSON escaped."""
    return json.dumps(items, ensure_ascii=False, separators=(",", ":"))


def number_of(text: str) -> float | None:
    """Return the number that a text is as a whole, None if it is none."""
    return float(text) if NUMERIC.fullmatch(text) else None


def decimal_text(value: bool | float) -> str:
    """Render a number as it compares with text columns: `5.0`, `1.5`; integers without decimals."""
    text = digits(value)
    return text + ".0" if isinstance(value, float) and "." not in text else text


def digits(value: bool | float) -> str:
    """Render a number for LIKE: the shortest digits, never with an exponent; booleans as 1 and 0."""
    return plain_number(value) if isinstance(value, float) else str(int(value))


def column(
    name: str,
    kind: Kind,
    *,
    alias: str,
    nullable: bool,
    collated: bool,
    present: str | None = None,
    typed: bool = True,
) -> Operand:
    """Make the operand of a stored column; `name` is quoted SQL.

    `present` is set for joined rows: the condition that the row is there, because a missing row's date is
    NULL while an unset date is ''. `typed` is False on the row being created, whose columns do not convert.
    """
    sql = f"{alias}.{name}"
    number_affinity = Affinity.NUMBER if typed else Affinity.NONE
    text_affinity = Affinity.TEXT if typed else Affinity.NONE
    match kind:
        case Kind.TEXT:
            return Operand(text=sql, affinity=text_affinity, nullable=nullable, collated=collated)
        case Kind.NUMBER:
            return Operand(number=sql, affinity=number_affinity, nullable=nullable)
        case Kind.BOOL:
            return Operand(number=f"{sql}::integer", boolean=sql, affinity=number_affinity, nullable=nullable)
        case Kind.DATE:
            text = f"gp.date_text({sql})"
            if present is not None:
                text = f"CASE WHEN {present} THEN {text} END"
            return Operand(
                text=text, moment=sql, present=present, affinity=text_affinity, nullable=present is not None
            )
        case Kind.MULTI:
            return Operand(text=f"array_to_json({sql})::text", nullable=nullable)
        case Kind.GEO:
            return Operand(text=f"gp.point_text({sql})", nullable=nullable)
        case Kind.JSON:
            return json_value(f"gp.sound_json({sql}::json)")


def json_value(sql: str) -> Operand:
    """Make the operand of a json expression without escapes that PostgreSQL cannot decode."""
    return Operand(number=f"gp.json_number({sql})", text=f"gp.json_text({sql})", is_json=True)


def lowered(operand: Operand) -> Operand:
    """The text in lower case, ASCII letters only."""
    if operand.is_null:
        return operand
    return Operand(
        text=f'lower({operand.as_text} COLLATE "C")',
        nullable=operand.nullable,
        strict=operand.strict,
        joins=operand.joins,
        multi=operand.multi,
        visible=operand.visible,
    )
