"""Plain reads without a task of their own: from a request's head to its answer's bytes in two callbacks.

The HTTP protocol offers every request here first. What is not a plain read of records, or gets no answer, goes
the way of all others, through ASGI: nothing is refused here.

A client sends the same headers again and again. Of a request whose headers are, byte by byte, those of one that
the protocol has read before, only the first line is left to read: see `again`.
"""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Callable
from functools import lru_cache, partial
from time import perf_counter
from typing import TYPE_CHECKING, TypeAlias

from groundplane.api.body import parse_pairs
from groundplane.api.caller import token_of
from groundplane.api.cors import Cors
from groundplane.api.exchange import rule_names
from groundplane.api.finished import tell_directly
from groundplane.api.records import asker_for
from groundplane.errors import GroundplaneError
from groundplane.logs.entry import Common, in_common
from groundplane.records.quick import Asker, Body, Question
from groundplane.security.addresses import client_ip

if TYPE_CHECKING:
    import asyncpg
    from litestar.types import HTTPScope

    from groundplane.context import Caller
    from groundplane.services import Services
    from groundplane.settings.values import Logs as LogSettings
    from groundplane.settings.values import TrustedProxy

log = logging.getLogger(__name__)

# Gets the answer's headers, each with its line end, and the body; or None twice.
Done: TypeAlias = Callable[[bytes | None, bytes | None], None]

# In the scope of a request that has been asked here in vain.
ASKED_KEY = "groundplane.asked"
NO_QUERY: dict[str, str] = {}
MAX_HEADS = 1024  # sets of headers that are known
MAX_HEAD_BYTES = 4096  # of one of them
# Only what no two readers of HTTP could read in two ways; all the rest is for the one that has read the headers.
FIRST_LINE = re.compile(
    rb"GET (/api/collections/(\w+)/records(?:/([0-9A-Za-z]+))?)(?:\?([\w.~!$&'()*+,;=:@/?%-]*))? HTTP/1\.1(?=\r\n)"
)
# Headers with which a request is more than its head, or a connection something else than it was.
UNUSUAL = frozenset({b"content-length", b"transfer-encoding", b"expect", b"upgrade", b"http2-settings"})


class Head:
    """The headers of a request, and what follows from them alone. Of one that is repeated the first counts."""

    __slots__ = ("headers", "last", "noted", "opening", "token")

    def __init__(self, raw: list[tuple[bytes, bytes]], opening: Callable[[bytes], bytes]) -> None:
        """`opening` gives the headers of answers to an origin."""
        self.headers = headers = dict(reversed(raw))
        self.last = raw  # as they came; of some the last counts
        self.token = token_of(headers.get(b"authorization", b"").decode("latin-1"))
        self.opening = opening(headers.get(b"origin", b""))
        # For the log: what its entries have in common, and for which caller, settings and address.
        self.noted: tuple[Caller | None, LogSettings, str, Common | None] | None = None


class Asked:
    """A request that waits for its row, and is told of it by the lane. It has one answer, or is cancelled."""

    __slots__ = (
        "_done", "_is_over", "_reads", "asker", "client", "head", "method", "path", "query", "question", "started",
    )  # fmt: skip

    def __init__(
        self,
        reads: DirectReads,
        question: Question,
        asker: Asker,
        head: Head,
        method: str,
        path: bytes,
        query: bytes,
        client: str,
        done: Done,
    ) -> None:
        self._is_over = False
        self._done = done
        self._reads = reads
        self.question = question
        self.asker = asker
        self.head = head
        self.method = method
        self.path = path
        self.query = query
        self.client = client
        self.started = perf_counter()

    def done(self) -> bool:
        return self._is_over

    def cancel(self) -> None:
        """Nobody waits for the answer any more."""
        self._is_over = True

    def set_result(self, row: asyncpg.Record | None, /) -> None:
        self._is_over = True
        found = None
        try:
            if row is not None:
                found = self.question.answer(row)
        except Exception as error:  # noqa: BLE001  # whatever it is, somebody waits
            self.failed(error)
        try:
            if found is None:
                self._done(None, None)
            else:
                self._reads.answer(self, found, self._done)
        except Exception:
            log.exception("An answer could not be sent")

    def set_exception(self, error: BaseException, /) -> None:
        self._is_over = True
        self.refused(error)
        try:
            self._done(None, None)
        except Exception:
            log.exception("A request could not be passed on")

    def failed(self, error: Exception) -> None:
        """There was a row, and no answer could be made of it."""
        log.error("An answer could not be made directly", exc_info=error)

    def refused(self, error: BaseException) -> None:
        """There was no row; the ordinary way asks again."""


