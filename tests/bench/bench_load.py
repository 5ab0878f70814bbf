"""A small HTTP/1.1 load generator: kept connections, one request at a time on each, every answer checked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

RequestMaker = Callable[[], bytes]


class Outcome(NamedTuple):
    """What a run of one case came to; times in seconds, one latency per request."""

    requests: int
    elapsed_s: float
    latencies_s: list[float]
    failures: dict[int, int]  # status to count, of answers that were not expected
    first_failure: bytes

    @property
    def per_second(self) -> float:
        return self.requests / self.elapsed_s if self.elapsed_s else 0.0

    def percentile_ms(self, share: float) -> float:
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000 if ordered else 0.0


def http(method: str, target: str, *, token: str = "", body: bytes | None = None) -> bytes:
    """Write one request; `target` is the path with its query."""
    lines = [f"{method} {target} HTTP/1.1", "Host: bench"]
    if token:
        lines.append(f"Authorization: {token}")
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


class Connection(asyncio.Protocol):
    """Sends the next request as soon as the answer to the last one is whole."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.buffer = bytearray()
        self.started = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream transport, by create_connection
        self.send()

    def send(self) -> None:
        if not self.run.take():
            self.close(None)
            return
        self.started = time.perf_counter()
        assert self.transport is not None
        self.transport.write(self.run.make())

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self.buffer[: end + 2]).lower()
        body_start = end + 4
        at = head.find(b"\r\ncontent-length:")
        if at >= 0:
            length = int(head[at + 17 : head.index(b"\r\n", at + 2)])
            if len(self.buffer) < body_start + length:
                return
        elif b"\r\ntransfer-encoding: chunked" in head and not self.buffer.endswith(b"0\r\n\r\n"):
            return
        status = int(head[9:12])
        self.run.note(status, time.perf_counter() - self.started, self.buffer)
        self.buffer.clear()
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        self.close(exc or ConnectionError("the server closed the connection"))

    def close(self, problem: Exception | None) -> None:
        if self.done.done():
            return
        if problem is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(problem)
        if self.transport is not None:
            self.transport.close()


class Run:
    """Shared by the connections of one case: what is still to send, and what came back."""

    def __init__(self, make: RequestMaker, *, expect: int, seconds: float, limit: int | None) -> None:
        self.make = make
        self.expect = expect
        self.limit = limit
        self.deadline = time.perf_counter() + seconds
        self.sent = 0
        self.latencies: list[float] = []
        self.failures: dict[int, int] = {}
        self.first_failure = b""

    def take(self) -> bool:
        """Whether one more request may go out."""
        if (self.limit is not None and self.sent >= self.limit) or time.perf_counter() >= self.deadline:
            return False
        self.sent += 1
        return True

    def note(self, status: int, latency: float, answer: bytearray) -> None:
        self.latencies.append(latency)
        if status != self.expect:
            self.failures[status] = self.failures.get(status, 0) + 1
            self.first_failure = self.first_failure or bytes(answer[:2000])


async def drive(
    port: int,
    make: RequestMaker,
    *,
    connections: int = 64,
    seconds: float = 5.0,
    limit: int | None = None,
    expect: int = 200,
) -> Outcome:
    """Load 127.0.0.1:`port` until the time or the number of requests is used up."""
    loop = asyncio.get_running_loop()
    run = Run(make, expect=expect, seconds=seconds, limit=limit)
    started = time.perf_counter()
    protocols = []
    for _ in range(connections):
        _, protocol = await loop.create_connection(lambda: Connection(run), "127.0.0.1", port)
        protocols.append(protocol)
    await asyncio.gather(*(protocol.done for protocol in protocols))
    elapsed = time.perf_counter() - started
    return Outcome(len(run.latencies), elapsed, run.latencies, run.failures, run.first_failure)


def round_robin(items: list[str]) -> Iterator[str]:
    """Yield the items for ever, so that neighbouring requests always differ."""
    while True:
        yield from items
