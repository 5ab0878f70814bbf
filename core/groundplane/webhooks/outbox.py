"""Writes a delivery for each webhook that wants a change, in the transaction of the change.

What the webhook's own definition does wrong (a condition that no longer compiles) is a failed delivery that
can be replayed and a problem shown with the webhook, never a failed write.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from groundplane.clock import now
from groundplane.context import RequestInfo
from groundplane.db.engine import Database
from groundplane.db.failures import SchemaChanged, translated
from groundplane.db.sql import Args, load_queries
from groundplane.errors import GroundplaneError
from groundplane.events.changes import Change, ChangeAction
from groundplane.events.envelope import body, envelope, written
from groundplane.hooks.publishing import published
from groundplane.jobs.queue import Jobs
from groundplane.query.errors import QueryError
from groundplane.query.rules import rule_condition
from groundplane.records.plan import plan_of
from groundplane.records.queries import VIRTUAL, stored_check, virtual_check, virtual_row
from groundplane.schema.cache import SchemaCache
from groundplane.schema.collection import Collection
from groundplane.security.ids import record_id
from groundplane.webhooks.webhook import EVERYTHING, Webhook, order_key

log = logging.getLogger(__name__)

QUERIES = load_queries("groundplane.webhooks")
KIND = "webhook"  # of the jobs
NEVER_SHOWN = frozenset({"password", "tokenKey"})

Routes = Mapping[tuple[str, str], tuple[Webhook, ...]]


class Outbox:
    """Listens to changes; `take` says for whom."""

    def __init__(self, db: Database, schema: SchemaCache, jobs: Jobs) -> None:
        self._db = db
        self._schema = schema
        self._jobs = jobs
        self._routes: Routes = {}
        # What was found wrong with a webhook, so that it is written down once and not with every change.
        self._problems: dict[str, str] = {}

    def take(self, webhooks: list[Webhook]) -> None:
        """Listen for these webhooks from now on."""
        routes: dict[tuple[str, str], tuple[Webhook, ...]] = {}
        for webhook in webhooks:
            if webhook.is_active:
                for collection in webhook.definition.collections:
                    for action in webhook.definition.actions:
                        key = (collection, action)
                        routes[key] = (*routes.get(key, ()), webhook)
        self._routes = routes
        self._problems = {each.id: each.health.problem for each in webhooks if each.health.problem}

    def concerns(self, collection: Collection, action: ChangeAction) -> bool:
        routes = self._routes
        return bool(routes) and (
            (collection.id, action) in routes or ((EVERYTHING, action) in routes and not collection.system)
        )

    async def changed(self, change: Change) -> None:
        collection, action = change.collection, change.action
        wanted = self._routes.get((collection.id, action), ())
        if not collection.system:
            wanted += self._routes.get((EVERYTHING, action), ())
        # In one order everywhere, for each takes the lock of its order key.
        for webhook in sorted(wanted, key=lambda each: each.id):
            await self._consider(webhook, change)

    async def _consider(self, webhook: Webhook, change: Change) -> None:
        problem = ""
        if webhook.definition.condition:
            verdict = await self._verdict(webhook.definition.condition, change)
            if isinstance(verdict, str):
                problem = verdict
            elif not verdict:
                return
            elif webhook.id in self._problems:
                await self._tell_problem(webhook, "")
        target = f"webhook:{webhook.id}"
        message = await published(self._jobs.hooks, message_of(webhook, change), change.collection, target)
        if message is None:
            return
        args = (
            webhook.id,
            change.id,
            message["type"],
            change.collection.id,
            change.record["id"],
            body(message).decode(),
        )
        moment = now()
        if problem:
            await self._db.fetchrow(QUERIES["record"], record_id(), *args, "failed", "", problem, moment)
            await self._tell_problem(webhook, problem)
            return
        id = record_id()
        key = order_key(webhook.id, change.collection.id, change.record["id"])
        # The job first: its key's lock makes the numbers of deliveries the order of commits, too.
        job = await self._jobs.add(KIND, {"delivery": id}, order_key=key)
        await self._db.fetchrow(QUERIES["record"], id, *args, "waiting", job, "", moment)

    async def _verdict(self, condition: str, change: Change) -> bool | str:
        """Whether the row meets the condition; a text is why nobody can tell."""
        schema, collection = self._schema.current, change.collection
        plan = plan_of(schema, collection)
        info = RequestInfo(caller=change.caller)
        args = Args()
        try:
            if change.action == "delete":
                row = virtual_row(plan, change.record, args)
                met = rule_condition(schema, collection, condition, info, args, virtual=VIRTUAL)
                statement = args.bind(virtual_check(row, [met]))
            else:
                met = rule_condition(schema, collection, condition, info, args)
                statement = stored_check(plan, change.record["id"], [met], args)
        except QueryError as error:
            return f"The condition does not compile any more: {error}"
        try:
            # A savepoint: PostgreSQL would otherwise refuse the rest of the transaction.
            async with self._db.transaction() as connection, connection.transaction():
                return bool(await connection.fetchval(statement.text, *statement.args))
        except Exception as error:
            failure = error if isinstance(error, GroundplaneError) else translated(error)
            if failure is None or (isinstance(failure, SchemaChanged) and await self._is_outdated()):
                raise
            if failure.status >= 500 and not isinstance(failure, SchemaChanged):
                raise
            return f"The condition cannot be evaluated: {getattr(failure, 'detail', '') or failure.message}"

    async def _is_outdated(self) -> bool:
        """Whether others have a newer schema than this process; the write is then tried again with it."""
        stored = await self._db.fetchval(QUERIES["schema_version"])
        return stored is not None and int(stored) != self._schema.current.version

    async def _tell_problem(self, webhook: Webhook, problem: str) -> None:
        """Write down what is wrong with a webhook, or with "" that nothing is any more."""
        if self._problems.get(webhook.id, "") == problem:
            return
        self._problems[webhook.id] = problem

        async def write() -> None:
            if problem:
                log.error("The webhook %s does not work: %s", webhook.definition.name, problem)
            await self._db.execute(QUERIES["set_problem"], webhook.id, problem)

        await self._db.after_commit(write)


def message_of(webhook: Webhook, change: Change) -> dict[str, Any]:
    """The message about a change with the fields that the webhook wants, hidden ones when they are named."""
    fields = webhook.definition.fields
    message = envelope(change, fields=frozenset(fields) if fields else None)
    if not fields:
        return message
    collection, data = change.collection, message["data"]
    for name in fields:
        field = collection.field(name)
        if field is None or not field.hidden or field.type_name == "password":
            continue
        if collection.is_auth and name in NEVER_SHOWN:
            continue
        data["record"][name] = written(field, change.record[name])
        if change.before is not None and "before" in data:
            data["before"][name] = written(field, change.before[name])
            if change.before[name] != change.record[name]:
                data["changed"].append(name)
    return message
