"""A receiver that does what it is told, and a server that may send to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from standardwebhooks import Webhook as Verifier

from groundplane.config import Config, OutgoingConfig
from groundplane.jobs.worker import Worker
from groundplane.testing.server import Server, running

RULES = {f"{action}Rule": "" for action in ("list", "view", "create", "update", "delete")}


class Heard(NamedTuple):
    """One request: names of headers in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def message(self) -> Any:
        return json.loads(self.body)

    @property
    def event(self) -> str:
        return self.headers["webhook-id"]


class Reply(NamedTuple):
    status: int = 204
    headers: Mapping[str, str] = {}
    body: bytes = b""


class Receiver:
    """Listens on a free port of this machine and remembers what it hears.

    `answers` are used up one by one; then `otherwise` holds. A function in their place gets the writer and
    answers itself. `verify` names secrets: a request that none of them signed is answered 401.
    """

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.answers: list[Reply | Callable[[asyncio.StreamWriter], Awaitable[None]]] = []
        self.otherwise: Reply | Callable[[asyncio.StreamWriter], Awaitable[None]] = Reply()
        self.port = 0
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._arrived = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
            for writer in list(self._open):
                writer.transport.abort()
            await server.wait_closed()

    async def until(self, count: int) -> list[Heard]:
        """Wait until so many requests have been heard."""
        async with asyncio.timeout(20):
            while len(self.heard) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return self.heard

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                while await self._one(reader, writer):
                    pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-1])
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.heard.append(Heard(head[0].split(" ")[1], headers, body))
        self._arrived.set()
        answer = self.answers.pop(0) if self.answers else self.otherwise
        if not isinstance(answer, Reply):
            await answer(writer)
            return False
        lines = [f"HTTP/1.1 {answer.status} Whatever", f"content-length: {len(answer.body)}"]
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + answer.body)
        await writer.drain()
        return True


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    started = Receiver()
    await started.start()
    yield started
    await started.stop()


class Hooks:
    """A server with the collection `posts`, a superuser, and what the tests do with webhooks."""

    def __init__(self, server: Server, receiver: Receiver, token: str) -> None:
        self.server = server
        self.services = server.services
        self.receiver = receiver
        self.headers = {"Authorization": token}
        self.worker = Worker(self.services.db, self.services.jobs)

    async def call(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        answer = await self.server.client.request(method, path, json=body, headers=self.headers)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    async def make(self, **values: Any) -> Any:
        """Make a webhook to the receiver for posts; the answer has its secret."""
        # Else some runs of a burst are postponed, and a test would have to wait for them.
        body = {
            "name": "hook",
            "url": self.receiver.url,
            "collections": ["posts"],
            "concurrency": 100,
        } | values
        return await self.call("POST", "/api/webhooks", body)

    async def post(self, **values: Any) -> str:
        record = await self.call("POST", "/api/collections/posts/records", values)
        return str(record["id"])

    async def edit(self, id: str, **values: Any) -> None:
        await self.call("PATCH", f"/api/collections/posts/records/{id}", values)

    async def remove(self, id: str) -> None:
        await self.call("DELETE", f"/api/collections/posts/records/{id}", status=204)

    async def work(self) -> int:
        """Run every job that is due, and return how many runs that took."""
        return await self.worker.run_due()

    async def deliveries(self, id: str, **query: str) -> list[Any]:
        """The deliveries of a webhook, oldest first."""
        asked = "&".join(f"{name}={value}" for name, value in query.items())
        page = await self.call("GET", f"/api/webhooks/{id}/deliveries?{asked}")
        return list(reversed(page["items"]))

    async def delivery(self, id: str, delivery: str) -> Any:
        return await self.call("GET", f"/api/webhooks/{id}/deliveries/{delivery}")

    async def hurry(self) -> None:
        """Have every waiting job due now, as after a long time."""
        await self.services.db.execute(
            "UPDATE _jobs SET run_at = now() - interval '1 s' WHERE state = 'waiting'"
        )


@pytest.fixture
def outgoing() -> OutgoingConfig:
    """What the server may reach; a test module may say otherwise."""
    return OutgoingConfig(allow_http=True, allow_networks=["127.0.0.1"])


@pytest.fixture
def config(tmp_path: Path, outgoing: OutgoingConfig) -> Config:
    return Config(data_dir=str(tmp_path / "data"), outgoing=outgoing)


@pytest.fixture
async def hooks(config: Config, server_database_url: str, receiver: Receiver) -> AsyncIterator[Hooks]:
    async with running(config, server_database_url) as server:
        fields = [
            {"name": "title", "type": "text"},
            {"name": "stars", "type": "number"},
            {"name": "secret", "type": "text", "hidden": True},
        ]
        posts = {"name": "posts", "type": "base", "fields": fields, **RULES}
        await server.services.collections.create(posts)
        yield Hooks(server, receiver, await server.superuser_token())


def verified(heard: Heard, secret: str) -> Any:
    """The message, checked with the reference library."""
    return Verifier(secret).verify(heard.body, heard.headers)


@pytest.fixture
def verify() -> Callable[[Heard, str], Any]:
    return verified


@pytest.fixture
def reply() -> type[Reply]:
    return Reply
