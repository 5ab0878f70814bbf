"""A receiver that fails is left alone for a while, then probed; others do not notice, and no attempt is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from groundplane.clock import now
from groundplane.config import OutgoingConfig
from groundplane.doctor import examine_services
from groundplane.webhooks import deliver
from groundplane.webhooks.deliver import OPENS_AFTER, retry_after
from groundplane.webhooks.sender import Answer


@pytest.fixture
def outgoing() -> OutgoingConfig:
    return OutgoingConfig(allow_http=True, allow_networks=["127.0.0.1"], suspend_after_days=0.5)


async def shown(hooks: Any, hook: Any) -> Any:
    return await hooks.call("GET", f"/api/webhooks/{hook['id']}")


async def opened(hooks: Any, reply: Any, **values: Any) -> Any:
    """A webhook whose receiver has failed often enough, with one delivery more than that."""
    hook = await hooks.make(retries=[0] * (OPENS_AFTER - 1) + [3600] * 9, **values)
    hooks.receiver.otherwise = reply(500)
    await hooks.post(title="first")
    await hooks.work()
    await hooks.post(title="second")
    await hooks.work()
    return hook


async def over(hooks: Any) -> None:
    """The pause is over."""
    await hooks.services.db.execute("UPDATE _webhook_health SET open_until = now() - interval '1 s'")
    await hooks.hurry()


async def test_after_some_failures_nothing_is_sent_and_no_attempt_is_used_up(hooks: Any, reply: Any) -> None:
    hook = await opened(hooks, reply)
    assert len(hooks.receiver.heard) == OPENS_AFTER
    await hooks.hurry()
    await hooks.work()
    assert len(hooks.receiver.heard) == OPENS_AFTER
    seen = await shown(hooks, hook)
    assert (seen["state"], seen["failures"], seen["lastError"]) == ("open", 5, "The receiver answered 500.")
    assert seen["pausedUntil"] > seen["failingSince"]
    first, second = await hooks.deliveries(hook["id"])
    assert (first["attempts"], second["attempts"], second["state"]) == (OPENS_AFTER, 0, "waiting")


async def test_one_probe_goes_out_when_the_pause_is_over_and_a_failure_opens_it_for_longer(
    hooks: Any, reply: Any
) -> None:
    hook = await opened(hooks, reply)
    db = hooks.services.db
    length = "SELECT extract(epoch FROM open_until - now())::float FROM _webhook_health WHERE webhook = $1"
    assert 25 < await db.fetchval(length, hook["id"]) <= 30
    await over(hooks)
    await hooks.work()
    assert len(hooks.receiver.heard) == OPENS_AFTER + 1, "one of the two is the probe"
    assert 50 < await db.fetchval(length, hook["id"]) <= 60


async def test_a_probe_that_succeeds_lets_all_the_others_go_at_once(hooks: Any, reply: Any) -> None:
    hook = await opened(hooks, reply)
    for title in "abc":
        await hooks.post(title=title)
    await hooks.work()
    hooks.receiver.otherwise = reply(204)
    await hooks.services.db.execute("UPDATE _webhook_health SET open_until = now() - interval '1 s'")
    (job,) = await hooks.services.db.fetch(
        "SELECT d.job FROM _webhook_deliveries d WHERE d.attempts = 0 ORDER BY seq LIMIT 1"
    )
    await hooks.services.jobs.retry(job["job"])
    await hooks.work()
    states = [(each["state"], each["attempts"]) for each in await hooks.deliveries(hook["id"])]
    # The first one waits for the hour until its own next attempt.
    assert states == [("waiting", OPENS_AFTER)] + [("delivered", 1)] * 4
    assert (await shown(hooks, hook))["state"] == "active"


async def test_other_webhooks_are_not_affected(hooks: Any, reply: Any) -> None:
    await opened(hooks, reply)
    hooks.receiver.otherwise = reply(204)
    other = await hooks.make(name="other", actions=["delete"])
    await hooks.remove(await hooks.post(title="a"))
    await hooks.work()
    assert [each["state"] for each in await hooks.deliveries(other["id"])] == ["delivered"]


async def test_after_days_of_failures_the_webhook_is_suspended_and_says_why(
    hooks: Any, reply: Any, caplog: Any
) -> None:
    hook = await opened(hooks, reply)
    await hooks.services.db.execute("UPDATE _webhook_health SET failing_since = now() - interval '13 hours'")
    await over(hooks)
    await hooks.work()
    seen = await shown(hooks, hook)
    assert seen["state"] == "suspended"
    assert seen["suspended"] == "Every attempt of 0.5 days has failed: The receiver answered 500."
    assert [record.levelname for record in caplog.records if "was suspended" in record.message] == ["ERROR"]
    findings = [finding async for finding in examine_services(hooks.services)]
    assert any(not each.sound and "webhook hook is suspended" in each.text for each in findings)
    await hooks.post(title="not recorded")
    assert len(await hooks.deliveries(hook["id"])) == 2
    await hooks.hurry()
    await hooks.work()
    before = len(hooks.receiver.heard)
    hooks.receiver.otherwise = reply(204)
    enabled = await hooks.call("PATCH", f"/api/webhooks/{hook['id']}", {"enabled": True})
    assert (enabled["state"], enabled["suspended"], enabled["failures"]) == ("active", "", 0)
    await hooks.hurry()
    await hooks.work()
    assert len(hooks.receiver.heard) == before + 2


async def test_what_waits_for_longer_than_it_is_kept_has_failed(hooks: Any, reply: Any) -> None:
    hook = await opened(hooks, reply)
    await hooks.services.db.execute("UPDATE _webhook_deliveries SET queued = '2020-01-01'")
    await hooks.hurry()
    await hooks.work()
    assert {each["state"] for each in await hooks.deliveries(hook["id"])} == {"failed"}


async def test_no_more_attempts_at_a_time_than_the_webhook_allows(hooks: Any) -> None:
    hook = await hooks.make(concurrency=2)
    at_once, most = 0, 0

    async def slow(writer: asyncio.StreamWriter) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.05)
        at_once -= 1
        writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
        await writer.drain()

    hooks.receiver.otherwise = slow
    for number in range(12):
        await hooks.post(title=str(number))
    async with asyncio.timeout(20):
        while any(each["state"] == "waiting" for each in await hooks.deliveries(hook["id"])):
            await hooks.work()
            await hooks.hurry()
    assert most == 2
    assert len(hooks.receiver.heard) == 12


async def test_the_log_says_when_a_receiver_is_paused_and_when_it_is_back(
    hooks: Any, reply: Any, caplog: Any
) -> None:
    caplog.set_level("INFO", logger=deliver.__name__)
    await opened(hooks, reply)
    hooks.receiver.otherwise = reply(204)
    await over(hooks)
    await hooks.work()
    said = [record.message for record in caplog.records if record.name == deliver.__name__]
    assert said == [
        "The webhook hook is paused after 5 failures: The receiver answered 500.",
        "The webhook hook works again",
    ]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", 0),
        ("120", 120),
        ("-5", 0),
        ("99999999999999999999", 86400),
        ("soon", 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86400),
        ("Fri, 99 Dec 2026 23:59:59 GMT", 0),
        ("\u0661\u0662", 0),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date_and_bounded(text: str, seconds: float) -> None:
    assert retry_after(Answer(status=503, headers=[("Retry-After", text)]), now()) == seconds
