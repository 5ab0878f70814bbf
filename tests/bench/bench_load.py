"""A small HTTP/1.1 load generator: kept connections, one request at a time on each, every answer looked at.

It works on bare non-blocking sockets and one epoll, in a process of its own, so that it costs a fraction of
what it measures: about 8 µs a request, which `load_share` shows.
"""

from __future__ import annotations

import gc
import multiprocessing
import select
import socket
import time
from array import array
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from bench_cpu import cpu_seconds, postgres_pids, tree

RequestMaker = Callable[[], bytes]
ANSWER_TIMEOUT_S = 60
MAX_UNEXPECTED = 50  # answers, after which a case is given up


class Target(NamedTuple):
    """What is loaded, and whose CPU time it costs."""

    port: int
    roots: list[int]
    data_dir: Path | None = None


class Outcome(NamedTuple):
    """What one case came to; times in seconds, one latency per request."""

    requests: int
    elapsed_s: float
    latencies_s: array[float]
    statuses: dict[int, int]
    unexpected: bytes  # the first answer whose status was not expected
    server_s: float  # CPU time
    postgres_s: float
    load_share: float  # of one processor, that the generator itself used

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


def answer_length(data: bytes) -> int | None:
    """Return the length of the answer that begins with `data`; None while that cannot be told."""
    head_end = data.find(b"\r\n\r\n")
    if head_end < 0:
        return None
    head = data[: head_end + 2].lower()
    at = head.find(b"\r\ncontent-length:")
    if at >= 0:
        return head_end + 4 + int(head[at + 17 : head.index(b"\r\n", at + 2)])
    if b"\r\ntransfer-encoding: chunked" in head:
        return len(data) if data.endswith(b"0\r\n\r\n") else None
    return head_end + 4


class Waiting:
    """The answer that a connection waits for: its beginning, and how much is still to come once that is known."""

    __slots__ = ("data", "left")

    def __init__(self) -> None:
        self.data = b""
        self.left = 0

    def take(self, data: bytes) -> bool:
        """Take what has arrived; whether the answer is whole, its beginning then in `data`."""
        if self.left:
            self.left -= len(data)
            return self.left <= 0
        self.data = self.data + data if self.data else data
        length = answer_length(self.data)
        if length is None:
            return False
        self.left = length - len(self.data)
        return self.left <= 0

    def clear(self) -> None:
        self.data = b""
        self.left = 0


class Clock:
    """CPU time used by a target's processes since `start`.

    A process tree is listed at both ends, because workers and connections come and go; who has ended counts
    through its parent.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._before = (0.0, 0.0)

    def start(self) -> None:
        self._before = self._used()

    def stop(self) -> tuple[float, float]:
        """Return the CPU seconds of the server and of PostgreSQL."""
        server, postgres = self._used()
        return server - self._before[0], postgres - self._before[1]

    def _used(self) -> tuple[float, float]:
        folder = self._target.data_dir
        database = tree(postgres_pids(folder)) if folder is not None else set()
        return cpu_seconds(tree(self._target.roots) - database), cpu_seconds(database)


def load(
    target: Target,
    make: RequestMaker,
    *,
    connections: int,
    seconds: float,
    warm_s: float,
    limit: int | None,
    expect: Collection[int],
) -> Outcome:
    """Keep every connection busy with what `make` gives, until it gives b"", or time or number are used up.

    The first `warm_s` seconds pay for connections, prepared statements and compiled rules, and do not count.
    """
    poll = select.epoll()
    sockets: dict[int, socket.socket] = {}
    started_at: dict[int, float] = {}
    answers: dict[int, Waiting] = {}
    for _ in range(connections):
        each = socket.create_connection(("127.0.0.1", target.port))
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        each.setblocking(False)
        sockets[each.fileno()] = each
        answers[each.fileno()] = Waiting()
        poll.register(each, select.EPOLLIN)
    clock = Clock(target)
    latencies = array("d")
    statuses: dict[int, int] = {}
    unexpected, wrong = b"", 0
    now = time.perf_counter
    own, began, elapsed = 0.0, 0.0, 0.0
    server_s = postgres_s = 0.0
    counting, ending = False, False
    warm_until = now() + warm_s
    deadline = warm_until + seconds
    busy = len(sockets)
    for number, each in sockets.items():
        started_at[number] = now()
        each.sendall(make())
    while busy:
        events = poll.poll(ANSWER_TIMEOUT_S)
        if not events:
            raise TimeoutError(f"no answer for {ANSWER_TIMEOUT_S} s")
        if not counting and now() >= warm_until:
            counting = True
            clock.start()
            own, began = time.process_time(), now()
            deadline = began + seconds
        for number, _ in events:
            each = sockets[number]
            data = each.recv(262_144)
            if not data:
                raise ConnectionError("the server closed a connection")
            answer = answers[number]
            if not answer.take(data):
                continue
            moment = now()
            status = int(answer.data[9:12])
            if status not in expect:
                unexpected = unexpected or answer.data[:2000]
                wrong += 1
            answer.clear()
            if counting and not ending:
                latencies.append(moment - started_at[number])
                statuses[status] = statuses.get(status, 0) + 1
                if moment >= deadline or (limit is not None and len(latencies) >= limit):
                    ending = True
            request = b"" if ending or wrong >= MAX_UNEXPECTED else make()
            if counting and not elapsed and (ending or not request):
                ending = True
                elapsed, own = now() - began, time.process_time() - own
                server_s, postgres_s = clock.stop()
            if not request:
                busy -= 1
                continue
            started_at[number] = now()
            # A request fits into an empty socket buffer.
            each.sendall(request)
    for each in sockets.values():
        each.close()
    share = own / elapsed if elapsed else 0.0
    return Outcome(len(latencies), elapsed, latencies, statuses, unexpected, server_s, postgres_s, share)


def drive(
    target: Target,
    make: RequestMaker,
    *,
    connections: int = 64,
    seconds: float = 5.0,
    warm_s: float = 0.0,
    limit: int | None = None,
    expect: Iterable[int] = (200,),
) -> Outcome:
    """`load` in a process of its own; raises what it raised there."""
    context = multiprocessing.get_context("fork")  # the makers are functions that cannot be pickled
    here, there = context.Pipe(duplex=False)
    expected = frozenset(expect)

    def work() -> None:
        gc.disable()
        try:
            there.send(
                load(
                    target,
                    make,
                    connections=connections,
                    seconds=seconds,
                    warm_s=warm_s,
                    limit=limit,
                    expect=expected,
                )
            )
        except (OSError, ValueError) as error:
            there.send(error)

    process = context.Process(target=work)
    process.start()
    there.close()
    try:
        answer = here.recv()
    except EOFError as error:
        raise RuntimeError("the load generator ended without a result") from error
    finally:
        process.join()
        here.close()
    if isinstance(answer, Exception):
        raise answer
    outcome: Outcome = answer
    return outcome
