"""The query of a view collection as a PostgreSQL SELECT whose columns have the storage types of its fields."""

from __future__ import annotations

from groundplane.db.sql import ident
from groundplane.schema.cache import Schema
from groundplane.schema.sqlite_fields import infer_view_fields
from groundplane.schema.sqlite_select import Selects, parse_select
from groundplane.schema.sqlite_values import Untranslatable, storage


def translate_view(query: str, schema: Schema, view_name: str = "") -> str:
    """Translate one SQLite SELECT over collections; raises Untranslatable with a plain reason.

    The text is built from the parsed query node by node, from lists of known nodes and functions, so that
    nothing else of what somebody wrote reaches PostgreSQL.
    """
    fields = infer_view_fields(query, schema, view_name)
    try:
        selected = Selects(schema).query(parse_select(query), None, {})
    except RecursionError:
        raise Untranslatable("the query is nested too deeply") from None
    columns = [
        f"{storage(value._replace(sql=f'q.{value.sql}'), field.kind)} AS {ident(field.column)}"
        for field, value in zip(fields, selected.columns, strict=True)
    ]
    return f"SELECT {', '.join(columns)} FROM ({selected.sql}) AS q"  # noqa: S608  # built from parsed nodes
