"""SQLite's SQL on our tables: indexes and view queries of collections, as they stand in the collections API."""

from __future__ import annotations

from groundplane.schema.sqlite_fields import NoFields, infer_view_fields
from groundplane.schema.sqlite_index import index_name, translate_index
from groundplane.schema.sqlite_values import Untranslatable
from groundplane.schema.sqlite_view import translate_view

__all__ = [
    "NoFields",
    "Untranslatable",
    "index_name",
    "infer_view_fields",
    "translate_index",
    "translate_view",
]
