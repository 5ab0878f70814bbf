"""Measures the hot path: `python tests/bench/run.py`; see docs/performance.md for how to read the table."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from argon2 import Type
from argon2.low_level import verify_secret
from bench_cases import BY_KEY, CASES, hello_case
from bench_load import Outcome, Target, drive
from bench_results import (
    HEAD,
    KEPT,
    Line,
    Measure,
    cells,
    check,
    keep,
    line,
    medians,
    read,
    render,
    result,
    show,
)
from bench_server import PASSWORD, Installation, Setup, hello

from groundplane.security.passwords import HASHER

MILLION = 1_000_000
LARGE_CONNECTIONS = 4
SHORT = ("get", "list", "list_total", "create", "mixed", "update", "delete", "sign_in")
LANES = ("get", "list", "create", "update", "delete")


def usual(case: str) -> Measure:
    """A case under the usual conditions: fewer connections where one answer fills them."""
    return Measure(case, connections=LARGE_CONNECTIONS) if case.endswith("_large") else Measure(case)


def short_plan() -> list[Measure]:
    """The operations under the usual conditions."""
    return [Measure("hash"), *(Measure(case) for case in SHORT)]


def full_plan() -> list[Measure]:
    """Every case, then the usual ones with one condition changed at a time."""
    plan = [Measure("hash"), *(usual(case.key) for case in CASES)]
    plan += [Measure(case, workers=1) for case in ("get", "list", "create", "mixed")]
    plan += [Measure(case, connections=count) for count in (16, 256) for case in ("get", "list", "create")]
    for case in LANES:
        plan += [Measure(case, connections=1), Measure(case, connections=1, lanes=False)]
    plan += [Measure(case, rows=MILLION) for case in ("get", "list", "create")]
    return plan


class WrongAnswers(Exception):
    """Some answers were not as expected; the message shows the first of each case."""


class Bench:
    """Installations and bare servers, started when they are first needed; all of them stop with `stack`."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._installations: dict[int, Installation] = {}
        self._hellos: dict[int, Target] = {}
        self.wrong: list[str] = []

    def installation(self, rows: int) -> Installation:
        if rows not in self._installations:
            folder = self._folder / f"rows{rows}"
            folder.mkdir(mode=0o755)
            self._installations[rows] = Installation(folder, self._stack, rows=rows)
        return self._installations[rows]

    def hello(self, workers: int) -> Target:
        if workers not in self._hellos:
            self._hellos[workers] = self._stack.enter_context(hello(self._folder, workers))
        return self._hellos[workers]

    def measure(self, measure: Measure, seconds: float) -> Line:
        """Measure the bare application and then the case; an answer that was not expected goes to `wrong`."""
        options: dict[str, Any] = {"connections": measure.connections, "warm_s": min(0.5, seconds / 4)}
        bare = drive(self.hello(measure.workers), hello_case(), seconds=max(seconds / 3, 0.3), **options)
        hello_us = bare.server_s * 1e6 / bare.requests
        if measure.case == "hash":
            return line(measure, "the password hash alone", hashing(measure.workers, seconds), hello_us)
        case = BY_KEY[measure.case]
        installation = self.installation(measure.rows)
        if case.static:
            target = installation.static()
        else:
            target = installation.server(Setup(measure.workers, case.hooks, measure.lanes))
        case.prepare(installation, seconds + options["warm_s"])
        make = case.make(installation.data)
        try:
            outcome = drive(target, make, seconds=seconds, expect=case.expect, **options)
        except OSError as error:
            raise RuntimeError(f"{case.key}: {error}\n{installation.said()}") from error
        case.clean(installation)
        if outcome.unexpected:
            self.wrong.append(
                f"{case.key}: {outcome.statuses}\n{outcome.unexpected.decode(errors='replace')}"
            )
        return line(measure, case.title, outcome, hello_us)


