"""SQLite's SQL on our tables: indexes and view queries of collections, as they stand in the collections API.

The parser behind it is loaded by the first translation: most processes never make one, and it is the largest
of all that a server imports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundplane.schema.fields.base import physical_name
from groundplane.schema.sqlite_values import NoFields, Untranslatable

if TYPE_CHECKING:
    from groundplane.schema.cache import Schema
    from groundplane.schema.collection import Collection
    from groundplane.schema.fields.base import Field

__all__ = [
    "NoFields",
    "Untranslatable",
    "index_name",
    "infer_view_fields",
    "translate_index",
    "translate_view",
]


def index_name(name: str) -> str:
    """The name of an index in PostgreSQL, where index names are global like in SQLite, but of 63 bytes."""
    return physical_name(name)


def translate_index(index_text: str, collection: Collection) -> str:
    """Translate CREATE INDEX, as `sqlite_index.translate_index`."""
    from groundplane.schema import sqlite_index

    return sqlite_index.translate_index(index_text, collection)


def infer_view_fields(query: str, schema: Schema, view_name: str) -> list[Field]:
    """Derive the fields of a view, as `sqlite_fields.infer_view_fields`."""
    from groundplane.schema import sqlite_fields

    return sqlite_fields.infer_view_fields(query, schema, view_name)


def translate_view(query: str, schema: Schema, view_name: str = "") -> str:
    """Translate the SELECT of a view, as `sqlite_view.translate_view`."""
    from groundplane.schema import sqlite_view

    return sqlite_view.translate_view(query, schema, view_name)
