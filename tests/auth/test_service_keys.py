"""Service keys: what programs may do with them, and what not."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from groundplane.auth.service_keys import PREFIX, is_key, new_key
from groundplane.clock import now, wire_date

KEYS = "/api/service-keys"
NOT_COVERED = "The service key is not allowed to perform this action."
ROOT = "root@example.com"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def make(site: Any, root: dict[str, str], **body: Any) -> dict[str, Any]:
    response = await site.client.post(KEYS, json={"name": "importer", **body}, headers=root)
    assert response.status_code == 200, response.text
    return dict(response.json())


async def posts(site: Any, **rules: Any) -> None:
    """Two collections for superusers only, of which one points to the other."""
    text = {"name": "title", "type": "text"}
    await site.collections.create({"name": "secrets", "type": "base", "fields": [text]})
    secrets = site.schema.current.find("secrets")
    relation = {"name": "about", "type": "relation", "collectionId": secrets.id, "maxSelect": 1}
    await site.collections.create({"name": "posts", "type": "base", "fields": [text, relation], **rules})


def scope(*actions: str, collections: tuple[str, ...] = ("posts",)) -> list[dict[str, Any]]:
    return [{"collections": list(collections), "actions": list(actions)}]


def test_a_key_is_recognised_by_its_prefix_and_a_typing_error_by_its_checksum() -> None:
    key = new_key()
    assert key.startswith(PREFIX)
    assert len(key) == 50
    assert is_key(key)
    for place in range(len(key)):
        assert not is_key(key[:place] + ("a" if key[place] != "a" else "b") + key[place + 1 :])
    assert not is_key("")
    assert not is_key(key + "a")
    assert not is_key(key[:-1] + "é")


async def test_a_key_with_full_access_does_what_its_scopes_say_and_nothing_else(site: Any) -> None:
    root = await site.superuser()
    await posts(site)
    made = await make(site, root, access="full", scopes=scope("create", "list"))
    header = bearer(made["key"])
    url = "/api/collections/posts/records"
    response = await site.client.post(url, json={"title": "a"}, headers=header)
    assert response.status_code == 200, response.text
    one = f"{url}/{response.json()['id']}"
    assert (await site.client.get(url, headers=header)).json()["totalItems"] == 1
    refused: list[tuple[str, str]] = [
        ("GET", one),
        ("PATCH", one),
        ("DELETE", one),
        ("GET", "/api/collections/secrets/records"),
        ("POST", "/api/collections/secrets/records"),
        ("GET", "/api/collections/nothing/records"),
        ("GET", "/api/collections/_superusers/records"),
        ("GET", "/api/collections"),
        ("GET", "/api/settings"),
        ("GET", KEYS),
        ("POST", KEYS),
        ("POST", "/api/collections/users/auth-refresh"),
        ("POST", "/api/collections/_superusers/auth-refresh"),
        ("POST", "/api/collections/users/impersonate/x"),
        ("POST", "/api/files/token"),
        ("GET", "/api/realtime/ws"),
        ("GET", "/api/nothing"),
        ("GET", "/_/"),
    ]
    for method, path in refused:
        response = await site.client.request(method, path, headers=header)
        assert (response.status_code, response.json()["message"]) == (403, NOT_COVERED), (method, path)
    assert (await site.client.get("/api/health", headers=header)).status_code == 200


FOLLOWING: list[dict[str, str]] = [
    {"expand": "about"},
    {"filter": 'about.title = "a"'},
    {"filter": 'about . title = "a"'},
    {"filter": '@collection.secrets.title = "a"'},
    {"filter": "title = 'x' || @Collection.secrets.id != ''"},
    {"sort": "-about.title"},
]


async def test_a_key_for_one_collection_reads_no_other_through_it(site: Any) -> None:
    root = await site.superuser()
    await posts(site)
    made = await make(site, root, access="full", scopes=scope("*"))
    url, header = "/api/collections/posts/records", bearer(made["key"])
    for query in FOLLOWING:
        answer = await site.client.get(url, params=query, headers=header)
        assert answer.status_code == 403, answer.text
    named = {"filter": 'title = "@collection.x a.b"'}
    assert (await site.client.get(url, params=named, headers=header)).status_code == 200


async def test_a_key_that_acts_as_a_record_is_bound_by_the_rules_too(site: Any) -> None:
    root = await site.superuser()
    robot, other = await site.user("robot@example.com"), await site.user("other@example.com")
    await posts(site, listRule="@request.auth.email = 'robot@example.com'", createRule=None)
    actor = {"collection": "users", "id": robot["id"]}
    made = await make(site, root, record=actor, scopes=scope("list", "create"))
    header = bearer(made["key"])
    url = "/api/collections/posts/records"
    assert (await site.client.get(url, headers=header)).status_code == 200
    answer = await site.client.post(url, json={"title": "a"}, headers=header)
    assert answer.json()["message"] == "Only superusers can perform this action."
    users = f"/api/collections/users/records/{robot['id']}"
    assert (await site.client.get(users, headers=header)).json()["message"] == NOT_COVERED
    assert made["record"] == actor
    await site.db.execute("DELETE FROM users WHERE id = $1", robot["id"])
    answer = await site.client.get(url, headers=header)
    assert answer.json()["totalItems"] == 0, "a guest, now"
    assert other["id"]


async def test_only_a_key_with_a_superusers_access_is_a_superuser(site: Any) -> None:
    root = await site.superuser()
    made = await make(site, root, access="superuser")
    header = bearer(made["key"])
    for path in ("/api/collections", "/api/settings", "/api/collections/_superusers/records", KEYS):
        assert (await site.client.get(path, headers=header)).status_code == 200, path
    assert (await site.client.post("/api/files/token", headers=header)).status_code == 403
    url = "/api/collections/_superusers/auth-refresh"
    assert (await site.client.post(url, headers=header)).status_code == 403
    assert (await site.client.get("/api/collections/_superusers/sessions", headers=header)).status_code == 403
    await site.settings.change({"superuserIPs": ["10.0.0.0/8"]})
    assert (await site.client.get("/api/collections", headers=header)).status_code == 403


async def test_the_items_of_a_batch_are_looked_at_one_by_one(site: Any) -> None:
    root = await site.superuser()
    await posts(site)
    await site.settings.change({"batch": {"enabled": True}})
    made = await make(site, root, access="full", scopes=scope("create"))
    header = bearer(made["key"])

    async def batch(*items: tuple[str, str]) -> Any:
        requests = [{"method": method, "url": url, "body": {"title": "a"}} for method, url in items]
        return await site.client.post("/api/batch", json={"requests": requests}, headers=header)

    url = "/api/collections/posts/records"
    assert (await batch(("POST", url), ("POST", url))).status_code == 200
    for wrong in (
        ("POST", "/api/collections/secrets/records"),
        ("DELETE", f"{url}/x"),
        ("PATCH", f"{url}/x"),
    ):
        answer = await batch(("POST", url), wrong)
        assert answer.json()["data"]["requests"]["1"]["response"]["status"] == 403, wrong
    assert (await batch(("POST", f"{url}?expand=about"))).status_code == 403
    assert await site.db.fetchval("SELECT count(*) FROM posts") == 2


async def test_a_revoked_key_is_refused_at_once_and_a_guest_afterwards(site: Any) -> None:
    root = await site.superuser()
    await posts(site)
    made = await make(site, root, access="full", scopes=scope("list"))
    url = "/api/collections/posts/records"
    assert (await site.client.get(url, headers=bearer(made["key"]))).status_code == 200
    assert (await site.client.delete(f"{KEYS}/{made['id']}", headers=root)).status_code == 204
    answer = await site.client.get(url, headers=bearer(made["key"]))
    assert answer.json()["message"] == "Only superusers can perform this action."
    for path in (f"{KEYS}/{made['id']}", f"{KEYS}/%00", f"{KEYS}/{'x' * 300}"):
        assert (await site.client.delete(path, headers=root)).status_code == 404


async def test_an_expired_key_is_nobodys(site: Any) -> None:
    root = await site.superuser()
    await posts(site)
    soon = wire_date(now() + timedelta(hours=1))
    made = await make(site, root, access="full", scopes=scope("list"), expires=soon)
    assert made["expires"] == soon
    url = "/api/collections/posts/records"
    assert (await site.client.get(url, headers=bearer(made["key"]))).status_code == 200
    await site.db.execute("UPDATE _service_keys SET expires = now() - interval '1 second'")
    await site.services.keys.load()
    assert (await site.client.get(url, headers=bearer(made["key"]))).status_code == 403
    assert (await site.client.get(KEYS, headers=root)).json()[0]["valid"] is False


async def test_a_rotated_key_goes_on_for_as_long_as_was_asked(site: Any) -> None:
    root = await site.superuser()
    await posts(site)
    made = await make(site, root, access="full", scopes=scope("list"))
    url = "/api/collections/posts/records"

    async def works(key: str) -> bool:
        return bool((await site.client.get(url, headers=bearer(key))).status_code == 200)

    second = (await site.client.post(f"{KEYS}/{made['id']}/rotate", json={"grace": 60}, headers=root)).json()
    assert second["previousUntil"]
    assert second["key"] != made["key"]
    assert await works(made["key"])
    assert await works(second["key"])
    third = (await site.client.post(f"{KEYS}/{made['id']}/rotate", headers=root)).json()
    assert [await works(each["key"]) for each in (made, second, third)] == [False, False, True]
    for grace in (-1, 10**9):
        answer = await site.client.post(f"{KEYS}/{made['id']}/rotate", json={"grace": grace}, headers=root)
        assert answer.json()["data"]["grace"]["code"] == "validation_invalid_value"
    assert (await site.client.post(f"{KEYS}/none/rotate", headers=root)).status_code == 404


async def test_a_key_is_shown_once_and_stored_nowhere(site: Any) -> None:
    root = await site.superuser()
    made = await make(site, root, access="superuser")
    listed = (await site.client.get(KEYS, headers=root)).json()
    assert [each["id"] for each in listed] == [made["id"]]
    assert "key" not in listed[0]
    assert made["key"].startswith(listed[0]["hint"])
    viewed = (await site.client.get(f"{KEYS}/{made['id']}", headers=root)).json()
    assert viewed == listed[0]
    row = str(dict((await site.db.fetch("SELECT * FROM _service_keys"))[0]))
    assert made["key"][15:] not in row
    assert made["key"] not in repr(site.services.keys.key_of(await site.services.keys.caller(made["key"])))


async def test_the_last_use_is_written_down_once_in_a_while(site: Any) -> None:
    root = await site.superuser()
    made = await make(site, root, access="superuser")
    assert made["lastUsed"] == ""
    keys = site.services.keys
    await asyncio.gather(*(site.client.get("/api/health", headers=bearer(made["key"])) for _ in range(5)))
    assert len(keys._noted) == 1
    await asyncio.gather(*(task for task in keys._notes if task.get_name() != "service keys"))
    assert (await site.client.get(f"{KEYS}/{made['id']}", headers=root)).json()["lastUsed"] != ""


NONSENSE: list[tuple[dict[str, Any], set[str]]] = [
    ({"name": ""}, {"name", "record", "scopes"}),
    ({"name": "a\n", "access": "superuser"}, {"name"}),
    ({"name": "x" * 101, "access": "superuser"}, {"name"}),
    ({"name": 5, "access": "superuser"}, {"name"}),
    ({"name": "a", "access": "root"}, {"access", "scopes"}),
    ({"name": "a", "access": ["full"]}, {"access", "scopes"}),
    ({"name": "a", "access": "superuser", "scopes": [{}]}, {"scopes"}),
    ({"name": "a", "access": "superuser", "record": {"id": "x"}}, {"record"}),
    ({"name": "a", "access": "full", "scopes": "posts"}, {"scopes"}),
    ({"name": "a", "access": "full", "scopes": [5]}, {"scopes"}),
    (
        {"name": "a", "access": "full", "scopes": [{"collections": ["no"], "actions": ["list"]}]},
        {"scopes"},
    ),
    (
        {"name": "a", "access": "full", "scopes": [{"collections": ["users"], "actions": ["x"]}]},
        {"scopes"},
    ),
    ({"name": "a", "access": "full", "scopes": [{"collections": "users", "actions": ["*"]}]}, {"scopes"}),
    ({"name": "a", "access": "superuser", "expires": "2001-01-01 00:00:00Z"}, {"expires"}),
    ({"name": "a", "access": "superuser", "expires": "soon"}, {"expires"}),
    (
        {"name": "a", "record": {"collection": "_superusers", "id": "x"}, "scopes": [1]},
        {"record", "scopes"},
    ),
    ({"name": "a", "record": {"collection": "users", "id": "x\0"}, "scopes": [1]}, {"record", "scopes"}),
    ({"name": "a", "record": "users/x", "scopes": [1]}, {"record", "scopes"}),
]


async def test_what_makes_no_sense_is_refused_with_its_place(site: Any) -> None:
    root = await site.superuser()
    for body, wrong in NONSENSE:
        answer = await site.client.post(KEYS, json=body, headers=root)
        assert answer.status_code == 400, answer.text
        assert set(answer.json()["data"]) == wrong, body


async def test_a_key_opens_the_protected_files_of_its_collections(site: Any) -> None:
    root = await site.superuser()
    file = {"name": "file", "type": "file", "protected": True, "maxSelect": 1}
    for name in ("papers", "others"):
        await site.collections.create({"name": name, "type": "base", "fields": [file]})
    files = {"file": ("a.txt", b"hello", "text/plain")}
    made = (await site.client.post("/api/collections/papers/records", files=files, headers=root)).json()
    url = f"/api/files/papers/{made['id']}/{made['file']}"
    for actions, name, status in (("view", "papers", 200), ("list", "papers", 403), ("view", "others", 403)):
        key = await make(
            site, root, name=f"{actions} {name}", access="full", scopes=scope(actions, collections=(name,))
        )
        answer = await site.client.get(url, headers=bearer(key["key"]))
        assert answer.status_code == status, (actions, name)
    assert (await site.client.get(url, headers=root)).status_code == 404, "tokens go into the address"
    assert (await site.client.get(url)).status_code == 404


async def test_a_name_is_given_once(site: Any) -> None:
    root = await site.superuser()
    await make(site, root, access="superuser")
    answer = await site.client.post(KEYS, json={"name": "IMPORTER", "access": "superuser"}, headers=root)
    assert answer.json()["data"]["name"]["code"] == "validation_not_unique"


async def test_keys_are_a_matter_of_superusers(site: Any) -> None:
    header = site.token("users", await site.user("a@example.com"))
    for method, path in (("GET", KEYS), ("POST", KEYS), ("GET", f"{KEYS}/x"), ("DELETE", f"{KEYS}/x")):
        assert (await site.client.request(method, path)).status_code == 401
        assert (await site.client.request(method, path, headers=header)).status_code == 403


async def test_a_star_does_not_stand_for_the_systems_collections(site: Any) -> None:
    root = await site.superuser()
    made = await make(site, root, access="full", scopes=scope("list", collections=("*",)))
    header = bearer(made["key"])
    assert (await site.client.get("/api/collections/users/records", headers=header)).status_code == 200
    for name in ("_superusers", "_mfas", "_otps", "_externalAuths", "_authOrigins"):
        assert (await site.client.get(f"/api/collections/{name}/records", headers=header)).status_code == 403
