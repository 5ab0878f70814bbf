"""Measures the hot path: `python tests/bench/run.py`; see docs/performance.md for how to read the table."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from bench_cpu import cpu_seconds, postgres_pids, tree
from bench_load import Outcome, RequestMaker, drive, http
from bench_server import PASSWORD, Bench, hello, note, server

ROOT = Path(__file__).parents[2]
KEPT = ROOT / ".cache" / "bench"


class Case(NamedTuple):
    name: str
    make: Callable[[Bench], RequestMaker]
    expect: int = 200
    share: float = 1.0  # of the seconds of a case


class Line(NamedTuple):
    """One row of the table."""

    case: str
    requests: int
    per_second: float
    cpu_us: float
    server_us: float
    postgres_us: float
    ratio: float
    p50_ms: float
    p99_ms: float
    failures: dict[int, int]


def get_by_id(bench: Bench) -> RequestMaker:
    """View notes one after another, each as one of its readers."""
    count = itertools.count()
    people = len(bench.accounts)

    def make() -> bytes:
        # A step that is coprime with the table's size visits every note before one comes again.
        position = next(count) * 7919 % len(bench.note_ids)
        token = bench.accounts[position % people].token
        return http("GET", f"/api/collections/notes/records/{bench.note_ids[position]}", token=token)

    return make


def listing(query: str) -> Callable[[Bench], RequestMaker]:
    def maker(bench: Bench) -> RequestMaker:
        count = itertools.count()

        def make() -> bytes:
            number = next(count)
            bound = number * 7919 % (len(bench.note_ids) // 2)
            token = bench.accounts[number % len(bench.accounts)].token
            target = f"/api/collections/notes/records?perPage=30&sort=views&filter=views%3E{bound}{query}"
            return http("GET", target, token=token)

        return make

    return maker


def create(bench: Bench) -> RequestMaker:
    count = itertools.count(10_000_000)

    def make() -> bytes:
        number = next(count)
        account = bench.accounts[number % len(bench.accounts)]
        body = json.dumps(note(number, account.id)).encode()
        return http("POST", "/api/collections/notes/records", token=account.token, body=body)

    return make


def sign_in(bench: Bench) -> RequestMaker:
    emails = itertools.cycle([account.email for account in bench.accounts])

    def make() -> bytes:
        body = json.dumps({"identity": next(emails), "password": PASSWORD}).encode()
        return http("POST", "/api/collections/people/auth-with-password", body=body)

    return make


CASES = (
    Case("get by id", get_by_id),
    Case("list of 30", listing("&skipTotal=1")),
    Case("list with total", listing("")),
    Case("create", create),
    Case("sign-in", sign_in),
)


async def measure(
    port: int, make: RequestMaker, roots: list[int], postgres: list[int], **options: Any
) -> tuple[Outcome, float, float]:
    """Run one case; return it with the CPU seconds of the server and of PostgreSQL.

    A process tree is listed before and after, because workers and connections come and go.
    """

    def used() -> tuple[float, float]:
        database = tree(postgres)
        return cpu_seconds(tree(roots) - database), cpu_seconds(database)

    before = used()
    outcome = await drive(port, make, **options)
    after = used()
    return outcome, after[0] - before[0], after[1] - before[1]


def line(case: str, outcome: Outcome, server_s: float, postgres_s: float, hello_us: float | None) -> Line:
    each = 1e6 / max(outcome.requests, 1)
    total = (server_s + postgres_s) * each
    return Line(
        case=case,
        requests=outcome.requests,
        per_second=round(outcome.per_second, 1),
        cpu_us=round(total, 1),
        server_us=round(server_s * each, 1),
        postgres_us=round(postgres_s * each, 1),
        ratio=round(total / hello_us, 2) if hello_us else 1.0,
        p50_ms=round(outcome.percentile_ms(0.5), 2),
        p99_ms=round(outcome.percentile_ms(0.99), 2),
        failures=outcome.failures,
    )


def show(lines: list[Line]) -> str:
    """Lay the lines out as a table."""
    head = ("case", "requests", "req/s", "CPU us", "server", "postgres", "x hello", "p50 ms", "p99 ms")
    rows = [head] + [
        (
            item.case,
            str(item.requests),
            f"{item.per_second:.0f}",
            f"{item.cpu_us:.0f}",
            f"{item.server_us:.0f}",
            f"{item.postgres_us:.0f}",
            f"{item.ratio:.1f}",
            f"{item.p50_ms:.2f}",
            f"{item.p99_ms:.2f}",
        )
        for item in lines
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def measure_all(
    *, seconds: float, connections: int, workers: int, notes: int, users: int, folder: Path
) -> list[Line]:
    """Measure hello and then every case on a server of its own; raises when answers were not as expected."""
    options: dict[str, Any] = {"connections": connections}
    with hello(folder, workers) as (port, roots):
        target = itertools.count()
        make = lambda: http("GET", f"/?n={next(target)}")
        asyncio.run(drive(port, make, connections=connections, seconds=min(1.0, seconds)))
        outcome, cpu, _ = asyncio.run(measure(port, make, roots, [], seconds=seconds, **options))
    lines = [line("hello", outcome, cpu, 0.0, None)]
    with server(folder, workers=workers, notes=notes, users=users) as bench:
        postgres = postgres_pids(bench.data_dir)
        for case in CASES:
            make = case.make(bench)
            length = seconds * case.share
            # The first second pays for connections, prepared statements and compiled rules.
            asyncio.run(drive(bench.port, make, connections=connections, seconds=min(1.0, length)))
            outcome, server_s, postgres_s = asyncio.run(
                measure(
                    bench.port, make, bench.roots, postgres, seconds=length, expect=case.expect, **options
                )
            )
            if outcome.failures:
                raise RuntimeError(f"{case.name}: {outcome.failures}\n{outcome.first_failure.decode()}")
            lines.append(line(case.name, outcome, server_s, postgres_s, lines[0].cpu_us))
    return lines


def keep(lines: list[Line], settings: dict[str, Any], folder: Path = KEPT) -> Path:
    """Write the result as JSON, under its time and as `latest.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    moment = datetime.now(UTC)
    result = {
        "at": moment.isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "settings": settings,
        "cases": [item._asdict() for item in lines],
    }
    text = json.dumps(result, indent=2) + "\n"
    (folder / "latest.json").write_text(text, encoding="utf-8")
    path = folder / f"{moment:%Y%m%dT%H%M%SZ}.json"
    path.write_text(text, encoding="utf-8")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the hot path against a hello app.")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each case (8)")
    parser.add_argument("--connections", type=int, default=64, help="kept open at once (64)")
    parser.add_argument("--workers", type=int, default=1, help="web workers (1)")
    parser.add_argument("--notes", type=int, default=10_000, help="records in the table (10,000)")
    parser.add_argument("--users", type=int, default=32, help="accounts that ask (32)")
    given = vars(parser.parse_args())
    with tempfile.TemporaryDirectory(prefix="gpbench") as folder:
        # As root, PostgreSQL runs as another user, who must be able to reach its data.
        Path(folder).chmod(0o755)
        lines = measure_all(**given, folder=Path(folder))
    sys.stdout.write(show(lines) + "\n\n")
    sys.stdout.write(f"CPU us: per request, server and PostgreSQL together.\nKept in {keep(lines, given)}\n")


if __name__ == "__main__":
    main()
