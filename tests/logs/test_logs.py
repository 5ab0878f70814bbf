"""The log over HTTP: what requests leave in it, how it is searched, and what the settings do to it."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog

from groundplane.logs import writer as writing
from groundplane.logs.entry import ERROR, WARN
from groundplane.testing.server import Server

BAD_INPUT = "Something went wrong while processing your request."


@pytest.fixture
async def root(server: Server) -> dict[str, str]:
    return {"Authorization": await server.superuser_token()}


async def entries(server: Server, root: dict[str, str], **query: Any) -> list[dict[str, Any]]:
    answer = await server.client.get("/api/logs", params={"perPage": 1000, **query}, headers=root)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def settings(server: Server, root: dict[str, str], **logs: Any) -> None:
    answer = await server.client.patch("/api/settings", json={"logs": logs}, headers=root)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api/logs"), ("GET", "/api/logs/stats"), ("GET", "/api/logs/abc"), ("DELETE", "/api/logs")],
)
async def test_the_log_is_for_superusers_only(server: Server, method: str, path: str) -> None:
    assert (await server.client.request(method, path)).status_code == 401
    root = {"Authorization": await server.superuser_token()}
    user = {"email": "a@example.com", "password": "1234567890", "passwordConfirm": "1234567890"}
    made = await server.client.post("/api/collections/users/records", json=user, headers=root)
    assert made.status_code == 200
    member = {"Authorization": await server.token("users", "a@example.com")}
    assert (await server.client.request(method, path, headers=member)).status_code == 403


async def test_a_request_leaves_an_entry_in_the_contracts_shape(server: Server, root: dict[str, str]) -> None:
    headers = {"User-Agent": "tester/1", "Referer": "https://example.com/page"}
    await server.client.get("/api/health?a=%C3%A9", headers=headers)
    [entry] = await entries(server, root)
    assert list(entry) == ["id", "created", "data", "message", "level"]
    assert len(entry["id"]) == 15
    assert (entry["message"], entry["level"]) == ("GET /api/health?a=é", 0)
    data = entry["data"]
    assert 0 < data.pop("execTime") < 10_000
    assert data == {
        "auth": "",
        "method": "GET",
        "referer": "https://example.com/page",
        "remoteIP": "127.0.0.1",
        "status": 200,
        "type": "request",
        "url": "/api/health?a=%C3%A9",
        "userAgent": "tester/1",
        "userIP": "127.0.0.1",
    }


async def test_a_failed_request_is_an_error_with_its_message_and_details(
    server: Server, root: dict[str, str]
) -> None:
    await server.client.get("/api/collections/none/records")
    await server.client.post("/api/collections", json={"name": ""}, headers=root)
    unknown, invalid = await entries(server, root)
    assert (unknown["level"], unknown["data"]["status"]) == (8, 404)
    assert unknown["data"]["error"] == "Missing collection context."
    assert unknown["data"]["details"] is None
    assert invalid["data"]["auth"] == "_superusers"
    assert invalid["data"]["details"]["name"]["code"] == "validation_required"


async def test_an_unexpected_failure_keeps_its_cause_and_request_id_from_the_client(
    server: Server, root: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(server.services.crons, "run", broken)
    answer = await server.client.post("/api/crons/any", headers=root)
    assert (answer.status_code, "by nothing" in answer.text) == (500, False)
    [entry] = await entries(server, root)
    assert entry["data"]["details"] == {
        "cause": "ZeroDivisionError: by nothing",
        "requestId": answer.headers["x-request-id"],
    }


async def test_addresses_and_ids_are_kept_as_the_settings_say(server: Server, root: dict[str, str]) -> None:
    await settings(server, root, logIP=False, logAuthId=True)
    await server.client.get("/api/collections/users/records", headers=root)
    *_, entry = await entries(server, root)
    assert {"userIP", "remoteIP"} & set(entry["data"]) == set()
    assert len(entry["data"]["authId"]) == 15


async def test_the_address_behind_a_trusted_proxy_is_kept(server: Server, root: dict[str, str]) -> None:
    await server.client.patch(
        "/api/settings", json={"trustedProxy": {"headers": ["X-Real-IP"]}}, headers=root
    )
    await server.services.collections.create({"name": "open", "type": "base", "listRule": ""})
    for _ in range(4):  # the short way of reads begins with the third
        await server.client.get("/api/collections/open/records", headers={"X-Real-IP": "203.0.113.9"})
    for entry in (await entries(server, root))[-4:]:
        assert (entry["data"]["userIP"], entry["data"]["remoteIP"]) == ("203.0.113.9", "127.0.0.1")


async def test_the_callers_collection_is_kept_on_the_short_way_of_reads_and_creates(
    server: Server, root: dict[str, str]
) -> None:
    await server.services.collections.create(
        {"name": "open", "type": "base", "fields": [{"name": "title", "type": "text"}]}
    )
    for number in range(5):
        answer = await server.client.post(
            "/api/collections/open/records", json={"title": f"t{number}"}, headers=root
        )
        await server.client.get(f"/api/collections/open/records/{answer.json()['id']}", headers=root)
        await server.client.get("/api/collections/open/records", headers=root)
    assert {entry["data"]["auth"] for entry in await entries(server, root)} == {"_superusers"}


async def test_values_that_give_access_are_hidden(server: Server, root: dict[str, str]) -> None:
    for query in ("token=abc.def", "x=1&pass%77ord=abc.def", "code=abc.def&state=1"):
        await server.client.get(f"/api/health?{query}", headers={"Referer": f"https://example.com/?{query}"})
    found = await entries(server, root)
    assert len(found) == 3
    assert "abc.def" not in str(found)
    assert found[0]["data"]["url"] == "/api/health?token=***"


async def test_hostile_requests_are_cut_and_stored(server: Server, root: dict[str, str]) -> None:
    await server.client.get("/api/health?" + "é%00" * 2000, headers={"User-Agent": "u" * 5000})
    await server.client.request("X" * 80, "/api/health")
    await server.client.get('/api/"%5c%ff%00%09', headers={"Referer": '\x01\\"'})
    first, second, third = await entries(server, root)
    assert len(first["data"]["url"]) == 3003
    assert len(first["data"]["userAgent"]) == 2003
    assert second["data"]["method"] == "X" * 50 + "..."
    assert third["data"]["referer"] == '\x01\\"'


async def test_streams_the_log_and_files_leave_no_entry_unless_they_fail(
    server: Server, root: dict[str, str]
) -> None:
    await server.client.get("/api/logs", headers=root)
    await server.client.get("/api/logs/stats", headers=root)
    assert await entries(server, root) == []
    await server.client.get("/api/logs/stats?filter=(", headers=root)
    await server.client.get("/nothing.html")
    assert [entry["data"]["status"] for entry in await entries(server, root)] == [400, 404]


# Searching


async def some_days(server: Server) -> None:
    """Five entries, one in each hour before noon of a day that is long past."""
    for hour in range(5):
        moment = datetime(2030, 1, 2, 3 + hour // 2, 0, hour, tzinfo=UTC)
        note = writing.Note(
            int(moment.timestamp() * 1000), (-4, 0, 4, 8, 0)[hour], f"m{hour}", {"n": hour, "list": [hour]}
        )
        server.services.logs.writer._entries.append(note)
    await server.services.logs.writer.flush()


@pytest.mark.parametrize(
    ("filter_text", "expected"),
    [
        ("level > 0", "m2 m3"),
        ("level = -4", ""),
        ("message ~ 'm1' || message = 'm4'", "m1 m4"),
        ("data.n >= 3", "m3 m4"),
        ("data.list.0 = 1", "m1"),
        ("data.missing = null && data.n = 2", "m2"),
        ("data ~ '\"n\":4'", "m4"),
        ("created >= '2030-01-02 04:00:00.000Z' && created < '2030-01-02 05:00:00.000Z'", "m2 m3"),
        ("created > @now", "m1 m2 m3 m4"),
    ],
)
async def test_filters_find_entries(
    server: Server, root: dict[str, str], filter_text: str, expected: str
) -> None:
    await some_days(server)
    found = await entries(server, root, filter=f"({filter_text}) && data.n >= 0 && data.type != 'request'")
    assert " ".join(entry["message"] for entry in found) == expected


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("", "m1 m2 m3 m4"),
        ("-created", "m4 m3 m2 m1"),
        ("-@rowid", "m4 m3 m2 m1"),
        ("-level,created", "m3 m2 m1 m4"),
        ("-data.n", "m4 m3 m2 m1"),
        ("-message", "m4 m3 m2 m1"),
        ("id", "m1 m2 m3 m4"),
    ],
)
async def test_sorts_order_entries(server: Server, root: dict[str, str], sort: str, expected: str) -> None:
    await some_days(server)
    found = await entries(server, root, filter="data.n >= 0", sort=sort)
    assert " ".join(entry["message"] for entry in found) == expected


@pytest.mark.parametrize(
    "query",
    [
        {"filter": "rowid > 1"},
        {"filter": "other = 1"},
        {"filter": "@request.auth.id != ''"},
        {"filter": "@collection.users.id != ''"},
        {"filter": "level >"},
        {"sort": "rowid"},
        {"sort": "@request.auth.id"},
        {"sort": "nothing"},
        {"page": "x"},
        {"filter": "level = 1" + " && level = 1" * 400},
    ],
)
async def test_bad_input_is_a_bad_request(
    server: Server, root: dict[str, str], query: dict[str, str]
) -> None:
    answer = await server.client.get("/api/logs", params=query, headers=root)
    assert (answer.status_code, answer.json()["message"], answer.json()["data"]) == (400, BAD_INPUT, {})


async def test_pages_have_totals_unless_they_are_skipped(server: Server, root: dict[str, str]) -> None:
    await some_days(server)
    query = {"perPage": 3, "filter": "data.n >= 0", "page": 2, "fields": "message"}
    answer = (await server.client.get("/api/logs", params=query, headers=root)).json()
    assert answer["items"] == [{"message": "m4"}]
    assert (answer["page"], answer["perPage"], answer["totalItems"], answer["totalPages"]) == (2, 3, 4, 2)
    skipped = (await server.client.get("/api/logs?skipTotal=1&filter=data.n>=0", headers=root)).json()
    assert (skipped["totalItems"], skipped["totalPages"]) == (-1, -1)


async def test_an_entry_is_shown_by_its_id(server: Server, root: dict[str, str]) -> None:
    await some_days(server)
    [entry] = await entries(server, root, filter="message = 'm3'")
    assert (await server.client.get(f"/api/logs/{entry['id']}", headers=root)).json() == entry
    assert await entries(server, root, filter=f"id = '{entry['id']}'") == [entry]
    for other in ("0" * 15, "f" * 15, "zzz", "%00", "1" * 15 + "x"):
        answer = await server.client.get(f"/api/logs/{other}", headers=root)
        assert (answer.status_code, answer.json()["message"]) == (404, "The requested resource wasn't found.")


async def test_statistics_count_by_hour_and_leave_out_empty_hours(
    server: Server, root: dict[str, str]
) -> None:
    await some_days(server)
    stats = (await server.client.get("/api/logs/stats?filter=data.n>=0", headers=root)).json()
    assert stats == [
        {"date": "2030-01-02 03:00:00.000Z", "total": 1},
        {"date": "2030-01-02 04:00:00.000Z", "total": 2},
        {"date": "2030-01-02 05:00:00.000Z", "total": 1},
    ]
    bad = await server.client.get("/api/logs/stats?filter=(", headers=root)
    assert (bad.status_code, bad.json()["message"]) == (400, "Invalid filter format.")


# Keeping


async def test_entries_below_the_level_are_neither_stored_nor_kept(
    server: Server, root: dict[str, str]
) -> None:
    await some_days(server)
    await settings(server, root, minLevel=4)
    await server.client.get("/api/health")
    await server.client.get("/api/nowhere")
    found = await entries(server, root, sort="message")
    assert [entry["message"] for entry in found] == ["GET /api/nowhere", "m2", "m3"]


async def test_zero_days_keep_nothing(server: Server, root: dict[str, str]) -> None:
    await some_days(server)
    await settings(server, root, maxDays=0)
    await server.client.get("/api/health")
    assert await entries(server, root) == []


async def test_days_that_are_too_old_go_with_their_tables(server: Server, root: dict[str, str]) -> None:
    logs = server.services.logs
    for days in (0, 2, 4, 5, 6, 30):
        moment = datetime.now(UTC) - timedelta(days=days, seconds=5)
        logs.writer._entries.append(writing.Note(int(moment.timestamp() * 1000), WARN, f"{days} days", {}))
    await logs.writer.flush()
    tables = "SELECT count(*) FROM pg_inherits WHERE inhparent = '_logs'::regclass"
    # The first request of this test has a day of its own only around midnight.
    assert await server.services.db.fetchval(tables) >= 6
    await logs.trim()
    assert [entry["message"] for entry in await entries(server, root)] == ["4 days", "2 days", "0 days"]
    # The day of which the younger half is still wanted is still there.
    assert await server.services.db.fetchval(tables) == 4
    # The writer finds out that a day it knew is gone.
    moment = datetime.now(UTC) - timedelta(days=30)
    logs.writer._entries.append(writing.Note(int(moment.timestamp() * 1000), WARN, "late", {}))
    await logs.writer.flush()
    assert "late" in [entry["message"] for entry in await entries(server, root)]


async def test_the_cleanup_is_a_cron_job_with_pocketbases_name(server: Server, root: dict[str, str]) -> None:
    crons = (await server.client.get("/api/crons", headers=root)).json()
    assert {"id": "__pbLogsCleanup__", "expression": "0 */6 * * *"} in crons


async def test_the_log_can_be_emptied(server: Server, root: dict[str, str]) -> None:
    await some_days(server)
    assert (await server.client.delete("/api/logs", headers=root)).status_code == 204
    assert await entries(server, root) == []


# Other entries


async def test_what_parts_and_plugins_log_is_stored_with_hidden_secrets(
    server: Server, root: dict[str, str]
) -> None:
    logging.getLogger("shop").warning("%s birds are out of stock", 3)
    structlog.get_logger("shop").warning("payment failed", order="o1", api_key="abc.def")
    server.services.logs.add(
        ERROR, "by hand", {"nested": {"password": "abc.def"}, "when": datetime(2030, 1, 1)}
    )
    found = await entries(server, root, sort="message")
    assert "abc.def" not in str(found)
    by_message = {entry["message"]: entry for entry in found}
    birds = by_message["3 birds are out of stock"]
    assert (birds["level"], birds["data"]) == (4, {"logger": "shop", "type": "log"})
    assert by_message["by hand"]["level"] == 8


async def test_entries_from_another_thread_are_stored(server: Server, root: dict[str, str]) -> None:
    await asyncio.to_thread(logging.getLogger("shop").error, "from a thread")
    assert [entry["message"] for entry in await entries(server, root)] == ["from a thread"]


# Writing


async def test_entries_are_written_without_anybody_asking(server: Server) -> None:
    await server.client.get("/api/health")
    async with asyncio.timeout(20):
        while not await server.services.db.fetchval('SELECT count(*) FROM "_logs"'):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_entries_wait_while_the_database_is_away_and_too_many_are_dropped_and_counted(
    server: Server, root: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MAX_WAITING", 5)
    writer = server.services.logs.writer
    pool, server.services.db.engine.pool = server.services.db.engine.pool, None
    for number in range(8):
        server.services.logs.add(WARN, f"w{number}")
    await writer.flush()
    assert writer.dropped >= 3
    server.services.db.engine.pool = pool
    messages = [entry["message"] for entry in await entries(server, root)]
    assert messages[:5] == ["w0", "w1", "w2", "w3", "w4"]
    assert "log entries were dropped" in messages[5]
    assert writer.dropped == 0
