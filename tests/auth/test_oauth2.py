"""Signing in with another service: the code, the profile, the account that comes of it (contract, auth §7)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.auth.oauth_site import CLIENT_ID, CLIENT_SECRET, OAuthSite, Told, told

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def site(oauth_site: OAuthSite) -> OAuthSite:
    oauth_site.provider.asked.clear()
    oauth_site.provider.takes_basic = True
    oauth_site.provider.answers = {
        "/token": oauth_site.provider._token,
        "/userinfo": oauth_site.provider._user_info,
    }
    return oauth_site


async def test_the_first_sign_in_makes_an_account_and_the_second_finds_it(site: OAuthSite) -> None:
    people = await site.collection(mapped={"name": "name"})
    provider = site.provider
    code = provider.code_for(
        "ann", email="ann@example.com", email_verified=True, name="Ann", picture="https://x/a"
    )
    first = await site.signed_in(people, code)
    assert list(first) == ["meta", "record", "token"]
    meta = first["meta"]
    assert list(meta) == sorted(meta)
    assert meta.pop("expiry").endswith("Z")
    assert meta == {
        "accessToken": f"token-{code.removeprefix('code-')}",
        "avatarURL": "https://x/a",
        "avatarUrl": "https://x/a",
        "email": "ann@example.com",
        "id": "ann",
        "isNew": True,
        "name": "Ann",
        "rawUser": {
            "email": "ann@example.com",
            "email_verified": True,
            "name": "Ann",
            "picture": "https://x/a",
            "sub": "ann",
        },
        "refreshToken": "",
        "username": "",
    }
    assert (first["record"]["email"], first["record"]["verified"]) == ("ann@example.com", True)
    assert first["record"]["name"] == "Ann"
    again = await site.signed_in(people, provider.code_for("ann", email="ann@other.example", name="Anne"))
    assert again["record"]["id"] == first["record"]["id"]
    assert (again["meta"]["isNew"], again["record"]["name"]) == (False, "Ann")
    assert again["record"]["email"] == "ann@example.com"
    assert await site.links(people, first["record"]["id"]) == [("oidc", "ann")]


async def test_the_code_is_exchanged_as_the_client_with_verifier_and_redirect_address(
    site: OAuthSite,
) -> None:
    people = await site.collection()
    code = site.provider.code_for()
    await site.signed_in(people, code, codeVerifier="verifier", createData={"email": "a@example.com"})
    token, user_info = site.provider.asked
    assert (token.method, token.path) == ("POST", "/token")
    assert token.basic == (CLIENT_ID, CLIENT_SECRET)
    assert token.form == {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": "https://app.example/",
        "code_verifier": "verifier",
    }
    assert user_info.method == "GET"


async def test_a_provider_that_wants_the_secret_in_the_form_gets_it_there(site: OAuthSite) -> None:
    people = await site.collection([site.configured("oidc", pkce=False)])
    site.provider.takes_basic = False
    await site.signed_in(people, site.provider.code_for(), createData={"email": "a@example.com"})
    assert [asked.path for asked in site.provider.asked] == ["/token", "/token", "/userinfo"]
    assert "code_verifier" not in site.provider.asked[1].form


async def test_the_older_name_of_the_redirect_address_is_taken_where_the_newer_is_empty(
    site: OAuthSite,
) -> None:
    people = await site.collection()
    for sent, meant in (
        ({"redirectURL": "", "redirectUrl": "https://old"}, "https://old"),
        ({"redirectURL": "https://new", "redirectUrl": "https://old"}, "https://new"),
    ):
        site.provider.asked.clear()
        await site.signed_in(
            people, site.provider.code_for(email=f"{meant[8:]}@example.com", email_verified=True), **sent
        )
        assert site.provider.asked[0].form["redirect_uri"] == meant


@pytest.mark.parametrize(
    ("body", "data"),
    [
        ({"provider": "", "code": "x"}, {"provider": "validation_required"}),
        ({"provider": "google", "code": "x"}, {"provider": "validation_invalid_provider"}),
        (
            {"provider": "nobody", "code": ""},
            {"code": "validation_required", "provider": "validation_invalid_provider"},
        ),
        ({"provider": "p" * 101, "code": "x"}, {"provider": "validation_length_out_of_range"}),
        ({"provider": "oidc", "code": "x" * 20_000}, {"code": "validation_length_out_of_range"}),
    ],
)
async def test_what_is_missing_is_named(site: OAuthSite, body: dict[str, str], data: dict[str, str]) -> None:
    people = await site.collection()
    answer = await site.client.post(f"/api/collections/{people}/auth-with-oauth2", json=body)
    assert answer.status_code == 400
    assert answer.json()["message"] == "An error occurred while loading the submitted data."
    assert {name: error["code"] for name, error in answer.json()["data"].items()} == data


async def test_a_collection_without_oauth2_refuses(site: OAuthSite) -> None:
    answer = await site.sign_in("users", "x")
    assert answer.status_code == 403
    assert answer.json()["message"] == "The collection is not configured to allow OAuth2 authentication."
    assert (await site.sign_in("nothing", "x")).status_code == 404


async def test_an_address_that_is_not_verified_counts_for_nothing(site: OAuthSite) -> None:
    people = await site.collection()
    for claim in ({}, {"email_verified": False}, {"email_verified": "false"}, {"email_verified": None}):
        code = site.provider.code_for(email="bob@example.com", **claim)
        answer = await site.sign_in(people, code)
        assert answer.status_code == 400
        assert answer.json()["data"]["email"]["code"] == "validation_required"
    # The client may say an address itself; it is then not verified, and the profile still shows what was said.
    made = await site.signed_in(
        people,
        site.provider.code_for("bob", email="bob@example.com"),
        createData={"email": "bob@own.example"},
    )
    assert made["record"]["email"] == "bob@own.example"
    assert made["record"]["verified"] is False
    assert made["meta"]["email"] == ""
    assert made["meta"]["rawUser"]["email"] == "bob@example.com"


async def test_an_account_without_address_at_a_provider_without_address_is_verified(site: OAuthSite) -> None:
    people = await site.collection(
        fields=[{"name": "email", "type": "email", "required": False, "system": True}]
    )
    made = await site.signed_in(people, site.provider.code_for("nobody"))
    assert (made["record"]["email"], made["record"]["verified"]) == ("", True)


async def test_create_data_goes_first_and_the_profile_fills_in(site: OAuthSite) -> None:
    people = await site.collection(
        mapped={"id": "foreign", "name": "name", "username": "nick", "avatarURL": "picture"},
        fields=[
            {"name": "name", "type": "text"},
            {"name": "foreign", "type": "text"},
            {"name": "nick", "type": "text", "min": 3},
            {"name": "picture", "type": "url"},
        ],
        indexes=["CREATE UNIQUE INDEX `idx_nick` ON `people` (`nick`) WHERE `nick` != ''"],
    )
    profile = {
        "email_verified": True,
        "name": "Ann",
        "preferred_username": "annie",
        "picture": "https://x.io/a.png",
    }
    first = await site.signed_in(people, site.provider.code_for("a1", email="a@example.com", **profile))
    record = first["record"]
    assert [record[name] for name in ("foreign", "name", "nick", "picture")] == [
        "a1",
        "Ann",
        "annie",
        "https://x.io/a.png",
    ]
    # The name is taken now, so the second one does without; what the client says is not replaced.
    second = await site.signed_in(
        people,
        site.provider.code_for("a2", email="b@example.com", **profile),
        createData={"name": "", "picture": "https://own.example/"},
    )
    record = second["record"]
    assert [record[name] for name in ("foreign", "name", "nick", "picture")] == [
        "a2",
        "",
        "",
        "https://own.example/",
    ]
    short = {**profile, "preferred_username": "al"}
    third = await site.signed_in(people, site.provider.code_for("a3", email="c@example.com", **short))
    assert third["record"]["nick"] == ""


async def test_the_create_rule_decides_about_new_accounts_only(site: OAuthSite) -> None:
    rule = "@request.context = 'oauth2' && @request.body.name = 'ok'"
    people = await site.collection(createRule=rule, mapped={"name": "name"})
    ann = {"email": "ann@example.com", "email_verified": True}
    refused = await site.sign_in(people, site.provider.code_for("ann", name="no", **ann))
    assert (refused.status_code, refused.json()["message"]) == (400, "Failed to create record.")
    made = await site.signed_in(people, site.provider.code_for("ann", name="ok", **ann))
    await site.services.collections.update(people, {"createRule": None})
    assert (await site.signed_in(people, site.provider.code_for("ann")))["record"]["id"] == made["record"][
        "id"
    ]
    closed = await site.sign_in(
        people, site.provider.code_for("bob", email="b@example.com", email_verified=True)
    )
    assert (closed.status_code, closed.json()["message"]) == (403, "Only superusers can perform this action.")
    root = await site.server.superuser_token()
    code = site.provider.code_for("bob", email="b@example.com", email_verified=True)
    assert (await site.signed_in(people, code, token=root))["meta"]["isNew"] is True


async def test_the_password_of_a_new_account_is_the_one_sent_or_nobodys(site: OAuthSite) -> None:
    people = await site.collection()
    profile = {"email": "ann@example.com", "email_verified": True}
    unlike = {"password": "correct horse", "passwordConfirm": "another one"}
    answer = await site.sign_in(people, site.provider.code_for("ann", **profile), createData=unlike)
    assert answer.json()["data"]["passwordConfirm"]["code"] == "validation_values_mismatch"
    alike = {"password": "correct horse", "passwordConfirm": "correct horse"}
    await site.signed_in(people, site.provider.code_for("ann", **profile), createData=alike)
    assert (await site.with_password(people, "ann@example.com", "correct horse")).status_code == 200
    made = await site.signed_in(
        people, site.provider.code_for("b", email="b@example.com", email_verified=True)
    )
    assert (await site.stored(people, made["record"]["id"]))["password"].startswith("$argon2")


async def test_a_signed_in_caller_links_another_provider_to_their_account(site: OAuthSite) -> None:
    people = await site.collection()
    ann = await site.signed_in(
        people, site.provider.code_for("a", email="a@example.com", email_verified=True)
    )
    id, token = ann["record"]["id"], ann["token"]
    other = await site.signed_in(
        people, site.provider.code_for("z", email="z@example.com", email_verified=True), "oidc2", token=token
    )
    assert (other["record"]["id"], other["meta"]["isNew"]) == (id, False)
    assert await site.links(people, id) == [("oidc", "a"), ("oidc2", "z")]
    # A second account at the same provider has no place beside the first.
    answer = await site.sign_in(people, site.provider.code_for("a2"), token=token)
    assert answer.status_code == 400
    assert {name: error["code"] for name, error in answer.json()["data"].items()} == dict.fromkeys(
        ("collectionRef", "provider", "recordRef"), "validation_not_unique"
    )
    # The token of an account in another collection says nothing here.
    others = await site.collection()
    made = await site.signed_in(
        others, site.provider.code_for("a", email="a@example.com", email_verified=True), token=token
    )
    assert made["meta"]["isNew"] is True


async def test_links_are_listed_and_removed_by_their_owner_only(site: OAuthSite) -> None:
    people = await site.collection()
    ann = await site.signed_in(
        people, site.provider.code_for("a", email="a@example.com", email_verified=True)
    )
    bob = await site.signed_in(
        people, site.provider.code_for("b", email="b@example.com", email_verified=True)
    )
    links = "/api/collections/_externalAuths/records"
    wanted = {"filter": f"recordRef = '{ann['record']['id']}'"}
    mine = (await site.client.get(links, params=wanted, headers={"Authorization": ann["token"]})).json()[
        "items"
    ]
    assert [(link["provider"], link["providerId"]) for link in mine] == [("oidc", "a")]
    theirs = await site.client.get(links, params=wanted, headers={"Authorization": bob["token"]})
    assert theirs.json()["items"] == []
    path = f"{links}/{mine[0]['id']}"
    assert (await site.client.delete(path, headers={"Authorization": bob["token"]})).status_code == 404
    assert (await site.client.delete(path, headers={"Authorization": ann["token"]})).status_code == 204
    assert await site.links(people, ann["record"]["id"]) == []


async def test_a_link_whose_account_is_gone_is_a_404_and_an_id_is_needed(site: OAuthSite) -> None:
    people = await site.collection()
    ann = await site.signed_in(
        people, site.provider.code_for("a", email="a@example.com", email_verified=True)
    )
    collection = site.services.schema.current.find(people)
    await site.services.db.execute(f'DELETE FROM "{collection.table}" WHERE id = $1', ann["record"]["id"])
    assert (await site.sign_in(people, site.provider.code_for("a"))).status_code == 404
    for sub in ("", None, "\x00x", "x" * 2000):
        code = site.provider.code_for("x")
        site.provider.codes[code][1]["sub"] = sub
        answer = await site.sign_in(people, code)
        assert (answer.status_code, answer.json()["message"]) == (400, "Failed to authenticate.")
        assert list(answer.json()["data"]) == ["providerId"]


async def test_the_auth_rule_and_a_second_factor_come_after_the_account_is_made(site: OAuthSite) -> None:
    people = await site.collection(authRule="name = 'let in'")
    profile = {"email": "a@example.com", "email_verified": True}
    assert (await site.sign_in(people, site.provider.code_for("a", **profile))).status_code == 403
    found = site.services.schema.current.find(people)
    record = await site.services.records.find_one(found, 'r."email" = $1', "a@example.com")
    assert record is not None
    assert await site.links(people, record["id"]) == [("oidc", "a")]
    secured = await site.collection(mfa={"enabled": True, "duration": 600, "rule": ""})
    first = await site.sign_in(
        secured,
        site.provider.code_for("a", **profile),
        createData={"password": "correct horse", "passwordConfirm": "correct horse"},
    )
    assert first.status_code == 401
    assert list(first.json()) == ["mfaId"]
    body = {"identity": "a@example.com", "password": "correct horse", **first.json()}
    second = await site.client.post(f"/api/collections/{secured}/auth-with-password", json=body)
    assert second.status_code == 200, second.text
    started = await site.with_password(secured, "a@example.com", "correct horse")
    done = await site.signed_in(secured, site.provider.code_for("a"), **started.json())
    assert done["meta"]["isNew"] is False


async def test_two_first_sign_ins_at_the_same_time_make_one_account(site: OAuthSite) -> None:
    people = await site.collection()
    profile = {"email": "a@example.com", "email_verified": True}
    codes = [site.provider.code_for("a", **profile) for _ in range(4)]
    answers = await asyncio.gather(
        *(site.signed_in(people, code) for code in codes),
        *(site.signed_in(people, site.provider.code_for("b", **profile), "oidc2") for _ in range(2)),
    )
    assert len({answer["record"]["id"] for answer in answers}) == 1
    assert sum(answer["meta"]["isNew"] for answer in answers) == 1
    assert await site.links(people, answers[0]["record"]["id"]) == [("oidc", "a"), ("oidc2", "b")]


async def test_the_answer_is_cut_by_fields_and_expanded(site: OAuthSite) -> None:
    people = await site.collection()
    code = site.provider.code_for("a", email="a@example.com", email_verified=True)
    answer = await site.client.post(
        f"/api/collections/{people}/auth-with-oauth2?fields=meta.id,record.email",
        json={"provider": "oidc", "code": code},
    )
    assert answer.json() == {"meta": {"id": "a"}, "record": {"email": "a@example.com"}}


async def test_an_account_that_is_made_counts_as_a_create(site: OAuthSite) -> None:
    people = await site.collection()
    rules = [{"label": f"{people}:create", "audience": "", "duration": 600, "maxRequests": 1}]
    root = {"Authorization": await site.server.superuser_token()}
    limits = {"rateLimits": {"enabled": True, "rules": rules}}
    assert (await site.client.patch("/api/settings", json=limits, headers=root)).status_code == 200
    try:
        ann = site.provider.code_for("a", email="a@example.com", email_verified=True)
        await site.signed_in(people, ann)
        bob = site.provider.code_for("b", email="b@example.com", email_verified=True)
        assert (await site.sign_in(people, bob)).status_code == 429
        # Who has an account makes none.
        await site.signed_in(people, site.provider.code_for("a"))
    finally:
        off = {"rateLimits": {"enabled": False, "rules": []}}
        assert (await site.client.patch("/api/settings", json=off, headers=root)).status_code == 200


# What providers do wrong


BAD_TOKENS: list[tuple[str, Told]] = [
    ("refused", told({"error": "invalid_grant"}, 400)),
    ("an error with status 200", told({"error": "bad_verification_code", "access_token": "x"})),
    ("no token", told({"token_type": "Bearer"})),
    ("a token that is no text", told({"access_token": 1})),
    ("a list", told([1])),
    ("broken", Told(500, b"oops", (("Content-Type", "text/html"),))),
    ("a page", Told(200, b"<html>Sign in</html>", (("Content-Type", "text/html"),))),
    ("huge", Told(200, b'{"access_token": "' + b"x" * 1_100_000 + b'"}')),
    ("deep", Told(200, b'{"access_token": "x", "y": ' + b"[" * 500_000)),
    ("too many fields", Told(200, b"&".join(b"a=1" for _ in range(1000)), (("Content-Type", "text/plain"),))),
    ("a redirect", Told(302, b"", (("Location", "/elsewhere"),))),
]


@pytest.mark.parametrize(("what", "answer"), BAD_TOKENS, ids=[what for what, _ in BAD_TOKENS])
async def test_a_token_endpoint_that_gives_no_token_is_a_400(
    site: OAuthSite, what: str, answer: Told
) -> None:
    people = await site.collection()
    site.provider.answers["/token"] = lambda asked: answer
    refused = await site.sign_in(people, "x")
    assert (refused.status_code, refused.json()["message"], refused.json()["data"]) == (
        400,
        "Failed to fetch OAuth2 token.",
        {},
    )


BAD_USERS: list[tuple[str, Told]] = [
    ("refused", told({"error": "invalid_token"}, 401)),
    ("broken", told({"sub": "x"}, 500)),
    ("a page", Told(200, b"<html></html>", (("Content-Type", "text/html"),))),
    ("a list", told([{"sub": "x"}])),
    ("a number as id", told({"sub": 5})),
    ("a list as name", told({"sub": "x", "name": ["a"]})),
    ("an object as address", told({"sub": "x", "email": {"a": 1}, "email_verified": True})),
    ("huge", Told(200, b'{"sub": "' + b"x" * 1_100_000 + b'"}')),
    ("deep", Told(200, b'{"sub": "x", "y": ' + b"[" * 100 + b"]" * 100 + b"}")),
    ("half a character", Told(200, b'{"sub": "\\ud800"}')),
    ("bytes", Told(200, b'{"sub": "\xff\xfe"}')),
]


@pytest.mark.parametrize(("what", "answer"), BAD_USERS, ids=[what for what, _ in BAD_USERS])
async def test_a_profile_that_is_none_is_a_400(site: OAuthSite, what: str, answer: Told) -> None:
    people = await site.collection()
    site.provider.answers["/userinfo"] = lambda asked: answer
    refused = await site.sign_in(people, site.provider.code_for())
    assert (refused.status_code, refused.json()["message"]) == (400, "Failed to fetch OAuth2 user.")


async def test_a_token_that_would_end_a_header_is_not_sent(site: OAuthSite) -> None:
    people = await site.collection()
    code = site.provider.code_for(tokens={"access_token": "x\r\nX-Evil: 1"})
    refused = await site.sign_in(people, code)
    assert refused.json()["message"] == "Failed to fetch OAuth2 user."
    assert [asked.path for asked in site.provider.asked] == ["/token"]


@pytest.mark.parametrize(
    "email",
    ["a@example.com\r\nBcc: b@example.com", "a b@example.com", "@", "x", "a@b@c", "a@example.com\x00"],
)
async def test_an_address_that_nobody_can_have_is_none(site: OAuthSite, email: str) -> None:
    people = await site.collection()
    code = site.provider.code_for("a", email=email, email_verified=True)
    made = await site.signed_in(people, code, createData={"email": "own@example.com"})
    assert (made["meta"]["email"], made["record"]["verified"]) == ("", False)
    assert made["record"]["email"] == "own@example.com"


async def test_a_slow_provider_is_given_up_and_holds_up_nobody(
    site: OAuthSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("groundplane.auth.oauth2.LIMIT_S", 0.2)
    people = await site.collection()
    released = asyncio.Event()

    async def slow(asked: Any) -> Told:
        await released.wait()
        return told({})

    site.provider.answers["/token"] = slow
    refused = await site.sign_in(people, "x")
    released.set()
    assert (refused.status_code, refused.json()["message"]) == (400, "Failed to fetch OAuth2 token.")


async def test_redirects_of_a_profile_are_followed_without_the_token_to_other_servers(
    site: OAuthSite,
) -> None:
    people = await site.collection()
    code = site.provider.code_for("a", email="a@example.com", email_verified=True)
    elsewhere = site.provider.url.replace("127.0.0.1", "localhost") + "/elsewhere"
    site.provider.answers["/userinfo"] = lambda asked: Told(307, b"", (("Location", elsewhere),))
    site.provider.answers["/elsewhere"] = lambda asked: told(
        {"sub": asked.headers.get("authorization", "none")}
    )
    made = await site.signed_in(people, code, createData={"email": "b@example.com"})
    assert made["meta"]["id"] == "none"
    site.provider.answers["/userinfo"] = lambda asked: Told(302, b"", (("Location", "/userinfo"),))
    assert (await site.sign_in(people, site.provider.code_for())).status_code == 400


async def test_no_secret_is_in_a_log_or_an_answer(site: OAuthSite, caplog: pytest.LogCaptureFixture) -> None:
    people = await site.collection()
    site.provider.answers["/token"] = lambda asked: told(
        {"error": "invalid_client", "hint": CLIENT_SECRET}, 401
    )
    refused = await site.sign_in(people, "the-code")
    assert "invalid_client" in caplog.text
    for text in (caplog.text, refused.text):
        assert CLIENT_SECRET not in text
        assert "the-code" not in text
    root = {"Authorization": await site.server.superuser_token()}
    shown = await site.client.get(f"/api/collections/{people}", headers=root)
    assert "clientSecret" not in shown.text
    options = site.services.schema.current.find(people).options
    assert CLIENT_SECRET not in repr(options)
