"""Plain reads without a task of their own: from a request's head to its answer's bytes in two callbacks.

The HTTP protocol offers every request here first. What is not a plain read of records, or gets no answer, goes
the way of all others, through ASGI: nothing is refused here.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from functools import lru_cache, partial
from time import perf_counter
from typing import TYPE_CHECKING, TypeAlias

from groundplane.api.body import parse_pairs
from groundplane.api.cors import Cors
from groundplane.api.exchange import rule_names
from groundplane.api.finished import tell_directly
from groundplane.api.records import asker_of
from groundplane.errors import GroundplaneError
from groundplane.records.quick import Body, Question
from groundplane.security.addresses import client_ip

if TYPE_CHECKING:
    import asyncpg
    from litestar.types import HTTPScope

    from groundplane.context import Caller
    from groundplane.services import Services
    from groundplane.settings.values import TrustedProxy

log = logging.getLogger(__name__)

# Gets the answer's headers, each with its line end, and the body; or None twice.
Done: TypeAlias = Callable[[bytes | None, bytes | None], None]
Asked: TypeAlias = "asyncio.Future[asyncpg.Record | None]"

# In the scope of a request that has been asked here in vain.
ASKED_KEY = "groundplane.asked"
NO_QUERY: dict[str, str] = {}


class DirectReads:
    """Answers views and lists that need nothing but one row of a lane."""

    def __init__(self, services: Services, cors: Cors, general: tuple[tuple[bytes, bytes], ...]) -> None:
        """`general` are the headers that every answer has."""
        self._services = services
        self._quick = services.records.quick
        self._log = services.logs.writer.seen

        @lru_cache(maxsize=256)
        def headers_for(origin: bytes) -> bytes:
            found = (*cors.headers("GET", origin.decode("latin-1"), None), *general)
            return (
                b"".join(b"%b: %b\r\n" % header for header in found) + b"content-type: application/json\r\n"
            )

        self._headers_for = headers_for

    def begin(self, scope: HTTPScope, done: Done) -> Asked | None:
        """Take on a request, or None; then `done` is called once, unless the future is cancelled."""
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
        # Of a header that is repeated the first one counts.
        headers = dict(reversed(scope["headers"]))  # type: ignore[call-overload]  # a list, with uvicorn
        if b"content-length" in headers or b"transfer-encoding" in headers:
            return None
        if not self._services.records.reads_are_plain:
            return None
        asker = asker_of(headers.get(b"authorization", b"").decode("latin-1"), self._services, headers)
        if asker is None:
            return None
        name = parts[3].decode("latin-1")
        try:
            query = first_values(scope["query_string"]) if scope["query_string"] else NO_QUERY
            if len(parts) == 5:
                question = self._quick.page(name, query, asker, "GET", partial(rule_headers, headers))
            else:
                record_id = parts[5].decode("latin-1")
                named = partial(rule_headers, headers)
                question = self._quick.view(name, record_id, query, asker, "GET", named)
            if question is None:
                return None
            asked = question.lane.ask(question.shape, question.values)
        except GroundplaneError:
            return None
        started = perf_counter()
        asked.add_done_callback(
            lambda asked: self._finish(question, headers, done, started, scope, asker.caller, asked)
        )
        return asked

    def _finish(
        self,
        question: Question,
        headers: dict[bytes, bytes],
        done: Done,
        started: float,
        scope: HTTPScope,
        caller: Caller | None,
        asked: Asked,
    ) -> None:
        if asked.cancelled():
            return
        try:
            row = asked.result() if asked.exception() is None else None
            found = question.answer(row) if row is not None else None
        except Exception:
            log.exception("An answer could not be made directly")
            found = None
        if found is None:
            done(None, None)
        else:
            self._answer(found, headers, done, started, scope, caller)

    def _answer(
        self,
        found: Body,
        headers: dict[bytes, bytes],
        done: Done,
        started: float,
        scope: HTTPScope,
        caller: Caller | None,
    ) -> None:
        body = found.body
        head = self._headers_for(headers.get(b"origin", b""))
        number = random.getrandbits(64)  # as `security.ids.request_id`
        if found.etag:
            head = b"etag: %b\r\nx-request-id: %016x\r\n%bcontent-length: %d\r\n" % (
                found.etag.encode(), number, head, len(body)
            )  # fmt: skip
        else:
            head = b"x-request-id: %016x\r\n%bcontent-length: %d\r\n" % (number, head, len(body))
        done(head, body)
        client = scope["client"]
        remote_ip = "" if client is None else client[0]
        proxy = self._services.settings.current.trusted_proxy
        self._log(
            (
                started,
                perf_counter(),
                scope["method"],
                scope["raw_path"],
                scope["query_string"],
                200,
                headers.get(b"referer", b""),
                headers.get(b"user-agent", b""),
                caller,
                ip_of(scope, remote_ip, proxy) if proxy.headers else remote_ip,
                remote_ip,
                None,
            )
        )
        if hook := self._services.plugins.hooks.request_finished:
            path: str = scope["raw_path"].decode("latin-1")
            tell_directly(hook, scope["method"], path, started=started)


def ip_of(scope: HTTPScope, remote_ip: str, proxy: TrustedProxy) -> str:
    """The client's address, from the headers of proxies that the settings trust."""
    last = {name: value.decode("latin-1") for name, value in scope["headers"]}
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