class DirectReads:
    """Answers views and lists that need nothing but one row of a lane."""

    def __init__(self, services: Services, cors: Cors, general: tuple[tuple[bytes, bytes], ...]) -> None:
        """`general` are the headers that every answer has."""
        self._services = services
        self._quick = services.records.quick
        self._writer = services.logs.writer
        self._heads: dict[bytes, Head] = {}
        self._sighted: set[int] = set()  # hashes of headers that have come once

        @lru_cache(maxsize=256)
        def headers_for(origin: bytes) -> bytes:
            found = (*cors.headers("GET", origin.decode("latin-1"), None), *general)
            return (
                b"".join(b"%b: %b\r\n" % header for header in found) + b"content-type: application/json\r\n"
            )

        self._headers_for = headers_for

    def begin(self, scope: HTTPScope, done: Done) -> Asked | None:
        """Take on a request, or None; then `done` is called once, unless it is cancelled."""
        path: bytes = scope["raw_path"]
        parts = path.split(b"/")
        if (
            scope["method"] != "GET"
            or not 5 <= len(parts) <= 6
            or parts[4] != b"records"
            or parts[2] != b"collections"
            or parts[1] != b"api"
            or b"%" in path
        ):
            return None
        head = Head(scope["headers"], self._headers_for)  # type: ignore[arg-type]  # a list, with uvicorn
        if b"content-length" in head.headers or b"transfer-encoding" in head.headers:
            return None
        client = scope["client"]
        return self._ask(
            head,
            path,
            parts[3].decode("latin-1"),
            parts[5].decode("latin-1") if len(parts) == 6 else None,
            scope["query_string"],
            "" if client is None else client[0],
            done,
        )

    def again(self, data: bytes, client: str, done: Done) -> Asked | None:
        """`begin`, for a request that has arrived whole and as nothing else; None: somebody has to read it."""
        line = FIRST_LINE.match(data)
        if line is None:
            return None
        head = self._heads.get(data[line.end() :])
        if head is None:
            return None
        path, name, record_id, query = line.groups()
        return self._ask(
            head,
            path,
            name.decode(),
            None if record_id is None else record_id.decode(),
            query or b"",
            client,
            done,
        )

    def remember(self, data: bytes, scope: HTTPScope) -> None:
        """Know the headers of a whole request again: `data` was read as this one request and nothing else.

        The connection was to be kept after it.
        """
        line = FIRST_LINE.match(data)
        if line is None or len(data) - line.end() > MAX_HEAD_BYTES:
            return
        block = data[line.end() :]
        if block in self._heads or any(name in UNUSUAL for name, _ in scope["headers"]):
            return
        if (sighted := hash(block)) not in self._sighted:
            # Those of some clients never come again, and must not displace the others.
            if len(self._sighted) >= MAX_HEADS:
                self._sighted.clear()
            self._sighted.add(sighted)
            return
        if len(self._heads) >= MAX_HEADS:
            del self._heads[next(iter(self._heads))]
        self._heads[block] = Head(scope["headers"], self._headers_for)  # type: ignore[arg-type]

    def _ask(
        self,
        head: Head,
        path: bytes,
        name: str,
        record_id: str | None,
        raw_query: bytes,
        client: str,
        done: Done,
    ) -> Asked | None:
        services = self._services
        if not services.records.reads_are_plain:
            return None
        asker = asker_for(head.token, services, head.headers)
        if asker is None:
            return None
        try:
            query = first_values(raw_query) if raw_query else NO_QUERY
            named = partial(rule_headers, head.headers)
            if record_id is None:
                question = self._quick.page(name, query, asker, "GET", named)
            else:
                question = self._quick.view(name, record_id, query, asker, "GET", named)
            if question is None or question.lane.is_slow(question.shape):
                return None
            asked = Asked(self, question, asker, head, "GET", path, raw_query, client, done)
            question.lane.put(question.shape, question.values, asked)
        except GroundplaneError:
            return None
        return asked

    def answer(self, asked: Asked, found: Body, done: Done) -> None:
        """Send what was found, and note it."""
        body, head = found.body, asked.head
        number = random.getrandbits(64)  # as `security.ids.request_id`
        if found.etag:
            headers = b"etag: %b\r\nx-request-id: %016x\r\n%bcontent-length: %d\r\n" % (
                found.etag.encode(), number, head.opening, len(body)
            )  # fmt: skip
        else:
            headers = b"x-request-id: %016x\r\n%bcontent-length: %d\r\n" % (number, head.opening, len(body))
        done(headers, body)
        services = self._services
        settings = services.settings.current
        caller, client = asked.asker.caller, asked.client
        if asked.query or settings.trusted_proxy.headers:
            self._note(asked, settings.trusted_proxy)
        else:
            noted = head.noted
            if noted is None or noted[0] is not caller or noted[1] is not settings.logs or noted[2] != client:
                common = in_common(asked.method, caller, client, head.headers, settings.logs)
                noted = head.noted = (caller, settings.logs, client, common)
            if noted[3] is not None:
                self._writer.seen_plainly(noted[3], asked.path, perf_counter() - asked.started)
        if hook := services.plugins.hooks.request_finished:
            tell_directly(hook, asked.method, asked.path.decode("latin-1"), started=asked.started)

    def _note(self, asked: Asked, proxy: TrustedProxy) -> None:
        headers = asked.head.headers
        self._writer.seen(
            (
                asked.started,
                perf_counter(),
                asked.method,
                asked.path,
                asked.query,
                200,
                headers.get(b"referer", b""),
                headers.get(b"user-agent", b""),
                asked.asker.caller,
                ip_of(asked.head, asked.client, proxy) if proxy.headers else asked.client,
                asked.client,
                None,
            )
        )


def ip_of(head: Head, remote_ip: str, proxy: TrustedProxy) -> str:
    """The client's address, from the headers of proxies that the settings trust."""
    last = {name: value.decode("latin-1") for name, value in head.last}
    named = (last.get(name.lower().encode("latin-1", "replace")) for name in proxy.headers)
    return client_ip(remote_ip, named, leftmost=proxy.use_leftmost_ip)


def rule_headers(headers: dict[bytes, bytes]) -> dict[str, str]:
    """The headers in the order in which they came, by the names that rules have for them."""
    first = reversed(headers.items())
    return rule_names({name.decode("latin-1"): value.decode("latin-1") for name, value in first})


def first_values(raw: bytes) -> dict[str, str]:
    """The first value of each query parameter."""
    found: dict[str, str] = {}
    for name, value in parse_pairs(raw, strict=False):
        found.setdefault(name, value)
    return found
