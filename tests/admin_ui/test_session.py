"""Signing in, the cookie, and what forged requests meet; without a browser."""

from __future__ import annotations

import re
import time
from email import message_from_bytes
from email.policy import default
from typing import Any

import httpx
import pytest

from groundplane.security.totp import STEP_S, code_at
from groundplane.testing.captured import run_due
from groundplane.testing.server import Server

EMAIL, PASSWORD = "mira@example.com", "correct horse battery"
CSRF = re.compile(r'name="_csrf" value="([0-9a-f]+)"')
HERE = {"Origin": "http://server.test"}


def token_in(page: httpx.Response) -> str:
    found = CSRF.search(page.text)
    assert found is not None
    return found[1]


async def signed_in(server: Server) -> httpx.AsyncClient:
    """The server's client with the cookie of a superuser."""
    await server.services.superusers.upsert(EMAIL, PASSWORD)
    page = await server.client.get("/_/sign-in")
    form = {"_csrf": token_in(page), "email": EMAIL, "password": PASSWORD, "next": "/_/"}
    answer = await server.client.post("/_/sign-in", data=form, headers=HERE)
    assert (answer.status_code, answer.headers["location"]) == (303, "/_/")
    return server.client


async def test_a_guest_is_sent_to_sign_in_and_back_to_the_console_only(server: Server) -> None:
    answer = await server.client.get("/_/keys")
    assert (answer.status_code, answer.headers["location"]) == (303, "/_/sign-in?next=/_/keys")
    for address in ("https://evil.example/", "//evil.example", "/_/\\evil.example", "/api/health"):
        page = await server.client.get("/_/sign-in", params={"next": address})
        assert 'name="next" value="/_/"' in page.text, address


async def test_the_session_is_a_cookie_that_no_script_reads_and_no_other_site_sends(server: Server) -> None:
    await server.services.superusers.upsert(EMAIL, PASSWORD)
    page = await server.client.get("/_/sign-in")
    form = {"_csrf": token_in(page), "email": EMAIL, "password": PASSWORD}
    answer = await server.client.post(
        "/_/sign-in", data=form, headers={"Origin": "http://server.test", "X-Forwarded-Proto": "https"}
    )
    cookie = next(each for each in answer.headers.get_list("set-cookie") if each.startswith("gp_session="))
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"httponly", "samesite=lax", "secure", "path=/_"} <= attributes


async def test_every_page_has_the_policy_and_is_not_kept(server: Server) -> None:
    client = await signed_in(server)
    for path in (
        "/_/",
        "/_/keys",
        "/_/c/users",
        "/_/c/users/new",
        "/_/nowhere",
        "/_/c/nothing",
        "/_/sign-in?x",
    ):
        answer = await client.get(path, follow_redirects=True)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy, path
        assert "unsafe" not in policy, path
        assert answer.headers["cache-control"] == "no-store", path
        assert not re.search(r"<script>|\sstyle=|\son[a-z]+=|hx-on|js:", answer.text), path


async def test_a_session_that_was_ended_elsewhere_is_over_at_the_next_click(server: Server) -> None:
    client = await signed_in(server)
    assert (await client.get("/_/keys")).status_code == 200
    await server.services.superusers.upsert(EMAIL, "another password")  # ends all sessions
    answer = await client.get("/_/keys")
    assert (answer.status_code, answer.headers["location"]) == (303, "/_/sign-in?next=/_/keys")


