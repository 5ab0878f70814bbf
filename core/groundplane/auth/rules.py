"""Rules over one stored record: may this one sign in, does it need a second factor."""

from __future__ import annotations

from groundplane.auth.queries import matches_condition
from groundplane.context import RequestInfo
from groundplane.db.engine import Database
from groundplane.db.failures import StatementRefused
from groundplane.db.sql import Args
from groundplane.errors import Invalid
from groundplane.query.errors import QueryError
from groundplane.query.rules import rule_condition
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection


class BadRule(Exception):
    """A rule names what is not there any more, or compares what cannot be compared."""


async def meets(
    db: Database, schema: Schema, collection: Collection, record_id: str, rule: str, info: RequestInfo
) -> bool:
    """Whether the stored record meets the rule; raises BadRule when it cannot be evaluated (any more)."""
    args = Args()
    try:
        condition = rule_condition(schema, collection, rule, info, args)
        statement = matches_condition(collection, condition, args.add(record_id))
        return bool(await db.fetchval(statement, *args.values))
    except (QueryError, Invalid, StatementRefused) as error:
        raise BadRule(str(error)) from error
