"""Rate limits: which rule applies to a request, and counters that all processes share."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

from groundplane.api.exchange import Exchange
from groundplane.clock import set_time
from groundplane.db.engine import Database
from groundplane.db.sql import load_queries
from groundplane.errors import TooManyRequests
from groundplane.schema.collection import Collection
from groundplane.security.addresses import covers
from groundplane.settings.service import Settings
from groundplane.settings.values import RateLimitRule

QUERIES = load_queries("groundplane.api", "limits.sql")

# Routes below /api/collections/{c}/ that are limited as an action of the collection, by method and last part.
ACTIONS: dict[tuple[str, str], tuple[str, ...]] = {
    ("GET", "auth-methods"): ("listAuthMethods",),
    ("POST", "auth-refresh"): ("authRefresh",),
    ("POST", "auth-with-oauth2"): ("authWithOAuth2", "auth"),
    ("POST", "auth-with-otp"): ("authWithOTP", "auth"),
    ("POST", "auth-with-magic-link"): ("authWithMagicLink", "auth"),
    ("POST", "auth-with-passkey"): ("authWithPasskey", "auth"),
    ("POST", "auth-with-password"): ("authWithPassword", "auth"),
    ("POST", "auth-with-totp"): ("authWithTOTP", "auth"),
    ("POST", "confirm-email-change"): ("confirmEmailChange",),
    ("POST", "confirm-password-reset"): ("confirmPasswordReset",),
    ("POST", "confirm-verification"): ("confirmVerification",),
    ("POST", "request-email-change"): ("requestEmailChange",),
    ("POST", "request-magic-link"): ("requestMagicLink",),
    ("POST", "request-otp"): ("requestOTP",),
    ("POST", "request-passkey"): ("requestPasskey",),
    ("POST", "request-password-reset"): ("requestPasswordReset",),
    ("POST", "request-verification"): ("requestVerification",),
}
ADDED_TAGS = ("auth",)
FILE_TAGS = ("file",)

MAX_COUNT = 2**31 - 2**20  # a counter's column holds that, and as many more as can ask at once
SWEEP_EVERY = 1000  # counted requests, on average, between two removals of counters nobody uses
SWEEP_AFTER_S = 3600


# By version, bucket and address: the rule's limits, and who waits to be counted.
Waiting: TypeAlias = "dict[tuple[int, str, str], tuple[tuple[int, int], list[asyncio.Future[bool]]]]"


class CollectionRoute(NamedTuple):
    """A path that is an action of one collection: its name or id in the path, and the action's tags."""

    collection: str
    tags: tuple[str, ...]


def collection_route(method: str, segments: Sequence[str]) -> CollectionRoute | None:
    """Recognise the sign-in endpoints and file downloads; record endpoints limit themselves."""
    match segments:
        case ["api", "collections", name, action] if tags := ACTIONS.get((method, action)):
            return CollectionRoute(name, tags)
        case ["api", "collections", name, "auth-with", _] if method == "POST":
            return CollectionRoute(name, ADDED_TAGS)
        case ["api", "files", name, _, _] if method == "GET":
            return CollectionRoute(name, FILE_TAGS)
    return None


def eligible(rule: RateLimitRule, *, signed_in: bool) -> bool:
    return rule.audience in ("", "@auth" if signed_in else "@guest")


def find_rule(
    rules: Sequence[RateLimitRule], labels: Iterable[str], *, signed_in: bool
) -> RateLimitRule | None:
    """The one rule that applies: for each label an exact one, then the first prefix (contract, auth §4.5)."""
    for label in labels:
        for rule in rules:
            if rule.label == label and eligible(rule, signed_in=signed_in):
                return rule
        for rule in rules:
            if (
                rule.label.endswith("/")
                and f"{label}/".startswith(rule.label)
                and eligible(rule, signed_in=signed_in)
            ):
                return rule
    return None


class Limits:
    """Counts requests in fixed windows, in a table that all processes share.

    The counters carry the version of the settings, so a save starts all of them anew, everywhere.
    Nothing is asked of the database while rate limits are off.
    """

    def __init__(self, db: Database, settings: Settings) -> None:
        self._db = db
        self._settings = settings
        self._waiting: Waiting = {}
        self._taking: asyncio.Task[None] | None = None

    async def check_path(self, exchange: Exchange) -> None:
        """Count a request to a plain path; raises TooManyRequests."""
        if not self._applies(exchange):
            return
        labels = (f"{exchange.method} {exchange.path}", exchange.path)
        rule = self._find(labels, exchange)
        if rule is not None:
            await self._take(f"{rule.label} {rule.audience}", rule, exchange.ip)

    async def check_action(
        self,
        exchange: Exchange,
        collection: Collection,
        *tags: str,
        method: str | None = None,
        path: str | None = None,
    ) -> None:
        """Count an action on a collection; raises TooManyRequests.

        `tags` as in the contract (`create`, `authWithPassword` and `auth`, …); `method` and `path` are those
        of a batch item. Counted on a connection of its own: a batch that is rolled back has still been asked.
        """
        if not self._applies(exchange):
            return
        path = exchange.path if path is None else path
        labels = (
            *(f"{collection.name}:{tag}" for tag in tags),
            *(f"*:{tag}" for tag in tags),
            f"{exchange.method if method is None else method} {path}",
            path,
        )
        rule = self._find(labels, exchange)
        if rule is not None:
            await self._take(f"@{collection.id} {' '.join(tags)} {rule.audience}", rule, exchange.ip)

    def _applies(self, exchange: Exchange) -> bool:
        limits = self._settings.current.rate_limits
        return (
            limits.enabled
            and not (exchange.caller is not None and exchange.caller.is_superuser)
            and not covers(limits.excluded_ips, exchange.ip)
        )

    def _find(self, labels: Iterable[str], exchange: Exchange) -> RateLimitRule | None:
        rules = self._settings.current.rate_limits.rules
        return find_rule(rules, labels, signed_in=exchange.caller is not None)

    async def _take(self, bucket: str, rule: RateLimitRule, ip: str) -> None:
        key = self._settings.version, bucket, ip
        limits = min(rule.max_requests, MAX_COUNT), min(rule.duration, MAX_COUNT)
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, (limits, []))[1].append(waiter)
        if self._taking is None:
            # Another task is outside of this one's transaction, and so uses a connection of its own.
            self._taking = asyncio.create_task(self._take_for_all())
        if not await waiter:
            raise TooManyRequests()

    async def _take_for_all(self) -> None:
        """Count what waits, with one statement for all, until nothing does."""
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, {}
                try:
                    await self._count(waiting)
                except Exception as error:  # noqa: BLE001  # it belongs to those who wait
                    for _, waiters in waiting.values():
                        fail(waiters, error)
        finally:
            self._taking = None

    async def _count(self, waiting: Waiting) -> None:
        rows = [(*key, len(waiters), *limits) for key, (limits, waiters) in waiting.items()]
        columns = map(list, zip(*rows, strict=True))
        for version, bucket, ip, refused in await self._db.fetch(QUERIES["take"], *columns, set_time()):
            waiters = waiting[version, bucket, ip][1]
            allowed = len(waiters) - max(refused, 0)
            for position, waiter in enumerate(waiters):
                if not waiter.done():
                    waiter.set_result(position < allowed)
        if random.random() * SWEEP_EVERY < len(rows):  # noqa: S311  # only chooses when to tidy up
            await self._db.execute(QUERIES["sweep"], SWEEP_AFTER_S)


def fail(waiters: Iterable[asyncio.Future[bool]], error: Exception) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_exception(error)
