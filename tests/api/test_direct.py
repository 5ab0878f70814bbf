"""Over real sockets: reads without a task of their own are answered as all others, in order, and end as they do."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from groundplane import http_protocol, web_worker
from groundplane.api import direct
from groundplane.config import Config, ServerConfig
from groundplane.http_protocol import BoundedProtocol
from groundplane.testing.server import Server

CHANGING = re.compile(rb"(date|x-request-id): [^\r]*\r\n")


class Site(NamedTuple):
    """A server on a port, one private note and its owner's token."""

    server: Server
    port: int
    note: str
    token: str
    state: ServerState
    asked: list[bool]  # for each request that came, whether it was taken on directly
    unread: list[bytes]  # those that were taken on because their headers were known

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
async def site(
    server: Server, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> AsyncIterator[Site]:
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
    unread: list[bytes] = []
    directly = server.application.directly

    def noted(scope: Any, done: Any) -> Any:
        found = directly(scope, done)
        asked.append(found is not None)
        return found

    again = server.application.again

    def noted_again(data: bytes, client: str, done: Any) -> Any:
        found = again(data, client, done)
        if found is not None:
            asked.append(True)
            unread.append(data)
        return found

    monkeypatch.setattr(server.application, "directly", noted)
    monkeypatch.setattr(server.application, "again", noted_again)
    settings = Config(server=ServerConfig(keep_alive_s=1))
    config = web_worker.http_server(server.application, settings).config
    config.load()
    state = ServerState()
    state.default_headers = [(b"date", b"today")]
    kind: type[HttpToolsProtocol] = getattr(request, "param", BoundedProtocol)
    listening = await asyncio.get_running_loop().create_server(
        lambda: kind(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )
    port = listening.sockets[0].getsockname()[1]
    site = Site(server, port, note["id"], await server.token("people", "p@example.com"), state, asked, unread)
    async with connected(site) as client:
        for path in (f"/{note['id']}", "?skipTotal=1"):
            for _ in range(4):  # seen often enough to be learnt
                await client.ask(site.get(path))
    asked.clear()
    unread.clear()
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
    monkeypatch.setattr(http_protocol, "HEAD_TIMEOUT_S", 0.3)
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


async def test_a_write_whose_client_has_gone_before_it_was_sent_is_not_done(site: Site) -> None:
    database = site.server.services.db
    token = await site.server.superuser_token()

    def patch(title: str) -> bytes:
        body = f'{{"title":"{title}"}}'
        lines = (
            f"PATCH /api/collections/notes/records/{site.note} HTTP/1.1",
            "Host: x",
            f"Authorization: {token}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        )
        return "\r\n".join([*lines, "", body]).encode()

    async def until(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110  # only looking tells
                await asyncio.sleep(0.005)

    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(site)) for _ in range(4)]
        for number in range(4):  # seen often enough to be learnt
            assert (await clients[0].ask(patch(f"learning {number}")))[0] == 200
        async with database.transaction() as holding:
            await holding.execute("SELECT 1 FROM notes WHERE id = $1 FOR UPDATE", site.note)
            clients[0].writer.write(patch("sent, and its client goes"))
            await until(lambda: len(database.writes._busy) == 1)
            clients[1].writer.write(patch("sent"))
            await until(lambda: not database.writes._idle)
            clients[2].writer.write(patch("queued, and its client goes"))
            clients[3].writer.write(patch("queued"))
            await until(lambda: database.writes.waiting == 2)
            clients[2].writer.transport.abort()
            await until(lambda: database.writes.waiting == 1)
            clients[0].writer.transport.abort()
        for client in (clients[1], clients[3]):
            assert (await client.answer())[0] == 200
    # Of those two either may be the last.
    assert await database.fetchval("SELECT title FROM notes WHERE id = $1", site.note) in ("sent", "queued")


# Requests whose headers have come before, which are answered unread


async def taken_on(site: Site, client: Client, request: bytes) -> BoundedProtocol:
    """Send a request, and wait until the only connection has taken it on unread."""
    [protocol] = [each for each in site.state.connections if isinstance(each, BoundedProtocol)]
    client.writer.write(request)
    async with asyncio.timeout(20):
        while protocol.short is None:  # noqa: ASYNC110  # only looking tells
            await asyncio.sleep(0)
    return protocol


async def test_a_request_with_known_headers_is_answered_unread_with_the_same_bytes(site: Site) -> None:
    async with connected(site) as client:
        for path in (f"/{site.note}", "?skipTotal=1"):
            unread = await client.ask(site.get(path))
            assert site.unread[-1:] == [site.get(path)]
            site.unread.clear()
            # These headers come for the first time.
            read = await client.ask(site.get(path, f"X-New: {path}"))
            assert site.unread == []
            assert [CHANGING.sub(b"", part) for part in unread[1:]] == [
                CHANGING.sub(b"", part) for part in read[1:]
            ]
            assert unread[0] == read[0] == 200


async def test_headers_are_known_when_they_have_come_twice(site: Site) -> None:
    request = site.get(f"/{site.note}", "User-Agent: somebody")
    async with connected(site) as client:
        for _ in range(4):
            assert (await client.ask(request))[0] == 200
    assert site.unread == [request] * 2


async def test_what_differs_in_anything_but_the_path_is_read(site: Site) -> None:
    known = site.get(f"/{site.note}")
    for request in (
        known.replace(b"GET /api", b"GET  /api"),
        known.replace(b"HTTP/1.1", b"HTTP/1.0"),
        known.replace(b"GET /", b"GET http://x/"),
        known.replace(b"Host: x", b"Host:  x"),
        known.replace(b"/records/", b"/records/%61"),
        known.replace(b" HTTP", b"?a=\xc3\xa9 HTTP"),
        known.replace(b" HTTP", b"#a HTTP"),
        known.replace(b"GET", b"HEAD"),
        b"\r\n" + known,
        known[:-4] + b"\r\nContent-Length: 5\r\n\r\nhello",
    ):
        async with connected(site) as client:
            client.writer.write(request)
            async with asyncio.timeout(20):
                assert (await client.reader.readline()).startswith(b"HTTP/1.1 "), request
        assert site.unread == [], request


async def test_headers_with_which_a_request_is_more_than_its_head_are_never_known(site: Site) -> None:
    for header in (
        "Expect: 100-continue",
        "Upgrade: h2c",
        "Content-Length: 0",
        "Connection: close",
        "Content-Length: 3",
    ):
        body = b"GET" if header.endswith("3") else b""
        for _ in range(4):
            async with connected(site) as client:
                client.writer.write(site.get(f"/{site.note}", header) + body)
                async with asyncio.timeout(20):
                    assert (await client.reader.readline()).startswith(b"HTTP/1.1 "), header
        assert site.unread == [], header


async def test_a_body_that_looks_like_a_request_is_a_body(site: Site) -> None:
    """Also when the answer was there before the body: who reads it as a request lets one client speak for another."""
    smuggled = site.get(f"/{site.note}")
    async with connected(site) as client:
        assert (await client.ask(site.get(f"/{site.note}")))[0] == 200
        site.unread.clear()
        # Much more than it may be: refused by its head.
        size = 1 << 40
        head = (
            f"POST /api/collections/people/auth-with-password HTTP/1.1\r\nHost: x\r\nContent-Length: {size}"
        )
        status, _, _ = await client.ask(f"{head}\r\nContent-Type: application/json\r\n\r\n".encode())
        assert status == 413
        client.writer.write(smuggled)
        await client.writer.drain()
        async with connected(site) as other:
            assert (await other.ask(site.get("/nosuchrecord123")))[0] == 404
        client.writer.write_eof()
        assert await client.rest() == b""
    assert site.unread == [site.get("/nosuchrecord123")]


async def test_a_head_in_pieces_and_requests_behind_one_another_are_answered_in_order(site: Site) -> None:
    one, page = site.get(f"/{site.note}"), site.get("?skipTotal=1")
    async with connected(site) as client:
        for cut in (5, 40, len(one) - 2):
            client.writer.write(one[:cut])
            await client.writer.drain()
            await asyncio.sleep(0.01)
            client.writer.write(one[cut:] + page)
            assert b'"items"' not in (await client.answer())[2]
            assert b'"items"' in (await client.answer())[2]
        assert site.unread == []
        await taken_on(site, client, one)
        client.writer.write(page)
        client.writer.write(one + page)
        kinds = [b'"items"' in (await client.answer())[2] for _ in range(4)]
        assert kinds == [False, True, False, True]
        assert site.unread[0] == one
        # One without an answer of its own is read after all, before what came behind it.
        await taken_on(site, client, site.get("/nosuchrecord123"))
        client.writer.write(page)
        assert [(await client.answer())[0] for _ in range(2)] == [404, 200]


async def test_a_server_that_stops_answers_what_it_has_taken_on(site: Site) -> None:
    rows = site.server.services.db.rows
    async with connected(site) as client:
        assert (await client.ask(site.get(f"/{site.note}")))[0] == 200
        protocol = await taken_on(site, client, site.get(f"/{site.note}"))
        protocol.shutdown()
        status, head, _ = await client.answer()
        assert status == 200
        assert b"\r\nconnection: close\r\n" in head
        assert await client.rest() == b""
    assert rows.waiting == 0


async def test_a_caller_whose_key_has_changed_is_known_no_longer(site: Site) -> None:
    async with connected(site) as client:
        assert (await client.ask(site.get(f"/{site.note}")))[0] == 200
        await site.server.services.db.execute('UPDATE people SET "tokenKey" = "tokenKey" || \'x\'')
        assert (await client.ask(site.get(f"/{site.note}")))[0] == 404


async def test_headers_that_never_come_again_are_not_kept(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct, "MAX_HEADS", 8)
    gateway = site.server.application._gateway
    assert gateway.direct is not None
    async with connected(site) as client:
        for number in range(20):
            assert (await client.ask(site.get(f"/{site.note}", f"X-Number: {number}")))[0] == 200
        assert site.unread == []
        for number in range(20):
            for _ in range(2):
                assert (await client.ask(site.get(f"/{site.note}", f"X-Number: {number}")))[0] == 200
    assert len(gateway.direct._heads) <= 8
    assert len(gateway.direct._sighted) <= 8


@pytest.mark.parametrize("site", [HttpToolsProtocol], indirect=True)
async def test_uvicorn_answers_by_itself_where_nothing_may_lean_on_it(site: Site) -> None:
    async with connected(site) as client:
        for path in (f"/{site.note}", "?skipTotal=1"):
            status, _, body = await client.ask(site.get(path))
            assert status == 200
            assert site.note.encode() in body
    assert (site.asked, site.unread) == ([], [])
