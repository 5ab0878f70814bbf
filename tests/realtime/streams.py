"""A stream as a test reads it, without HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from groundplane.context import Caller
from groundplane.realtime.clients import Client
from groundplane.testing.server import Server

LIMIT_S = 15
OPEN = {f"{action}Rule": "" for action in ("list", "view", "create", "update", "delete")}


class Message(NamedTuple):
    """One event as a client gets it."""

    event: str
    data: dict[str, Any]


class Stream:
    """A client's end: messages in their order."""

    def __init__(self, server: Server, client: Client) -> None:
        self.server = server
        self.client = client
        self.text = ""
        self.messages: list[Message] = []
        self.taken = 0

    async def subscribe(self, *topics: str, caller: Caller | None = None) -> None:
        await self.server.services.streams.subscribe(self.client.id, self.client.ip, caller, topics)

    async def next(self) -> Message:
        """The next message that was not asked for yet."""
        async with asyncio.timeout(LIMIT_S):
            while len(self.messages) == self.taken:
                frames = await self.client.frames()
                assert frames is not None, "the stream ended"
                self.read(frames)
        self.taken += 1
        return self.messages[self.taken - 1]

    def read(self, frames: bytes) -> None:
        for frame in frames.decode().split("\n\n"):
            lines = dict(
                line.split(":", 1) for line in frame.split("\n") if not line.startswith(":") and line
            )
            if lines:
                assert lines["id"] == self.client.id
                self.messages.append(Message(lines["event"], json.loads(lines["data"])))

    async def heard(self) -> list[tuple[str, str, Any]]:
        """What came until now: (topic, action, text)."""
        return [
            (each.event, each.data["action"], each.data["record"].get("text"))
            for each in await self.until_now()
        ]

    async def heard_records(self) -> list[tuple[str, dict[str, Any]]]:
        """What came until now: (action, record)."""
        return [(each.data["action"], each.data["record"]) for each in await self.until_now()]

    async def until_now(self) -> list[Message]:
        """What comes before a record of `marks` that is made now."""
        mark = (await self.server.client.post("/api/collections/marks/records", json={})).json()["id"]
        found: list[Message] = []
        while True:
            message = await self.next()
            record = message.data.get("record", {})
            if record.get("collectionName") != "marks":
                found.append(message)
            elif record["id"] == mark:
                return found


OpenStream = Callable[..., Awaitable[Stream]]


async def caller_of(server: Server, collection: str, email: str) -> Caller:
    token = await server.token(collection, email)
    found = await server.services.auth.callers.caller(token)
    assert found is not None
    return found
