"""Over HTTP: what the short way answers is what the ordinary way would, and a revoked token is refused at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from groundplane.testing.server import Server

RULE = "public = true || owner = @request.auth.id"


async def prepared(server: Server) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Two accounts as (id, token), and headers of a superuser; notes that only their owners see."""
    headers = {"Authorization": await server.superuser_token()}
    client = server.client
    people = (
        await client.post("/api/collections", json={"name": "people", "type": "auth"}, headers=headers)
    ).json()
    fields = [
        {"name": "title", "type": "text"},
        {"name": "public", "type": "bool"},
        {"name": "owner", "type": "relation", "collectionId": people["id"], "maxSelect": 1},
    ]
    body = {"name": "notes", "type": "base", "fields": fields, "createRule": "owner = @request.auth.id"}
    body |= {"listRule": RULE, "viewRule": RULE}
    assert (await client.post("/api/collections", json=body, headers=headers)).status_code == 200
    accounts = []
    for number in range(2):
        account = {
            "email": f"p{number}@example.com", "password": "1234567890", "passwordConfirm": "1234567890"
        }  # fmt: skip
        made = (await client.post("/api/collections/people/records", json=account, headers=headers)).json()
        accounts.append((made["id"], await server.token("people", account["email"])))
    return accounts, headers


async def create(server: Server, owner: str, token: str, title: str = "x") -> Any:
    return await server.client.post(
        "/api/collections/notes/records",
        json={"title": title, "owner": owner},
        headers={"Authorization": token},
    )


async def test_every_way_gives_the_same_answer(server: Server) -> None:
    (first, second), _ = await prepared(server)
    answers = [await create(server, first[0], first[1], f"n{number}") for number in range(8)]
    assert [answer.status_code for answer in answers] == [200] * 8
    assert {tuple(answer.json()) for answer in answers} == {
        ("collectionId", "collectionName", "id", "owner", "public", "title")
    }
    id = answers[0].json()["id"]
    views = [
        await server.client.get(f"/api/collections/notes/records/{id}", headers={"Authorization": first[1]})
        for _ in range(6)
    ]
    assert {view.content for view in views} == {answers[0].content}
    assert {view.headers["etag"] for view in views} == {answers[0].headers["etag"]}
    assert len({frozenset(view.headers) for view in views}) == 1
    for token, count in ((first[1], 8), (second[1], 0), ("", 0)):
        headers = {"Authorization": token} if token else {}
        for query in ("", "?filter=title!='n3'&perPage=3&page=2&sort=-title", "?skipTotal=1"):
            pages = [
                await server.client.get(f"/api/collections/notes/records{query}", headers=headers)
                for _ in range(5)
            ]
            assert len({page.content for page in pages}) == 1
            assert pages[0].status_code == 200
        assert pages[0].json()["items"].__len__() == count
        found = await server.client.get(f"/api/collections/notes/records/{id}", headers=headers)
        assert found.status_code == (200 if count else 404)
        refused = await create(server, second[0] if count else first[0], token)
        assert refused.status_code == 400
    head = await server.client.head(
        f"/api/collections/notes/records/{id}", headers={"Authorization": first[1]}
    )
    assert head.status_code == 200
    assert head.content == b""


async def test_a_revoked_token_is_a_guests_at_once(server: Server) -> None:
    (first, second), headers = await prepared(server)
    note = (await create(server, first[0], first[1])).json()["id"]
    client, mine = server.client, {"Authorization": first[1]}
    for _ in range(5):
        assert (await client.get(f"/api/collections/notes/records/{note}", headers=mine)).status_code == 200
        assert len((await client.get("/api/collections/notes/records", headers=mine)).json()["items"]) >= 1
        assert (await create(server, first[0], first[1])).status_code == 200
    password = {"password": "another-password", "passwordConfirm": "another-password"}
    changed = await client.patch(
        f"/api/collections/people/records/{first[0]}", json=password, headers=headers
    )
    assert changed.status_code == 200
    assert (await client.get(f"/api/collections/notes/records/{note}", headers=mine)).status_code == 404
    assert (await client.get("/api/collections/notes/records", headers=mine)).json()["items"] == []
    assert (await create(server, first[0], first[1])).status_code == 400
    other = {"Authorization": second[1]}
    assert (await client.get("/api/collections/notes/records", headers=other)).status_code == 200
    gone = await client.delete(f"/api/collections/people/records/{second[0]}", headers=headers)
    assert gone.status_code == 204
    assert (await create(server, second[0], second[1])).status_code == 400


async def test_nobody_gets_the_answer_of_another(server: Server) -> None:
    accounts, _ = await prepared(server)
    notes = {
        id: [(await create(server, id, token, f"{id} {number}")).json()["id"] for number in range(20)]
        for id, token in accounts
    }

    async def view(asker: int, owner: int, number: int) -> None:
        id, token = accounts[asker]
        owner_id = accounts[owner][0]
        answer = await server.client.get(
            f"/api/collections/notes/records/{notes[owner_id][number]}", headers={"Authorization": token}
        )
        if asker == owner:
            assert answer.json()["title"] == f"{id} {number}"
        else:
            assert answer.status_code == 404

    await asyncio.gather(
        *(view(asker, owner, number) for asker in (0, 1) for owner in (0, 1) for number in range(20))
    )


async def test_a_changed_rule_counts_at_once(server: Server) -> None:
    (first, second), headers = await prepared(server)
    note = (await create(server, first[0], first[1])).json()["id"]
    path = f"/api/collections/notes/records/{note}"
    for _ in range(4):
        assert (await server.client.get(path, headers={"Authorization": second[1]})).status_code == 404
    for rule, status in (("", 200), (RULE, 404), ("@request.auth.id != ''", 200), (None, 403)):
        changed = await server.client.patch(
            "/api/collections/notes", json={"viewRule": rule}, headers=headers
        )
        assert changed.status_code == 200
        for _ in range(4):
            found = await server.client.get(path, headers={"Authorization": second[1]})
            assert found.status_code == status


async def test_reads_stay_quick_and_are_counted_one_by_one_under_rate_limits(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, second), headers = await prepared(server)
    note = (await create(server, first[0], first[1])).json()["id"]
    path, mine = f"/api/collections/notes/records/{note}", {"Authorization": first[1]}
    before = [await server.client.get(path, headers=mine) for _ in range(4)]
    rules = [{"label": "notes:view", "audience": "@auth", "duration": 600, "maxRequests": 20}]
    changed = await server.client.patch(
        "/api/settings", json={"rateLimits": {"enabled": True, "rules": rules}}, headers=headers
    )
    assert changed.status_code == 200
    ordinary: list[str] = []

    async def noted(*_: Any) -> Any:
        ordinary.append("asked")

    for _ in range(4):
        assert (await server.client.get(path, headers=mine)).content == before[0].content
    monkeypatch.setattr(server.services.records, "view", noted)
    answers = await asyncio.gather(*(server.client.get(path, headers=mine) for _ in range(40)))
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(200), statuses.count(429)) == (16, 24)
    assert {answer.content for answer in answers if answer.status_code == 200} == {before[0].content}
    assert ordinary == []
    # All who sign in from one address share its window.
    assert (await server.client.get(path, headers={"Authorization": second[1]})).status_code == 429
