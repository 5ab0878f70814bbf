"""/api/collections over HTTP: who may, which status, which body."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from groundplane.testing.server import Server

DEFAULT_404 = {"data": {}, "message": "The requested resource wasn't found.", "status": 404}


class Admin:
    """Requests of a superuser."""

    def __init__(self, server: Server, token: str) -> None:
        self.server = server
        self.headers = {"Authorization": token}

    async def ask(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        if body is not None:
            more["json"] = body
        url = f"/api/collections{path}"
        return await self.server.client.request(method, url, headers=self.headers, **more)

    async def ok(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        response = await self.ask(method, path, body, **more)
        assert response.status_code in (200, 204), response.text
        return response.json() if response.content else None


@pytest.fixture
async def admin(server: Server) -> Admin:
    return Admin(server, await server.superuser_token())


ENDPOINTS = [
    ("GET", "/api/collections"),
    ("GET", "/api/collections/users"),
    ("POST", "/api/collections"),
    ("PATCH", "/api/collections/users"),
    ("DELETE", "/api/collections/users"),
    ("DELETE", "/api/collections/users/truncate"),
    ("PUT", "/api/collections/import"),
    ("GET", "/api/collections/meta/scaffolds"),
    ("GET", "/api/collections/meta/oauth2-providers"),
    ("POST", "/api/collections/meta/dry-run-view"),
]


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
async def test_guests_are_asked_to_sign_in(server: Server, method: str, path: str) -> None:
    response = await server.client.request(method, path)
    assert response.status_code == 401
    assert response.json()["message"] == "The request requires valid record authorization token."


async def test_other_records_may_not_do_anything(server: Server, admin: Admin) -> None:
    person = {"email": "a@b.co", "password": "1234567890", "passwordConfirm": "1234567890"}
    await admin.ok("POST", "/users/records", person)
    headers = {"Authorization": await server.token("users", "a@b.co")}
    for method, path in ENDPOINTS:
        response = await server.client.request(method, path, headers=headers)
        assert response.status_code == 403
        assert response.json()["message"] == "The authorized record is not allowed to perform this action."


async def test_a_created_collection_is_shown_in_the_order_of_the_contract(admin: Admin) -> None:
    made = await admin.ok("POST", "", {"name": "tags", "listRule": "", "viewRule": ""})
    assert list(made) == [
        *("id", "listRule", "viewRule", "createRule", "updateRule", "deleteRule", "name", "type"),
        *("fields", "indexes", "created", "updated", "system"),
    ]
    assert made["id"].startswith("pbc_")
    assert made["fields"][0] == {
        "autogeneratePattern": "[a-z0-9]{15}",
        "help": "",
        "hidden": False,
        "id": "text3208210256",
        "max": 15,
        "min": 15,
        "name": "id",
        "pattern": "^[a-z0-9]+$",
        "presentable": False,
        "primaryKey": True,
        "required": True,
        "system": True,
        "type": "text",
    }
    assert await admin.ok("GET", "/TAGS") == made
    assert await admin.ok("GET", f"/{made['id']}") == made
    assert await admin.ok("GET", "/tags", params={"fields": "name,fields.name"}) == {
        "fields": [{"name": "id"}],
        "name": "tags",
    }


async def test_records_can_be_written_as_soon_as_the_collection_is_answered(admin: Admin) -> None:
    await admin.ok("POST", "", {"name": "posts", "fields": [{"name": "title", "type": "text"}]})
    record = await admin.ok("POST", "/posts/records", {"title": "one"})
    made = await admin.ok("GET", "/posts")
    made["fields"][1]["name"] = "headline"
    await admin.ok("PATCH", "/posts", {"fields": made["fields"], "name": "articles"})
    assert (await admin.ok("GET", f"/articles/records/{record['id']}"))["headline"] == "one"
    assert (await admin.ask("GET", "/posts/records")).status_code == 404


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        (b"{", "application/json", "collection type data"),
        (b"[]", "application/json", "collection type data"),
        (b'{"type": 1}', "application/json", "collection type data"),
        (b"name=x", "text/plain", "collection type data"),
        (b'{"name": 1}', "application/json", "submitted data"),
        (b'{"name": "x", "fields": [{"type": "nope"}]}', "application/json", "submitted data"),
    ],
)
async def test_an_unreadable_body_says_which_part_was_unreadable(
    admin: Admin, content: bytes, kind: str, message: str
) -> None:
    response = await admin.server.client.post(
        "/api/collections", content=content, headers={**admin.headers, "Content-Type": kind}
    )
    assert response.status_code == 400
    assert response.json() == {
        "data": {},
        "message": f"Failed to load the {message} due to invalid formatting.",
        "status": 400,
    }


async def test_validation_errors_nest_by_key_and_position(admin: Admin) -> None:
    response = await admin.ask("POST", "", {"name": "x", "fields": [{"name": "a b", "type": "text"}]})
    assert response.status_code == 400
    assert response.json() == {
        "data": {
            "fields": {
                "1": {"name": {"code": "validation_match_invalid", "message": "Must be in a valid format."}}
            }
        },
        "message": "Failed to create collection.",
        "status": 400,
    }


async def test_a_rule_that_does_not_compile_is_refused(admin: Admin) -> None:
    response = await admin.ask("POST", "", {"name": "x", "listRule": "nope = 1"})
    error = response.json()["data"]["listRule"]
    assert error["code"] == "validation_invalid_rule"
    assert error["message"].startswith("Invalid rule. Raw error: ")


async def test_unknown_collections_are_not_found(admin: Admin) -> None:
    for method, path in (
        ("GET", "/nope"),
        ("PATCH", "/nope"),
        ("DELETE", "/nope"),
        ("DELETE", "/nope/truncate"),
    ):
        response = await admin.ask(method, path, {} if method == "PATCH" else None)
        assert (response.status_code, response.json()) == (404, DEFAULT_404)


async def test_an_update_merges_and_answers_with_the_whole(admin: Admin) -> None:
    made = await admin.ok("POST", "", {"name": "members", "type": "auth", "otp": {"duration": 99}})
    changed = await admin.ok(
        "PATCH", "/members", {"otp": {"length": 5}, "created": "2000-01-01 00:00:00.000Z"}
    )
    assert changed["otp"]["duration"] == 99
    assert changed["otp"]["length"] == 5
    assert changed["created"] == made["created"]
    assert "secret" not in changed["authToken"]
    response = await admin.ask("PATCH", "/members", {"id": "other"})
    assert response.json()["message"].startswith("Failed to update collection. Raw error: \n")
    assert response.json()["data"] == {}


async def test_deleting_and_truncating_answer_without_a_body(admin: Admin) -> None:
    await admin.ok("POST", "", {"name": "posts"})
    for _ in range(3):
        await admin.ok("POST", "/posts/records", {})
    response = await admin.ask("DELETE", "/posts/truncate")
    assert (response.status_code, response.content) == (204, b"")
    assert "content-type" not in response.headers
    assert (await admin.ok("GET", "/posts/records"))["totalItems"] == 0
    response = await admin.ask("DELETE", "/posts")
    assert (response.status_code, response.content) == (204, b"")
    assert (await admin.ask("GET", "/posts")).status_code == 404


async def test_a_truncate_stops_at_a_required_reference(admin: Admin) -> None:
    target = await admin.ok("POST", "", {"name": "target"})
    field = {"name": "t", "type": "relation", "collectionId": target["id"], "maxSelect": 1, "required": True}
    await admin.ok("POST", "", {"name": "source", "fields": [field]})
    record = await admin.ok("POST", "/target/records", {})
    await admin.ok("POST", "/source/records", {"t": record["id"]})
    response = await admin.ask("DELETE", "/target/truncate")
    assert response.status_code == 400
    assert response.json()["message"] == (
        "Failed to truncate collection (most likely due to required cascade delete record references)."
    )
    assert (await admin.ok("GET", "/target/records"))["totalItems"] == 1
    response = await admin.ask("DELETE", "/target")
    assert (
        response.json()["message"]
        == "Failed to delete collection probably due to existing reference in source."
    )


async def test_the_list_is_a_page(admin: Admin) -> None:
    page = await admin.ok("GET", "", params={"perPage": "2", "filter": "system = true", "sort": "name"})
    assert list(page) == ["items", "page", "perPage", "totalItems", "totalPages"]
    assert [each["name"] for each in page["items"]] == ["_authOrigins", "_externalAuths"]
    assert (page["totalItems"], page["totalPages"]) == (5, 3)
    page = await admin.ok("GET", "", params={"skipTotal": "1", "fields": "name"})
    assert page["totalItems"] == -1
    assert {"name": "users"} in page["items"]


@pytest.mark.parametrize(
    "query", ["filter=fields~'x'", "sort=listRule", "page=x", "filter=(", "sort=@request.method"]
)
async def test_bad_list_parameters_get_the_plain_answer(admin: Admin, query: str) -> None:
    response = await admin.ask("GET", f"?{query}")
    assert (response.status_code, response.json()) == (
        400,
        {"data": {}, "message": "Something went wrong while processing your request.", "status": 400},
    )


async def test_imports_answer_nothing_or_why_not(admin: Admin) -> None:
    response = await admin.ask("PUT", "/import", {"collections": [{"name": "posts"}]})
    assert (response.status_code, response.content) == (204, b"")
    response = await admin.ask("PUT", "/import", {"collections": []})
    assert response.status_code == 400
    assert response.json() == {
        "data": {"collections": {"code": "validation_required", "message": "Cannot be blank."}},
        "message": "An error occurred while validating the submitted data.",
        "status": 400,
    }
    response = await admin.ask("PUT", "/import", {"collections": "x"})
    assert response.json()["message"] == "An error occurred while loading the submitted data."
    response = await admin.ask("PUT", "/import", {"collections": [{"id": "pbc_2", "name": "a b"}]})
    assert response.json() == {
        "data": {
            "collections": {
                "code": "validation_collections_import_failure",
                "message": 'Data validations failed for collection "a b" (pbc_2):\n'
                '{\n  "name": "must be in a valid format"\n}.',
            }
        },
        "message": "Failed to import collections.",
        "status": 400,
    }


async def test_scaffolds_and_providers_are_for_forms(admin: Admin) -> None:
    scaffolds = await admin.ok("GET", "/meta/scaffolds")
    assert list(scaffolds) == ["auth", "base", "view"]
    assert scaffolds["view"]["viewQuery"] == ""
    providers = await admin.ok("GET", "/meta/oauth2-providers")
    names = [each["name"] for each in providers]
    assert names[:3] == ["apple", "google", "microsoft"]
    assert names[-3:] == ["oidc", "oidc2", "oidc3"]
    assert all(list(each) == ["name", "displayName", "logo"] for each in providers)


async def test_a_view_can_be_tried_and_made_and_read(admin: Admin) -> None:
    await admin.ok("POST", "", {"name": "posts", "fields": [{"name": "title", "type": "text"}]})
    await admin.ok("POST", "/posts/records", {"title": "one"})
    query = "SELECT id, title, count(id) as n FROM posts GROUP BY id"
    shown = await admin.ok("POST", "/meta/dry-run-view", {"query": query})
    assert list(shown) == ["fields", "sample"]
    assert shown["sample"][0]["n"] == 1
    await admin.ok("POST", "", {"name": "shown", "type": "view", "viewQuery": query})
    page = await admin.ok("GET", "/shown/records", params={"filter": "n = 1", "sort": "-title"})
    assert page["items"][0]["title"] == "one"
    response = await admin.ask("POST", "/meta/dry-run-view", {"query": "SELECT nope FROM posts"})
    assert response.json()["message"].startswith("Invalid view query. Raw error: \n")
    response = await admin.ask("POST", "/meta/dry-run-view", {})
    assert response.json()["data"] == {
        "query": {"code": "validation_required", "message": "Cannot be blank."}
    }


async def test_labels_of_rate_limits_follow_a_renamed_collection(admin: Admin) -> None:
    await admin.ok("POST", "", {"name": "posts"})
    rule = {"label": "posts:list", "maxRequests": 1000, "duration": 10, "audience": ""}
    response = await admin.server.client.patch(
        "/api/settings", json={"rateLimits": {"rules": [rule]}}, headers=admin.headers
    )
    assert response.status_code == 200, response.text
    await admin.ok("PATCH", "/posts", {"name": "articles"})
    settings = (await admin.server.client.get("/api/settings", headers=admin.headers)).json()
    assert settings["rateLimits"]["rules"][0]["label"] == "articles:list"
