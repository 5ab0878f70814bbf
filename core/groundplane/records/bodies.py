"""The JSON of a record, written by PostgreSQL: the same bytes as `Plan.wire` and `records.wire` make in Python.

`<`, `>`, `&` and the two line separators are left to `wire.escaped`, which finds them faster.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import NamedTuple

from groundplane.db.sql import ident
from groundplane.records.plan import BASE, SECRET_FIELDS, Plan
from groundplane.schema.fields.base import Field, Kind

# What `fields` writes anew, with sorted members.
NESTED = frozenset({Kind.GEO, Kind.JSON})


class Written(NamedTuple):
    """The JSON text of a value: what stands around it whatever it is, and the SQL of the rest ("" for none)."""

    before: str = ""
    sql: str = ""
    after: str = ""


def record_text(
    plan: Plan, *, superuser: bool, own_id: str = "", only: Collection[str] | None = None
) -> str | None:
    """SQL of the object's text for the row with alias BASE; nothing in it is NULL.

    `own_id` is the placeholder of the caller's id, which decides who sees the address of an auth record
    ("" for guests). `only` are the members that are wanted, where not all are; None when such an object
    has to be put together in another way. Not for views, whose columns may be NULL, nor where a manage rule
    decides.
    """
    collection = plan.collection
    everything = only is None or "*" in only
    members: list[tuple[str, Written]] = [
        ("collectionId", Written(json_text(collection.id))),
        ("collectionName", Written(json_text(collection.name))),
    ]
    for field in collection.fields:
        if (field.hidden and not superuser) or (collection.is_auth and field.name in SECRET_FIELDS):
            continue
        if only is not None and (everything or field.name in only) and field.kind in NESTED:
            return None
        members.append((field.name, written(field)))
    if only is not None and not everything:
        members = [member for member in members if member[0] in only]
    parts: list[str] = []
    constant = "{"
    for position, (name, value) in enumerate(sorted(members, key=lambda member: member[0].encode())):
        key = f"{',' if position else ''}{json_text(name)}:"
        if collection.is_auth and name == "email" and not superuser:
            if not position:
                return None  # the comma of what follows would be too many where the address is left out
            own = f' OR {BASE}."id" = {own_id}' if own_id else ""
            shown = " || ".join(pieces(value._replace(before=key + value.before)))
            parts += literal(constant), f"CASE WHEN {BASE}.\"emailVisibility\"{own} THEN {shown} ELSE '' END"
            constant = ""
            continue
        constant += key + value.before
        if value.sql:
            parts += literal(constant), value.sql
            constant = value.after
    # What is the same for every record is one text: each piece costs as much as a short value.
    return " || ".join([*parts, literal(constant + "}")])


def pieces(value: Written) -> list[str]:
    constants = literal(value.before), literal(value.after) if value.after else ""
    return [piece for piece in (constants[0], value.sql, constants[1]) if piece]


def written(field: Field) -> Written:
    """One stored value's JSON text."""
    column = f"{BASE}.{ident(field.column)}"
    if field.type_name == "password":
        return Written('""')
    match field.kind:
        case Kind.NUMBER:
            return Written(sql=number_text(column))
        case Kind.BOOL:
            return Written(sql=f"CASE WHEN {column} THEN 'true' ELSE 'false' END")
        case Kind.DATE:
            return Written('"', f"gp.date_text({column})", '"')
        case Kind.MULTI:
            return Written(sql=f"array_to_json({column})::text")
        case Kind.JSON:
            return Written(sql=f"COALESCE({column}::text, 'null')")
        case Kind.GEO:
            # A coordinate keeps the sign of its zero.
            lon, lat = (
                number_text(f"({column})[{part}]", zero=f"({column})[{part}]::text") for part in (0, 1)
            )
            return Written('{"lon":', f"""{lon} || ',"lat":' || {lat}""", "}")
        case Kind.TEXT:
            return Written(sql=f"gp.quoted({column})")


def number_text(number: str, zero: str = "'0'") -> str:
    """SQL of a number as the wire writes it (`wire.number_text`).

    PostgreSQL's own text, the shortest that reads back the same, is that between 1e-4 and 1e15. Further out
    its digits are written without an exponent from 1e-6 and up to 1e21, then with one without zeros in front.
    """
    return (
        f"CASE WHEN abs({number}) >= 1e-4 AND abs({number}) < 1e15 THEN {number}::text"
        f" WHEN {number} = 0 THEN {zero}"
        f" WHEN abs({number}) >= 1e-6 AND abs({number}) < 1e21 THEN {number}::text::numeric::text"
        f" WHEN abs({number}) < 'Infinity' THEN regexp_replace({number}::text, 'e([+-])0+', 'e\\1')"
        f" ELSE 'null' END"
    )


def json_text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def literal(text: str) -> str:
    """Quote names of collections and fields, which hold nothing but letters, digits and underscores."""
    return "'" + text.replace("'", "''") + "'"