def hashing(threads: int, seconds: float) -> Outcome:
    """Compare passwords with the hash function alone, in as many threads as a server has workers."""
    hashed, plain = HASHER.hash(PASSWORD).encode(), PASSWORD.encode()
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)

    def work() -> None:
        counts = [0] * threads
        began, used = time.perf_counter(), time.process_time()

        def one(number: int) -> None:
            while time.perf_counter() - began < seconds:
                verify_secret(hashed, plain, Type.ID)
                counts[number] += 1

        running = [threading.Thread(target=one, args=(number,)) for number in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        there.send((sum(counts), time.perf_counter() - began, time.process_time() - used))

    process = context.Process(target=work)
    process.start()
    count, elapsed, cpu = here.recv()
    process.join()
    each = array("d", [elapsed * threads / count])
    return Outcome(count, elapsed, each, {}, b"", cpu, 0.0, 0.0)


def measure_all(plan: Sequence[Measure], *, seconds: float, runs: int, folder: Path) -> Iterator[Line]:
    """Go through the plan `runs` times, so that slow changes of the machine meet all cases alike."""
    with ExitStack() as stack:
        bench = Bench(folder, stack)
        for _ in range(runs):
            for measure in plan:
                yield bench.measure(measure, seconds)
        if bench.wrong:
            raise WrongAnswers("\n\n".join(bench.wrong))


def chosen(given: argparse.Namespace) -> list[Measure]:
    """The plan that the options ask for."""
    plan = full_plan() if given.full else short_plan()
    if given.only:
        wanted = given.only.split(",")
        if unknown := [key for key in wanted if key not in BY_KEY and key != "hash"]:
            raise SystemExit(f"There is no case {unknown[0]}; there are hash, {', '.join(BY_KEY)}.")
        known = [measure for measure in plan if measure.case in wanted]
        plan = known + [usual(key) for key in wanted if usual(key) not in known]
    for name in ("workers", "connections", "rows"):
        values = [int(value) for value in getattr(given, name).split(",") if value]
        if values:
            plan = list(dict.fromkeys(m._replace(**{name: value}) for m in plan for value in values))
    if given.lanes:
        plan = [m._replace(lanes=lanes) for m in plan if m.case in LANES for lanes in (True, False)]
    return plan


def tell(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def judge(lines: Sequence[Line]) -> int:
    """Print which budgets hold; 1 when one does not."""
    verdicts = check(lines)
    rows = [("wanted", "holds", "at most", "measured")]
    rows += [(item.wanted, "yes" if item.holds else "NO", item.limit, item.measured) for item in verdicts]
    tell("\n" + show(rows))
    return 0 if all(item.holds for item in verdicts) else 1


def measure_tree(tree: Path) -> None:
    """Begin again with the packages of another working copy in front, unless that has happened."""
    path = os.pathsep.join(str(tree.resolve() / part) for part in ("core", "plugins", "admin_ui"))
    if os.environ.get("PYTHONPATH") != path:
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"PYTHONPATH": path})


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the hot path against a bare application.")
    parser.add_argument(
        "--full", action="store_true", help="every case and condition (half an hour with --runs 5)"
    )
    parser.add_argument("--only", default="", metavar="CASES", help=f"of {', '.join(BY_KEY)}")
    parser.add_argument("--workers", default="", metavar="N,…", help="web workers (2)")
    parser.add_argument("--connections", default="", metavar="N,…", help="kept open at once (64)")
    parser.add_argument("--rows", default="", metavar="N,…", help="records in the table (10000)")
    parser.add_argument("--lanes", action="store_true", help="each case with and without lanes, in turn")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement (3)")
    parser.add_argument("--runs", type=int, default=1, help="whose medians are taken (1)")
    parser.add_argument("--quick", action="store_true", help="half a second each, to see that it works")
    parser.add_argument(
        "--check", action="store_true", help="compare with the budgets; 1 when one does not hold"
    )
    parser.add_argument("--from", dest="file", type=Path, help="take a kept result instead of measuring")
    parser.add_argument("--render", action="store_true", help="write the tables into docs/performance.md")
    parser.add_argument("--tree", type=Path, help="measure the code of another working copy")
    given = parser.parse_args()
    if given.tree is not None:
        measure_tree(given.tree)
    wrong = ""
    if given.file is not None:
        kept, lines = read(given.file)
    else:
        seconds = 0.5 if given.quick else given.seconds
        plan = chosen(given)
        found = []
        with tempfile.TemporaryDirectory(prefix="gpbench") as folder:
            # As root, PostgreSQL runs as another user, who must be able to reach its data.
            Path(folder).chmod(0o755)
            try:
                for each in measure_all(plan, seconds=seconds, runs=given.runs, folder=Path(folder)):
                    found.append(each)
                    tell("  ".join((f"{len(found)}/{len(plan) * given.runs}", *cells(each))))
            except WrongAnswers as error:
                wrong = str(error)
        lines = medians(found)
        kept = result(lines, {"seconds": seconds, "runs": given.runs})
        tell(f"\nKept in {keep(kept, KEPT)}")
    tell("\n" + show([HEAD, *map(cells, lines)]))
    tell(
        "\nCPU µs: per request, server and PostgreSQL together. x hello: the same beside the bare application."
    )
    if busy := [item.title for item in lines if item.load_share > 0.9]:
        tell(f"The load generator was at its limit in: {', '.join(busy)}.")
    if given.render:
        render(kept, lines)
    if wrong:
        tell(f"\nAnswers that were not expected:\n\n{wrong}")
        return 1
    return judge(lines) if given.check else 0


if __name__ == "__main__":
    sys.exit(main())
