"""The same stream over a WebSocket: same messages, same limits, and wishes on the socket itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from groundplane.testing.live import LiveServer
from groundplane.testing.server import on_database

pytestmark = pytest.mark.asyncio(loop_scope="module")
LIMIT_S = 30
KEEP_ALIVE_S = 1
CONFIG = f"""
[server]
keep_alive_s = {KEEP_ALIVE_S}
allowed_origins = ["https://app.example"]

[realtime.channels.lobby]
join = ""
send = ""
presence = ""

[[collections]]
name = "posts"
listRule = "owner = '' || owner = @request.auth.id"
createRule = ""

[collections.fields.text]
type = "text"

[collections.fields.owner]
type = "text"

[collections.fields.blob]
type = "json"
"""
POSTS = "/api/collections/posts/records"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory, postgres_url: str) -> AsyncIterator[LiveServer]:
    name = f"sockets_{os.getpid()}"
    connection = await asyncpg.connect(postgres_url)
    await connection.execute(f'CREATE DATABASE "{name}"')
    await connection.close()
    url = on_database(postgres_url, name)
    async with LiveServer(tmp_path_factory.mktemp("sockets"), url, workers=2, config=CONFIG) as server:
        yield server


def opened(served: LiveServer, query: str = "", **more: Any) -> connect:
    return connect(f"{served.url.replace('http', 'ws', 1)}/api/realtime/ws{query}", **more)


def handshake(url: httpx.URL) -> bytes:
    """The request for a socket, for those who do without a client."""
    return (
        f"GET /api/realtime/ws HTTP/1.1\r\nHost: {url.host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    ).encode()


async def told(stream: ClientConnection) -> Any:
    async with asyncio.timeout(LIMIT_S):
        return json.loads(await stream.recv())


async def subscribe(stream: ClientConnection, *topics: str, token: str = "") -> Any:
    """Say what is to be heard; returns the answer."""
    await stream.send(json.dumps({"subscriptions": topics, "token": token}))
    return await told(stream)


async def make(served: LiveServer, **values: str) -> Any:
    answer = await served.client.post(POSTS, json=values)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_the_messages_are_those_of_the_other_stream(served: LiveServer) -> None:
    async with opened(served) as stream:
        hello = await told(stream)
        assert hello["event"] == "PB_CONNECT"
        assert len(hello["data"]["clientId"]) == 40
        assert await subscribe(stream, "posts/*") == {"event": "@subscribed", "data": {}}
        made = await make(served, text='a "quoted" ü')
        message = await told(stream)
        cursor = message["data"].pop("cursor")
        assert message == {"event": "posts/*", "data": {"record": made, "action": "create"}}
    missed = await make(served, text="b")
    async with opened(served, f"?since={cursor}") as stream:
        await told(stream)
        assert (await subscribe(stream, "posts/*"))["data"]["record"] == missed
        replay = await told(stream)
        assert (replay["event"], replay["data"]["complete"]) == ("@replay", True)
        assert (await told(stream))["event"] == "@subscribed"


async def test_the_stream_is_found_by_ordinary_requests_as_long_as_it_is_open(served: LiveServer) -> None:
    async with opened(served) as stream:
        body = {"clientId": (await told(stream))["data"]["clientId"], "subscriptions": ["posts/*"]}
        assert (await served.client.post("/api/realtime", json=body)).status_code == 204
        made = await make(served, text="a")
        assert (await told(stream))["data"]["record"] == made
    async with asyncio.timeout(LIMIT_S):
        # The server learns of the end a moment later.
        while (await served.client.post("/api/realtime", json=body)).status_code != 404:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_it_outlives_the_time_that_an_idle_connection_has(served: LiveServer) -> None:
    url = httpx.URL(served.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(f"GET /api/health HTTP/1.1\r\nHost: {url.host}\r\n\r\n".encode())
    assert b'"code":200' in await reader.readuntil(b"}")
    writer.write(handshake(url))
    async with asyncio.timeout(LIMIT_S):
        await reader.readuntil(b"101 Switching Protocols")
        await reader.readuntil(b"PB_CONNECT")
        await reader.readuntil(b"}}")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2 * KEEP_ALIVE_S):
            await reader.read(1)
    writer.close()


async def test_who_asks_is_the_token_of_the_message_or_of_the_request(served: LiveServer) -> None:
    account = {"email": "ann@example.com", "password": "1234567890", "passwordConfirm": "1234567890"}
    ann = (await served.client.post("/api/collections/users/records", json=account)).json()
    signing = {"identity": account["email"], "password": account["password"]}
    answer = await served.client.post("/api/collections/users/auth-with-password", json=signing)
    token = answer.json()["token"]
    async with (
        opened(served) as by_message,
        opened(served, additional_headers={"Authorization": token}) as by_request,
        opened(served) as guest,
    ):
        for stream in (by_message, by_request, guest):
            assert (await told(stream))["event"] == "PB_CONNECT"
        assert (await subscribe(by_message, "posts/*", token=token))["event"] == "@subscribed"
        assert (await subscribe(by_request, "posts/*"))["event"] == "@subscribed"
        assert (await subscribe(guest, "posts/*", token="rubbish"))["event"] == "@subscribed"
        for owner in (ann["id"], ""):
            await make(served, text="new", owner=owner)
        for stream in (by_message, by_request):
            assert [(await told(stream))["data"]["record"]["owner"] for _ in range(2)] == [ann["id"], ""]
        assert (await told(guest))["data"]["record"]["owner"] == ""
        refused = await subscribe(by_message, "posts/*")
        assert (refused["event"], refused["data"]["status"]) == ("@error", 403)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "[]",
        '{"subscriptions": "posts/*"}',
        '{"subscriptions": [1]}',
        b'{"subscriptions": []}',
        json.dumps({"subscriptions": ["x"] * 1001}),
        json.dumps({"subscriptions": ["x" * 2501]}),
    ],
)
async def test_a_message_that_cannot_be_understood_is_answered_and_costs_nothing(
    served: LiveServer, message: str | bytes
) -> None:
    async with opened(served) as stream:
        await told(stream)
        await stream.send(message)
        answer = await told(stream)
        assert (answer["event"], answer["data"]["status"]) == ("@error", 400)
        assert (await subscribe(stream, "posts/*"))["event"] == "@subscribed"


async def test_channels_are_spoken_to_on_the_socket_itself(served: LiveServer) -> None:
    async with opened(served) as one, opened(served) as two:
        for stream in (one, two):
            await told(stream)
            await stream.send('{"subscriptions":["@channel/lobby"]}')
            # In this order: it is in before it hears that its wish was done.
            assert [(await told(stream))["event"] for _ in range(2)] == ["@channel/lobby", "@subscribed"]
        # It may have come to the other worker, where nobody has heard of it yet.
        async with asyncio.timeout(LIMIT_S):
            while (message := await told(one))["data"]["action"] != "presence":
                pass
        assert len(message["data"]["joined"]) == 1
        await one.send('{"send":{"channel":"lobby","event":"wave","data":{"to":"all"}}}')
        assert (await told(one))["event"] == "@sent"
        while (message := await told(two))["data"]["action"] != "message":
            pass
        assert (message["data"]["event"], message["data"]["data"]) == ("wave", {"to": "all"})
        await two.send('{"show":{"channel":"lobby","state":{"away":true}}}')
        while (message := await told(one))["data"].get("updated", []) == []:
            pass
        assert message["data"]["updated"][0]["state"] == {"away": True}
        for wrong, status in (
            ('{"send":{"event":"x"}}', 400),
            ('{"send":{"channel":"other"}}', 403),
            ('{"show":{"channel":"lobby","state":1}}', 400),
            ("{}", 400),
        ):
            await one.send(wrong)
            answer = await told(one)
            assert (answer["event"], answer["data"]["status"]) == ("@error", status)


async def test_a_message_that_is_too_long_ends_the_stream(served: LiveServer) -> None:
    async with opened(served) as stream:
        await told(stream)
        with pytest.raises(ConnectionClosed):
            await subscribe(stream, "x" * (4 * 1024 * 1024))
        assert stream.close_code == 1009


async def test_who_does_not_read_is_dropped(served: LiveServer) -> None:
    url = httpx.URL(served.url)
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect((url.host, url.port))
        raw.sendall(handshake(url))
        begun = b""
        while b"}}" not in begun:
            begun += raw.recv(1)
        client_id = json.loads(begun[begun.index(b'{"event"') :])["data"]["clientId"]
        body = {"clientId": client_id, "subscriptions": ["posts/*"]}
        assert (await served.client.post("/api/realtime", json=body)).status_code == 204
        async with asyncio.timeout(LIMIT_S):
            while (await served.client.post("/api/realtime", json=body)).status_code == 204:
                await make(served, blob="x" * 900_000)
        # The connection is cut, what waited in it is not waited for.
        raw.settimeout(LIMIT_S)
        with contextlib.suppress(ConnectionResetError):
            while raw.recv(1 << 20):
                pass


async def test_pages_of_other_sites_may_not_open_it(served: LiveServer) -> None:
    for origin in ("https://app.example", served.url):
        async with opened(served, origin=origin) as stream:
            assert (await told(stream))["event"] == "PB_CONNECT"
    with pytest.raises(InvalidStatus) as refused:
        async with opened(served, origin="https://evil.example"):
            pass
    assert refused.value.response.status_code == 403
    assert json.loads(refused.value.response.body)["status"] == 403


async def test_nothing_else_is_a_websocket_and_this_is_nothing_else(served: LiveServer) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"{served.url.replace('http', 'ws', 1)}/api/health"):
            pass
    assert refused.value.response.status_code == 404
    assert (await served.client.get("/api/realtime/ws")).status_code == 404


async def test_a_stop_ends_it_with_a_reason(served: LiveServer) -> None:
    async with opened(served) as stream:
        await told(stream)
        stopping = asyncio.create_task(served.stop())
        with pytest.raises(ConnectionClosed):
            await told(stream)
        assert stream.close_code in (1001, 1012)
        assert await stopping == 0
