"""The server's clock as tests move it: dates, tokens, jobs, cron jobs and rate limits follow it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from groundplane.clock import now, set_time, unix_time
from groundplane.hooks import hookimpl
from groundplane.jobs.job import Job
from groundplane.services import Services
from groundplane.testing.clock import FrozenClock
from groundplane.testing.plugins import AppWith, make_plugin

DATES = [
    {"name": "made", "type": "autodate", "onCreate": True},
    {"name": "changed", "type": "autodate", "onCreate": True, "onUpdate": True},
]


def test_it_stands_still_and_moves_only_when_it_is_moved(clock: FrozenClock) -> None:
    assert now() == now() == clock.now() == set_time()
    start = clock.now()
    assert (clock.travel(days=1, hours=-2) - start).total_seconds() == 22 * 3600
    assert unix_time() == now().timestamp()
    assert clock.travel_to("2031-02-03 04:05:06.789999") == datetime(2031, 2, 3, 4, 5, 6, 789_000, UTC)
    assert now() == clock.now()
    with pytest.raises(ValueError, match="time zone"):
        clock.travel_to(datetime(2030, 1, 1))  # that is the point


def test_without_the_fixture_time_goes_on() -> None:
    assert set_time() is None
    assert abs(unix_time() - now().timestamp()) < 1


async def test_records_get_their_dates_from_it(app_with: AppWith, clock: FrozenClock) -> None:
    app = await app_with()
    await app.make_collection("notes", DATES)
    clock.travel_to("2030-01-01 12:00")
    made = await app.make_record("notes")
    clock.travel(days=1)
    await app.send("PATCH", "notes", made["id"], json={})
    shown = (await app.send("GET", "notes", made["id"])).json()
    assert (shown["made"], shown["changed"]) == ("2030-01-01 12:00:00.000Z", "2030-01-02 12:00:00.000Z")


async def test_a_token_expires_when_its_time_has_come(app_with: AppWith, clock: FrozenClock) -> None:
    app = await app_with()
    await app.make_collection("notes", viewRule="@request.auth.id != ''")
    note, user = await app.make_record("notes"), await app.as_user()
    options = app.services.schema.current.find("users").options
    assert options is not None
    # The first look remembers the token, the second uses that.
    for _ in range(2):
        await app.assert_can(user, "view", note)
    clock.travel(seconds=options.auth_token.duration - 1)
    await app.assert_can(user, "view", note)
    clock.travel(seconds=2)
    await app.assert_cannot(user, "view", note)


async def test_jobs_wait_for_it(app_with: AppWith, clock: FrozenClock) -> None:
    ran: list[str] = []

    @hookimpl
    async def startup(services: Services) -> None:
        async def remind(job: Job) -> None:
            ran.append(job.payload["text"])

        services.jobs.register("remind", remind)

    app = await app_with(make_plugin("reminder", startup))
    await app.services.jobs.add("remind", {"text": "later"}, delay_s=3600)
    await app.services.jobs.add("remind", {"text": "at noon"}, run_at=clock.now().replace(year=2040))
    assert await app.run_jobs() == []
    clock.travel(hours=1)
    assert [job.payload["text"] for job in await app.run_jobs()] == ["later"]
    clock.travel_to("2041-01-01 00:00")
    await app.run_jobs()
    assert ran == ["later", "at noon"]


async def test_cron_jobs_fire_in_the_minute_that_it_shows(app_with: AppWith, clock: FrozenClock) -> None:
    ran: list[datetime] = []

    @hookimpl
    async def startup(services: Services) -> None:
        async def report() -> None:
            ran.append(now())

        services.crons.add("report", "30 4 * * 1", report)

    app = await app_with(make_plugin("reporter", startup))
    clock.travel_to("2030-01-07 04:29:59")  # a Monday
    assert "report" not in await app.fire_crons()
    clock.travel(seconds=1)
    assert "report" in await app.fire_crons()
    assert "report" not in await app.fire_crons()
    await app.run_jobs()
    assert ran == [datetime(2030, 1, 7, 4, 30, tzinfo=UTC)]


async def test_the_windows_of_rate_limits_end_by_it(app_with: AppWith, clock: FrozenClock) -> None:
    app = await app_with()
    rule = {"label": "/api/health", "maxRequests": 2, "duration": 600}
    await app.services.settings.change({"rateLimits": {"enabled": True, "rules": [rule]}})

    async def statuses() -> list[int]:
        return [(await app.ask("GET", "/api/health")).status_code for _ in range(3)]

    assert await statuses() == [200, 200, 429]
    clock.travel(minutes=10)
    assert await statuses() == [200, 200, 429]
