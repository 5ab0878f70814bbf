"""Cron expressions as PocketBase has them, and one firing for each tick."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from groundplane.db.engine import Database
from groundplane.errors import NotFound
from groundplane.jobs.queue import Jobs
from groundplane.jobs.schedule import MACROS, Crons, Scheduler, parse
from groundplane.jobs.worker import Worker
from groundplane.settings.formats import CRON_MACROS

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)  # a Tuesday


class Calls:
    def __init__(self) -> None:
        self.count = 0

    async def __call__(self) -> None:
        self.count += 1


@pytest.fixture
def crons(db: Database, jobs: Jobs) -> Crons:
    return Crons(db, jobs)


@pytest.mark.parametrize(
    ("expression", "matching", "other"),
    [
        ("* * * * *", ["2030-01-01T12:00"], []),
        ("0 12 1 1 2", ["2030-01-01T12:00"], ["2030-01-01T12:01", "2031-01-01T12:00"]),
        # Day and weekday must both match, unlike in cron.
        ("0 0 13 * 5", ["2030-09-13T00:00"], ["2030-09-20T00:00", "2030-10-13T00:00"]),
        ("*/15 * * * *", ["2030-01-01T12:45"], ["2030-01-01T12:50"]),
        ("10-30/10,59 * * * *", ["2030-01-01T12:30", "2030-01-01T12:59"], ["2030-01-01T12:15"]),
        ("0 0 */10 * *", ["2030-01-01T00:00", "2030-01-31T00:00"], ["2030-01-10T00:00"]),
        ("0 0 * * 0", ["2030-01-06T00:00"], ["2030-01-07T00:00"]),
        ("@weekly", ["2030-01-06T00:00"], ["2030-01-07T00:00"]),
        ("@yearly", ["2030-01-01T00:00"], ["2030-02-01T00:00"]),
    ],
)
def test_all_five_fields_must_match(expression: str, matching: list[str], other: list[str]) -> None:
    schedule = parse(expression)
    assert [
        text for text in matching + other if schedule.matches(datetime.fromisoformat(text + "Z"))
    ] == matching


def test_minutes_are_those_of_utc() -> None:
    elsewhere = datetime.fromisoformat("2030-01-01T05:30+05:30")
    assert parse("0 0 1 1 *").matches(elsewhere)


@pytest.mark.parametrize(
    "expression",
    ["", "* * * *", "* * * * * *", "*  * * * *", "60 * * * *", "* * 0 * *", "* * * * 7", "5/2 * * * *",
     "*/0 * * * *", "*/60 * * * *", "5-1 * * * *", "a * * * *", "1,,2 * * * *", "@never", "* * * JAN *", "-1 * * * *"],
)  # fmt: skip
def test_other_expressions_are_refused(expression: str) -> None:
    with pytest.raises(ValueError, match="cron"):
        parse(expression)


def test_every_macro_stands_for_fields() -> None:
    assert MACROS.keys() == CRON_MACROS
    assert all(parse(macro) == parse(fields) for macro, fields in MACROS.items())


async def test_cron_jobs_are_listed_by_id_with_built_in_ones_behind(crons: Crons) -> None:
    switch = {"on": False, "when": ""}

    async def present() -> bool:
        return bool(switch["on"])

    crons.add("__pbB__", "@hourly", Calls())
    crons.add("zebra", "@daily", Calls())
    crons.add("ant", "5 4 * * *", Calls(), present=present)
    crons.add("bee", lambda: str(switch["when"]), Calls())
    assert [tuple(each) for each in await crons.all()] == [("zebra", "0 0 * * *"), ("__pbB__", "0 * * * *")]
    switch.update(on=True, when="@monthly")
    assert [each.id for each in await crons.all()] == ["ant", "bee", "zebra", "__pbB__"]
    with pytest.raises(ValueError, match="handler already"):
        crons.add("ant", "* * * * *", Calls())
    with pytest.raises(ValueError, match="cron"):
        crons.add("wrong", "* * *", Calls())


async def test_a_tick_fires_once_however_many_processes_see_it(
    db: Database, other_db: Database, clock: Any
) -> None:
    calls = Calls()
    nodes = []
    for database in (db, other_db, db, other_db):
        queue = Jobs(database, clock=clock)
        crons = Crons(database, queue)
        crons.add("minutely", "* * * * *", calls)
        crons.add("later", "30 * * * *", calls)
        nodes.append((queue, crons))
    for minute in range(5):
        moment = NOON + timedelta(minutes=minute, seconds=minute)
        fired = await asyncio.gather(*(crons.fire(moment) for _, crons in nodes))
        assert sorted(fired) == [[], [], [], ["minutely"]]
    # The same tick again, by a clock that is late.
    assert await nodes[0][1].fire(NOON) == []
    await Worker(db, nodes[0][0]).run_due()
    assert calls.count == 5


async def test_ticks_that_nobody_saw_are_not_made_up_for(db: Database, jobs: Jobs, crons: Crons) -> None:
    calls = Calls()
    crons.add("minutely", "* * * * *", calls)
    await crons.fire(NOON)
    await crons.fire(NOON + timedelta(hours=3))
    assert (await jobs.page()).total == 2


async def fire_in_vain(db: Database, crons: Crons) -> None:
    async with db.transaction():
        assert await crons.fire(NOON) == ["minutely"]
        raise ZeroDivisionError


async def test_the_tick_and_its_job_are_there_together_or_not_at_all(
    db: Database, jobs: Jobs, crons: Crons
) -> None:
    crons.add("minutely", "* * * * *", Calls())
    with pytest.raises(ZeroDivisionError):
        await fire_in_vain(db, crons)
    assert (await jobs.page()).total == 0
    assert await crons.fire(NOON) == ["minutely"]


async def test_two_schedulers_that_run_beside_each_other_fire_the_minute_once(
    db: Database, other_db: Database, clock: Any
) -> None:
    tasks, looked = [], []
    for database in (db, other_db):
        crons = Crons(database, Jobs(database))
        crons.add("minutely", "* * * * *", Calls())

        def tell(crons: Crons = crons) -> datetime:
            looked.append(crons)
            return clock()

        tasks.append(asyncio.create_task(Scheduler(crons, clock=tell, longest_wait_s=0.01).run()))

    async def until_each_has_looked(times: int) -> None:
        looked.clear()
        async with asyncio.timeout(20):
            while len(set(looked)) < 2 or min(looked.count(crons) for crons in looked) < times:
                await db.fetchval("SELECT 1")

    await until_each_has_looked(4)
    clock.move(60)
    await until_each_has_looked(4)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    slots = [row["slot"] for row in await db.fetch("SELECT slot FROM _cron_slots ORDER BY slot")]
    assert slots == [NOON, NOON + timedelta(minutes=1)]
    assert await db.fetchval("SELECT count(*) FROM _jobs") == 2


async def test_a_cron_job_can_be_run_at_any_time(jobs: Jobs, db: Database, crons: Crons) -> None:
    calls = Calls()
    crons.add("nightly", "0 2 * * *", calls)
    await crons.run("nightly")
    await crons.run("nightly")  # runs may overlap
    await Worker(db, jobs).run_due()
    assert calls.count == 2
    with pytest.raises(NotFound, match="Missing or invalid cron job"):
        await crons.run("unknown")


async def test_a_wrong_expression_from_the_settings_stops_only_its_own_job(crons: Crons) -> None:
    crons.add("bad", lambda: "what", Calls())
    crons.add("good", "* * * * *", Calls())
    assert await crons.fire(NOON) == ["good"]
