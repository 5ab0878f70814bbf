"""A client's filter, kept from reading what the client may not (contract, filters §8.7)."""

from __future__ import annotations

from groundplane.context import RequestInfo
from groundplane.db.sql import Args
from groundplane.errors import Forbidden
from groundplane.query.compile import Condition, condition
from groundplane.query.effective import rule_of
from groundplane.query.errors import QueryError
from groundplane.query.names import Names
from groundplane.query.parser import parse
from groundplane.query.paths import ID
from groundplane.query.rules import rule_on_row
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection

MAX_FILTER_BYTES = 3500  # as in PocketBase


def filter_condition(
    schema: Schema,
    collection: Collection,
    text: str,
    info: RequestInfo,
    args: Args,
    *,
    base: str = "r",
) -> str:
    """Return a boolean SQL expression on the row with alias `base`, a plain name; raises QueryError."""
    if len(text.encode(errors="replace")) > MAX_FILTER_BYTES:
        raise QueryError(f"filter is longer than {MAX_FILTER_BYTES} bytes")
    names = Names(schema, collection, info, base=base, restricted=not info.is_superuser)
    written = condition(parse(text), names, lambda: list_rules(names))
    return names.values.bind(written, args)


def list_rules(names: Names) -> list[Condition]:
    """The list rules of the collections that the text reads, each on the joined row.

    Without them a filter could ask about records that the client may not list. Rules of collections that
    nobody may list were refused when the path was followed.
    """
    guards: list[Condition] = []
    if not names.restricted:
        return guards
    for join in list(names.joins.by_path.values()):
        collection = join.collection
        if collection is not None and (rule_text := rule_of(names.schema, collection, "list")):
            on_row = Names(names.schema, collection, names.info, base=join.alias, values=names.values)
            rule = rule_on_row(rule_text, on_row)
            guards.append(Condition(f"({join.alias}.{ID} IS NULL OR {rule})", frozenset({join})))
    return guards


def refuse_request_identifiers(filter_text: str, sort_text: str, info: RequestInfo) -> None:
    """Raise Forbidden when a client mentions `@collection.` or `@request.`, even inside a quoted text."""
    if info.is_superuser:
        return
    for text in (filter_text, sort_text):
        for name in ("@collection.", "@request."):
            if name in text:
                raise Forbidden(f"Only superusers can filter by {name}")
