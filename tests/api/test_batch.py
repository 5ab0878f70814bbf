"""Batches over HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest

from groundplane.testing.server import Server

PUBLIC = dict.fromkeys(("listRule", "viewRule", "createRule", "updateRule", "deleteRule"), "")
RECORDS = "/api/collections/notes/records"
GENERIC = "Something went wrong while processing your request."


@pytest.fixture
async def app(server: Server) -> Server:
    fields = [
        {"name": "title", "type": "text", "required": True},
        {"name": "n", "type": "number"},
        {"name": "f", "type": "file", "maxSelect": 3},
    ]
    collections = server.services.collections
    await collections.create({"name": "notes", "type": "base", "fields": fields, **PUBLIC})
    await collections.create({"name": "closed", "type": "base", "fields": fields})
    notes = server.services.schema.current.find("notes")
    relation = {"name": "note", "type": "relation", "collectionId": notes.id}
    await collections.create({"name": "refs", "type": "base", "fields": [relation], **PUBLIC})
    await server.services.settings.change({"batch": {"enabled": True, "maxRequests": 5, "timeout": 5}})
    return server


def one(method: str = "POST", url: str = RECORDS, **more: Any) -> dict[str, Any]:
    return {"method": method, "url": url, **more}


async def send(app: Server, *requests: Any, headers: dict[str, str] | None = None, query: str = "") -> Any:
    return await app.client.post(f"/api/batch{query}", json={"requests": list(requests)}, headers=headers)


async def count(app: Server, name: str = "notes") -> int:
    return int(await app.services.db.fetchval(f'SELECT count(*) FROM "{name}"'))


async def test_all_kinds_of_requests_work_in_order(app: Server) -> None:
    made = await send(
        app,
        one(body={"id": "a" * 15, "title": "one"}),
        one("PUT", body={"id": "b" * 15, "title": "two"}),
        one("PUT", body={"id": "a" * 15, "n+": 2}),
        one("PATCH", f"{RECORDS}/{'a' * 15}?fields=n", body={"n+": 3}),
        one("DELETE", f"{RECORDS}/{'b' * 15}"),
    )
    assert made.status_code == 200, made.text
    results = made.json()
    assert [each["status"] for each in results] == [200, 200, 200, 200, 204]
    assert [list(each) for each in results] == [["body", "status"]] * 5
    assert results[2]["body"]["n"] == 2
    assert results[3]["body"] == {"n": 5}
    assert results[4]["body"] is None
    assert await count(app) == 1


async def test_an_item_is_expanded_by_its_own_url(app: Server) -> None:
    made = await send(
        app,
        one(body={"id": "a" * 15, "title": "one"}),
        one(url="/api/collections/refs/records?expand=note,nope", body={"note": "a" * 15}),
    )
    assert made.json()[1]["body"]["expand"]["note"]["title"] == "one"


async def test_an_upsert_without_an_id_or_with_a_new_one_creates(app: Server) -> None:
    made = await send(app, one("PUT", body={"title": "x"}), one("PUT", body={"id": "", "title": "y"}))
    assert [each["status"] for each in made.json()] == [200, 200]
    assert await count(app) == 2


async def test_one_failure_undoes_everything_and_is_told_alone(app: Server) -> None:
    made = await send(app, one(body={"title": "a"}), one(body={"title": ""}), one(body={}))
    assert (made.status_code, made.json()) == (
        400,
        {
            "data": {
                "requests": {
                    "1": {
                        "code": "batch_request_failed",
                        "message": "Batch request failed.",
                        "response": {
                            "data": {"title": {"code": "validation_required", "message": "Cannot be blank."}},
                            "message": "Failed to create record.",
                            "status": 400,
                        },
                    }
                }
            },
            "message": "Batch transaction failed.",
            "status": 400,
        },
    )
    assert await count(app) == 0


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        (one("GET"), 400, GENERIC),
        (one("POST", f"{RECORDS}/x"), 400, GENERIC),
        (one("POST", "http://x" + RECORDS), 400, GENERIC),
        (one("POST", RECORDS + "/"), 400, GENERIC),
        (one("PATCH", RECORDS), 400, GENERIC),
        (one("PUT", f"{RECORDS}/x"), 400, GENERIC),
        (one("POST", "/api/collections/nope/records"), 404, "Missing collection context."),
        (one("DELETE", "/api/collections/nope/records/x"), 404, "Missing collection context."),
        (one("PUT", "/api/collections/nope/records", body={"id": "x"}), 404, "Missing collection context."),
        (one("POST", "/api/collections/closed/records"), 403, "Only superusers can perform this action."),
        (one("PATCH", f"{RECORDS}/missing"), 404, "The requested resource wasn't found."),
        (one("DELETE", f"{RECORDS}/missing"), 404, "The requested resource wasn't found."),
        (one("DELETE", f"{RECORDS}/%00"), 404, "The requested resource wasn't found."),
    ],
)
async def test_what_an_item_fails_with(app: Server, request_: Any, status: int, message: str) -> None:
    made = await send(app, request_)
    assert made.status_code == 400
    response = made.json()["data"]["requests"]["0"]["response"]
    assert response == {"data": {}, "message": message, "status": status}


async def test_an_unknown_kind_of_item_is_a_500_at_a_later_place(app: Server) -> None:
    made = await send(app, one(body={"title": "a"}), one("GET"))
    assert made.json()["data"]["requests"]["1"]["response"] == {"data": {}, "message": GENERIC, "status": 500}


@pytest.mark.parametrize(
    ("body", "data"),
    [
        ({}, {"requests": "validation_required"}),
        ({"requests": None}, {"requests": "validation_required"}),
        ({"requests": []}, {"requests": "validation_required"}),
        ({"requests": [one()] * 6}, {"requests": "validation_length_too_long"}),
        (
            {"requests": [one(), {}, one("post", "x" * 2001)]},
            {
                "requests": {
                    "1": {"method": "validation_required", "url": "validation_required"},
                    "2": {"method": "validation_in_invalid", "url": "validation_length_too_long"},
                }
            },
        ),
    ],
)
async def test_the_form_is_checked_before_anything_runs(app: Server, body: Any, data: Any) -> None:
    made = await app.client.post("/api/batch", json=body)
    assert (made.status_code, made.json()["message"]) == (400, "Invalid batch request data.")

    def codes(node: Any) -> Any:
        return node["code"] if "code" in node else {key: codes(value) for key, value in node.items()}

    assert codes(made.json()["data"]) == data


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b'{"requests": 5}',
        b'{"requests": {}}',
        b'{"requests": [5]}',
        b'{"requests": [{"method": 5}]}',
        b'{"requests": [{"method": "POST", "url": "/", "body": []}]}',
        b'{"requests": [{"method": "POST", "url": "/", "headers": {"a": 1}}]}',
    ],
)
async def test_an_unreadable_batch(app: Server, content: bytes) -> None:
    made = await app.client.post("/api/batch", content=content, headers={"Content-Type": "application/json"})
    message = "Failed to read the submitted batch data."
    assert (made.status_code, made.json()) == (400, {"data": {}, "message": message, "status": 400})


async def test_another_content_type_is_unreadable_and_an_empty_body_is_empty(app: Server) -> None:
    made = await app.client.post("/api/batch", content=b"{}", headers={"Content-Type": "text/plain"})
    assert made.json()["message"] == "Failed to read the submitted batch data."
    for answer in (
        await app.client.post("/api/batch"),
        await app.client.post("/api/batch", data={"requests": "5"}),
    ):
        assert answer.json()["data"] == {
            "requests": {"code": "validation_required", "message": "Cannot be blank."}
        }


@pytest.mark.parametrize("settings", [{"enabled": False}, {"enabled": True, "maxRequests": 0}])
async def test_batches_can_be_switched_off(app: Server, settings: dict[str, Any]) -> None:
    # The settings refuse a zero for an enabled batch; an import may bring one.
    current = app.services.settings.current.batch
    current.enabled = settings["enabled"]
    current.max_requests = settings.get("maxRequests", 5)
    made = await app.client.post("/api/batch", content=b"{")
    message = "Batch requests are not allowed."
    assert (made.status_code, made.json()) == (403, {"data": {}, "message": message, "status": 403})


async def test_rules_see_the_item(app: Server) -> None:
    rule = (
        "@request.context = 'batch' && @request.method = 'POST' && @request.query.q = '1' && "
        "@request.headers.x_tag = 'inner' && @request.headers.x_outer = 'outer' && @request.body.title = 'x'"
    )
    await app.services.collections.update("notes", {"createRule": rule})
    inner = one(url=f"{RECORDS}?q=1", headers={"X-Tag": "inner"}, body={"title": "x"})
    headers = {"X-Tag": "other", "X-Outer": "outer"}
    assert (await send(app, inner, headers=headers)).status_code == 200
    assert (await send(app, inner)).status_code == 400


async def test_an_item_cannot_bring_its_own_authorization(app: Server) -> None:
    token = await app.superuser_token()
    inner = one(url="/api/collections/closed/records", headers={"Authorization": token}, body={"title": "x"})
    assert (await send(app, inner)).status_code == 400
    assert (await send(app, inner, headers={"Authorization": token})).status_code == 200


async def test_files_reach_their_item(app: Server) -> None:
    document = {"requests": [one(body={"title": "a"}), one(body={"title": "b"})]}
    files = [
        ("requests.0.f", ("one.txt", b"1")),
        ("requests[1].f", ("two.txt", b"2")),
        ("requests[1].f+", ("three.txt", b"3")),
        ("requests.9.f", ("no.txt", b"-")),
        ("requests.0.nope", ("no.txt", b"-")),
    ]
    made = await app.client.post("/api/batch", data={"@jsonPayload": json.dumps(document)}, files=files)
    assert made.status_code == 200, made.text
    first, second = (each["body"] for each in made.json())
    assert [name[:3] for name in first["f"]] == ["one"]
    assert sorted(name[:3] for name in second["f"]) == ["thr", "two"]
    downloaded = await app.client.get(f"/api/files/notes/{first['id']}/{first['f'][0]}")
    assert downloaded.content == b"1"
    more = {"requests": [one("PATCH", f"{RECORDS}/{first['id']}", body={"f": first["f"]})]}
    added = await app.client.post(
        "/api/batch", data={"@jsonPayload": json.dumps(more)}, files=[("requests.0.f+", ("new.txt", b"n"))]
    )
    assert [name[:3] for name in added.json()[0]["body"]["f"]] == ["one", "new"]


async def test_files_of_a_failed_batch_are_not_kept_and_removed_ones_stay(app: Server) -> None:
    made = await app.client.post(RECORDS, data={"title": "x"}, files=[("f", ("old.txt", b"o"))])
    record = made.json()
    document = {
        "requests": [
            one(body={"title": "a"}),
            one("PATCH", f"{RECORDS}/{record['id']}", body={"f": []}),
            one(body={}),
        ]
    }
    failed = await app.client.post(
        "/api/batch", data={"@jsonPayload": json.dumps(document)}, files=[("requests.0.f", ("new.txt", b"n"))]
    )
    assert failed.status_code == 400
    keys = app.services.files.storage.keys()
    collection = app.services.schema.current.find("notes")
    assert [key async for key in keys] == [f"{collection.id}/{record['id']}/{record['f'][0]}"]


async def test_a_batch_that_takes_too_long_changes_nothing(app: Server, monkeypatch: Any) -> None:
    import asyncio

    records = app.services.records
    create = type(records).create

    async def slow(self: Any, *arguments: Any, **more: Any) -> Any:
        answer = await create(self, *arguments, **more)
        await asyncio.Event().wait()
        return answer

    monkeypatch.setattr(type(records), "create", slow)
    app.services.settings.current.batch.timeout = 1
    made = await send(app, one(body={"title": "x"}))
    message = "Batch transaction failed."
    assert (made.status_code, made.json()) == (400, {"data": {}, "message": message, "status": 400})
    assert await count(app) == 0


async def test_items_are_rate_limited_one_by_one(app: Server) -> None:
    rules = [{"label": "notes:create", "duration": 60, "maxRequests": 2}]
    await app.services.settings.change({"rateLimits": {"enabled": True, "rules": rules}})
    made = await send(app, *(one(body={"title": "x"}) for _ in range(3)))
    response = made.json()["data"]["requests"]["2"]["response"]
    assert response == {"data": {}, "message": "Too Many Requests.", "status": 429}
    assert await count(app) == 0


async def test_fields_of_the_batch_itself_apply_to_every_result(app: Server) -> None:
    made = await send(app, one(body={"title": "x"}), query="?fields=status,body.title")
    assert made.json() == [{"body": {"title": "x"}, "status": 200}]


async def test_a_broken_expand_leaves_the_transaction_usable(app: Server) -> None:
    await app.services.collections.update(
        "notes", {"viewRule": "title.nope = 1 || 1 = 1"} | {"viewRule": None}
    )
    made = await send(
        app,
        one(body={"id": "a" * 15, "title": "one"}),
        one(url="/api/collections/refs/records?expand=note", body={"note": "a" * 15}),
        one(body={"title": "after"}),
    )
    assert made.status_code == 200, made.text
    assert "expand" not in made.json()[1]["body"]