async def test_a_part_of_a_page_without_a_session_leads_to_sign_in_with_the_page_around_it(
    server: Server,
) -> None:
    headers = {"HX-Request": "true", "HX-Current-URL": "http://server.test/_/c/posts?sort=title"}
    answer = await server.client.get("/_/c/posts/new", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["hx-redirect"] == "/_/sign-in?next=/_/c/posts%3Fsort%3Dtitle"


async def test_an_account_of_another_collection_has_no_console(server: Server) -> None:
    users = server.services.schema.current.find("users")
    body = {"email": "ann@example.com", "password": "1234567890", "passwordConfirm": "1234567890"}
    token = await server.superuser_token()
    made = await server.client.post(
        "/api/collections/users/records", json=body, headers={"Authorization": token}
    )
    hers = await server.token_of(users, made.json()["id"])
    answer = await server.client.get("/_/keys", headers={"Cookie": f"gp_session={hers}"})
    assert answer.status_code == 303


async def test_a_superuser_from_an_address_that_may_not_has_no_console(server: Server) -> None:
    client = await signed_in(server)
    token = await server.superuser_token(EMAIL, PASSWORD)
    await signed_in(server)
    changed = await client.patch(
        "/api/settings", json={"superuserIPs": ["10.9.8.7"]}, headers={"Authorization": token}
    )
    if changed.status_code == 200:
        assert (await client.get("/_/keys")).status_code == 303


async def test_a_change_without_our_token_or_from_another_site_is_refused(server: Server) -> None:
    client = await signed_in(server)
    page = await client.get("/_/c/users/new")
    good = token_in(page)
    body = {"v:email": "x@example.com", "v:password": "1234567890"}
    attempts: list[tuple[dict[str, str], dict[str, str]]] = [
        ({}, HERE),
        ({"_csrf": ""}, HERE),
        ({"_csrf": "0" * len(good)}, HERE),
        ({"_csrf": good[:-2]}, HERE),
        ({"_csrf": "é" + good}, HERE),
        ({"_csrf": good}, {"Origin": "https://evil.example"}),
        ({"_csrf": good}, {"Origin": "null"}),
        ({"_csrf": good}, {"Sec-Fetch-Site": "cross-site"}),
        ({"_csrf": good}, {"Sec-Fetch-Site": "same-site"}),
    ]
    for form, headers in attempts:
        answer = await client.post("/_/c/users/new", data=body | form, headers=headers)
        assert answer.status_code == 403, (form, headers)
    users = server.services.schema.current.find("users")
    assert await server.services.records.find_one(users, 'r."email" = $1', "x@example.com") is None
    answer = await client.post("/_/c/users/new", data=body | {"_csrf": good}, headers=HERE)
    assert answer.status_code == 303
    assert await server.services.records.find_one(users, 'r."email" = $1', "x@example.com") is not None


async def test_another_visitors_token_is_not_ours(server: Server) -> None:
    stranger = token_in(await server.client.get("/_/sign-in"))
    client = await signed_in(server)
    answer = await client.post("/_/sign-out", data={"_csrf": stranger}, headers=HERE)
    assert answer.status_code == 403


async def test_no_page_of_the_console_changes_anything_by_a_link(server: Server) -> None:
    client = await signed_in(server)
    for path in ("/_/sign-out", "/_/account/theme", "/_/c/users/bulk/delete"):
        assert (await client.get(path)).status_code == 404, path


async def test_a_wrong_password_and_an_unknown_account_are_one_answer(server: Server) -> None:
    await server.services.superusers.upsert(EMAIL, PASSWORD)
    pages = []
    for email in (EMAIL, "nobody@example.com"):
        form = {
            "_csrf": token_in(await server.client.get("/_/sign-in")),
            "email": email,
            "password": "wrong one",
        }
        answer = await server.client.post("/_/sign-in", data=form, headers=HERE)
        assert answer.status_code == 422
        pages.append(re.sub(r'value="[^"]*"', "", answer.text))
    assert pages[0] == pages[1]


async def test_signing_out_ends_it_in_this_browser(server: Server) -> None:
    client = await signed_in(server)
    page = await client.get("/_/keys")
    copied = {"Cookie": f"gp_session={client.cookies['gp_session']}"}
    another = await server.superuser_token(EMAIL, PASSWORD)
    answer = await client.post("/_/sign-out", data={"_csrf": token_in(page)}, headers=HERE)
    assert answer.status_code == 303
    assert (await client.get("/_/keys")).status_code == 303
    client.cookies.clear()
    assert (await client.get("/_/keys", headers=copied)).status_code == 303, "the token is worth nothing"
    assert (await client.get("/_/keys", headers={"Cookie": f"gp_session={another}"})).status_code == 200


async def test_the_first_account_is_made_with_the_link_and_signed_in(server: Server) -> None:
    link = await server.services.superusers.setup_link("http://server.test")
    assert link is not None
    token = link.partition("/_/#/pbinstall/")[2]
    start = await server.client.get("/_/sign-in")
    first = await server.client.post(
        "/_/setup", data={"_csrf": token_in(start), "token": token}, headers=HERE
    )
    assert "Create the first account" in first.text
    form = {"_csrf": token_in(first), "token": token, "email": "first@example.com", "password": "short"}
    wrong = await server.client.post("/_/setup", data=form, headers=HERE)
    assert wrong.status_code == 422
    assert 'value="first@example.com"' in wrong.text
    answer = await server.client.post("/_/setup", data=form | {"password": PASSWORD}, headers=HERE)
    assert (answer.status_code, answer.headers["location"]) == (303, "/_/")
    home = await server.client.get("/_/")
    assert "Account created" in home.text
    again = await server.client.post(
        "/_/setup", data=form | {"_csrf": token_in(home), "password": PASSWORD}, headers=HERE
    )
    assert again.status_code == 403
    assert "expired" in again.text


async def test_a_second_proof_is_asked_for_where_the_collection_wants_one(server: Server) -> None:
    await server.services.superusers.upsert(EMAIL, PASSWORD)
    token = await server.superuser_token(EMAIL, PASSWORD)
    change = {
        "mfa": {"enabled": True, "duration": 600},
        "otp": {"enabled": True, "duration": 300, "length": 8},
    }
    changed = await server.client.patch(
        "/api/collections/_superusers", json=change, headers={"Authorization": token}
    )
    assert changed.status_code == 200, changed.text
    form = {"_csrf": token_in(await server.client.get("/_/sign-in")), "email": EMAIL, "password": PASSWORD}
    second = await server.client.post("/_/sign-in", data=form | {"next": "/_/keys"}, headers=HERE)
    assert (second.status_code, "set-cookie" in second.headers) == (200, False)
    hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', second.text))
    superusers = server.services.schema.current.find("_superusers")
    record = await server.services.records.find_one(superusers, 'r."email" = $1', EMAIL)
    assert record is not None
    otp_id, code = await server.services.otp.issue(superusers, record)
    for wrong in ({"otpId": otp_id, "code": "00000000"}, {"otpId": "nothing", "code": code}, {"code": code}):
        refused = await server.client.post("/_/sign-in/factor", data=hidden | wrong, headers=HERE)
        assert (refused.status_code, "gp_session" in refused.headers.get("set-cookie", "")) == (422, False)
    done = await server.client.post(
        "/_/sign-in/factor", data=hidden | {"otpId": otp_id, "code": code}, headers=HERE
    )
    assert (done.status_code, done.headers["location"]) == (303, "/_/keys")
    assert (await server.client.get("/_/keys")).status_code == 200


async def first_step(server: Server) -> tuple[dict[str, str], str]:
    """Sign in with the password; returns the hidden fields of the page for the second step, and the page."""
    form = {"_csrf": token_in(await server.client.get("/_/sign-in")), "email": EMAIL, "password": PASSWORD}
    second = await server.client.post("/_/sign-in", data=form | {"next": "/_/keys"}, headers=HERE)
    assert (second.status_code, "gp_session" in second.headers.get("set-cookie", "")) == (200, False)
    return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', second.text)), second.text


async def with_generator(server: Server) -> tuple[str, list[str]]:
    """A superuser with a code generator; returns its secret and the recovery codes."""
    await server.services.superusers.upsert(EMAIL, PASSWORD)
    options = {"totp": {"enabled": True}, "otp": {"enabled": True, "duration": 300, "length": 8}}
    await server.services.collections.update("_superusers", options)
    superusers = server.services.schema.current.find("_superusers")
    record = await server.services.records.find_one(superusers, 'r."email" = $1', EMAIL)
    assert record is not None
    totp = server.services.own_methods.totp
    secret, _ = await totp.begin(superusers, record, "Test")
    # The step before this one, so that the code of now has not been used.
    codes = await totp.confirm(superusers, record["id"], code_at(secret, int(time.time()) // STEP_S - 1))
    return secret, codes


async def test_one_field_takes_the_code_of_a_generator_or_a_recovery_code(server: Server) -> None:
    secret, recovery_codes = await with_generator(server)
    hidden, page = await first_step(server)
    assert page.count('<input class="input"') == 1
    assert "Mail me a code" not in page, "what somebody has set up is not got around by a mail"
    for wrong in ("", "000", "abcd-efgh-jkmn-pqrs", "\x00"):
        refused = await server.client.post("/_/sign-in/factor", data=hidden | {"code": wrong}, headers=HERE)
        assert (refused.status_code, "gp_session" in refused.headers.get("set-cookie", "")) == (422, False)
    number = code_at(secret, int(time.time()) // STEP_S)
    typed = f"{number[:3]} {number[3:]}"
    done = await server.client.post("/_/sign-in/factor", data=hidden | {"code": typed}, headers=HERE)
    assert (done.status_code, done.headers["location"]) == (303, "/_/keys")
    server.client.cookies.clear()
    for code, status in ((recovery_codes[0].upper(), 303), (recovery_codes[0], 422)):
        server.client.cookies.clear()
        hidden, _ = await first_step(server)
        again = await server.client.post("/_/sign-in/factor", data=hidden | {"code": code}, headers=HERE)
        assert again.status_code == status, code


async def mailed_link(server: Server, collection: str, address: str) -> str:
    """The token of a link that signs in."""
    await server.services.collections.update(collection, {"magicLink": {"enabled": True}})
    path = f"/api/collections/{collection}/request-magic-link"
    asked = await server.client.post(path, json={"email": address})
    assert asked.status_code == 200, asked.text
    await run_due(server.services)
    (sent,) = server.services.config.outbox_folder.glob("*.eml")
    mail = message_from_bytes(sent.read_bytes(), policy=default)
    body = mail.get_body(("plain",))
    assert body is not None
    found = re.search(r"/_/#/auth/confirm-magic-link/([\w.-]+)", body.get_content())
    assert found is not None
    return found[1]


async def confirm_link(server: Server, token: str) -> httpx.Response:
    page = await server.client.get("/_/auth/confirm-magic-link")
    assert page.status_code == 200
    form = {"_csrf": token_in(page), "token": token}
    return await server.client.post("/_/auth/confirm-magic-link", data=form, headers=HERE)


async def test_a_mailed_link_signs_a_superuser_in_to_the_console_once(server: Server) -> None:
    await server.services.superusers.upsert(EMAIL, PASSWORD)
    token = await mailed_link(server, "_superusers", EMAIL)
    done = await confirm_link(server, token)
    assert (done.status_code, done.headers["location"]) == (303, "/_/")
    assert (await server.client.get("/_/keys")).status_code == 200
    server.client.cookies.clear()
    again = await confirm_link(server, token)
    assert (again.status_code, "Invalid or expired link." in again.text) == (422, True)


async def test_a_mailed_link_of_anybody_else_is_handed_on_to_the_app_which_uses_it_up(server: Server) -> None:
    await server.services.settings.change({"meta": {"appURL": "https://app.example/start#top"}})
    users = server.services.schema.current.find("users")
    await server.services.records.create_internal(users, {"email": "ann@example.com"})
    token = await mailed_link(server, "users", "ann@example.com")
    page = await confirm_link(server, token)
    assert page.status_code == 200
    assert f'href="https://app.example/start#magic-link={token}"' in page.text
    assert "gp_session" not in page.headers.get("set-cookie", "")
    path = "/api/collections/users/auth-with-magic-link"
    assert (await server.client.post(path, json={"token": token})).status_code == 200


@pytest.mark.parametrize("token", ["", "nonsense", 'users."><script>', "\x00.x", "notes.abc"])
async def test_what_is_no_link_says_so(server: Server, token: Any) -> None:
    await server.services.collections.create({"name": "notes", "type": "base"})
    answer = await confirm_link(server, token)
    assert (answer.status_code, "not complete, or too old" in answer.text) == (422, True)
    assert "<script>" not in answer.text


async def test_a_forgotten_password_is_one_answer_for_every_address(server: Server) -> None:
    await server.services.superusers.upsert(EMAIL, PASSWORD)
    pages = []
    for email in (EMAIL, "nobody@example.com", "no address"):
        form = {"_csrf": token_in(await server.client.get("/_/forgotten-password")), "email": email}
        answer = await server.client.post("/_/forgotten-password", data=form, headers=HERE)
        assert answer.status_code == 200
        pages.append(answer.text.replace(email, ""))
    assert len(set(pages)) == 1
