"""Files that the system sends by itself: whole and in parts, to clients that are slow or go away."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from groundplane.api.realtime import CONNECTION
from groundplane.files.disks import is_at_hand, is_cached
from groundplane.files.local import LocalFiles
from groundplane.sent_file import sent_file
from groundplane.testing.file_storage import chunks, read_all
from groundplane.testing.live import LiveServer
from groundplane.testing.server import Server

CONTENT = os.urandom(5_000_003)
CONFIG = """
[[collections]]
name = "docs"
createRule = ""
[collections.fields]
file = {type = "file", maxSize = 20000000}
"""


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[asyncio.Transport, socket.socket]]:
    """A transport of a server, and the socket of its client."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Future[Any] = loop.create_future()

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            arrived.set_result(transport)

    server = await loop.create_server(Protocol, "127.0.0.1", 0)
    async with server:
        client = socket.socket()
        client.setblocking(False)
        await loop.sock_connect(client, server.sockets[0].getsockname())
        transport = await arrived
        try:
            yield transport, client
        finally:
            client.close()
            transport.abort()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    return path


async def received(client: socket.socket, length: int) -> bytes:
    found = bytearray()
    while len(found) < length:
        piece = await asyncio.get_running_loop().sock_recv(client, 100_000)
        if not piece:
            break
        found += piece
    return bytes(found)


@pytest.mark.parametrize("cached", [True, False], ids=["from the cache", "from the disk"])
async def test_parts_of_a_file_follow_what_was_written(
    file: Path, monkeypatch: pytest.MonkeyPatch, cached: bool
) -> None:
    if not cached:
        monkeypatch.setattr("groundplane.sent_file.is_cached", lambda *_: False)
    async with connected() as (transport, client):
        with file.open("rb") as opened:
            transport.write(b"head")
            reading = asyncio.create_task(received(client, 4 + len(CONTENT) + 10))
            await sent_file(transport, opened.fileno(), 0, len(CONTENT))
            await sent_file(transport, opened.fileno(), 100, 10)
        assert await reading == b"head" + CONTENT + CONTENT[100:110]


async def test_who_reads_nothing_is_waited_for_and_who_goes_away_is_not(file: Path) -> None:
    async with connected() as (transport, client):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with file.open("rb") as opened:
            sending = asyncio.create_task(sent_file(transport, opened.fileno(), 0, len(CONTENT)))
            await received(client, 10_000)
            assert not sending.done()
            client.close()
            with pytest.raises(OSError):  # noqa: PT011  # broken pipe, or reset
                await sending
        assert transport.is_closing()


async def test_a_file_that_is_shorter_than_it_was_ends_the_connection(file: Path) -> None:
    async with connected() as (transport, client):
        with file.open("rb") as opened:
            reading = asyncio.create_task(received(client, 2 * len(CONTENT)))
            with pytest.raises(ConnectionAbortedError):
                await sent_file(transport, opened.fileno(), len(CONTENT) - 5, 10)
        with pytest.raises(ConnectionResetError):
            await sent_file(transport, 0, 0, 1)
        reading.cancel()


def test_what_is_mounted_from_elsewhere_is_not_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mountinfo"
    line = "{} 1 0:1 / {} rw,relatime shared:1 - {} source rw\n"
    places = [("/", "overlay"), (f"{tmp_path}/net work", "nfs4"), (f"{tmp_path}/net work/disk", "ext4")]
    lines = [line.format(n, place.replace(" ", "\\040"), kind) for n, (place, kind) in enumerate(places)]
    mounts.write_text("".join(lines))
    monkeypatch.setattr("groundplane.files.disks.MOUNTS", mounts)
    assert is_at_hand(tmp_path / "storage")
    assert not is_at_hand(tmp_path / "net work" / "storage")
    assert is_at_hand(tmp_path / "net work" / "disk")
    assert is_at_hand(tmp_path / "net workers")
    monkeypatch.setattr("groundplane.files.disks.MOUNTS", tmp_path / "none")
    assert not is_at_hand(tmp_path)


