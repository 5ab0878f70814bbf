"""What superusers do with webhooks: make, change, look, rotate; and what is refused."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from groundplane.clock import now
from groundplane.config import Config, OutgoingConfig, SecurityConfig
from groundplane.db.sql import Sql
from groundplane.testing.server import running
from groundplane.webhooks.webhook import RETRIES

KEY = "0123456789abcdef0123456789abcdef"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYq="


async def test_a_webhook_is_made_with_defaults_and_its_secret_is_shown_once(hooks: Any) -> None:
    body = {"name": "shop", "url": hooks.receiver.url, "collections": ["posts"]}
    made = await hooks.call("POST", "/api/webhooks", body)
    assert made["secrets"][0]["secret"].startswith("whsec_")
    seen = await hooks.call("GET", f"/api/webhooks/{made['id']}")
    assert seen["secrets"][0]["secret"] == "******"
    assert {key: seen[key] for key in ("actions", "condition", "fields", "headers", "enabled", "state")} == {
        "actions": ["create", "update", "delete"],
        "condition": "",
        "fields": [],
        "headers": {},
        "enabled": True,
        "state": "active",
    }
    assert (seen["timeout"], seen["retries"], seen["concurrency"]) == (15, list(RETRIES), 4)
    page = await hooks.call("GET", "/api/webhooks")
    assert (page["items"], page["totalItems"]) == ([seen], 1)
    assert (await hooks.call("GET", "/api/webhooks?perPage=1&page=2&skipTotal=1"))["items"] == []


async def test_a_change_keeps_what_is_not_named_and_redacted_headers(hooks: Any) -> None:
    hook = await hooks.make(headers={"X-Token": "abc", "X-Other": "def"})
    path = f"/api/webhooks/{hook['id']}"
    changed = await hooks.call("PATCH", path, {"name": "new", "headers": {"X-Token": "******"}})
    assert (changed["name"], changed["url"], changed["headers"]) == (
        "new",
        hook["url"],
        {"X-Token": "******"},
    )
    await hooks.post(title="a")
    await hooks.work()
    headers = hooks.receiver.heard[0].headers
    assert (headers["x-token"], "x-other" in headers) == ("abc", False)


async def test_a_renamed_collection_goes_on_and_is_shown_by_its_new_name(hooks: Any) -> None:
    hook = await hooks.make()
    await hooks.call("PATCH", "/api/collections/posts", {"name": "articles"})
    assert (await hooks.call("GET", f"/api/webhooks/{hook['id']}"))["collections"] == ["articles"]
    await hooks.call("POST", "/api/collections/articles/records", {"title": "a"})
    await hooks.work()
    assert hooks.receiver.heard[0].message["data"]["collection"] == "articles"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", ""),
        ("name", 5),
        ("name", "x" * 101),
        ("name", "a\nb"),
        ("url", ""),
        ("url", None),
        ("url", "https://10.0.0.1/"),
        ("url", "https://user:pass@example.com/"),
        ("collections", []),
        ("collections", "posts"),
        ("collections", ["nowhere"]),
        ("collections", [5]),
        ("actions", []),
        ("actions", ["read"]),
        ("condition", "nothing = 1"),
        ("condition", "stars >"),
        ("condition", "x" * 4000),
        ("condition", 5),
        ("fields", ["nothing"]),
        ("headers", []),
        ("headers", {"Host": "x"}),
        ("headers", {"webhook-id": "x"}),
        ("headers", {"X A": "x"}),
        ("headers", {"X-A": "a\r\nX-B: b"}),
        ("headers", {"X-A": "ä"}),
        ("headers", {"X-A": 5}),
        ("headers", {"X-A": "******"}),
        ("headers", {"X-A": "1", "x-a": "2"}),
        ("enabled", "yes"),
        ("timeout", 0),
        ("timeout", 61),
        ("timeout", "5"),
        ("timeout", True),
        ("retries", 5),
        ("retries", [-1]),
        ("retries", ["5"]),
        ("retries", [1e9]),
        ("retries", [1] * 51),
        ("concurrency", 0),
        ("concurrency", 1.5),
        ("concurrency", 1000),
        ("secrets", []),
        ("secrets", ["short"]),
        ("secrets", ["whsec_!!!"]),
        ("secrets", ["whsec_YQ=="]),
        ("secrets", "whsec_YQ=="),
    ],
)
async def test_what_cannot_be_is_refused_with_the_key_named(hooks: Any, key: str, value: Any) -> None:
    body = {"name": "hook", "url": hooks.receiver.url, "collections": ["posts"]} | {key: value}
    answer = await hooks.call("POST", "/api/webhooks", body, status=400)
    assert list(answer["data"]) == [key]
    assert (await hooks.call("GET", "/api/webhooks"))["totalItems"] == 0


async def test_secret_fields_of_accounts_are_never_sent(hooks: Any) -> None:
    body = {"name": "hook", "url": hooks.receiver.url, "collections": ["users"], "fields": ["tokenKey"]}
    for field in ("tokenKey", "password"):
        answer = await hooks.call("POST", "/api/webhooks", body | {"fields": [field]}, status=400)
        assert list(answer["data"]) == ["fields"]
    await hooks.call("POST", "/api/webhooks", body | {"fields": []})
    user = {"email": "ann@example.com", "password": "1234567890", "passwordConfirm": "1234567890"}
    await hooks.call("POST", "/api/collections/users/records", user)
    await hooks.work()
    record = hooks.receiver.heard[0].message["data"]["record"]
    assert record["email"] == "ann@example.com"
    assert {"password", "tokenKey"} & record.keys() == set()


async def test_two_webhooks_have_different_names(hooks: Any) -> None:
    first = await hooks.make(name="a")
    other = await hooks.make(name="b")
    body = {"name": "A", "url": hooks.receiver.url, "collections": ["posts"]}
    answer = await hooks.call("POST", "/api/webhooks", body, status=400)
    assert answer["data"]["name"]["code"] == "validation_not_unique"
    answer = await hooks.call("PATCH", f"/api/webhooks/{other['id']}", {"name": "a"}, status=400)
    assert list(answer["data"]) == ["name"]
    await hooks.call("PATCH", f"/api/webhooks/{first['id']}", {"name": "A"})


@pytest.mark.parametrize("who", ["guest", "user"])
async def test_nobody_but_superusers_comes_near(hooks: Any, who: str) -> None:
    hook = await hooks.make()
    headers = {}
    if who == "user":
        user = {"email": "ann@example.com", "password": "1234567890", "passwordConfirm": "1234567890"}
        await hooks.call("POST", "/api/collections/users/records", user)
        headers = {"Authorization": await hooks.server.token("users", "ann@example.com")}
    for method, path in (
        ("GET", ""),
        ("POST", ""),
        ("GET", f"/{hook['id']}"),
        ("PATCH", f"/{hook['id']}"),
        ("DELETE", f"/{hook['id']}"),
        ("POST", f"/{hook['id']}/test"),
        ("POST", f"/{hook['id']}/rotate"),
        ("POST", f"/{hook['id']}/replay"),
        ("GET", f"/{hook['id']}/deliveries"),
        ("GET", f"/{hook['id']}/deliveries/x"),
        ("POST", f"/{hook['id']}/deliveries/x/replay"),
    ):
        answer = await hooks.server.client.request(method, f"/api/webhooks{path}", headers=headers)
        assert answer.status_code == (401 if who == "guest" else 403), path


async def test_after_a_rotation_both_secrets_sign_until_the_old_one_expires(hooks: Any, verify: Any) -> None:
    hook = await hooks.make()
    old = hook["secrets"][0]["secret"]
    rotated = await hooks.call("POST", f"/api/webhooks/{hook['id']}/rotate", {"grace": 3600})
    new = rotated["secrets"][-1]["secret"]
    assert new != old
    assert [bool(each["expires"]) for each in rotated["secrets"]] == [True, False]
    await hooks.post(title="a")
    await hooks.work()
    for secret in (old, new):
        verify(hooks.receiver.heard[0], secret)
    db = hooks.services.db
    secrets = json.loads(await db.fetchval("SELECT secrets FROM _webhooks"))
    secrets[0]["expires"] = (now() - timedelta(seconds=1)).isoformat()
    await db.execute("UPDATE _webhooks SET secrets = $1", json.dumps(secrets))
    await hooks.post(title="b")
    await hooks.work()
    assert verify(hooks.receiver.heard[1], new)["data"]["record"]["title"] == "b"
    with pytest.raises(Exception, match="No matching signature"):
        verify(hooks.receiver.heard[1], old)
    assert len((await hooks.call("GET", f"/api/webhooks/{hook['id']}"))["secrets"]) == 1


async def test_a_rotation_takes_a_given_secret_and_no_grace(hooks: Any, verify: Any) -> None:
    hook = await hooks.make()
    path = f"/api/webhooks/{hook['id']}/rotate"
    rotated = await hooks.call("POST", path, {"secret": SECRET, "grace": 0})
    assert [each["secret"] for each in rotated["secrets"]] == [SECRET]
    await hooks.post(title="a")
    await hooks.work()
    verify(hooks.receiver.heard[0], SECRET)
    for wrong in ({"grace": -1}, {"grace": "1"}, {"grace": 1e12}, {"secret": "x"}, {"secret": 5}):
        await hooks.call("POST", path, wrong, status=400)


async def test_secrets_and_headers_are_encrypted_at_rest(
    server_database_url: str, tmp_path: Path, outgoing: OutgoingConfig
) -> None:
    config = Config(data_dir=str(tmp_path), outgoing=outgoing, security=SecurityConfig(encryption_key=KEY))
    async with running(config, server_database_url) as server:
        body = {
            "name": "hook",
            "url": "https://example.com/",
            "collections": ["*"],
            "secrets": [SECRET],
            "headers": {"Authorization": "Bearer abc"},
        }
        webhook, secrets = await server.services.webhooks.create(body)
        assert secrets == [SECRET]
        row = await server.services.db.fetchrow("SELECT headers, secrets FROM _webhooks")
        assert row is not None
        assert "abc" not in row["headers"]
        assert SECRET not in row["secrets"]
        assert server.services.webhooks.opened(webhook).headers == {"Authorization": "Bearer abc"}
        assert server.services.webhooks.lasting_secrets(webhook) == [SECRET]
        assert "abc" not in repr(webhook)
    # Without the key the server starts, and a delivery says what is wrong.
    async with running(Config(data_dir=str(tmp_path), outgoing=outgoing), server_database_url) as server:
        delivery, _ = await server.services.webhooks.test(webhook.id)
        assert delivery.state == "failed"
        assert "encryption" in delivery.error


async def test_a_condition_that_the_schema_left_behind_fails_no_write_and_is_seen(hooks: Any) -> None:
    hook = await hooks.make(condition="stars > 3")
    posts = await hooks.call("GET", "/api/collections/posts")
    fields = [field for field in posts["fields"] if field["name"] != "stars"]
    await hooks.call("PATCH", "/api/collections/posts", {"fields": fields})
    post = await hooks.post(title="a")
    await hooks.edit(post, title="b")
    await hooks.remove(post)
    seen = await hooks.call("GET", f"/api/webhooks/{hook['id']}")
    assert seen["state"] == "failing"
    assert "does not compile any more" in seen["problem"]
    found = await hooks.deliveries(hook["id"])
    assert [each["state"] for each in found] == ["failed"] * 3
    assert "stars" in found[0]["error"]
    assert any(
        "does not compile" in text for sound, text in await hooks.services.webhooks.findings() if not sound
    )
    posts = await hooks.call("GET", "/api/collections/posts")
    stars = {"name": "stars", "type": "number"}
    await hooks.call("PATCH", "/api/collections/posts", {"fields": [*posts["fields"], stars]})
    await hooks.post(title="not enough", stars=1)
    await hooks.post(title="enough", stars=5)
    assert (await hooks.call("GET", f"/api/webhooks/{hook['id']}"))["problem"] == "", "it is gone by itself"
    await hooks.call("PATCH", "/api/collections/posts", {"fields": posts["fields"]})
    await hooks.call("PATCH", f"/api/webhooks/{hook['id']}", {"enabled": True}, status=400)
    await hooks.call("PATCH", f"/api/webhooks/{hook['id']}", {"enabled": False})
    mended = await hooks.call("PATCH", f"/api/webhooks/{hook['id']}", {"enabled": True, "condition": ""})
    assert (mended["state"], mended["problem"]) == ("active", "")
    await hooks.call("POST", f"/api/webhooks/{hook['id']}/replay", {})
    await hooks.work()
    assert len(hooks.receiver.heard) == 4


async def test_a_condition_that_fails_in_the_database_undoes_no_write(hooks: Any, monkeypatch: Any) -> None:
    hook = await hooks.make(condition="title ~ 'a'")
    failing = Sql("SELECT 1 / $1::int = 1", (0,))
    monkeypatch.setattr("groundplane.webhooks.outbox.stored_check", lambda *_: failing)
    post = await hooks.post(title="a")
    assert (await hooks.call("GET", f"/api/collections/posts/records/{post}"))["title"] == "a"
    (delivery,) = await hooks.deliveries(hook["id"])
    assert delivery["error"].startswith("The condition cannot be evaluated:")
    assert (await hooks.call("GET", f"/api/webhooks/{hook['id']}"))["problem"] == delivery["error"]


async def test_collections_that_were_deleted_leave_the_webhook_as_it_is(hooks: Any) -> None:
    await hooks.services.collections.create({"name": "notes", "type": "base", "createRule": ""})
    hook = await hooks.make(collections=["posts", "notes"])
    await hooks.call("DELETE", "/api/collections/notes", status=204)
    await hooks.call("PATCH", f"/api/webhooks/{hook['id']}", {"name": "still"})
    await hooks.post(title="a")
    assert len(await hooks.deliveries(hook["id"])) == 1


async def test_a_deleted_webhook_sends_nothing_any_more(hooks: Any) -> None:
    hook = await hooks.make()
    await hooks.post(title="a")
    await hooks.call("DELETE", f"/api/webhooks/{hook['id']}", status=204)
    await hooks.post(title="b")
    await hooks.work()
    assert hooks.receiver.heard == []
    await hooks.call("GET", f"/api/webhooks/{hook['id']}", status=404)
    await hooks.call("DELETE", f"/api/webhooks/{hook['id']}", status=404)


async def test_views_and_nul_characters_are_no_500(hooks: Any) -> None:
    await hooks.call("GET", "/api/webhooks/a%00b", status=404)
    await hooks.call("GET", "/api/webhooks/a%00b/deliveries", status=404)
    hook = await hooks.make()
    await hooks.call("GET", f"/api/webhooks/{hook['id']}/deliveries/a%00b", status=404)
    assert await hooks.deliveries(hook["id"], record="a%00b") == []
    view = {"name": "titles", "type": "view", "viewQuery": "SELECT id, title FROM posts"}
    await hooks.services.collections.create(view)
    body = {"name": "v", "url": hooks.receiver.url, "collections": ["titles"]}
    assert list((await hooks.call("POST", "/api/webhooks", body, status=400))["data"]) == ["collections"]
    for odd in ("null", "[]", '"x"', "{"):
        answer = await hooks.server.client.post(
            "/api/webhooks", content=odd, headers=hooks.headers | {"content-type": "application/json"}
        )
        assert answer.status_code == 400, odd
