# ruff: noqa: F811  # the fixture and those who ask for it share a name
"""Over real sockets: creates without a task of their own are answered as all others, and written once or not."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.api.test_direct import CHANGING, Site, connected, site  # noqa: F401  # a fixture, asked for by its name

from groundplane.db import write_lanes
from groundplane.db.engine import Database

CREATES = 4  # after so many the statement is known


@pytest.fixture
async def notes(site: Site) -> Site:
    """The site with a rule for creates, after some of them."""
    headers = {"Authorization": await site.server.superuser_token()}
    rule = {"createRule": "title != 'no'"}
    answer = await site.server.client.patch("/api/collections/notes", json=rule, headers=headers)
    assert answer.status_code == 200
    async with connected(site) as client:
        for number in range(CREATES):
            assert (await client.ask(post(site, {"title": f"first {number}"})))[0] == 200
    site.asked.clear()
    return site


def post(site: Site, values: Any, *headers: str) -> bytes:
    body = values if isinstance(values, bytes) else json.dumps(values).encode()
    lines = ["POST /api/collections/notes/records HTTP/1.1", "Host: x", f"Authorization: {site.token}"]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def titles(site: Site) -> list[str]:
    rows = await site.server.services.db.fetch("SELECT title FROM notes WHERE title NOT LIKE 'first%'")
    return sorted(row[0] for row in rows)


async def test_a_create_is_answered_directly_as_otherwise(notes: Site) -> None:
    async with connected(notes) as client:
        status, head, body = await client.ask(post(notes, {"title": "direct"}))
        other = await client.ask(post(notes, {"title": "other"}, "Idempotency-Key: k"))
    assert notes.asked == [True, False]
    assert (status, other[0]) == (200, 200)
    names = [{line.partition(b":")[0].lower() for line in each.split(b"\r\n")} for each in (head, other[1])]
    assert names[0] == names[1]
    made, second = json.loads(body), json.loads(other[2])
    assert list(made) == list(second)
    assert (made["title"], second["title"]) == ("direct", "other")
    assert await titles(notes) == ["direct", "other"]


async def test_a_body_in_pieces_is_read_whole(notes: Site) -> None:
    request = post(notes, {"title": "in pieces"})
    async with connected(notes) as client:
        for cut in (request[:30], request[30:-15], request[-15:-3]):
            client.writer.write(cut)
            await client.writer.drain()
            await asyncio.sleep(0.02)
        assert (await client.ask(request[-3:]))[0] == 200
        # A body that is too large to be held.
        large = {"title": "x", "unknown": "y" * 200_000}
        assert (await client.ask(post(notes, large)))[0] == 200
    assert await titles(notes) == ["in pieces", "x"]


async def test_pipelined_creates_are_answered_in_their_order(notes: Site) -> None:
    async with connected(notes) as client:
        client.writer.write(b"".join(post(notes, {"title": f"t{number}"}) for number in range(8)))
        answers = [json.loads((await client.answer())[2])["title"] for _ in range(8)]
    assert answers == [f"t{number}" for number in range(8)]
    assert await titles(notes) == sorted(answers)


@pytest.mark.parametrize(
    ("body", "status"),
    [({"title": "no"}, 400), (b"{", 400), (b"[]", 400), ({"title": "x" * 6000}, 400), (b"null", 200)],
)
async def test_what_is_refused_gets_the_ordinary_answer(notes: Site, body: Any, status: int) -> None:
    async with connected(notes) as client:
        assert (await client.ask(post(notes, body)))[0] == status
        assert (await client.ask(post(notes, {"title": "next"})))[0] == 200
    assert "next" in await titles(notes)


async def test_a_taken_value_is_refused_in_the_words_of_the_ordinary_way(notes: Site) -> None:
    await unique_titles(notes)
    async with connected(notes) as client:
        direct = await client.ask(post(notes, {"title": "first 1"}, "Origin: https://example.com"))
        other = await client.ask(
            post(notes, {"title": "first 1"}, "Origin: https://example.com", "Idempotency-Key: k")
        )
        assert notes.asked == [True, False]
        assert direct[0] == 400
        assert [CHANGING.sub(b"", part) for part in direct[1:]] == [
            CHANGING.sub(b"", part) for part in other[1:]
        ]
        assert json.loads(direct[2])["data"]["title"]["code"] == "validation_not_unique"
        assert (await client.ask(post(notes, {"title": "next"})))[0] == 200
    assert await titles(notes) == ["next"]


async def test_the_log_knows_whose_taken_value_was_refused(
    notes: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await unique_titles(notes)
    seen: list[tuple[Any, ...]] = []
    monkeypatch.setattr(notes.server.services.logs.writer, "seen", seen.append)
    async with connected(notes) as client:
        # One that is small enough to be held, and one that is not.
        for unknown in ("", "y" * 200_000):
            answer = await client.ask(post(notes, {"title": "first 1", "unknown": unknown}))
            assert answer[0] == 400
    assert notes.asked == [True, False]
    assert [entry[5] for entry in seen] == [400, 400]
    assert [entry[8].record["email"] for entry in seen] == ["p@example.com"] * 2


async def unique_titles(notes: Site) -> None:
    """Give the titles a unique index, and let the statement become known again."""
    headers = {"Authorization": await notes.server.superuser_token()}
    index = {"indexes": ["CREATE UNIQUE INDEX `titles` ON `notes` (`title`)"]}
    await notes.server.services.db.execute("DELETE FROM notes WHERE title = 'first'")
    answer = await notes.server.client.patch("/api/collections/notes", json=index, headers=headers)
    assert answer.status_code == 200
    async with connected(notes) as client:
        for number in range(CREATES):
            assert (await client.ask(post(notes, {"title": f"first again {number}"})))[0] == 200
    notes.asked.clear()


async def test_a_full_queue_is_answered_503_and_when_to_come_again(
    notes: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_lanes, "MAX_WAITING", 0)
    async with connected(notes) as client:
        status, head, _ = await client.ask(post(notes, {"title": "late"}))
        assert status == 503
        assert b"\r\nretry-after: 1\r\n" in head.lower()
        monkeypatch.setattr(write_lanes, "MAX_WAITING", 10)
        assert (await client.ask(post(notes, {"title": "later"})))[0] == 200
    assert await titles(notes) == ["later"]


async def test_a_create_of_unknown_outcome_is_not_tried_again(notes: Site) -> None:
    db = notes.server.services.db
    await db.execute(
        "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN IF NEW.title = ''die'' THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF; RETURN NEW; END'"
    )
    await db.execute("CREATE TRIGGER die BEFORE INSERT ON notes FOR EACH ROW EXECUTE FUNCTION die()")
    async with connected(notes) as client:
        assert (await client.ask(post(notes, {"title": "die"})))[0] == 503
        assert (await client.ask(post(notes, {"title": "after"})))[0] == 200
    assert await titles(notes) == ["after"]


async def test_a_client_that_has_gone_is_not_written_for(notes: Site) -> None:
    db = notes.server.services.db
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'notes'::regclass"
    async with connected(notes) as first, connected(notes) as second:
        async with db.transaction():
            await db.execute("LOCK TABLE notes IN SHARE MODE")
            for number, client in enumerate((first, second), 1):
                client.writer.write(post(notes, {"title": f"stays {number}"}))
                while await db.fetchval(waiting) < number:  # noqa: ASYNC110  # only asking tells
                    await asyncio.sleep(0.01)
            # Both connections of the lane are busy, so this one waits, and goes.
            async with connected(notes) as leaving:
                leaving.writer.write(post(notes, {"title": "leaves"}))
                while len(notes.asked) < 3:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            while any(not waiter.done() for waiter in waiting_for(db)):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert [(await client.answer())[0] for client in (first, second)] == [200, 200]
        assert (await first.ask(post(notes, {"title": "comes"})))[0] == 200
    assert await titles(notes) == ["comes", "stays 1", "stays 2"]


def waiting_for(db: Database) -> list[asyncio.Future[Any]]:
    """Who has not been sent to the database yet."""
    return [waiter for members in db.writes._waiting.values() for _, waiter in members.values()]
