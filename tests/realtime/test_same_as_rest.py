"""What a client hears is exactly what it could have read at that time: random rules, records and users."""

from __future__ import annotations

import random
from typing import Any

import pytest
from tests.realtime.streams import OPEN, OpenStream, Stream, caller_of

from groundplane.testing.server import Server

RULES = (
    "",
    None,
    "@request.auth.id != ''",
    "author = @request.auth.id",
    "author.name = 'anna' || text ~ '1'",
    "n > 2 && @request.auth.name != 'bert'",
    "tags ?= 'a' || author = @request.auth.id",
    "room.open = true",
    "room.members ?= @request.auth.id",
    "room.talks_via_room.n ?> 3",
    "@collection.rooms.members ?= @request.auth.id && n < 4",
    "author.email = @request.auth.email",
)
FILTERS = ("", "n > 1", "room.open = true", "tags ?= 'b'", "text !~ '2'")


async def make(server: Server, collection: str, **body: Any) -> dict[str, Any]:
    answer = await server.client.post(f"/api/collections/{collection}/records", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


class World:
    """Posts in rooms, users and a guest, each with streams, and a random course of events."""

    def __init__(self, server: Server, seed: int) -> None:
        self.server = server
        self.chance = random.Random(seed)
        self.tokens: dict[str, str] = {"": ""}
        self.ids: dict[str, str] = {}
        self.rooms: list[str] = []
        self.posts: list[str] = []

    async def set_up(self) -> None:
        collections = self.server.services.collections
        await collections.update("users", {"listRule": "", "viewRule": ""})
        members = {"name": "members", "type": "relation", "collectionId": "_pb_users_auth_", "maxSelect": 9}
        rooms = await collections.create(
            {"name": "rooms", "type": "base", "fields": [{"name": "open", "type": "bool"}, members], **OPEN}
        )
        fields = [
            {"name": "n", "type": "number"},
            {"name": "tags", "type": "select", "values": ["a", "b", "c"], "maxSelect": 3},
            {"name": "room", "type": "relation", "collectionId": rooms.id, "cascadeDelete": True},
        ]
        await collections.create(
            {
                "name": "talks",
                "type": "base",
                "fields": [
                    {"name": "text", "type": "text"},
                    {"name": "author", "type": "relation", "collectionId": "_pb_users_auth_"},
                    *fields,
                ],
                **OPEN,
            }
        )
        for name in ("anna", "bert", "cora"):
            person = {
                "email": f"{name}@example.com",
                "password": "1234567890",
                "passwordConfirm": "1234567890",
            }
            self.ids[name] = (await make(self.server, "users", name=name, **person))["id"]
            self.tokens[name] = await self.server.token("users", f"{name}@example.com")
        for _ in range(3):
            await self.make_room()

    async def make_room(self) -> None:
        members = [id for id in self.ids.values() if self.chance.random() < 0.5]
        room = await make(self.server, "rooms", open=self.chance.random() < 0.5, members=members)
        self.rooms.append(room["id"])

    def body(self) -> dict[str, Any]:
        chance = self.chance
        return {
            "text": f"t{chance.randrange(4)}",
            "n": chance.randrange(6),
            "tags": chance.sample(["a", "b", "c"], chance.randrange(3)),
            "author": chance.choice(["", *self.ids.values()]),
            "room": chance.choice(["", *self.rooms]),
        }

    async def readable(self, who: str, filter: str) -> dict[str, dict[str, Any]]:
        headers = {"Authorization": self.tokens[who]} if self.tokens[who] else {}
        query = {"perPage": "500", "filter": filter} if filter else {"perPage": "500"}
        answer = await self.server.client.get("/api/collections/talks/records", params=query, headers=headers)
        if answer.status_code != 200:
            return {}
        return {item["id"]: item for item in answer.json()["items"]}

    async def step(self) -> list[tuple[str, str]]:
        """Do something; returns the (action, record) that happened, in no order."""
        client, path = self.server.client, "/api/collections/talks/records"
        what = self.chance.random()
        if not self.posts or what < 0.35:
            made = await make(self.server, "talks", **self.body())
            self.posts.append(made["id"])
            return [("create", made["id"])]
        if what < 0.6:
            id = self.chance.choice(self.posts)
            assert (await client.patch(f"{path}/{id}", json=self.body())).status_code == 200
            return [("update", id)]
        if what < 0.75:
            id = self.posts.pop(self.chance.randrange(len(self.posts)))
            assert (await client.delete(f"{path}/{id}")).status_code == 204
            return [("delete", id)]
        if what < 0.88 or len(self.rooms) < 2:
            room = self.chance.choice(self.rooms)
            change = {"open": self.chance.random() < 0.5}
            assert (
                await client.patch(f"/api/collections/rooms/records/{room}", json=change)
            ).status_code == 200
            return []
        room = self.rooms.pop()
        everything = await in_room(self.server, room)
        assert (await client.delete(f"/api/collections/rooms/records/{room}")).status_code == 204
        self.posts = [id for id in self.posts if id not in everything]
        return [("delete", id) for id in everything]


async def in_room(server: Server, room: str) -> list[str]:
    rows = await server.services.db.fetch("SELECT id FROM talks WHERE room = $1", room)
    return [row["id"] for row in rows]


@pytest.mark.parametrize("seed", range(2))
async def test_clients_hear_what_they_could_have_read(
    server: Server, posts: str, open_stream: OpenStream, seed: int
) -> None:
    await compare(server, open_stream, seed, steps=8)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 14))
async def test_clients_hear_what_they_could_have_read_at_length(
    server: Server, posts: str, open_stream: OpenStream, seed: int
) -> None:
    await compare(server, open_stream, seed, steps=20)


async def compare(server: Server, open_stream: OpenStream, seed: int, *, steps: int) -> None:
    world = World(server, seed)
    await world.set_up()
    for _ in range(2):
        rule = world.chance.choice(RULES)
        await server.services.collections.update("talks", {"listRule": rule})
        streams: dict[tuple[str, str], Stream] = {}
        for who in world.tokens:
            caller = await caller_of(server, "users", f"{who}@example.com") if who else None
            for filter in world.chance.sample(FILTERS, 2):
                topic = 'talks/*?options={"query":{"filter":"' + filter + '"}}' if filter else "talks/*"
                streams[who, filter] = await open_stream(topic, caller=caller)
        for _ in range(steps):
            before = {key: await world.readable(*key) for key in streams}
            happened = await world.step()
            after = {key: await world.readable(*key) for key in streams}
            for key, stream in streams.items():
                expected = sorted(
                    (action, id)
                    for action, id in happened
                    if id in (before if action == "delete" else after)[key]
                )
                heard = await stream.heard_records()
                assert sorted((action, record["id"]) for action, record in heard) == expected, (rule, key)
                for action, record in heard:
                    assert record == (before if action == "delete" else after)[key][record["id"]]
        for stream in streams.values():
            server.services.realtime.clients.close(stream.client)
