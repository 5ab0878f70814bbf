"""Changing a collection while it is used: nobody gets an error, nothing that was answered is lost."""

from __future__ import annotations

import asyncio
from collections import Counter

from groundplane.testing.server import Server


async def test_records_are_served_and_kept_while_their_collection_changes(server: Server) -> None:
    headers = {"Authorization": await server.superuser_token()}
    client = server.client

    async def ask(method: str, path: str, body: object = None) -> tuple[int, dict[str, object]]:
        response = await client.request(method, f"/api/collections{path}", json=body, headers=headers)
        return response.status_code, response.json() if response.content else {}

    base = [{"name": "title", "type": "text"}, {"name": "mark0", "type": "text"}]
    _, made = await ask("POST", "", {"name": "posts", "fields": base, "listRule": "title != '!'"})
    written: list[str] = []
    statuses: Counter[tuple[str, int]] = Counter()
    stop = asyncio.Event()

    async def write() -> None:
        while not stop.is_set():
            status, body = await ask("POST", "/posts/records", {"title": "t", "mark0": "x"})
            statuses["write", status] += 1
            if status == 200:
                written.append(str(body["id"]))

    async def read() -> None:
        while not stop.is_set():
            status, _ = await ask("GET", "/posts/records?filter=title~'t'&sort=-title")
            statuses["read", status] += 1

    workers = [asyncio.create_task(work()) for work in (write, write, read)]
    try:
        fields: list[dict[str, object]] = made["fields"]  # type: ignore[assignment]  # a list of fields
        for round in range(8):
            # A field that records are written with gets another name, one goes, one comes.
            fields = fields[:3]
            fields[2]["name"] = f"mark{round % 2}"
            fields.append({"name": f"extra{round}", "type": "number"})
            status, body = await ask("PATCH", "/posts", {"fields": fields})
            assert status == 200, body
            fields = body["fields"]  # type: ignore[assignment]  # a list of fields
    finally:
        stop.set()
        await asyncio.gather(*workers)
    assert {status for _, status in statuses} == {200}, statuses
    assert len(written) >= 8
    _, page = await ask("GET", "/posts/records?perPage=1")
    assert page["totalItems"] == len(set(written))
