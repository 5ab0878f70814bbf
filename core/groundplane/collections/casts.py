"""How the values of a column survive when its field becomes another type or changes between one value and many."""

from __future__ import annotations

from typing import NamedTuple

from groundplane.schema.fields.base import Field, Kind

# Values of these types mean something outside the column (a hash, a stored file), so that no other type
# may take them over, nor they the values of another type.
CLOSED_TYPES = frozenset({"file", "password"})

# Bounded, so that no match is out of the range of a double.
NUMBER_TEXT = r"'^[-+]?([0-9]{1,200}(\.[0-9]{0,90})?|\.[0-9]{1,90})([eE][-+]?[0-9]{1,2})?$'"
DATE_TEXT = (
    r"'^(?!0000)[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"([ T]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?Z)?$'"
)
TRUE_TEXT = "'1', 't', 'T', 'TRUE', 'true', 'True'"
FALSE_TEXT = "'', '0', 'f', 'F', 'FALSE', 'false', 'False'"


class Cast(NamedTuple):
    """A conversion of one column.

    `value` is the new value and `lossy` whether something of the old one is gone, both as SQL over the
    column; `lossy` is None when every value survives.
    """

    value: str
    lossy: str | None = None


def cast(old: Field, new: Field, column: str) -> Cast | None:
    """Return how `column` (quoted) of `old` becomes `new`; None when there is no sensible way.

    The value equals the column itself when both are stored alike.
    """
    if old.type_name != new.type_name and {old.type_name, new.type_name} & CLOSED_TYPES:
        return None
    if old.kind is new.kind:
        return Cast(column)
    direct = _direct(old.kind, new.kind, column)
    if direct is not None:
        return direct
    text = _to_text(old.kind, column)
    return None if text is None else _from_text(new.kind, text)


def _direct(old: Kind, new: Kind, column: str) -> Cast | None:
    match old, new:
        case Kind.MULTI, Kind.TEXT:
            return Cast(f"coalesce({column}[cardinality({column})], '')", f"cardinality({column}) > 1")
        case Kind.NUMBER, Kind.BOOL:
            return Cast(f"({column} <> 0)", f"{column} NOT IN (0, 1)")
        case Kind.BOOL, Kind.NUMBER:
            return Cast(f"({column}::int::double precision)")
        case Kind.MULTI | Kind.NUMBER | Kind.BOOL, Kind.JSON:
            return Cast(f"to_json({column})")
        case Kind.GEO, Kind.JSON:
            return Cast(f"json_build_object('lon', {column}[0], 'lat', {column}[1])")
    return None


def _to_text(kind: Kind, column: str) -> str | None:
    match kind:
        case Kind.TEXT:
            return column
        case Kind.NUMBER:
            whole = f"abs({column}) < 1e15 AND {column} = trunc({column})"
            return f"(CASE WHEN {whole} THEN {column}::bigint::text ELSE {column}::text END)"
        case Kind.BOOL:
            return f"({column}::text)"
        case Kind.DATE:
            shown = f"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS"Z"')"""
            return f"coalesce({shown}, '')"
        case Kind.JSON:
            # A string with U+0000 has no text form in PostgreSQL; it keeps its JSON form then.
            plain = rf"CASE WHEN strpos({column}::text, '\u0000') > 0 THEN {column}::text ELSE {column} #>> '{{}}' END"
            return f"coalesce({plain}, '')"
    return None


def _from_text(kind: Kind, text: str) -> Cast | None:
    match kind:
        case Kind.TEXT:
            return Cast(text)
        case Kind.NUMBER:
            is_number = f"{text} ~ {NUMBER_TEXT}"
            return Cast(
                f"(CASE WHEN {is_number} THEN ({text})::double precision ELSE 0 END)",
                f"{text} <> '' AND NOT ({is_number})",
            )
        case Kind.BOOL:
            return Cast(f"({text} IN ({TRUE_TEXT}))", f"{text} NOT IN ({TRUE_TEXT}, {FALSE_TEXT})")
        case Kind.DATE:
            # Days are counted from the first of the month, because a cast of February 31 would be an error.
            day = f"(left({text}, 7) || '-01')::date + (substr({text}, 9, 2)::int - 1)"
            is_day = f"to_char({day}, 'YYYY-MM-DD') = left({text}, 10)"
            moment = f"left({text}, 10) || ' ' || coalesce(nullif(substr({text}, 12), ''), '00:00:00Z')"
            value = (
                f"(CASE WHEN {text} ~ {DATE_TEXT} THEN "
                f"CASE WHEN {is_day} THEN date_trunc('milliseconds', ({moment})::timestamptz) END END)"
            )
            return Cast(value, f"{text} <> '' AND {value} IS NULL")
        case Kind.MULTI:
            return Cast(f"(CASE WHEN {text} = '' THEN '{{}}'::text[] ELSE ARRAY[{text}] END)")
        case Kind.JSON:
            return Cast(f"(CASE WHEN {text} = '' THEN NULL ELSE to_json({text}) END)")
    return None
