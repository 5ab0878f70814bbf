"""The JSON of a record, written by PostgreSQL: the same bytes as `Plan.wire` and `records.wire` make in Python.

`<`, `>`, `&` and the two line separators are left to `wire.escaped`, which finds them faster.
"""

from __future__ import annotations

import json

from groundplane.db.sql import ident
from groundplane.records.plan import BASE, SECRET_FIELDS, Plan
from groundplane.schema.fields.base import Field, Kind


def record_text(plan: Plan, *, superuser: bool, own_id: str = "") -> str:
    """SQL of the object's text for the row with alias BASE; nothing in it is NULL.

    `own_id` is the placeholder of the caller's id, which decides who sees the address of an auth record
    ("" for guests). Not for views, whose columns may be NULL, nor where a manage rule decides.
    """
    collection = plan.collection
    members: list[tuple[str, str]] = [
        ("collectionId", literal(json_text(collection.id))),
        ("collectionName", literal(json_text(collection.name))),
    ]
    members += [
        (field.name, value_text(field))
        for field in collection.fields
        if (superuser or not field.hidden) and not (collection.is_auth and field.name in SECRET_FIELDS)
    ]
    parts: list[str] = []
    for position, (name, value) in enumerate(sorted(members, key=lambda member: member[0].encode())):
        # collectionId sorts before `email`, so leaving out the address with its comma leaves a sound list.
        member = f"{literal(('' if position == 0 else ',') + json_text(name) + ':')} || {value}"
        if collection.is_auth and name == "email" and not superuser:
            own = f' OR {BASE}."id" = {own_id}' if own_id else ""
            member = f"CASE WHEN {BASE}.\"emailVisibility\"{own} THEN {member} ELSE '' END"
        parts.append(member)
    return f"'{{' || {' || '.join(parts)} || '}}'"


def value_text(field: Field) -> str:
    """SQL of one stored value's JSON text."""
    column = f"{BASE}.{ident(field.column)}"
    if field.type_name == "password":
        return "'\"\"'"
    match field.kind:
        case Kind.NUMBER:
            return number_text(column)
        case Kind.BOOL:
            return f"CASE WHEN {column} THEN 'true' ELSE 'false' END"
        case Kind.DATE:
            return f"""'"' || gp.date_text({column}) || '"'"""
        case Kind.MULTI:
            return f"array_to_json({column})::text"
        case Kind.JSON:
            return f"COALESCE({column}::text, 'null')"
        case Kind.GEO:
            # A coordinate keeps the sign of its zero.
            lon, lat = (
                number_text(f"({column})[{part}]", zero=f"({column})[{part}]::text") for part in (0, 1)
            )
            return f"""'{{"lon":' || {lon} || ',"lat":' || {lat} || '}}'"""
        case Kind.TEXT:
            return f"to_json({column})::text"


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
