"""Webhooks: tell other systems of changes, signed, in order, until they have heard it, and show every delivery."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from groundplane.clock import now, wire_date
from groundplane.db.engine import Database
from groundplane.db.failures import UniqueViolation
from groundplane.db.sql import load_queries
from groundplane.errors import FieldError, Invalid, NotFound
from groundplane.events.envelope import body
from groundplane.jobs.job import Job
from groundplane.jobs.queue import Jobs
from groundplane.outgoing.addresses import Reach
from groundplane.schema.cache import SchemaCache
from groundplane.security.ids import record_id
from groundplane.webhooks.checks import read_definition, secrets_error
from groundplane.webhooks.deliver import Courier
from groundplane.webhooks.http import HttpSender
from groundplane.webhooks.outbox import KIND, Outbox
from groundplane.webhooks.rows import (
    WebhookVault,
    as_attempt,
    as_delivery,
    as_webhook,
    definition_args,
    secrets_text,
)
from groundplane.webhooks.sender import Sender
from groundplane.webhooks.signing import new_secret
from groundplane.webhooks.webhook import TEST_TYPE, Attempt, Definition, Delivery, Webhook, order_key

log = logging.getLogger(__name__)

QUERIES = load_queries("groundplane.webhooks")
NOT_SAVED = "Failed to save the webhook."
UNKNOWN = "Missing or invalid webhook."
UNKNOWN_DELIVERY = "Missing or invalid delivery."
NOT_UNIQUE = FieldError("validation_not_unique", "Value must be unique.")
REPLAY = "webhook_replay"  # kind of the jobs that replay many
AT_ONCE = 200  # deliveries in one transaction, each of which takes a lock
FORGET_AT_ONCE = 2000
JOB_TIMEOUT_S = 120.0  # an attempt takes at most a minute, and is written down
# Runs that fail without an attempt being written down: workers that are killed, a database that is away.
JOB_ATTEMPTS = 1000
GRACE_S = 24 * 3600.0  # for which a rotated secret signs on
MAX_GRACE_S = 30 * GRACE_S
DAY_S = 24 * 3600.0

Announce = Callable[[], Awaitable[None]]


class Page(NamedTuple):
    items: list[Any]
    total: int  # -1 when it was not counted


class Selection(NamedTuple):
    """Which deliveries: of a state, an event or a record, created from `since` on and before `until`."""

    state: str = ""
    event: str = ""
    record: str = ""
    since: datetime | None = None
    until: datetime | None = None


class Webhooks:
    """Defines webhooks, records deliveries (`outbox`, a listener to changes) and carries them out in jobs.

    `announce()` is called after a commit and returns when every process has called `load` again.
    `sender` may be replaced by one that remembers what it is given.
    """

    def __init__(
        self,
        db: Database,
        schema: SchemaCache,
        jobs: Jobs,
        *,
        reach: Reach = Reach(),  # noqa: B008  # frozen
        encryption_key: str = "",
        announce: Announce | None = None,
        sender: Sender | None = None,
        keep_days: float = 14,
        suspend_after_days: float = 5,
    ) -> None:
        self._db = db
        self._schema = schema
        self._jobs = jobs
        self._reach = reach
        self._vault = WebhookVault(encryption_key)
        self._announce = announce
        self._loading = asyncio.Lock()
        self._keep_days = keep_days
        self.sender: Sender = sender or HttpSender(reach)
        self.outbox = Outbox(db, schema, jobs)
        self.courier = Courier(
            db,
            self._vault,
            lambda: self.sender,
            self.suspend,
            suspend_after_s=suspend_after_days * DAY_S,
            kept_s=keep_days * DAY_S,
        )
        jobs.register(KIND, self.courier.run, timeout_s=JOB_TIMEOUT_S, max_attempts=JOB_ATTEMPTS)
        jobs.register(REPLAY, self._replay_all, timeout_s=3600.0)

    async def load(self) -> None:
        """Read again what there is, for this process's listener."""
        # One after another: an older answer must not replace a newer one.
        async with self._loading:
            self.outbox.take(await self.all())

    async def close(self) -> None:
        await self.sender.close()

    # Looking

    async def all(self) -> list[Webhook]:
        return [as_webhook(row) for row in await self._db.fetch(QUERIES["all"])]

    async def page(self, *, limit: int, offset: int, with_total: bool = True) -> Page:
        """Return webhooks, newest first."""
        rows = await self._db.fetch(QUERIES["page"], limit, offset)
        total = int(await self._db.fetchval(QUERIES["count"])) if with_total else -1
        return Page([as_webhook(row) for row in rows], total)

    async def view(self, id: str) -> Webhook:
        """Return a webhook; raises NotFound."""
        return await self._read("view", id)

    async def _read(self, query: str, id: str) -> Webhook:
        row = None if "\x00" in id else await self._db.fetchrow(QUERIES[query], id)
        if row is None:
            raise NotFound(UNKNOWN)
        return as_webhook(row)

    # Changing

    async def create(self, raw: Mapping[str, Any]) -> tuple[Webhook, list[str]]:
        """Make a webhook of raw values as the API has them; returns its secrets too, which are not shown again.

        Raises Invalid. Returns when every process records deliveries for it.
        """
        schema = self._schema.current
        definition, errors = read_definition(raw, None, schema, self._reach)
        given = raw.get("secrets")
        if given is not None and (error := secrets_error(given)):
            errors["secrets"] = error
        if errors:
            raise Invalid(NOT_SAVED, errors)
        secrets = [str(each) for each in given] if given is not None else [new_secret()]
        return await self.add(definition, secrets), secrets

    async def add(self, definition: Definition, secrets: list[str]) -> Webhook:
        """Store a checked definition; joins the open transaction. Raises Invalid when the name is taken."""
        moment, id = now(), record_id()
        sealed = self._vault.new_secrets(secrets, (), moment, 0)
        args = definition_args(self._vault.sealed_headers(definition))
        try:
            async with self._db.transaction() as connection, connection.transaction():
                await self._db.execute(QUERIES["add"], id, *args, moment, secrets_text(sealed))
                await self._db.execute(QUERIES["reset_health"], id)
                await self._changed()
        except UniqueViolation:
            raise Invalid(NOT_SAVED, {"name": NOT_UNIQUE}) from None
        return await self.view(id)

    async def update(self, id: str, raw: Mapping[str, Any]) -> Webhook:
        """Change what is given; raises NotFound and Invalid. To enable it ends a suspension too."""
        async with self._db.transaction():
            before = await self._read("locked", id)
            opened = self._vault.opened_headers(before.definition)
            definition, errors = read_definition(raw, opened, self._schema.current, self._reach)
            if "secrets" in raw:
                errors["secrets"] = FieldError("validation_invalid_value", "Rotate them instead.")
            if errors:
                raise Invalid(NOT_SAVED, errors)
            await self.store(before, definition, resumes=raw.get("enabled") is True)
        return await self.view(id)

    async def store(self, before: Webhook, definition: Definition, *, resumes: bool = False) -> None:
        """Store a checked definition in place of a webhook's; joins the open transaction. Raises Invalid."""
        args = definition_args(self._vault.sealed_headers(definition))
        try:
            async with self._db.transaction() as connection, connection.transaction():
                await self._db.execute(QUERIES["change"], before.id, *args, now())
                if resumes:
                    await self._db.execute(QUERIES["resume"], before.id)
                # Another address or condition is another chance.
                await self._db.execute(QUERIES["reset_health"], before.id)
                await self._db.execute(QUERIES["hurry"], before.id, now())
                await self._db.fetch(QUERIES["wake"])
                await self._changed()
        except UniqueViolation:
            raise Invalid(NOT_SAVED, {"name": NOT_UNIQUE}) from None

    async def delete(self, id: str) -> None:
        """Delete a webhook; what waits is not sent, and its deliveries go with the next clean-up."""
        async with self._db.transaction():
            if "\x00" in id or await self._db.fetchval(QUERIES["delete"], id) is None:
                raise NotFound(UNKNOWN)
            await self._db.execute(QUERIES["delete_health"], id)
            await self._changed()

    async def rotate(
        self, id: str, *, secret: str | None = None, grace_s: float = GRACE_S
    ) -> tuple[Webhook, str]:
        """Give a webhook a new secret and return it; the ones before sign for `grace_s` seconds more."""
        if secret is not None and (error := secrets_error([secret])):
            raise Invalid(NOT_SAVED, {"secret": error})
        fresh = secret or new_secret()
        await self.replace_secrets(id, [fresh], grace_s=grace_s)
        return await self.view(id), fresh

    async def replace_secrets(self, id: str, values: list[str], *, grace_s: float) -> None:
        """Have these sign from now on; joins the open transaction. Raises NotFound."""
        async with self._db.transaction():
            before = await self._read("locked", id)
            moment = now()
            secrets = self._vault.new_secrets(values, before.secrets, moment, grace_s)
            await self._db.execute(QUERIES["change_secrets"], id, secrets_text(secrets), moment)

    async def suspend(self, id: str, why: str) -> None:
        """Stop sending to a webhook, as an administrator would, and say so."""
        async with self._db.transaction():
            name = await self._db.fetchval(QUERIES["suspend"], id, why)
            if name is not None:
                await self._changed()
        if name is not None:
            log.error("The webhook %s was suspended: %s Enable it when the receiver is well.", name, why)

    async def _changed(self) -> None:
        async def tell() -> None:
            await self.load()
            if self._announce is not None:
                await self._announce()

        await self._db.after_commit(tell)

    def opened(self, webhook: Webhook) -> Definition:
        """A webhook's definition with readable headers, for comparing; raises BadKey."""
        return self._vault.opened_headers(webhook.definition)

    def lasting_secrets(self, webhook: Webhook) -> list[str]:
        """The secrets that were not rotated out, readable; raises BadKey."""
        return [self._vault.open(each.value) for each in webhook.secrets if each.expires is None]

    @property
    def reach(self) -> Reach:
        return self._reach

    # Deliveries

    async def deliveries(
        self, id: str, which: Selection, *, limit: int, offset: int, with_total: bool = True
    ) -> Page:
        """Return a webhook's deliveries, newest first; raises NotFound."""
        await self.view(id)
        if "\x00" in which.event + which.record:
            return Page([], 0)
        rows = await self._db.fetch(QUERIES["deliveries"], id, *which, limit, offset)
        total = int(await self._db.fetchval(QUERIES["count_deliveries"], id, *which)) if with_total else -1
        return Page([as_delivery(row) for row in rows], total)

    async def delivery(self, id: str, delivery_id: str) -> tuple[Delivery, list[Attempt]]:
        """Return a delivery with its latest attempts, newest first; raises NotFound."""
        row = None
        if "\x00" not in id + delivery_id:
            row = await self._db.fetchrow(QUERIES["delivery_of"], id, delivery_id)
        if row is None:
            raise NotFound(UNKNOWN_DELIVERY)
        attempts = await self._db.fetch(QUERIES["attempts"], delivery_id)
        return as_delivery(row), [as_attempt(each) for each in attempts]

    async def replay(self, id: str, delivery_id: str) -> Delivery:
        """Send a finished delivery again, with the same event id; one that waits is tried now."""
        delivery, _ = await self.delivery(id, delivery_id)
        if delivery.state == "waiting":
            try:
                await self._jobs.retry(delivery.job)
            except (NotFound, Invalid):
                # It runs already, waits for one before it, or its job is gone, which the clean-up mends.
                pass
        else:
            async with self._db.transaction():
                await self._queue_again(delivery, now())
        return (await self.delivery(id, delivery_id))[0]

    async def replay_range(self, id: str, which: Selection) -> int:
        """Send a webhook's finished deliveries of a time and state again, oldest first; return how many.

        They are queued in the background.
        """
        await self.view(id)
        moment = now()
        count = int(
            await self._db.fetchval(
                QUERIES["count_to_replay"], id, which.state, which.since, which.until, moment
            )
        )
        if count:
            payload = {
                "webhook": id,
                "state": which.state,
                "since": which.since,
                "until": which.until,
                "asked": moment,
            }
            await self._jobs.add(REPLAY, msgspec.to_builtins(payload))
        return count

    async def _replay_all(self, job: Job) -> None:
        """Queue what `replay_range` was asked for; what this job has queued already, it does not find again."""
        given = job.payload
        asked = datetime.fromisoformat(given["asked"])
        times = [
            None if given[key] is None else datetime.fromisoformat(given[key]) for key in ("since", "until")
        ]
        while True:
            async with self._db.transaction():
                rows = await self._db.fetch(
                    QUERIES["to_replay"], given["webhook"], given["state"], *times, asked, AT_ONCE
                )
                # At least a moment later than `asked`, whatever the clocks of two processes say.
                moment = max(now(), asked)
                for row in rows:
                    await self._queue_again(as_delivery(row), moment)
            if len(rows) < AT_ONCE:
                return

    async def _queue_again(self, delivery: Delivery, moment: datetime) -> None:
        key = order_key(delivery.webhook, delivery.collection, delivery.record)
        job = await self._jobs.add(KIND, {"delivery": delivery.id}, order_key=key)
        if await self._db.fetchval(QUERIES["queue_again"], delivery.id, job, moment) is None:
            # Somebody else was quicker; that job finds another one named in the delivery, and ends.
            return

    async def test(self, id: str) -> tuple[Delivery, Attempt]:
        """Send a test message now, also to a disabled webhook; a failure is an answer, not an error."""
        webhook = await self.view(id)
        moment, event = now(), record_id()
        message = {
            "id": event,
            "type": TEST_TYPE,
            "timestamp": wire_time(moment),
            "data": {"webhook": {"id": webhook.id, "name": webhook.definition.name}},
        }
        args = (record_id(), id, event, TEST_TYPE, "", "", body(message).decode(), "waiting", "", "", moment)
        row = await self._db.fetchrow(QUERIES["record"], *args)
        if row is None:
            raise RuntimeError("an insert gave no row")
        delivery = as_delivery(row)
        attempt, _ = await self.courier.attempt(webhook, delivery)
        await self.courier.store(delivery, attempt, "delivered" if attempt.succeeded else "failed")
        return (await self.delivery(id, delivery.id))[0], attempt

    # Tidiness

    async def clean_up(self) -> None:
        """Remove old deliveries, and end those whose jobs came to an end without them."""
        oldest = now() - timedelta(days=self._keep_days)
        while await self._db.fetchval(QUERIES["forget"], oldest, FORGET_AT_ONCE) == FORGET_AT_ONCE:
            pass
        # Those of the last minutes may be on their way.
        waited = now() - timedelta(minutes=10)
        for row in await self._db.fetch(QUERIES["without_job"], waited, FORGET_AT_ONCE):
            await self._db.execute(QUERIES["give_up"], row["id"], "Its job was cancelled or lost.", now())

    async def findings(self) -> list[tuple[bool, str]]:
        """What `groundplane doctor` says: whether all is well, and a sentence, for each."""
        row = await self._db.fetchrow(QUERIES["summary"])
        if row is None or not row["all"]:
            return []
        found = [(True, f"webhooks: {row['all']}, {row['waiting']} deliveries are waiting")]
        moment = now()
        for webhook in await self.all():
            state, health = webhook.state(moment), webhook.health
            name = f"webhook {webhook.definition.name}"
            if state == "suspended":
                found.append((False, f"{name} is suspended: {webhook.suspended}"))
            elif health.problem and state != "disabled":
                found.append((False, f"{name}: {health.problem}"))
            elif health.failing_since is not None and state != "disabled":
                since = wire_date(health.failing_since)
                found.append((False, f"{name} has been failing since {since}: {health.error}"))
        return found


def wire_time(moment: datetime) -> str:
    """A time as the messages of webhooks write it."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
