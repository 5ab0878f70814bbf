"""Drafts of collections without a browser: kept per superuser, harmless whatever is in them; files have the last word."""

from __future__ import annotations

import re
from typing import Any

import httpx
from tests.admin_ui.test_session import HERE, signed_in, token_in

from groundplane.schema.cache import Schema
from groundplane.testing.server import Server
from groundplane_admin.schema.draft import GONE, changes, draft_of, new_draft
from groundplane_admin.schema.options import new_field, options_of, type_names
from groundplane_admin.schema.reading import move

KEY = re.compile(r'name="f" value="([^"]+)"')


async def send(client: httpx.AsyncClient, path: str, **form: Any) -> httpx.Response:
    page = await client.get(path)
    return await client.post(path, data={"_csrf": token_in(page), **form}, headers=HERE)


async def make(server: Server, **options: Any) -> None:
    fields = [{"name": "title", "type": "text"}, {"name": "body", "type": "text"}]
    await server.services.collections.create({"name": "posts", "type": "base", "fields": fields, **options})


async def test_a_draft_waits_on_the_server_and_a_draft_without_changes_is_none(server: Server) -> None:
    client = await signed_in(server)
    await make(server)
    page = await client.get("/_/c/posts/schema")
    keys = KEY.findall(page.text)
    names = {f"f.{keys[1]}.name": "headline"}
    await send(client, "/_/c/posts/schema", do="keep", f=keys, name="posts", **names)
    assert 'value="headline"' in (await client.get("/_/c/posts/schema")).text
    assert server.services.collections.view("posts").field("headline") is None
    names = {f"f.{keys[1]}.name": "title"}
    await send(client, "/_/c/posts/schema", do="keep", f=keys, name="posts", **names)
    owner = await server.services.db.fetchval('SELECT id FROM "_superusers"')
    assert await server.services.preferences.below(owner, "draft.", object) == {}


async def test_hostile_forms_are_answered_and_what_is_typed_is_never_markup(server: Server) -> None:
    client = await signed_in(server)
    await make(server)
    attack = "<img src=x onerror=alert(1)>'\"{{7*7}}"
    for form in (
        {"do": f"remove:{attack}"},
        {"do": "index-remove:" + "9" * 5000},
        {"do": "up:", "f": ["nothing", attack]},
        {"do": "add", "add_name": attack, "add_type": attack},
        {"do": "review", "name": attack},
    ):
        answer = await send(client, "/_/c/posts/schema", **form)
        assert answer.status_code in (200, 303, 404, 422), form
        assert "<img src=x" not in answer.text
    for path in ("/_/c/posts/schema/nothing", "/_/c/nothing/schema", "/_/new-collection/fields"):
        assert (await client.get(path)).status_code == 404


async def test_a_collection_of_the_file_is_offered_as_a_patch_and_not_applied(
    server: Server,
) -> None:
    client = await signed_in(server)
    await make(server)
    server.services.config.collections.append({"name": "posts"})
    page = await client.get("/_/c/posts/schema/rules")
    assert "managed by groundplane.toml" in page.text
    await send(client, "/_/c/posts/schema/rules", **{"do": "keep", "listRule.state": "anyone"})
    plan = await client.get("/_/c/posts/schema/plan")
    assert 'action="/_/c/posts/schema/plan"' not in plan.text
    form = {"_csrf": token_in(await client.get("/_/new-collection"))}
    refused = await client.post("/_/c/posts/schema/plan", data=form, headers=HERE)
    assert refused.status_code == 422
    assert server.services.collections.view("posts").list_rule is None
    patch = await client.get("/_/c/posts/schema/patch")
    assert 'listRule = ""' in patch.text
    assert patch.headers["content-disposition"] == 'attachment; filename="posts.toml"'


async def test_a_draft_that_somebody_came_before_is_shown_again_before_it_is_applied(server: Server) -> None:
    client = await signed_in(server)
    await make(server)
    await send(client, "/_/c/posts/schema/rules", **{"do": "keep", "listRule.state": "anyone"})
    form = {"_csrf": token_in(await client.get("/_/c/posts/schema/plan"))}
    await server.services.collections.update("posts", {"viewRule": ""})
    refused = await client.post("/_/c/posts/schema/plan", data=form, headers=HERE)
    assert refused.status_code == 422
    assert "Somebody else has changed this collection" in refused.text
    assert "viewRule from everyone" in refused.text
    assert server.services.collections.view("posts").list_rule is None
    applied = await client.post("/_/c/posts/schema/plan", data=form, headers=HERE)
    assert applied.status_code == 303
    assert server.services.collections.view("posts").list_rule == ""


async def test_the_lab_answers_whatever_is_asked(server: Server) -> None:
    client = await signed_in(server)
    await make(
        server,
        viewRule='title = @request.body.x || @request.query.y != ""',
        createRule='@request.body.title = "a"',
    )
    ask = "/_/rules/lab?collection=posts"
    for query, status in (
        ("&action=create&body=" + "[" * 3000, 200),
        ("&action=create&body=%7B%22title%22%3A%22%5Cud800%22%7D", 200),
        ("&action=create&body=%7B%22title%22%3A%22%5Cu0000%22%7D", 200),
        ("&action=view&record=%00&as=users/%00", 422),
        ("&action=nothing&record=nothing&as=nobody", 422),
        ("&action=view&record=nothing", 200),
    ):
        answer = await client.get(ask + query)
        assert answer.status_code in (status, 422), (query[:40], answer.status_code)
    assert (await client.get("/_/rules/lab?collection=nothing")).status_code == 404
    allowed = await client.get(ask + '&action=create&body={"title":"a"}')
    assert "Allowed" in allowed.text


async def test_secrets_of_an_auth_collection_are_in_no_draft(server: Server) -> None:
    users = server.services.collections.view("users")
    raw = draft_of(users).raw
    assert "oauth2" not in raw
    assert "secret" not in str(raw)


def test_every_type_has_its_options_and_a_name_suggests_a_type() -> None:
    for name in type_names():
        assert options_of(name), name
    guesses = {"email": "email", "is_open": "bool", "created": "autodate", "price": "number", "title": "text"}
    assert {name: new_field(name, "", Schema())["type"] for name in guesses} == guesses


def test_fields_are_moved_and_counted_as_changes() -> None:
    draft = new_draft("posts", "base")
    assert changes(draft, None) == []
    move(draft, "new1", 1)
    assert [each["name"] for each in draft.fields] == ["id"]
    draft.fields[0][GONE] = True
    assert draft.submitted()["fields"] == []
