"""Values of SQLite expressions on our storage: what type each has, and how one becomes another.

SQLite decides types at run time, PostgreSQL when it reads the statement. Every translated expression
therefore carries a `Shape`, and whatever SQLite would convert on the fly is written out here.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from groundplane.schema.fields.base import Kind

MAX_REASON_CHARACTERS = 400


class Untranslatable(Exception):
    """A SQLite statement that cannot be carried over; `reason` says why in a few plain words."""

    def __init__(self, reason: str) -> None:
        self.reason = reason if len(reason) <= MAX_REASON_CHARACTERS else reason[:MAX_REASON_CHARACTERS] + "…"
        super().__init__(self.reason)


class NoFields(Untranslatable):
    """The columns of the result are not spelled out, so no fields can be derived."""


class Shape(enum.Enum):
    """The type of an expression; the comment is its type in PostgreSQL."""

    TEXT = "text"  # text
    INTEGER = "integer"  # double precision, known to be integral
    REAL = "real"  # double precision, printed with decimals as SQLite prints a REAL
    NUMBER = "number"  # double precision; integral values behave as SQLite integers
    BOOL = "bool"  # boolean, a column
    TRUTH = "truth"  # boolean, the result of a comparison; an integer 0 or 1 in SQLite
    DATE = "date"  # timestamptz, NULL is SQLite's ''
    MULTI = "multi"  # text[], JSON array text in SQLite
    JSON = "json"  # json
    GEO = "geo"  # point, JSON object text in SQLite
    ANY = "any"  # jsonb holding one number or one string: the type varies by row
    NULL = "null"  # the literal NULL


NUMERIC = frozenset({Shape.INTEGER, Shape.REAL, Shape.NUMBER, Shape.BOOL, Shape.TRUTH})
TEXTUAL = frozenset({Shape.TEXT, Shape.DATE, Shape.MULTI, Shape.GEO})
# No equality in PostgreSQL, or another one than that of SQLite's text.
AS_TEXT_IN_SETS = frozenset({Shape.JSON, Shape.GEO})

SHAPE_OF_KIND = {
    Kind.TEXT: Shape.TEXT,
    Kind.DATE: Shape.DATE,
    Kind.NUMBER: Shape.NUMBER,
    Kind.BOOL: Shape.BOOL,
    Kind.MULTI: Shape.MULTI,
    Kind.JSON: Shape.JSON,
    Kind.GEO: Shape.GEO,
}

Affinity = Literal["text", "numeric", ""]
Collation = Literal["", "nocase", "rtrim"]


class Value(NamedTuple):
    """One translated expression.

    `affinity`  the type SQLite converts the other side of a comparison to; only columns and casts have one
    `literal`   the value of a literal
    `row`       SQL that is NULL when the row of this column is missing (outer joins), "" if it never is
    `column`    whether it is a plain column
    """

    sql: str
    shape: Shape
    affinity: Affinity = ""
    not_null: bool = False
    literal: str | float | None = None
    row: str = ""
    column: bool = False
    collation: Collation = ""


NULL = Value("NULL", Shape.NULL)


def text_literal(text: str) -> str:
    """Write a string constant; standard_conforming_strings is on in every supported PostgreSQL."""
    if "\x00" in text:
        raise Untranslatable("a text contains a NUL character")
    return "'" + text.replace("'", "''") + "'::text"


def text(value: Value) -> str:
    """The value as SQLite would show it as text."""
    match value.shape:
        case Shape.TEXT:
            return value.sql
        case Shape.INTEGER | Shape.NUMBER:
            return f"gp.lite_text({value.sql})"
        case Shape.REAL:
            return f"gp.lite_text({value.sql}, true)"
        case Shape.BOOL | Shape.TRUTH:
            return f"(({value.sql})::integer)::text"
        case Shape.DATE:
            rendered = f"gp.lite_date({value.sql})"
            return f"CASE WHEN {value.row} IS NOT NULL THEN {rendered} END" if value.row else rendered
        case Shape.MULTI | Shape.GEO:
            return f"gp.lite_text({value.sql})"
        case Shape.JSON:
            return f"({value.sql})::text"
        case Shape.ANY:
            return f"(({value.sql}) #>> '{{}}')"
        case Shape.NULL:
            return "NULL::text"


def number(value: Value) -> str:
    """The value as a number, by the leading digits of a text as in SQLite."""
    match value.shape:
        case Shape.INTEGER | Shape.REAL | Shape.NUMBER:
            return value.sql
        case Shape.BOOL | Shape.TRUTH:
            return f"(({value.sql})::integer)::double precision"
        case Shape.NULL:
            return "NULL::double precision"
        case _:
            return f"gp.lite_number({text(value)})"


def truth(value: Value) -> str:
    """The value as a condition: NULL stays NULL, every number but 0 is true."""
    match value.shape:
        case Shape.BOOL | Shape.TRUTH:
            return value.sql
        case Shape.NULL:
            return "NULL::boolean"
        case _:
            return f"({number(value)} <> 0)"


def anything(value: Value) -> str:
    """The value as jsonb that holds one number or one string."""
    match value.shape:
        case Shape.ANY:
            return value.sql
        case Shape.NULL:
            return "NULL::jsonb"
        case Shape.JSON:
            return f"gp.lite_value({value.sql})"
        case shape if shape in NUMERIC:
            return f"gp.lite_variant({number(value)})"
        case _:
            return f"gp.lite_variant({text(value)})"


def json(value: Value) -> str:
    """The value as a json field of a view shows it (contract, collections §5.11)."""
    match value.shape:
        case Shape.JSON:
            return value.sql
        case Shape.NULL:
            return "NULL::json"
        case Shape.BOOL | Shape.MULTI:
            return f"to_json({value.sql})"
        case shape if shape in NUMERIC:
            return f"to_json({number(value)})"
        case _:
            return f"gp.lite_json({text(value)})"


def as_shape(value: Value, shape: Shape) -> str:
    """The SQL of the value in another shape."""
    if value.shape is shape:
        return value.sql
    if shape is Shape.NULL:
        return "NULL::text"
    if shape is Shape.TEXT:
        return text(value)
    if shape in (Shape.INTEGER, Shape.REAL, Shape.NUMBER):
        return number(value)
    if shape in (Shape.BOOL, Shape.TRUTH):
        return truth(value)
    if shape is Shape.ANY:
        return anything(value)
    if value.shape is Shape.NULL:
        types = {Shape.DATE: "timestamptz", Shape.MULTI: "text[]", Shape.JSON: "json", Shape.GEO: "point"}
        return f"NULL::{types[shape]}"
    raise Untranslatable(f"a {value.shape.value} cannot become a {shape.value}")


def common(values: Sequence[Value]) -> Shape:
    """The one shape that the branches of a CASE, the parts of a UNION and the like can share."""
    shapes = {value.shape for value in values if value.shape is not Shape.NULL}
    if not shapes:
        return Shape.NULL
    if len(shapes) == 1:
        return shapes.pop()
    if shapes <= {Shape.BOOL, Shape.TRUTH}:
        return Shape.TRUTH
    if shapes <= NUMERIC:
        return Shape.NUMBER
    if shapes <= TEXTUAL | {Shape.JSON}:
        return Shape.TEXT
    return Shape.ANY


def storage(value: Value, kind: Kind) -> str:
    """The SQL of a view's output column, in the storage type of its field and never NULL where that is not."""
    match kind:
        case Kind.TEXT:
            return _filled(f'({text(value)})::text COLLATE "C"', "''::text", value.not_null)
        case Kind.NUMBER:
            return _filled(number(value), "0::double precision", value.not_null)
        case Kind.BOOL:
            return _filled(truth(value), "false", value.not_null)
        case Kind.DATE:
            return value.sql if value.shape is Shape.DATE else f"gp.lite_timestamp({text(value)})"
        case Kind.MULTI:
            sql = value.sql if value.shape is Shape.MULTI else f"gp.lite_list({text(value)})"
            return _filled(f'({sql})::text[] COLLATE "C"', "'{}'::text[]", value.not_null)
        case Kind.GEO:
            sql = value.sql if value.shape is Shape.GEO else f"gp.lite_point({text(value)})"
            return _filled(sql, "point(0,0)", value.not_null)
        case Kind.JSON:
            return json(value)


