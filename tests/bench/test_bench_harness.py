"""The benchmark's own parts: that they count, measure and notice wrong answers."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import tempfile
import time
from pathlib import Path

import bench_cpu
import bench_load
import pytest
import run
from bench_server import hello


@pytest.fixture(scope="module")
def hello_server(tmp_path_factory: pytest.TempPathFactory):
    with hello(tmp_path_factory.mktemp("hello"), workers=1) as found:
        yield found


def test_the_load_generator_sends_as_many_requests_as_it_may_and_times_each(hello_server) -> None:
    port, _ = hello_server
    counter = itertools.count()
    sent: list[int] = []

    def make() -> bytes:
        sent.append(next(counter))
        return bench_load.http("GET", f"/?n={sent[-1]}")

    outcome = asyncio.run(bench_load.drive(port, make, connections=8, seconds=30, limit=200))
    assert outcome.requests == 200
    assert sent == list(range(200))
    assert outcome.failures == {}
    assert len(outcome.latencies_s) == 200
    assert 0 < outcome.percentile_ms(0.5) <= outcome.percentile_ms(0.99)


def test_an_unexpected_status_is_counted_and_its_answer_kept(hello_server) -> None:
    port, _ = hello_server
    outcome = asyncio.run(
        bench_load.drive(port, lambda: bench_load.http("GET", "/"), connections=2, limit=4, expect=404)
    )
    assert outcome.failures == {200: 4}
    assert b"hello" in outcome.first_failure


def test_cpu_time_of_a_process_grows_with_its_work() -> None:
    before = bench_cpu.cpu_seconds([os.getpid()])
    limit = time.process_time() + 0.1
    while time.process_time() < limit:
        sum(range(1000))
    assert bench_cpu.cpu_seconds([os.getpid()]) - before >= 0.05


def test_a_process_tree_holds_the_workers_of_a_server(tmp_path: Path) -> None:
    with hello(tmp_path, workers=2) as (_, roots):
        assert len(bench_cpu.tree(roots)) >= 3


def test_the_table_and_the_kept_file_show_every_case_with_its_ratio(tmp_path: Path) -> None:
    outcome = bench_load.Outcome(100, 2.0, [0.001] * 100, {}, b"")
    base = run.line("hello", outcome, 0.002, 0.0, None)
    other = run.line("get by id", outcome, 0.003, 0.003, base.cpu_us)
    assert (base.cpu_us, base.ratio, base.per_second) == (20.0, 1.0, 50.0)
    assert (other.cpu_us, other.ratio) == (60.0, 3.0)
    assert "get by id" in run.show([base, other])
    path = run.keep([base, other], {"seconds": 2}, tmp_path)
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert [case["case"] for case in kept["cases"]] == ["hello", "get by id"]
    assert json.loads((tmp_path / "latest.json").read_text(encoding="utf-8")) == kept


def test_every_case_runs_against_a_server_and_is_answered_as_expected() -> None:
    # Not under pytest's own folder: as root, PostgreSQL runs as another user, who may not look in there.
    with tempfile.TemporaryDirectory(prefix="gpbench") as folder:
        Path(folder).chmod(0o755)
        lines = run.measure_all(seconds=0.3, connections=2, workers=1, notes=20, users=2, folder=Path(folder))
    assert [line.case for line in lines] == ["hello", *(case.name for case in run.CASES)]
    assert all(line.requests > 0 and line.failures == {} for line in lines)
    assert lines[1].ratio >= 1
