"""Records over HTTP: statuses, headers, bodies, and the order of checks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from groundplane.testing.server import Server

NOT_FOUND = {"data": {}, "message": "The requested resource wasn't found.", "status": 404}
BAD = {"data": {}, "message": "Something went wrong while processing your request.", "status": 400}
PUBLIC = dict.fromkeys(("listRule", "viewRule", "createRule", "updateRule", "deleteRule"), "")


@pytest.fixture
async def app(server: Server) -> Server:
    fields = [
        {"name": "title", "type": "text", "max": 10},
        {"name": "n", "type": "number"},
        {"name": "j", "type": "json"},
        {"name": "f", "type": "file", "maxSelect": 3},
    ]
    await server.services.collections.create({"name": "notes", "type": "base", "fields": fields, **PUBLIC})
    await server.services.collections.create({"name": "closed", "type": "base", "fields": fields})
    query = "select id, title from notes"
    await server.services.collections.create(
        {"name": "seen", "type": "view", "viewQuery": query, "listRule": ""}
    )
    return server


RECORDS = "/api/collections/notes/records"


async def make(app: Server, **values: Any) -> dict[str, Any]:
    answer = await app.client.post(RECORDS, json=values)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_record_lives(app: Server) -> None:
    created = await app.client.post(RECORDS, json={"title": "<a>", "n": 5.0, "j": {"b": 1.0, "a": "&"}})
    record = created.json()
    assert created.status_code == 200
    assert created.headers["content-type"] == "application/json"
    collection_id = app.services.schema.current.find("notes").id
    assert (
        created.content
        == (
            f'{{"collectionId":"{collection_id}","collectionName":"notes","f":[],"id":"{record["id"]}",'
            '"j":{"a":"\\u0026","b":1},"n":5,"title":"\\u003ca\\u003e"}\n'
        ).encode()
    )
    viewed = await app.client.get(f"{RECORDS}/{record['id']}")
    assert (viewed.status_code, viewed.content) == (200, created.content)
    assert viewed.headers["etag"] == created.headers["etag"]
    changed = await app.client.patch(f"{RECORDS}/{record['id']}", json={"n+": 2})
    assert (changed.status_code, changed.json()["n"]) == (200, 7)
    listed = (await app.client.get(RECORDS)).json()
    assert listed == {"items": [changed.json()], "page": 1, "perPage": 30, "totalItems": 1, "totalPages": 1}
    deleted = await app.client.delete(f"{RECORDS}/{record['id']}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert "content-type" not in deleted.headers
    assert (await app.client.get(f"{RECORDS}/{record['id']}")).json() == NOT_FOUND


async def test_head_is_get_without_a_body(app: Server) -> None:
    record = await make(app, title="x")
    for path in (RECORDS, f"{RECORDS}/{record['id']}"):
        got, head = await app.client.get(path), await app.client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == got.headers["content-length"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", RECORDS),
        ("PATCH", RECORDS),
        ("DELETE", RECORDS),
        ("POST", f"{RECORDS}/abc"),
        ("PUT", f"{RECORDS}/abc"),
        ("GET", f"{RECORDS}/"),
        ("POST", f"{RECORDS}/"),
        ("GET", f"{RECORDS}/a/b"),
        ("GET", "/api/batch"),
        ("PATCH", "/api/batch"),
    ],
)
async def test_other_methods_and_paths_are_not_found(app: Server, method: str, path: str) -> None:
    answer = await app.client.request(method, path)
    assert (answer.status_code, answer.json()) == (404, NOT_FOUND)


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/api/collections/nope/records", 404, "Missing collection context."),
        ("GET", "/api/collections/nope/records/x", 404, "Missing collection context."),
        ("DELETE", "/api/collections/nope/records/x", 404, "Missing collection context."),
        ("POST", "/api/collections/nope/records", 404, "Missing or invalid collection context."),
        ("PATCH", "/api/collections/nope/records/x", 404, "Missing or invalid collection context."),
        ("POST", "/api/collections/seen/records", 400, "Unsupported collection type."),
        ("PATCH", "/api/collections/seen/records/x", 400, "Unsupported collection type."),
        ("DELETE", "/api/collections/seen/records/x", 400, "Unsupported collection type."),
        ("GET", "/api/collections/closed/records", 403, "Only superusers can perform this action."),
        ("GET", "/api/collections/closed/records/x", 403, "Only superusers can perform this action."),
        ("POST", "/api/collections/closed/records", 403, "Only superusers can perform this action."),
        ("PATCH", "/api/collections/closed/records/x", 403, "Only superusers can perform this action."),
        ("DELETE", "/api/collections/closed/records/x", 403, "Only superusers can perform this action."),
        ("GET", f"{RECORDS}/x", 404, "The requested resource wasn't found."),
        ("GET", f"{RECORDS}/%00", 404, "The requested resource wasn't found."),
        ("GET", f"{RECORDS}/%2e%2e%2f", 404, "The requested resource wasn't found."),
        ("GET", f"{RECORDS}?page=x", 400, "Something went wrong while processing your request."),
        ("GET", f"{RECORDS}?filter=@request.x", 403, "Only superusers can filter by @request."),
    ],
)
async def test_refusals_in_the_order_of_the_contract(
    app: Server, method: str, path: str, status: int, message: str
) -> None:
    answer = await app.client.request(method, path)
    assert (answer.status_code, answer.json()) == (status, {"data": {}, "message": message, "status": status})


@pytest.mark.parametrize(
    ("content", "content_type", "message"),
    [
        (b"{", "application/json", BAD["message"]),
        (b"[]", "application/json", BAD["message"]),
        (b"5", "application/json", BAD["message"]),
        (b"  ", "application/json", BAD["message"]),
        (b"\xef\xbb\xbf{}", "application/json", BAD["message"]),
        (b'{"n":1e999}', "application/json", BAD["message"]),
        (b"[" * 100_000, "application/json", BAD["message"]),
        (b"{}", "text/plain", "Unsupported Content-Type."),
        (b"{}", "", "Unsupported Content-Type."),
        (b"{}", "APPLICATION/JSON", "Unsupported Content-Type."),
        (b"<a/>", "text/xml", BAD["message"]),
        (b"--x", "multipart/form-data", BAD["message"]),
        (b"nonsense", "multipart/form-data; boundary=x", BAD["message"]),
        (b"@jsonPayload=5", "application/x-www-form-urlencoded", BAD["message"]),
    ],
)
async def test_an_unreadable_body_is_a_400(
    app: Server, content: bytes, content_type: str, message: str
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    for path, method in ((RECORDS, "POST"), (f"{RECORDS}/x", "PATCH")):
        answer = await app.client.request(method, path, content=content, headers=headers)
        assert (answer.status_code, answer.json()) == (400, BAD | {"message": message})


@pytest.mark.parametrize(
    ("content", "content_type", "expected"),
    [
        (b"", "", {"title": "", "n": 0}),
        (b"", "text/plain", {"title": ""}),
        (b"null", "application/json", {"title": ""}),
        (b'{"title":"a","title":"b"} and more', "application/json; charset=utf-8", {"title": "b"}),
        (b'{"title":"\xff"}', "application/jsonx", {"title": "\ufffd"}),
        (b"title=a+b&n=12&j=true", "application/x-www-form-urlencoded", {"title": "a b", "n": 12, "j": True}),
        (b"title=007&n=1e3", "application/x-www-form-urlencoded", {"title": "007", "n": 1000}),
        (
            b'title=x&@jsonPayload={"title":5,"n":"7"}',
            "application/x-www-form-urlencoded",
            {"title": "5", "n": 7},
        ),
    ],
)
async def test_bodies_are_read_by_their_content_type(
    app: Server, content: bytes, content_type: str, expected: dict[str, Any]
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = await app.client.post(RECORDS, content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    record = answer.json()
    assert {name: record[name] for name in expected} == expected


async def test_multipart_bodies_carry_files_and_typed_values(app: Server) -> None:
    files = [("f", ("my file.txt", b"one")), ("f", ("b.txt", b"two")), ("other", ("c.txt", b"three"))]
    data = {"title": "x", "@jsonPayload": json.dumps({"n": 5, "j": {"a": [1]}})}
    answer = await app.client.post(RECORDS, data=data, files=files)
    record = answer.json()
    assert [name.rpartition("_")[0] for name in record["f"]] == ["my_file", "b" + record["f"][1][1:11]]
    assert (record["title"], record["n"], record["j"]) == ("x", 5, {"a": [1]})
    kept = await app.client.patch(
        f"{RECORDS}/{record['id']}", data={"f": record["f"][1]}, files=[("f", ("new.txt", b"n"))]
    )
    assert kept.json()["f"][0] == record["f"][1]
    assert len(kept.json()["f"]) == 2


async def test_a_body_over_the_limit_is_refused_at_once(app: Server) -> None:
    limit = (32 << 20) + (5 << 20) * 3 + (1 << 20)
    for size, status in ((limit + 1, 413), (limit, 400)):
        headers = {"Content-Type": "application/json", "Content-Length": str(size)}
        answer = await app.client.post(RECORDS, content=b"x", headers=headers)
        assert answer.status_code == status
    headers = {"Content-Type": "application/json", "Content-Length": str(limit + 1)}
    answer = await app.client.post("/api/collections/nope/records", content=b"x", headers=headers)
    assert answer.json()["message"] == "Missing or invalid collection context."


async def test_field_errors_are_keyed_by_field(app: Server) -> None:
    answer = await app.client.post(RECORDS, json={"title": "x" * 11})
    assert (answer.status_code, answer.json()) == (
        400,
        {
            "data": {
                "title": {
                    "code": "validation_max_text_constraint",
                    "message": "Must be no more than 10 character(s).",
                    "params": {"max": 10},
                }
            },
            "message": "Failed to create record.",
            "status": 400,
        },
    )


async def test_fields_cut_the_answer_down(app: Server) -> None:
    record = await make(app, title="x", j={"b": 1, "a": [{"c": 1, "d": 2}]})
    path = f"{RECORDS}/{record['id']}"
    assert (await app.client.get(f"{path}?fields=title,j.a.c")).content == (
        b'{"j":{"a":[{"c":1}]},"title":"x"}\n'
    )
    page = (await app.client.get(f"{RECORDS}?fields=id")).json()
    assert page == {
        "items": [{"id": record["id"]}],
        "page": 1,
        "perPage": 30,
        "totalItems": 1,
        "totalPages": 1,
    }
    assert (await app.client.patch(f"{path}?fields=title", json={"title": "y"})).json() == {"title": "y"}
    broken = await app.client.get(f"{path}?fields=title:nope(1)")
    assert (broken.status_code, broken.content) == (200, b"")
    missing = await app.client.get(f"{RECORDS}/x?fields=status")
    assert missing.json() == NOT_FOUND


async def test_only_the_first_of_a_repeated_parameter_counts(app: Server) -> None:
    for _ in range(3):
        await make(app)
    page = (await app.client.get(f"{RECORDS}?perPage=2&perPage=1&page=1&PAGE=2")).json()
    assert page["perPage"] == 2


async def test_rules_see_the_request(app: Server) -> None:
    rule = (
        "@request.method = 'GET' && @request.query.a = '1' && @request.headers.x_tag = 'b' && "
        "@request.context = 'default' && @request.auth.id = ''"
    )
    await app.services.collections.update("notes", {"listRule": rule})
    await make(app, title="x")
    answer = await app.client.get(f"{RECORDS}?a=1&a=2", headers={"X-Tag": "b"})
    assert answer.json()["totalItems"] == 1
    assert (await app.client.get(f"{RECORDS}?a=2", headers={"X-Tag": "b"})).json()["totalItems"] == 0


async def test_if_match_guards_changes(app: Server) -> None:
    record = await make(app, n=1)
    path = f"{RECORDS}/{record['id']}"
    etag = (await app.client.get(path)).headers["etag"]
    first = await app.client.patch(path, json={"n": 2}, headers={"If-Match": etag})
    second = await app.client.patch(path, json={"n": 3}, headers={"If-Match": etag})
    assert (first.status_code, second.status_code) == (200, 412)
    assert second.json()["status"] == 412
    assert (await app.client.delete(path, headers={"If-Match": etag})).status_code == 412
    assert (await app.client.delete(path, headers={"If-Match": first.headers["etag"]})).status_code == 204


async def test_an_idempotency_key_repeats_the_first_answer(app: Server) -> None:
    headers = {"Idempotency-Key": "one"}
    first = await app.client.post(RECORDS, json={"title": "x"}, headers=headers)
    again = await app.client.post(RECORDS, json={"title": "x"}, headers=headers)
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["etag"] == first.headers["etag"]
    other = await app.client.post(RECORDS, json={"title": "y"}, headers=headers)
    assert (other.status_code, other.json()["data"]) == (409, {})


async def test_superusers_see_and_do_everything(app: Server) -> None:
    headers = {"Authorization": await app.superuser_token()}
    created = await app.client.post("/api/collections/closed/records", json={"title": "x"}, headers=headers)
    path = f"/api/collections/closed/records/{created.json()['id']}"
    assert (await app.client.get(path, headers=headers)).status_code == 200
    filtered = "/api/collections/closed/records?filter=@request.auth.id != ''"
    assert (await app.client.get(filtered, headers=headers)).json()["totalItems"] == 1
    assert (await app.client.delete(path, headers=headers)).status_code == 204


async def test_rate_limits_count_per_action(app: Server) -> None:
    await app.services.settings.change(
        {
            "rateLimits": {
                "enabled": True,
                "rules": [{"label": "notes:create", "duration": 60, "maxRequests": 2}],
            }
        }
    )
    statuses = [(await app.client.post(RECORDS, content=b"{")).status_code for _ in range(3)]
    assert statuses == [400, 400, 429]
    refused = await app.client.post(RECORDS)
    assert refused.json() == {"data": {}, "message": "Too Many Requests.", "status": 429}
    assert (await app.client.get(RECORDS)).status_code == 200
