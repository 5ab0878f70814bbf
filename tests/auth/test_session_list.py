"""Where one is signed in, and signing out: here, there, everywhere else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from groundplane.auth.callers import issue
from groundplane.security import tokens
from groundplane.testing.captured import run_due

SESSIONS = "/api/collections/users/sessions"
REFRESH = "/api/collections/users/auth-refresh"
RECORDS = "/api/collections/users/records"


async def signed_in(site: Any, email: str = "a@example.com", **more: Any) -> dict[str, str]:
    """The header of a new session."""
    body = {"identity": email, "password": "1234567890"}
    response = await site.client.post("/api/collections/users/auth-with-password", json=body, **more)
    assert response.status_code == 200, response.text
    return {"Authorization": response.json()["token"]}


async def listed(site: Any, header: dict[str, str], **query: str) -> list[dict[str, Any]]:
    response = await site.client.get(SESSIONS, headers=header, params=query)
    assert response.status_code == 200, response.text
    return list(response.json()["items"])


async def status(site: Any, header: dict[str, str]) -> int:
    """What a request gets that only its own record may make."""
    return int((await site.client.post(REFRESH, headers=header)).status_code)


async def test_each_sign_in_is_a_session_that_its_owner_sees(site: Any) -> None:
    await site.user("a@example.com")
    first = await signed_in(site, headers={"User-Agent": "Phone"})
    second = await signed_in(site, headers={"User-Agent": "Desktop\x7f"})
    found = await listed(site, second)
    assert [each["userAgent"] for each in found if each["current"]] == ["Desktop"]
    assert {each["userAgent"] for each in found} == {"Phone", "Desktop"}
    assert {each["method"] for each in found} == {"password"}
    assert {each["ip"] for each in found} == {"127.0.0.1"}
    assert list(found[0]) == [
        *("id", "collectionId", "recordId", "method", "ip", "userAgent"),
        *("current", "created", "lastUsed", "expires"),
    ]
    assert [each["userAgent"] for each in await listed(site, first) if each["current"]] == ["Phone"]


async def test_sign_ins_of_one_second_have_tokens_of_their_own(site: Any) -> None:
    await site.user("a@example.com")
    headers = await asyncio.gather(*(signed_in(site) for _ in range(4)))
    assert len({header["Authorization"] for header in headers}) == 4
    assert len(await listed(site, headers[0])) == 4


async def test_a_refresh_continues_the_session_and_ends_with_it(site: Any) -> None:
    user = await site.user("a@example.com")
    header = await signed_in(site)
    old = {"Authorization": issue(site.schema.current.find("users"), user, duration_s=600)}
    assert await status(site, header) == 200
    refreshed = (await site.client.post(REFRESH, headers=header)).json()["token"]
    found = await listed(site, header)
    assert len(found) == 1
    assert (await site.client.delete(f"{SESSIONS}/{found[0]['id']}", headers=old)).status_code == 204
    assert await status(site, header) == 401
    assert await status(site, {"Authorization": refreshed}) == 401
    assert await status(site, old) == 200


async def test_a_session_that_is_ended_is_refused_at_once_and_the_others_go_on(site: Any) -> None:
    await site.user("a@example.com")
    first, second = await signed_in(site), await signed_in(site)
    # A plain read remembers whose token it is.
    for header in (first, second, first, second):
        assert (await site.client.get(RECORDS, headers=header)).json()["totalItems"] == 1
    other = next(each for each in await listed(site, second) if not each["current"])
    assert (await site.client.delete(f"{SESSIONS}/{other['id']}", headers=second)).status_code == 204
    assert (await site.client.get(RECORDS, headers=first)).json()["totalItems"] == 0
    assert (await site.client.get(RECORDS, headers=second)).json()["totalItems"] == 1
    assert [each["current"] for each in await listed(site, second)] == [True]
    assert (await site.client.delete(f"{SESSIONS}/{other['id']}", headers=second)).status_code == 404


async def test_signing_out_is_ending_the_current_session(site: Any) -> None:
    await site.user("a@example.com")
    header = await signed_in(site)
    assert (await site.client.delete(f"{SESSIONS}/current", headers=header)).status_code == 204
    assert await status(site, header) == 401
    assert (await site.client.delete(f"{SESSIONS}/current", headers=header)).status_code == 401


async def test_a_token_from_before_there_were_sessions_is_listed_and_can_be_ended(site: Any) -> None:
    user = await site.user("a@example.com")
    header = site.token("users", user)
    found = await listed(site, header)
    assert [(each["method"], each["current"]) for each in found] == [("", True)]
    assert (await site.client.delete(f"{SESSIONS}/current", headers=header)).status_code == 204
    assert await status(site, header) == 401
    again = site.token("users", user, duration_s=999)
    assert (await site.client.delete(f"{SESSIONS}/current", headers=again)).status_code == 204
    assert await status(site, again) == 401


async def test_a_refresh_while_the_session_is_being_ended_gives_no_token(site: Any) -> None:
    user = await site.user("a@example.com")
    header = await signed_in(site)
    session = (await listed(site, header))[0]["id"]
    users = site.schema.current.find("users")
    for _ in range(5):
        answers = await asyncio.gather(
            site.client.post(REFRESH, headers=header),
            site.services.sessions.end(users, user["id"], session),
            return_exceptions=True,
        )
        if answers[0].status_code == 200:
            assert await status(site, {"Authorization": answers[0].json()["token"]}) == 401
    assert await status(site, header) == 401


async def test_signing_out_everywhere_else_leaves_this_one_with_another_token(site: Any) -> None:
    user = await site.user("a@example.com")
    first, second = await signed_in(site), await signed_in(site)
    unknown = site.token("users", user, duration_s=500)
    response = await site.client.post(f"{SESSIONS}/revoke-others", headers=second)
    assert response.status_code == 200
    assert response.json()["record"]["email"] == "a@example.com"
    for header in (first, second, unknown):
        assert await status(site, header) == 401
    header = {"Authorization": response.json()["token"]}
    assert await status(site, header) == 200
    assert [(each["method"], each["current"]) for each in await listed(site, header)] == [("password", True)]


async def test_signing_out_everywhere_ends_every_session(site: Any) -> None:
    await site.user("a@example.com")
    first, second = await signed_in(site), await signed_in(site)
    assert (await site.client.post(f"{SESSIONS}/revoke-all", headers=first)).status_code == 204
    assert await status(site, first) == await status(site, second) == 401
    third = await signed_in(site)
    assert len(await listed(site, third)) == 1


async def test_superusers_see_and_end_the_sessions_of_anybody_and_others_nobodys(site: Any) -> None:
    user, other = await site.user("a@example.com"), await site.user("b@example.com")
    root = await site.superuser()
    header, stranger = await signed_in(site), await signed_in(site, "b@example.com")
    found = await listed(site, root, record=user["id"])
    assert [each["current"] for each in found] == [False]
    url = f"{SESSIONS}/{found[0]['id']}"
    assert (await site.client.get(SESSIONS)).status_code == 401
    assert (await site.client.get(SESSIONS, params={"record": user["id"]})).status_code == 401
    assert (
        await site.client.get(SESSIONS, params={"record": user["id"]}, headers=stranger)
    ).status_code == 404
    assert (await site.client.get(SESSIONS, headers=root)).status_code == 403
    assert (await site.client.get(SESSIONS, params={"record": "nobody"}, headers=root)).status_code == 404
    for wrong in ("/api/collections/_mfas/sessions", "/api/collections/nothing/sessions"):
        answer = await site.client.get(wrong, params={"record": user["id"]}, headers=root)
        assert answer.status_code == 404
    assert (await site.client.delete(url)).status_code == 401
    assert (await site.client.delete(url, headers=stranger)).status_code == 404
    assert (await site.client.delete(url, headers=root, params={"record": other["id"]})).status_code == 404
    for hostile in ("%00", "a%2Fb", "x" * 5000, "%F0%9F%98%80", "'"):
        assert (await site.client.delete(f"{SESSIONS}/{hostile}", headers=header)).status_code == 404, hostile
    assert await status(site, header) == 200
    assert (await site.client.delete(url, headers=root, params={"record": user["id"]})).status_code == 204
    assert await status(site, header) == 401
    url = f"{SESSIONS}/revoke-all"
    assert (await site.client.post(url, headers=root, params={"record": other["id"]})).status_code == 204
    assert await status(site, stranger) == 401
    assert (await site.client.get("/api/collections/_superusers/sessions", headers=root)).status_code == 200


async def test_an_impersonation_is_a_session_that_the_record_sees(site: Any) -> None:
    user, root = await site.user("a@example.com"), await site.superuser()
    url = f"/api/collections/users/impersonate/{user['id']}"
    acting = {"Authorization": (await site.client.post(url, headers=root)).json()["token"]}
    header = await signed_in(site)
    assert sorted(each["method"] for each in await listed(site, header)) == ["impersonation", "password"]
    assert (await site.client.delete(f"{SESSIONS}/current", headers=acting)).status_code == 204
    assert await status(site, header) == 200


async def test_the_use_of_a_session_is_written_down_coarsely(site: Any) -> None:
    await site.user("a@example.com")
    header = await signed_in(site)
    await site.db.execute("UPDATE _sessions SET used = used - interval '1 hour'")
    assert (await site.client.get(RECORDS, headers=header)).status_code == 200
    await site.services.sessions.note()
    shown = (await listed(site, header))[0]
    assert shown["lastUsed"] >= shown["created"]


async def test_what_has_expired_is_forgotten(site: Any) -> None:
    await site.user("a@example.com")
    header = await signed_in(site)
    await signed_in(site)
    assert (await site.client.delete(f"{SESSIONS}/current", headers=header)).status_code == 204
    for table in ("_sessions", "_session_tokens", "_refused_tokens"):
        assert await site.db.fetchval(f"SELECT count(*) FROM {table}") == 2, table
        past = f"UPDATE {table} SET expires = now() - interval '1 minute'"
        await site.db.execute(f"{past} WHERE ctid = (SELECT min(ctid) FROM {table})")
    await site.services.crons.run("__gpSessionsCleanup__")
    await run_due(site.services)
    for table in ("_sessions", "_session_tokens", "_refused_tokens"):
        assert await site.db.fetchval(f"SELECT count(*) FROM {table}") == 1, table


async def test_no_token_and_no_key_can_be_made_from_what_is_stored(site: Any) -> None:
    user = await site.user("a@example.com")
    header = await signed_in(site)
    token = header["Authorization"]
    rows = await site.db.fetch("SELECT * FROM _sessions JOIN _session_tokens ON session = id")
    stored = " ".join(str(dict(row)) for row in rows)
    assert tokens.mark_of(token) in stored
    assert token.rpartition(".")[2] not in stored
    assert user["tokenKey"] not in stored


@pytest.mark.parametrize("path", ["revoke-others", "revoke-all"])
async def test_signing_out_everywhere_needs_somebody_who_is_signed_in(site: Any, path: str) -> None:
    response = await site.client.post(f"{SESSIONS}/{path}")
    assert (response.status_code, response.json()["message"]) == (
        401,
        "The request requires valid record authorization token.",
    )
