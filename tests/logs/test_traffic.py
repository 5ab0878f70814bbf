"""How much the server is asked, what fails and how long it takes, as the log has it."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from groundplane.clock import now
from groundplane.logs import traffic
from groundplane.testing.server import Server


async def test_requests_failures_and_the_95th_percentile_are_told_by_stretches(server: Server) -> None:
    services = server.services
    moment = now().replace(microsecond=0)
    await services.logs.writer._table_of(int(moment.timestamp()) // 86_400)
    for number in range(100):
        data = {
            "execTime": float(number + 1),
            "status": 500 if number < 3 else 200,
            "type": "request",
            "url": "/",
        }
        await services.db.execute(
            'INSERT INTO "_logs" VALUES ($1, $2, $3, $4, $5)', number, moment, 0, "GET /", compact(data)
        )
    other = {"type": "request", "execTime": "long", "status": "500"}
    await services.db.execute(
        'INSERT INTO "_logs" VALUES ($1, $2, $3, $4, $5)', 1000, moment, 0, "of a plugin", compact(other)
    )
    found = await services.logs.traffic(moment - timedelta(minutes=5), moment + timedelta(minutes=5), 10)
    assert found.is_exact
    assert (found.total.requests, found.total.errors, found.total.p95_ms) == (101, 3, 95.0)
    assert [point.requests for point in found.points] == [0, 0, 0, 0, 0, 101, 0, 0, 0, 0]
    assert found.points[5].since == moment


async def test_of_a_long_log_only_a_sample_is_read(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    services = server.services
    moment = now()
    await services.logs.writer._table_of(int(moment.timestamp()) // 86_400)
    data = compact({"execTime": 2.5, "status": 200, "type": "request", "url": "/" + "x" * 200})
    await services.db.execute(
        'INSERT INTO "_logs" SELECT n, $1, 0, $2, $3 FROM generate_series(1, 20000) n', moment, "GET /", data
    )
    monkeypatch.setattr(traffic, "MAX_PAGES", 200)
    found = await services.logs.traffic(moment - timedelta(hours=1), moment + timedelta(hours=1), 4)
    assert not found.is_exact
    assert 12_000 < found.total.requests < 28_000
    assert found.total.p95_ms == 2.5


async def test_without_requests_there_is_nothing_to_tell(server: Server) -> None:
    moment = now()
    found = await server.services.logs.traffic(moment - timedelta(days=400), moment - timedelta(days=399), 3)
    assert found.total.requests == 0
    assert found.total.p95_ms is None
    assert len(found.points) == 3


def compact(data: dict[str, object]) -> str:
    return json.dumps(data, separators=(",", ":"))
