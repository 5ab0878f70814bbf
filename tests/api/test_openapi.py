"""The API document and the page that shows it: who is told what, and that both are well-formed."""

from __future__ import annotations

import re
from typing import Any

import pytest

from groundplane.api.openapi import document

HTTP_METHODS = {"get", "post", "put", "patch", "delete"}
OPEN = {
    "name": "notes",
    "type": "base",
    "listRule": "",
    "viewRule": "owner = 'x' || secret = 'y'",
    "fields": [
        {"name": "title", "type": "text", "required": True, "min": 2, "max": 40, "pattern": "^[a-z]+$"},
        {"name": "odd", "type": "text", "pattern": r"(?i)^\pL+$"},
        {"name": "count", "type": "number", "onlyInt": True, "min": 0},
        {"name": "kinds", "type": "select", "values": ["a", "b"], "maxSelect": 2},
        {"name": "picture", "type": "file", "maxSelect": 1, "mimeTypes": ["image/png"]},
        {"name": "place", "type": "geoPoint"},
        {"name": "owner", "type": "text"},
        {"name": "secret", "type": "text", "hidden": True},
        {"name": "created", "type": "autodate", "onCreate": True},
    ],
}


@pytest.fixture
async def asked(server: Any) -> Any:
    """Ask for the document as a guest or as a superuser, with a collection that is partly open."""
    token = await server.superuser_token()
    await server.services.collections.create(dict(OPEN))
    await server.services.collections.create({"name": "vault", "type": "base"})

    async def ask(path: str = "/api/openapi.json", *, superuser: bool = False) -> Any:
        headers = {"Authorization": token} if superuser else {}
        return await server.client.get(path, headers=headers)

    ask.server = server  # type: ignore[attr-defined]
    return ask


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(references(value) for value in node.values()))
    if isinstance(node, list):
        return set().union(*(references(value) for value in node))
    return set()


def present(document: Any, reference: str) -> bool:
    for step in reference.removeprefix("#/").split("/"):
        if step not in document:
            return False
        document = document[step]
    return True


@pytest.mark.parametrize("superuser", [False, True])
async def test_every_reference_leads_somewhere_and_every_operation_id_is_unique(
    asked: Any, superuser: bool
) -> None:
    found = (await asked(superuser=superuser)).json()
    assert found["openapi"] == "3.1.0"
    assert [ref for ref in references(found) if not present(found, ref)] == []
    operations = [
        operation
        for path in found["paths"].values()
        for method, operation in path.items()
        if method in HTTP_METHODS
    ]
    ids = [operation["operationId"] for operation in operations]
    assert len(ids) == len(set(ids))
    tags = {tag["name"] for tag in found["tags"]}
    assert {tag for operation in operations for tag in operation["tags"]} <= tags


async def test_a_guest_is_told_only_of_what_is_open_to_somebody(asked: Any) -> None:
    found = (await asked()).json()
    notes = "/api/collections/notes/records"
    assert set(found["paths"][notes]) == {"get"}
    assert set(found["paths"][notes + "/{id}"]) == {"parameters", "get"}
    text = (await asked()).text
    assert "vault" not in text
    assert "_superusers" not in text
    assert "/api/settings" not in text
    assert "secret" not in found["components"]["schemas"]["notes_record"]["properties"]


async def test_rules_are_shown_to_superusers_only(asked: Any) -> None:
    assert "owner = 'x'" not in (await asked()).text
    found = (await asked(superuser=True)).json()
    view = found["paths"]["/api/collections/notes/records/{id}"]["get"]
    assert view["description"] == "Allowed where `owner = 'x' || secret = 'y'` holds."


async def test_a_superuser_is_told_of_everything(asked: Any) -> None:
    found = (await asked(superuser=True)).json()
    assert set(found["paths"]["/api/collections/vault/records"]) == {"get", "post"}
    assert "/api/collections/_superusers/auth-with-password" in found["paths"]
    assert "/api/settings" in found["paths"]
    record = found["components"]["schemas"]["notes_record"]
    assert "secret" in record["required"]
    users = found["components"]["schemas"]["users_record"]["properties"]
    assert {"password", "tokenKey"}.isdisjoint(users)
    assert "email" in users


async def test_fields_have_their_type_and_limits(asked: Any) -> None:
    found = (await asked(superuser=True)).json()
    body = found["components"]["schemas"]["notes_create_form"]
    properties = body["properties"]
    assert properties["title"] == {"type": "string", "maxLength": 40, "minLength": 2, "pattern": "^[a-z]+$"}
    assert "pattern" not in properties["odd"], "a pattern that other engines read differently is left out"
    assert properties["count"] == {"type": "integer", "minimum": 0}
    assert properties["kinds"]["items"]["enum"] == ["a", "b"]
    assert properties["kinds"]["maxItems"] == 2
    assert properties["picture"]["contentMediaType"] == "application/octet-stream"
    assert "image/png" in properties["picture"]["description"]
    assert "created" not in properties
    assert body["required"] == ["title"]
    assert "picture" not in found["components"]["schemas"]["notes_create"]["properties"]
    record = found["components"]["schemas"]["notes_record"]["properties"]
    assert record["count"] == {"type": "number"}
    assert record["kinds"] == {"type": "array", "items": {"type": "string"}}


async def test_the_document_is_made_once_for_a_schema_and_again_after_a_change(asked: Any) -> None:
    services = asked.server.services
    first = document(services.schema.current, everything=False)
    assert document(services.schema.current, everything=False) is first
    await services.collections.update("vault", {"listRule": ""})
    assert "/api/collections/vault/records" in (await asked()).json()["paths"]


async def test_the_page_lists_every_operation_with_an_example(asked: Any) -> None:
    found = (await asked(superuser=True)).json()
    html = (await asked("/api/docs", superuser=True)).text
    for path, methods in found["paths"].items():
        for method in HTTP_METHODS & set(methods):
            assert f'id="{methods[method]["operationId"]}"' in html
            assert f'data-method="{method.upper()}" data-path="{path}"' in html
    assert "pb.collection(&#39;notes&#39;).getList(1, 30" in html
    assert "curl" in html


async def test_the_page_needs_nothing_from_elsewhere_and_no_inline_script(asked: Any) -> None:
    answer = await asked("/api/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy
    loaded = re.findall(r'(?:src|<link[^>]*href)="([^"]+)"', answer.text)
    assert sorted(loaded) == ["/api/docs/api_docs.css", "/api/docs/api_docs.js"]
    assert not re.search(r"<script(?![^>]*src)|\son\w+=|\sstyle=", answer.text)
    for path in loaded:
        assert (await asked(path)).status_code == 200


async def test_the_page_shows_text_from_the_schema_as_text(asked: Any) -> None:
    await asked.server.services.collections.create(
        {
            "name": "marked",
            "type": "base",
            "listRule": "",
            "fields": [{"name": "title", "type": "text", "help": "<script>alert(1)</script> & `code`"}],
            "createRule": "",
        }
    )
    html = (await asked("/api/docs")).text
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; <code>code</code>" in html


async def test_no_other_file_can_be_read_through_the_page(asked: Any) -> None:
    for name in ("api_docs.html", "..%2Fopenapi.py", "nothing"):
        assert (await asked(f"/api/docs/{name}")).status_code == 404