def _filled(sql: str, default: str, not_null: bool) -> str:
    return sql if not_null else f"coalesce({sql}, {default})"


# Comparisons

NUMERIC_TEXT = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,2})?\s*", re.ASCII)
FULL_DATE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z")


def compare(operator: str, left: Value, right: Value) -> Value:
    """Compare by SQLite's rules of affinity.

    `operator` is one of = <> < <= > >= IS IS-NOT (the last two treat NULL as a value).
    """
    if operator not in ("IS", "IS-NOT") and Shape.NULL in (left.shape, right.shape):
        return Value("NULL::boolean", Shape.TRUTH)
    sql = (
        _compare_special(operator, left, right)
        or _compare_special(_MIRROR.get(operator, operator), right, left)
        or _compare_general(operator, left, right)
    )
    return Value(sql, Shape.TRUTH, not_null=operator in ("IS", "IS-NOT"))


_MIRROR = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_EQUAL = ("=", "IS")
_UNEQUAL = ("<>", "IS-NOT")


def _compare_special(operator: str, left: Value, right: Value) -> str | None:
    """Comparisons of a column with a literal that an index can answer; None when it is not one."""
    if right.literal is None or not left.column:
        return None
    equality = operator in _EQUAL or operator in _UNEQUAL
    negate = "NOT " if operator in _UNEQUAL else ""
    if left.shape is Shape.BOOL and equality and right.literal in (0, 1) and left.not_null:
        wanted = bool(right.literal) is (operator in _EQUAL)
        return f"({left.sql})" if wanted else f"(NOT {left.sql})"
    if left.shape is Shape.MULTI and equality and right.literal == "[]" and not left.row:
        return f"({negate}cardinality({left.sql}) = 0)" if not negate else f"(cardinality({left.sql}) > 0)"
    if left.shape is Shape.DATE and not left.row and isinstance(right.literal, str):
        return _compare_date(operator, left.sql, right.literal)
    return None


