"""How many connections and streams a worker takes: each has a limit of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from groundplane.testing.live import LiveServer

LIMIT_S = 30
CONFIG = """
[server]
max_connections = 3

[realtime]
max_clients = 6
"""


@pytest.fixture
async def served(server_database_url: str, tmp_path: Path) -> AsyncIterator[LiveServer]:
    async with LiveServer(tmp_path / "live", server_database_url, workers=1, config=CONFIG) as server:
        yield server


async def opened(url: httpx.URL, path: str) -> tuple[bytes, asyncio.StreamWriter]:
    """Ask on a connection of its own; returns the head of the answer."""
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {url.host}\r\n\r\n".encode())
    async with asyncio.timeout(LIMIT_S):
        return await reader.readuntil(b"\r\n\r\n"), writer


async def test_streams_leave_room_for_requests_and_requests_for_streams(served: LiveServer) -> None:
    url = httpx.URL(served.url)
    writers = []
    try:
        for _ in range(6):
            head, writer = await opened(url, "/api/realtime")
            assert b" 200 OK" in head
            writers.append(writer)
        head, writer = await opened(url, "/api/realtime")
        assert b" 503 " in head
        writer.close()
        heads = []
        for _ in range(5):
            head, writer = await opened(url, "/api/health")
            heads.append(b" 200 OK" in head)
            writers.append(writer)
        assert heads[0]
        assert not heads[-1]
    finally:
        for writer in writers:
            writer.close()
