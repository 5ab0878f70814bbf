"""A submitted collection: completed with what follows from a view's query, and checked in full."""

from __future__ import annotations

from typing import Any

from groundplane.collections import queries, views
from groundplane.collections.checks import collection_errors
from groundplane.collections.views import BadView, Derived
from groundplane.db.engine import Database
from groundplane.errors import ErrorData, FieldError
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection

TABLE_TAKEN = FieldError(
    "validation_collection_name_invalid", "The name shouldn't match with an existing internal table."
)


def prepared(schema: Schema, new: Collection, old: Collection | None) -> tuple[Collection, Derived | None]:
    """Give a view the fields that follow from its query; other collections are complete already.

    Returns the collection and, for a view with a query, what became of it.
    """
    if not new.is_view:
        return new, None
    if not new.view_query.strip():
        return new.replaced(fields=()), None
    derived = views.derive(schema, new.view_query, new.name, old)
    return new.replaced(fields=derived.fields), derived


async def find_errors(
    db: Database, schema: Schema, new: Collection, old: Collection | None, derived: Derived | None
) -> ErrorData:
    """Everything that is wrong with a prepared collection; `derived` is what `prepared` said.

    `schema` is the one without the change. Call it inside a transaction, for the sample of a view.
    """
    errors = static_errors(schema, new, old, derived)
    is_renamed = old is None or old.name.lower() != new.name.lower()
    is_free = schema.get(new.name) is None
    if "name" not in errors and is_renamed and is_free and await db.fetchval(queries.TABLE_TAKEN, new.table):
        errors["name"] = TABLE_TAKEN
    if new.is_view and new.view_query.strip() and "viewQuery" not in errors:
        try:
            await views.read_sample(db, views.translated(schema, new))
        except BadView as error:
            errors["viewQuery"] = views.query_error(str(error))
    return errors


def static_errors(
    schema: Schema, new: Collection, old: Collection | None, derived: Derived | None
) -> dict[str, Any]:
    """The errors that can be seen without the database."""
    errors: dict[str, Any] = dict(collection_errors(new, old, schema))
    if derived is None:
        return errors
    if derived.problem is not None:
        errors["viewQuery"] = views.query_error(derived.problem)
    elif "fields" in errors:
        errors["viewQuery"] = views.query_error("a column of its result cannot be a field")
    return errors