def _compare_date(operator: str, column: str, literal: str) -> str | None:
    if literal == "":
        if operator in (*_EQUAL, "<="):
            return f"({column} IS NULL)"
        return f"({column} IS NOT NULL)" if operator in (*_UNEQUAL, ">") else None
    moment = _moment(literal)
    if moment is None:
        return None
    constant = f"timestamptz '{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d}+00'"
    if operator in _EQUAL:
        return f"({column} IS NOT NULL AND {column} = {constant})"
    if operator in _UNEQUAL:
        return f"({column} IS DISTINCT FROM {constant})"
    if operator in (">", ">="):
        return f"({column} IS NOT NULL AND {column} {operator} {constant})"
    # Unset is the empty text in SQLite, which is below every date.
    return f"({column} IS NULL OR {column} {operator} {constant})"


def _moment(literal: str) -> datetime | None:
    if not FULL_DATE.fullmatch(literal) or literal < "1000":
        return None
    try:
        return datetime.strptime(literal, "%Y-%m-%d %H:%M:%S.%fZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def _compare_general(operator: str, left: Value, right: Value) -> str:
    left, right = _with_numeric_literal(left, right), _with_numeric_literal(right, left)
    symbol = {"IS": "IS NOT DISTINCT FROM", "IS-NOT": "IS DISTINCT FROM"}.get(operator, operator)
    shapes = {left.shape, right.shape} - {Shape.NULL}
    if shapes <= NUMERIC:
        return f"({number(left)} {symbol} {number(right)})"
    if shapes <= TEXTUAL or _reads_as_text(left, right) or _reads_as_text(right, left):
        one, other = collated(left, right, ordered=operator in _MIRROR)
        return f"({one} {symbol} {other})"
    one, other = _with_affinity(left, right), _with_affinity(right, left)
    if operator in ("=", "<>", "IS", "IS-NOT"):
        return f"({one} {symbol} {other})"
    return f"(gp.lite_compare({one}, {other}) {operator} 0)"


def _with_numeric_literal(value: Value, other: Value) -> Value:
    """A text literal that reads as a number is one beside a numeric column."""
    if other.affinity != "numeric" or other.shape not in NUMERIC or not isinstance(value.literal, str):
        return value
    if not NUMERIC_TEXT.fullmatch(value.literal):
        return value
    number = float(value.literal)
    return Value(f"{number!r}::double precision", Shape.REAL, not_null=True, literal=number)


def _reads_as_text(column: Value, other: Value) -> bool:
    """Whether SQLite gives `other` the text affinity of the column before comparing."""
    return column.affinity == "text" and other.affinity == "" and other.shape is not Shape.JSON


def _with_affinity(value: Value, other: Value) -> str:
    """The value as jsonb; a text beside a numeric column becomes a number if it reads as one."""
    if other.affinity == "numeric" and value.shape not in NUMERIC:
        return f"gp.lite_numeric({anything(value)})"
    return anything(value)


def collated(left: Value, right: Value, *, ordered: bool) -> tuple[str, str]:
    """Both sides as text under SQLite's collation: that of the left side, else of the right, bytewise else.

    Equality is bytewise in PostgreSQL anyway, so a collation is only named where order matters.
    """
    collation = left.collation or right.collation
    plain = not ordered or any(each.shape is Shape.TEXT and each.column for each in (left, right))
    if not collation and plain:
        return text(left), text(right)
    return with_collation(text(left), collation), with_collation(text(right), collation)


def with_collation(sql: str, collation: Collation) -> str:
    if collation == "nocase":
        return f'lower(({sql}) COLLATE "C")'
    if collation == "rtrim":
        return f"rtrim(({sql}) COLLATE \"C\", ' ')"
    return f'({sql}) COLLATE "C"'


def sort_keys(value: Value) -> list[str]:
    """The SQL expressions that sort rows as SQLite sorts this value."""
    match value.shape:
        case Shape.TEXT:
            return [with_collation(value.sql, value.collation)]
        case Shape.JSON:
            return sort_keys(Value(anything(value), Shape.ANY))
        case Shape.ANY:
            # Numbers before texts.
            return [f"(jsonb_typeof({value.sql}) = 'string')", value.sql]
        case Shape.MULTI | Shape.GEO:
            return [with_collation(text(value), "")]
        case Shape.NULL:
            return ["NULL::text"]
        case _:
            return [value.sql]
