"""The message about a change: what it says, and what it never says."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from groundplane.events.changes import Change, ChangeAction
from groundplane.events.envelope import body, envelope
from groundplane.schema.collection import Collection
from groundplane.testing.server import Server

FIELDS = [
    {"name": "title", "type": "text"},
    {"name": "views", "type": "number"},
    {"name": "ratio", "type": "number"},
    {"name": "data", "type": "json"},
    {"name": "place", "type": "geoPoint"},
    {"name": "when", "type": "date"},
    {"name": "tags", "type": "select", "values": ["a", "b"], "maxSelect": 2},
    {"name": "inner", "type": "text", "hidden": True},
    {"name": "code", "type": "password"},
]
VALUES = {
    "title": "Ä\n",
    "views": 3,
    "ratio": 1e-7,
    "data": {"b": 10**20, "a": 1.50},
    "place": {"lon": 1.5, "lat": -2},
    "when": "2030-01-02 03:04:05.678Z",
    "tags": ["b", "a"],
    "inner": "x",
    "code": "1234567890",
}


class Ear:
    def __init__(self) -> None:
        self.heard: list[Change] = []

    def concerns(self, collection: Collection, action: ChangeAction) -> bool:
        return collection.name in ("things", "users")

    async def changed(self, change: Change) -> None:
        self.heard.append(change)


@pytest.fixture
async def ear(server: Server) -> Ear:
    rules = dict.fromkeys(("listRule", "viewRule", "createRule", "updateRule", "deleteRule"), "")
    await server.services.collections.create({"name": "things", "type": "base", "fields": FIELDS, **rules})
    listener = Ear()
    server.services.changes.listeners.append(listener)
    return listener


async def sent(server: Server, method: str, path: str, **values: Any) -> dict[str, Any]:
    answer = await server.client.request(method, f"/api/collections/{path}", json=values)
    assert answer.status_code == 200, answer.text
    record: dict[str, Any] = answer.json()
    return record


def read(change: Change, **options: Any) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(body(envelope(change, **options)))
    return message


async def test_the_record_is_the_one_that_the_api_answers_with(server: Server, ear: Ear) -> None:
    record = await sent(server, "POST", "things/records", **VALUES)
    answer = await server.client.get(f"/api/collections/things/records/{record['id']}")
    [change] = ear.heard
    message = read(change)
    assert message["id"] == change.id
    assert message["type"] == "record.created"
    assert message["timestamp"] == f"{change.at:%Y-%m-%dT%H:%M:%S}.{change.at.microsecond // 1000:03}Z"
    assert message["data"] == {"collection": "things", "record": record, "caller": None}
    # Not only equal numbers: the same digits.
    text = msgspec.json.encode(envelope(change)["data"]["record"]).decode()
    assert [part in text for part in ('"views":3,', '"ratio":1e-7,', '"b":100000000000000000000')] == [
        True
    ] * 3
    assert json.loads(text) == answer.json()
    assert "inner" not in text
    assert "argon2" not in text


async def test_an_update_says_what_is_different_and_what_there_was(server: Server, ear: Ear) -> None:
    before = await sent(server, "POST", "things/records", **VALUES)
    after = await sent(server, "PATCH", f"things/records/{before['id']}", title="new", inner="y")
    data = read(ear.heard[1])["data"]
    assert (data["record"], data["before"], data["changed"]) == (after, before, ["title"])
    data = read(ear.heard[1], fields=["views", "inner"], before=False)["data"]
    assert data == {
        "collection": "things",
        "record": {name: after[name] for name in ("collectionId", "collectionName", "id", "views")},
        "changed": [],
        "caller": None,
    }


async def test_an_account_has_its_address_and_none_of_its_secrets(server: Server, ear: Ear) -> None:
    passwords = {"password": "1234567890", "passwordConfirm": "1234567890"}
    await sent(server, "POST", "users/records", email="ann@example.com", **passwords)
    record = read(ear.heard[0])["data"]["record"]
    assert record["email"] == "ann@example.com"
    assert {"password", "tokenKey"} & record.keys() == set()


async def test_what_is_too_large_is_left_out_and_that_is_said(server: Server, ear: Ear) -> None:
    record = await sent(server, "POST", "things/records", title="x" * 400)
    await sent(server, "PATCH", f"things/records/{record['id']}", title="y" * 400)
    message = envelope(ear.heard[1])
    assert "partial" not in json.loads(body(message))["data"]
    smaller = json.loads(body(message, max_bytes=1000))["data"]
    assert smaller["partial"]
    assert "before" not in smaller
    assert smaller["record"]["title"] == "y" * 400
    smallest = json.loads(body(message, max_bytes=500))["data"]
    assert smallest["partial"]
    assert smallest["record"].keys() == {"collectionId", "collectionName", "id"}
    assert len(json.dumps(smallest)) < 500
