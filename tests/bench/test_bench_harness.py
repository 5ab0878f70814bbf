"""The benchmark's own parts: that they count, measure and notice wrong answers."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bench_cpu
import bench_load
import bench_results
import flame
import pytest
import run
from bench_cases import CASES, hello_case
from bench_load import Outcome, Target, drive
from bench_results import Line, Measure
from bench_server import hello, row_id

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@pytest.fixture(scope="module")
def hello_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with hello(tmp_path_factory.mktemp("hello"), workers=2) as found:
        yield found


@contextmanager
def slow_server(delay_s: float, pieces: tuple[bytes, ...] = (ANSWER,)) -> Iterator[int]:
    """Answer each request `delay_s` after it came, in so many pieces; gives the port."""

    def serve(client: socket.socket) -> None:
        with client:
            while client.recv(65_536):
                time.sleep(delay_s)
                for piece in pieces:
                    client.sendall(piece)
                    time.sleep(0.001)

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,)).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def some_line(case: str, cpu_us: float, **more: object) -> Line:
    measure = Measure(case)._replace(**{key: more.pop(key) for key in list(more) if key in Measure._fields})
    found = Line(
        measure, case, 100, 1000.0, cpu_us, cpu_us, 0.0, 20.0, cpu_us / 20, 1.0, 2.0, 0.1, {200: 100}
    )
    return found._replace(**more)


def test_the_load_generator_sends_as_many_requests_as_it_may_and_times_each(hello_server: Target) -> None:
    outcome = drive(hello_server, hello_case(), connections=8, seconds=30, limit=200)
    assert outcome.requests == len(outcome.latencies_s) == 200
    assert outcome.statuses == {200: 200}
    assert outcome.unexpected == b""
    assert 0 < outcome.percentile_ms(0.5) <= outcome.percentile_ms(0.99)


def test_latency_and_rate_are_those_of_the_server() -> None:
    with slow_server(0.05) as port:
        outcome = drive(Target(port, [os.getpid()]), hello_case(), connections=4, seconds=1)
    assert 50 <= outcome.percentile_ms(0.5) < 75
    assert 4 / 0.075 < outcome.per_second <= 4 / 0.05
    assert outcome.load_share < 0.5


def test_an_answer_that_comes_in_pieces_is_one_answer() -> None:
    with slow_server(0, (ANSWER[:10], ANSWER[10:-1], ANSWER[-1:])) as port:
        outcome = drive(Target(port, [os.getpid()]), hello_case(), connections=2, seconds=10, limit=20)
    assert outcome.statuses == {200: 20}


def test_a_long_answer_is_one_answer_and_is_not_collected() -> None:
    answer = bench_load.Waiting()
    assert not answer.take(b"HTTP/1.1 200 OK\r\ncontent-")
    assert not answer.take(b"length: 1000000\r\n\r\n")
    for _ in range(9):
        assert not answer.take(bytes(100_000))
    assert answer.take(bytes(100_000))
    assert len(answer.data) < 100
    answer.clear()
    assert not answer.take(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n")
    assert answer.take(b"ok\r\n0\r\n\r\n")


def test_no_request_is_counted_before_the_warming_up_has_ended() -> None:
    with slow_server(0.02) as port:
        outcome = drive(Target(port, [os.getpid()]), hello_case(), connections=1, warm_s=0.5, seconds=0.5)
    assert 0.5 <= outcome.elapsed_s < 0.6
    assert outcome.requests <= 25


def test_unexpected_answers_end_the_case_and_the_first_is_kept(hello_server: Target) -> None:
    outcome = drive(hello_server, hello_case(), connections=2, seconds=30, expect=(404,))
    assert outcome.statuses == {200: outcome.requests}
    assert outcome.unexpected.startswith(b"HTTP/1.1 200")


def test_a_server_that_hangs_up_is_an_error_of_the_run() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        closing = threading.Thread(target=lambda: silent.accept()[0].close())
        closing.start()
        with pytest.raises(ConnectionError):
            drive(Target(silent.getsockname()[1], []), hello_case(), connections=1)
        closing.join()


def test_cpu_time_of_a_process_grows_with_its_work() -> None:
    before = bench_cpu.cpu_seconds([os.getpid()])
    limit = time.process_time() + 0.1
    while time.process_time() < limit:
        sum(range(1000))
    assert bench_cpu.cpu_seconds([os.getpid()]) - before >= 0.05


def test_the_load_generator_costs_less_than_the_bare_server_and_is_not_counted(hello_server: Target) -> None:
    outcome = drive(hello_server, hello_case(), connections=64, seconds=1)
    assert 0 < outcome.load_share * outcome.elapsed_s < outcome.server_s
    assert outcome.postgres_s == 0


def test_a_process_tree_holds_the_workers_of_a_server(hello_server: Target) -> None:
    assert len(bench_cpu.tree(hello_server.roots)) == 2


def test_a_line_is_the_cost_of_one_request() -> None:
    outcome = Outcome(100, 2.0, array("d", [0.001] * 100), {200: 100}, b"", 0.003, 0.001, 0.2)
    found = bench_results.line(Measure("get"), "get", outcome, 20.0)
    assert (found.cpu_us, found.server_us, found.postgres_us, found.ratio) == (40.0, 30.0, 10.0, 2.0)
    assert (found.per_second, found.p50_ms, found.p99_ms) == (50.0, 1.0, 1.0)


def test_several_runs_are_folded_into_their_medians() -> None:
    found = bench_results.medians(
        [some_line("get", 40), some_line("list", 9), some_line("get", 50), some_line("get", 90)]
    )
    assert [(item.measure.case, item.cpu_us, item.requests) for item in found] == [
        ("get", 50, 300),
        ("list", 9, 100),
    ]
    assert found[0].ratio == 2.5
    assert found[0].statuses == {200: 300}


def test_a_kept_result_is_read_as_it_was(tmp_path: Path) -> None:
    lines = [some_line("get", 40), some_line("get", 50, rows=1_000_000)]
    path = bench_results.keep(bench_results.result(lines, {"runs": 1, "seconds": 3.0}), tmp_path)
    kept, found = bench_results.read(path)
    assert found == lines
    assert kept["settings"] == {"runs": 1, "seconds": 3.0}
    assert (tmp_path / "latest.json").read_bytes() == path.read_bytes()


def test_the_tables_of_the_guide_are_replaced_and_nothing_else(tmp_path: Path) -> None:
    guide = tmp_path / "performance.md"
    text = bench_results.GUIDE.read_text(encoding="utf-8")
    guide.write_text(text, encoding="utf-8")
    lines = [some_line("get", 40), some_line("create", 91)]
    kept = bench_results.result(lines, {"runs": 5, "seconds": 3.0})
    for _ in range(2):
        bench_results.render(kept, lines, guide)
    written = guide.read_text(encoding="utf-8")
    assert written.count("| get | 2 / 64 / 10,000 |") == 1
    assert "| CPU of create | 90 µs | 91 µs | no |" in written
    assert bench_results.MARKED.sub("", written) == bench_results.MARKED.sub("", text)


@pytest.mark.parametrize(
    ("lines", "holds"),
    [
        ([some_line("get", 45)], [True, True]),
        ([some_line("get", 51)], [False, False]),
        ([some_line("sign_in", 21_000), some_line("hash", 20_000)], [True]),
        ([some_line("sign_in", 21_001), some_line("hash", 20_000)], [False]),
        ([some_line("sign_in", 21_001)], []),
        ([some_line("create_duplicates", 140), some_line("create_unique", 100)], [True]),
        ([some_line("create_duplicates", 160), some_line("create_unique", 100)], [False]),
        ([some_line("list", 100), some_line("list", 126, rows=1_000_000)], [True, False]),
        (
            [
                some_line("update", 1, connections=1, p50_ms=1.2),
                some_line("update", 1, connections=1, lanes=False, p50_ms=1.0),
            ],
            [False],
        ),
    ],
)
def test_budgets_are_compared_with_what_was_measured(lines: list[Line], holds: list[bool]) -> None:
    assert [item.holds for item in bench_results.check(lines)] == holds


def test_the_shares_of_a_profile_are_added_up_per_function() -> None:
    stacks = (
        "main (core/groundplane/app.py:1);work (/x/site-packages/asyncpg/a.py:5) 3\n"
        "main (core/groundplane/app.py:2) 1\n"
        "_end_after (core/groundplane/parent.py:30) 4\n"
    )
    assert flame.shares(stacks) == [
        ("work (asyncpg/a.py)", 75.0, 75.0),
        ("main (core/groundplane/app.py)", 25.0, 100.0),
    ]


def test_every_case_of_the_full_plan_exists_and_is_measured_under_the_usual_conditions() -> None:
    plan = run.full_plan()
    assert len(set(plan)) == len(plan)
    assert {run.usual(case.key) for case in CASES} <= set(plan)
    assert {measure.case for measure in plan} == {"hash", *(case.key for case in CASES)}


def test_every_case_of_the_guide_is_measured_and_none_is_missing() -> None:
    text = bench_results.GUIDE.read_text(encoding="utf-8")
    missing = [case.key for case in CASES if f"`{case.key}`" not in text]
    assert missing == []


@pytest.mark.slow
def test_every_case_runs_against_a_server_and_is_answered_as_expected() -> None:
    plan = [Measure(case.key, connections=4, rows=2000) for case in CASES]
    plan.append(Measure("get", connections=1, rows=2000, lanes=False))
    # Not under pytest's own folder: as root, PostgreSQL runs as another user, who may not look in there.
    with tempfile.TemporaryDirectory(prefix="gpbench") as folder:
        Path(folder).chmod(0o755)
        lines = list(run.measure_all(plan, seconds=0.3, runs=1, folder=Path(folder)))
    assert [item.measure for item in lines] == plan
    found = {item.measure.case: item for item in lines}
    assert all(item.requests > 0 and item.ratio > 1 for item in lines)
    assert set(found["create_duplicates"].statuses) == {200, 400}
    assert found["list_total"].postgres_us > 0
    assert found["static_small"].postgres_us == 0


def test_an_id_is_the_one_that_the_filled_table_has() -> None:
    # 'p' || left(md5('post5'), 14) in PostgreSQL
    assert row_id("post", 5) == "p62e43da80b64d5"


def test_the_clock_counts_only_its_own_processes(hello_server: Target) -> None:
    clock = bench_load.Clock(Target(0, []))
    clock.start()
    drive(hello_server, hello_case(), connections=4, seconds=0.2)
    assert clock.stop() == (0.0, 0.0)
