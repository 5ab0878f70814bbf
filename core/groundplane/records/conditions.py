"""Whether a changed record meets an expression; for those who pass on some of the changes only."""

from __future__ import annotations

import asyncpg

from groundplane.context import RequestInfo
from groundplane.db.engine import Database
from groundplane.db.sql import Args
from groundplane.events.changes import Change
from groundplane.query.errors import QueryError
from groundplane.query.rules import rule_condition
from groundplane.records import queries
from groundplane.records.plan import plan_of
from groundplane.schema.cache import Schema


async def meets(db: Database, schema: Schema, change: Change, expression: str) -> bool:
    """Evaluate an expression on the record as the change leaves it, inside the change's transaction.

    A deleted record is seen as it was; nothing points to it any more. `@request.auth` is who did it.
    Raises QueryError for an expression that does not fit the collection, or cannot be evaluated.
    """
    plan = plan_of(schema, change.collection)
    info, args = RequestInfo(caller=change.caller), Args()
    if change.action == "delete":
        row = queries.virtual_row(plan, change.record, args)
        condition = rule_condition(schema, change.collection, expression, info, args, virtual=queries.VIRTUAL)
        statement = args.bind(queries.virtual_check(row, [condition]))
    else:
        condition = rule_condition(schema, change.collection, expression, info, args)
        statement = queries.stored_check(plan, change.record["id"], [condition], args)
    try:
        # A savepoint: PostgreSQL would otherwise refuse the rest of the transaction.
        async with db.transaction() as connection, connection.transaction():
            return bool(await connection.fetchval(statement.text, *statement.args))
    except asyncpg.DataError as error:
        raise QueryError(f"it cannot be evaluated: {error}") from error
