"""Over real sockets: reads without a task of their own are answered as all others, in order, and end as they do."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
from uvicorn.server import ServerState

from groundplane import web_worker
from groundplane.config import Config, ServerConfig
from groundplane.testing.server import Server
from groundplane.web_worker import BoundedProtocol

CHANGING = re.compile(rb"(date|x-request-id): [^\r]*\r\n")


class Site(NamedTuple):
    """A server on a port, one private note and its owner's token."""

    server: Server
    port: int
    note: str
    token: str
    asked: list[bool]  # for each request that came, whether it was taken on directly

    def get(self, path: str = "", *headers: str) -> bytes:
        lines = [f"GET /api/collections/notes/records{path} HTTP/1.1", "Host: x", *headers]
        if not any(header.startswith("Authorization") for header in headers):
            lines.append(f"Authorization: {self.token}")
        return "\r\n".join([*lines, "", ""]).encode()


class Client:
    """One connection that reads answers one after another."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, request: bytes) -> tuple[int, bytes, bytes]:
        self.writer.write(request)
        return await self.answer()

    async def answer(self) -> tuple[int, bytes, bytes]:
        """Status, head and body."""
        async with asyncio.timeout(20):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"\r\ncontent-length: (\d+)\r\n", head)
            assert length is not None
            return int(head[9:12]), head, await self.reader.readexactly(int(length[1]))

    async def rest(self) -> bytes:
        async with asyncio.timeout(20):
            return await self.reader.read()


@asynccontextmanager
async def connected(site: Site) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


@pytest.fixture
async def site(server: Server, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    headers = {"Authorization": await server.superuser_token()}
    people = (
        await server.client.post("/api/collections", json={"name": "people", "type": "auth"}, headers=headers)
    ).json()
    rule = "owner = @request.auth.id"
    fields = [
        {"name": "title", "type": "text"},
        {"name": "owner", "type": "relation", "collectionId": people["id"], "maxSelect": 1},
    ]
    body = {"name": "notes", "type": "base", "fields": fields, "listRule": rule, "viewRule": rule}
    await server.client.post("/api/collections", json=body, headers=headers)
    account = {"email": "p@example.com", "password": "1234567890", "passwordConfirm": "1234567890"}
    person = (
        await server.client.post("/api/collections/people/records", json=account, headers=headers)
    ).json()
    made = {"title": "first", "owner": person["id"]}
    note = (await server.client.post("/api/collections/notes/records", json=made, headers=headers)).json()
    asked: list[bool] = []
    directly = server.application.directly

    def noted(scope: Any, done: Any) -> Any:
        found = directly(scope, done)
        asked.append(found is not None)
        return found

    monkeypatch.setattr(server.application, "directly", noted)
    settings = Config(server=ServerConfig(keep_alive_s=1))
    config = web_worker.http_server(server.application, settings).config
    config.load()
    state = ServerState()
    state.default_headers = [(b"date", b"today")]
    listening = await asyncio.get_running_loop().create_server(
        lambda: BoundedProtocol(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )
    port = listening.sockets[0].getsockname()[1]
    site = Site(server, port, note["id"], await server.token("people", "p@example.com"), asked)
    async with connected(site) as client:
        for path in (f"/{note['id']}", "?skipTotal=1"):
            for _ in range(4):  # seen often enough to be learnt
                await client.ask(site.get(path))
    asked.clear()
    yield site
    listening.close()
    await listening.wait_closed()


async def test_an_answer_is_the_same_with_and_without_a_task(site: Site) -> None:
    async with connected(site) as client:
        for path in (f"/{site.note}", "?skipTotal=1"):
            for more in ((), ("Origin: https://example.com",)):
                direct = await client.ask(site.get(path, *more))
                # A request that may have a body takes the ordinary way.
                ordinary = await client.ask(site.get(path, *more, "Content-Length: 0"))
                assert site.asked[-2:] == [True, False]
                assert [CHANGING.sub(b"", part) for part in direct[1:]] == [
                    CHANGING.sub(b"", part) for part in ordinary[1:]
                ]
                assert len(CHANGING.findall(direct[1])) == 2
                assert site.note.encode() in direct[2]


async def test_what_is_not_found_directly_gets_the_ordinary_answer(site: Site) -> None:
    async with connected(site) as client:
        status, _, body = await client.ask(site.get("/nosuchrecord123"))
        assert (status, site.asked) == (404, [True])
        assert b'"status":404' in body
        status, _, body = await client.ask(site.get(f"/{site.note}", "Authorization: "))
        assert status == 404
        status, _, body = await client.ask(site.get(f"/{site.note}"))
        assert status == 200


async def test_pipelined_requests_are_answered_in_their_order(site: Site) -> None:
    one, page, missing = site.get(f"/{site.note}"), site.get("?skipTotal=1"), site.get("/nosuchrecord123")
    health = b"GET /api/health HTTP/1.1\r\nHost: x\r\n\r\n"
    async with connected(site) as client:
        client.writer.write(one + missing + page + health + one + one + missing + page)
        answers = [await client.answer() for _ in range(8)]
        assert [status for status, _, _ in answers] == [200, 404, 200, 200, 200, 200, 404, 200]
        assert [b'"items"' in body for _, _, body in answers] == [False] * 2 + [True] + [False] * 4 + [True]
        assert answers[0][2] == answers[4][2] == answers[5][2]


async def test_a_connection_that_is_to_be_closed_is_closed_after_the_answer(site: Site) -> None:
    async with connected(site) as client:
        status, head, _ = await client.ask(site.get(f"/{site.note}", "Connection: close"))
        assert status == 200
        assert b"\r\nconnection: close\r\n" in head
        assert await client.rest() == b""
    async with connected(site) as client:
        request = site.get(f"/{site.note}").replace(b"HTTP/1.1", b"HTTP/1.0")
        assert (await client.ask(request))[0] == 200
        assert await client.rest() == b""
    assert site.asked == [True, True]


async def test_a_client_that_goes_away_leaves_nothing_behind(site: Site) -> None:
    rows = site.server.services.db.rows
    for _ in range(20):
        _, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(site.get(f"/{site.note}") * 3)
        await asyncio.sleep(0)
        writer.transport.abort()
    async with connected(site) as client:
        assert (await client.ask(site.get(f"/{site.note}")))[0] == 200
    assert rows.waiting == 0


async def test_an_idle_connection_is_closed_and_a_busy_one_is_not(site: Site) -> None:
    loop = asyncio.get_running_loop()
    async with connected(site) as client:
        begun = loop.time()
        while loop.time() - begun < 1.5:  # longer than the connection may be idle
            assert (await client.ask(site.get(f"/{site.note}")))[0] == 200
            await asyncio.sleep(0.05)
        last = loop.time()
        assert await client.rest() == b""
        assert 0.9 < loop.time() - last < 5


async def test_a_head_that_does_not_end_is_given_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_worker, "HEAD_TIMEOUT_S", 0.3)
    async with connected(site) as client:
        assert (await client.ask(site.get(f"/{site.note}")))[0] == 200
        client.writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
        assert await client.rest() == b""
    async with connected(site) as client:
        client.writer.write(b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000)
        assert (await client.rest()).startswith(b"HTTP/1.1 400 ")


async def test_an_unexpected_failure_is_left_to_the_ordinary_way(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("groundplane.records.quick.view_body", broken)
    async with connected(site) as client:
        status, _, body = await client.ask(site.get(f"/{site.note}"))
    assert status == 200
    assert site.note.encode() in body
