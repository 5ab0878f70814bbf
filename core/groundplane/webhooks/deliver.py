"""One delivery: when it may go, what is sent, and what follows from the answer.

The job of a delivery comes back until the delivery is finished. Whatever is decided here about time (the next
attempt, a paused receiver) is a postponed run of the job, so the jobs behind it, of the same record, wait for
it, and only requests that were sent count as attempts.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

import msgspec

from groundplane import __version__
from groundplane.clock import now
from groundplane.db.engine import Database
from groundplane.db.sql import load_queries
from groundplane.errors import GroundplaneError
from groundplane.jobs.job import Job, Postpone
from groundplane.security.encryption import BadKey
from groundplane.webhooks.rows import WebhookVault, as_delivery, as_webhook
from groundplane.webhooks.sender import Answer, Message, NotSent, Sender
from groundplane.webhooks.signing import signature
from groundplane.webhooks.webhook import REDACTED, Attempt, Delivery, Webhook, order_key

log = logging.getLogger(__name__)

QUERIES = load_queries("groundplane.webhooks")
KEPT_ATTEMPTS = 20  # of each delivery
MAX_ERROR_CHARS = 500
JITTER = 0.2  # share that is added at random, so that what failed together is not tried together
LONGEST_RETRY_AFTER_S = 24 * 3600.0
GONE = 410
# The breaker: after so many failed attempts in a row nothing is sent for a while, then one probe at a time.
OPENS_AFTER = 5
FIRST_PAUSE_S, LONGEST_PAUSE_S = 30.0, 3600.0
PROBE_MARGIN_S = 5.0
STOPPED_PAUSE_S = 3600.0  # how often the deliveries of a disabled webhook look whether it is enabled again
SUCCESS_NOTED_EVERY = timedelta(seconds=10)
# How many postponed deliveries of one webhook may come back in a second.
RETURNS_PER_S = 50
MOST_COUNTED = 3000

Suspend = Callable[[str, str], Awaitable[None]]


class Courier:
    """Carries out deliveries; `suspend(webhook, why)` stops a webhook for good.

    A webhook that only fails for `suspend_after_s` seconds is suspended; a delivery that waits for longer than
    `kept_s` has failed.
    """

    def __init__(
        self,
        db: Database,
        vault: WebhookVault,
        sender: Callable[[], Sender],
        suspend: Suspend,
        *,
        suspend_after_s: float,
        kept_s: float,
    ) -> None:
        self._db = db
        self._vault = vault
        self._sender = sender
        self._suspend = suspend
        self._suspend_after = timedelta(seconds=suspend_after_s)
        self._kept = timedelta(seconds=kept_s)

    async def run(self, job: Job) -> None:
        """Handle a delivery's job; raises Postpone until the delivery is finished."""
        row = await self._db.fetchrow(QUERIES["delivery"], job.payload["delivery"])
        if row is None or row["state"] != "waiting" or row["job"] != job.id:
            return
        delivery = as_delivery(row)
        prefix = order_key(delivery.webhook)
        found = await self._db.fetchrow(QUERIES["turn"], delivery.webhook, job.id, prefix)
        if found is None:
            await self._give_up(delivery, "The webhook was deleted.")
            return
        webhook = as_webhook(found)
        moment = now()
        if moment - delivery.queued > self._kept:
            await self._give_up(delivery, "It could not be delivered for too long.")
            return
        await self._wait_for_turn(webhook, found["before"], moment)
        attempt, answer = await self.attempt(webhook, delivery)
        await self._conclude(webhook, delivery, attempt, answer)

    async def _give_up(self, delivery: Delivery, why: str) -> None:
        await self._db.execute(QUERIES["give_up"], delivery.id, why, now())

    async def _wait_for_turn(self, webhook: Webhook, before: int, moment: datetime) -> None:
        """Raise Postpone unless a delivery may go now, with `before` others on their way."""
        if not webhook.is_active:
            raise Postpone(spread(STOPPED_PAUSE_S), "The webhook is disabled.")
        health = webhook.health
        if before >= webhook.definition.concurrency:
            raise Postpone(0.2 + await self._room(webhook), "The receiver is busy with others.")
        if health.open_until is None:
            return
        if health.open_until <= moment:
            until = moment + timedelta(seconds=webhook.definition.timeout_s + PROBE_MARGIN_S)
            if await self._db.fetchval(QUERIES["probe"], webhook.id, moment, until) is not None:
                return
            # Another delivery tries whether the receiver is back.
            raise Postpone(1 + await self._room(webhook), "Waits for the receiver to recover.")
        pause_s = (health.open_until - moment).total_seconds()
        raise Postpone(pause_s + await self._room(webhook), "Waits for the receiver to recover.")

    async def _room(self, webhook: Webhook) -> float:
        """A random delay, the longer the more wait, so that they do not all come back at once."""
        waiting = await self._db.fetchval(QUERIES["count_waiting"], webhook.id, MOST_COUNTED)
        return random.uniform(0, waiting / RETURNS_PER_S)  # noqa: S311  # spreads load, keeps no secret

    async def attempt(self, webhook: Webhook, delivery: Delivery) -> tuple[Attempt, Answer | None]:
        """Send a delivery once; the attempt says what was sent and answered."""
        started, clock = now(), time.monotonic()
        body = delivery.body.encode()
        answer, error, shown = None, "", {}
        try:
            own = self._vault.opened_headers(webhook.definition).headers
            headers = headers_of(delivery.event, started, body, self._vault.signing(webhook, started))
            shown = headers | dict.fromkeys(own, REDACTED)
            message = Message(
                url=webhook.definition.url,
                headers=[*headers.items(), *own.items()],
                body=body,
                timeout_s=webhook.definition.timeout_s,
            )
            answer = await self._sender().send(message)
            if not 200 <= answer.status < 300:
                error = f"The receiver answered {answer.status}."
        except (NotSent, BadKey) as failure:
            error = failure.message if isinstance(failure, GroundplaneError) else str(failure)
        attempt = Attempt(
            number=delivery.attempts + 1,
            started=started,
            duration_ms=round((time.monotonic() - clock) * 1000),
            url=webhook.definition.url,
            request_headers=shown,
            status=answer.status if answer else None,
            answer_headers=list(answer.headers) if answer else [],
            answer=answer.text if answer else "",
            error=error[:MAX_ERROR_CHARS],
        )
        return attempt, answer

    async def _conclude(
        self, webhook: Webhook, delivery: Delivery, attempt: Attempt, answer: Answer | None
    ) -> None:
        if attempt.succeeded:
            await self.store(delivery, attempt, "delivered")
            await self._note_success(webhook)
            return
        moment = now()
        is_gone = answer is not None and answer.status == GONE
        wait_s = None if is_gone else next_wait(webhook, delivery)
        asked_s = retry_after(answer, moment)
        if wait_s is not None:
            wait_s = max(wait_s, asked_s)
        await self.store(delivery, attempt, "failed" if wait_s is None else "waiting", wait_s)
        await self._note_failure(webhook, attempt, moment, asked_s, is_gone=is_gone)
        if wait_s is not None:
            raise Postpone(wait_s, attempt.error)
        log.error(
            "The delivery %s for the webhook %s has failed: %s",
            delivery.id,
            webhook.definition.name,
            attempt.error,
        )

    async def store(
        self, delivery: Delivery, attempt: Attempt, state: str, wait_s: float | None = None
    ) -> None:
        """Write down an attempt and the delivery's state after it."""
        moment = now()
        await self._db.execute(
            QUERIES["attempted"],
            delivery.id,
            attempt.number,
            state,
            attempt.status,
            attempt.error,
            None if wait_s is None else moment + timedelta(seconds=wait_s),
            moment,
            attempt.started,
            attempt.duration_ms,
            attempt.url,
            msgspec.json.encode(attempt.request_headers).decode(),
            msgspec.json.encode(attempt.answer_headers).decode(),
            attempt.answer,
            KEPT_ATTEMPTS,
        )

    async def _note_success(self, webhook: Webhook) -> None:
        moment, health = now(), webhook.health
        last = health.last_success
        is_well = health.failures == 0 and health.open_until is None
        if is_well and last is not None and timedelta() <= moment - last < SUCCESS_NOTED_EVERY:
            return
        if await self._db.fetchval(QUERIES["succeeded"], webhook.id, moment):
            log.info("The webhook %s works again", webhook.definition.name)
            await self._db.execute(QUERIES["hurry"], webhook.id, moment)
            await self._db.fetch(QUERIES["wake"])

    async def _note_failure(
        self, webhook: Webhook, attempt: Attempt, moment: datetime, asked_s: float, *, is_gone: bool
    ) -> None:
        row = await self._db.fetchrow(
            QUERIES["failed"],
            webhook.id,
            moment,
            attempt.error,
            OPENS_AFTER,
            FIRST_PAUSE_S,
            LONGEST_PAUSE_S,
            moment + timedelta(seconds=asked_s) if asked_s else None,
        )
        if is_gone:
            await self._suspend(webhook.id, "The receiver answered 410 Gone.")
        elif row is not None and row["failures"] == OPENS_AFTER:
            log.warning(
                "The webhook %s is paused after %d failures: %s",
                webhook.definition.name,
                OPENS_AFTER,
                attempt.error,
            )
        if not is_gone and row is not None and moment - row["failing_since"] >= self._suspend_after:
            days = self._suspend_after.total_seconds() / 86400
            await self._suspend(webhook.id, f"Every attempt of {days:g} days has failed: {attempt.error}")


def headers_of(event: str, moment: datetime, body: bytes, secrets: list[str]) -> dict[str, str]:
    timestamp = int(moment.timestamp())
    return {
        "content-type": "application/json",
        "user-agent": f"Groundplane/{__version__}",
        "webhook-id": event,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(secrets, event, timestamp, body),
    }


def next_wait(webhook: Webhook, delivery: Delivery) -> float | None:
    """Seconds until the next attempt after this one has failed; None when it was the last."""
    retries = webhook.definition.retries
    return spread(retries[delivery.tries]) if delivery.tries < len(retries) else None


def spread(seconds: float) -> float:
    return seconds * (1 + JITTER * random.random())  # noqa: S311  # spreads load, keeps no secret


def retry_after(answer: Answer | None, moment: datetime) -> float:
    """Seconds that the receiver asks to wait, at most a day; 0 when it does not, or not readably."""
    text = answer.header("retry-after").strip() if answer is not None else ""
    if not text:
        return 0.0
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), LONGEST_RETRY_AFTER_S)
    try:
        wanted = parsedate_to_datetime(text)
        seconds = wanted.timestamp() - moment.timestamp()
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_S)
