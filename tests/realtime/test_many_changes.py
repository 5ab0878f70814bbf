"""Many changes at once: an import is told like any other change, in parts, and no part twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.realtime.streams import OpenStream, caller_of

from groundplane.errors import Unavailable
from groundplane.imports.report import ImportFailed
from groundplane.imports.tables import TableOptions, TableTarget, import_table
from groundplane.realtime import service
from groundplane.realtime.log import Event
from groundplane.testing.server import Server

PART, ROWS = 40, 100


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_READ", PART)


async def imported(server: Server, folder: Path, *lines: str) -> None:
    file = folder / "posts.csv"
    file.write_text("\n".join(["text,secret", *lines]), encoding="utf-8")
    services = server.services
    target = TableTarget(services.db, services.collections, services.changes)
    await import_table(TableOptions(file=file, collection="posts"), target)


def rows(count: int) -> list[str]:
    return [f"row {number},hidden" for number in range(count)]


def creates(count: int) -> list[tuple[str, str, Any]]:
    return [("posts/*", "create", f"row {number}") for number in range(count)]


async def test_an_import_is_heard_row_by_row_in_its_order(
    server: Server, posts: str, open_stream: OpenStream, tmp_path: Path
) -> None:
    stream = await open_stream("posts/*")
    await imported(server, tmp_path, *rows(ROWS))
    assert await stream.heard() == creates(ROWS)
    shown = (await server.client.get(posts, params={"sort": "@rowid"})).json()["items"][0]
    assert stream.messages[1].data["record"] == shown


async def test_an_import_that_is_undone_is_not_heard_of(
    server: Server, posts: str, open_stream: OpenStream, tmp_path: Path
) -> None:
    stream = await open_stream("posts/*")
    with pytest.raises(ImportFailed):
        await imported(server, tmp_path, *rows(3), "too,many,cells")
    assert await stream.heard() == []


async def test_what_is_imported_as_a_whole_makes_everybody_load_again(
    server: Server, posts: str, open_stream: OpenStream
) -> None:
    stream = await open_stream("posts/*")
    await server.client.post(posts, json={"text": "before"})
    cursor = (await stream.next()).data["cursor"]
    async with server.services.db.transaction():
        await server.services.realtime.have_all_load_again()
    message = await stream.next()
    assert (message.event, message.data["complete"]) == ("@replay", False)
    # Who was away has missed it too, and who comes back from there has not.
    late = await open_stream("posts/*", since=cursor)
    assert (await late.next()).data["complete"] is False
    again = await open_stream("posts/*", since=message.data["cursor"])
    assert (await again.next()).data["complete"] is True


async def test_a_failure_between_two_parts_repeats_nothing(
    server: Server, posts: str, open_stream: OpenStream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = await open_stream("posts/*")
    told = server.services.realtime._telling.told
    sizes: list[int] = []

    async def failing(events: Sequence[Event], *more: Any) -> Any:
        sizes.append(len(events))
        if len(sizes) == 2:
            raise Unavailable()
        return await told(events, *more)

    monkeypatch.setattr(server.services.realtime._telling, "told", failing)
    await imported(server, tmp_path, *rows(ROWS))
    assert await stream.heard() == creates(ROWS)
    assert sizes[:4] == [PART, PART, PART, ROWS - 2 * PART]


async def test_what_the_command_line_does_to_a_superuser_counts_for_their_streams(
    server: Server, posts: str, open_stream: OpenStream
) -> None:
    await server.services.collections.update("posts", {"listRule": None})
    await server.superuser_token()
    admin = await caller_of(server, "_superusers", "admin@example.com")
    stream = await open_stream("posts/*", "_superusers/*", caller=admin)
    commands = server.services.superusers
    await commands.upsert("other@example.com", "1234567890")
    await commands.delete("other@example.com")
    heard = [(message.event, message.data["action"]) for message in await stream.until_now()]
    assert heard == [("_superusers/*", "create"), ("_superusers/*", "delete")]
    await commands.upsert("admin@example.com", "0987654321")
    await server.client.post(posts, json={"text": "not for guests"})
    assert await stream.until_now() == []
    assert stream.client.caller is None