async def test_a_folder_that_is_not_at_hand_is_read_by_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("groundplane.files.local.is_at_hand", lambda _: False)
    storage = LocalFiles(tmp_path)
    await storage.put("c/r/a", chunks(b"x"))
    assert (await storage.stat("c/r/a")).path == ""
    assert await read_all(storage, "c/r/a") == b"x"


def test_nobody_waits_to_learn_what_is_cached(file: Path) -> None:
    with file.open("rb") as opened:
        opened.read()
        # Where the system cannot tell, the answer is no.
        assert is_cached(opened.fileno(), 0) in (True, False)
        assert not is_cached(opened.fileno(), len(CONTENT))
    assert not is_cached(-1, 0)


class Connection:
    """Stands for the connection of our HTTP server."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    async def send_file(self, file: int, start: int, length: int) -> None:
        self.sent.append(os.pread(file, length, start))


async def test_files_of_the_folder_are_left_to_the_connection_where_it_can_send_them(server: Server) -> None:
    fields = [{"name": "file", "type": "file", "maxSize": 20_000_000}]
    await server.services.collections.create(
        {"name": "docs", "type": "base", "fields": fields, "createRule": ""}
    )
    files = [("file", ("a.txt", CONTENT))]
    record = (await server.client.post("/api/collections/docs/records", files=files)).json()
    connection = Connection()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await server.application({**scope, CONNECTION: connection}, receive, send)

    transport = httpx.ASGITransport(application)
    path = f"/api/files/docs/{record['id']}/{record['file']}"
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        for asked, sent in (
            ({}, [CONTENT]),
            ({"Range": "bytes=10-999999"}, [CONTENT[10:1_000_000]]),
            ({"Range": "bytes=10-999999,-1"}, [CONTENT[10:1_000_000], CONTENT[-1:]]),
            # Little is read and written as ever.
            ({"Range": "bytes=2-4,-1"}, []),
            ({"Range": "bytes=9999999-"}, []),
            ({"If-None-Match": "*"}, []),
        ):
            connection.sent.clear()
            await client.get(path, headers=asked)
            assert connection.sent == sent
        connection.sent.clear()
        await client.head(path)
        assert connection.sent == []
        # What is gone is an answer, not a connection that breaks.
        for each in Path(server.services.config.files_folder).rglob("*.txt"):
            each.unlink()
        assert (await client.get(path)).status_code == 404


async def test_a_server_sends_files_whole_and_in_parts_on_one_connection(
    server_database_url: str, tmp_path: Path
) -> None:
    async with LiveServer(tmp_path, server_database_url, config=CONFIG, workers=1) as live:
        made = await live.client.post("/api/collections/docs/records", files={"file": ("a.bin", CONTENT)})
        path = f"/api/files/docs/{made.json()['id']}/{made.json()['file']}"
        limits = httpx.Limits(max_connections=1)
        async with httpx.AsyncClient(base_url=live.url, limits=limits, timeout=60) as client:
            for _ in range(3):
                answer = await client.get(path)
                assert (answer.status_code, answer.content == CONTENT) == (200, True)
                part = await client.get(path, headers={"Range": "bytes=1000000-3999999"})
                assert (part.status_code, part.content == CONTENT[1_000_000:4_000_000]) == (206, True)
                several = await client.get(path, headers={"Range": "bytes=0-9,4000000-4999999,-5"})
                assert len(several.content) == int(several.headers["content-length"])
                assert CONTENT[4_000_000:5_000_000] in several.content
                head = await client.head(path)
                assert (head.headers["content-length"], head.content) == (str(len(CONTENT)), b"")
                assert (await client.get("/api/health")).status_code == 200
        # Some go away in the middle; nobody else notices.
        async with httpx.AsyncClient(base_url=live.url, timeout=60) as client:
            for _ in range(5):
                async with client.stream("GET", path) as leaving:
                    await anext(leaving.aiter_bytes(1000))
            answers = await asyncio.gather(*(client.get(path) for _ in range(8)))
            assert all(answer.content == CONTENT for answer in answers)
        assert await live.stop() == 0
    assert b"Traceback" not in live.output
