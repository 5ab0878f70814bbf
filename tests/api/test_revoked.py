"""A token that no longer counts is refused by every process from the moment its end was answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import httpx
import pytest

from groundplane.testing.live import LiveServer

PASSWORD = "1234567890"
CONNECTIONS = 12  # enough for each of the two workers to have some


class Site(NamedTuple):
    """A private note of each of three accounts, and clients with a connection of their own each."""

    clients: list[httpx.AsyncClient]
    admin: dict[str, str]
    accounts: list[tuple[str, str]]  # id and token
    notes: list[str]

    async def statuses(self, number: int) -> set[tuple[int, int]]:
        """What the account's token gives on every connection: the status of a view, the length of a list."""
        headers = {"Authorization": self.accounts[number][1]}
        path = "/api/collections/notes/records"

        async def ask(client: httpx.AsyncClient) -> tuple[int, int]:
            found = await client.get(f"{path}/{self.notes[number]}", headers=headers)
            page = await client.get(path, headers=headers)
            return found.status_code, len(page.json()["items"])

        return set(await asyncio.gather(*(ask(client) for client in self.clients)))

    async def warm(self, number: int) -> None:
        """Until every process has learnt the questions and knows the token."""
        for _ in range(5):
            assert await self.statuses(number) == {(200, 1)}


@pytest.fixture
async def site(live_server: LiveServer) -> AsyncIterator[Site]:
    code, output = await live_server.command("superuser", "upsert", "admin@example.com", PASSWORD)
    assert code == 0, output
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(httpx.AsyncClient(base_url=live_server.url, timeout=60))
            for _ in range(CONNECTIONS)
        ]
        identity = {"identity": "admin@example.com", "password": PASSWORD}
        signed_in = await clients[0].post("/api/collections/_superusers/auth-with-password", json=identity)
        admin = {"Authorization": signed_in.json()["token"]}

        async def made(path: str, body: dict[str, Any]) -> Any:
            answer = await clients[0].post(path, json=body, headers=admin)
            assert answer.status_code == 200, answer.text
            return answer.json()

        people = await made("/api/collections", {"name": "people", "type": "auth"})
        owner = {"name": "owner", "type": "relation", "collectionId": people["id"], "maxSelect": 1}
        rule = "@request.auth.id != '' && owner = @request.auth.id"
        await made(
            "/api/collections",
            {"name": "notes", "type": "base", "fields": [owner], "listRule": rule, "viewRule": rule},
        )
        accounts, notes = [], []
        for number in range(3):
            account = {"email": f"p{number}@example.com", "password": PASSWORD, "passwordConfirm": PASSWORD}
            id = (await made("/api/collections/people/records", account))["id"]
            path = f"/api/collections/people/impersonate/{id}"
            accounts.append((id, (await made(path, {"duration": 3600}))["token"]))
            notes.append((await made("/api/collections/notes/records", {"owner": id}))["id"])
        yield Site(clients, admin, accounts, notes)


async def test_a_revoked_token_is_a_guests_in_every_process_at_once(site: Site) -> None:
    for number in range(3):
        await site.warm(number)
    client = site.clients[0]
    # A new password makes a new key,
    changed = await client.patch(
        f"/api/collections/people/records/{site.accounts[0][0]}",
        json={"password": "another-one", "passwordConfirm": "another-one"},
        headers=site.admin,
    )
    assert changed.status_code == 200
    assert await site.statuses(0) == {(404, 0)}
    assert await site.statuses(1) == {(200, 1)}
    # a deleted account has none,
    gone = await client.delete(f"/api/collections/people/records/{site.accounts[1][0]}", headers=site.admin)
    assert gone.status_code == 204
    assert await site.statuses(1) == {(404, 0)}
    assert await site.statuses(2) == {(200, 1)}
    # and a new secret ends all tokens of the collection.
    rotated = await client.patch(
        "/api/collections/people", json={"authToken": {"secret": "s" * 50}}, headers=site.admin
    )
    assert rotated.status_code == 200
    assert await site.statuses(2) == {(404, 0)}
