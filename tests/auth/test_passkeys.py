"""Passkeys, made and used by a browser with an authenticator that needs no hands."""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import random
import re
import shutil
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pyotp
import pytest
import pytest_asyncio
from playwright.async_api import CDPSession, Page, Route, async_playwright
from playwright.async_api import Error as PageError

from groundplane.auth.callers import issue
from groundplane.config import Config
from groundplane.testing.server import INSTALLED, own_database, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

BROWSER = "chromium-headless-shell"
APP = "https://app.example.com"
BASE = "/api/collections/users"
FAILED = {"data": {}, "message": "Failed to authenticate.", "status": 400}
MAKE = """async (options) => (await navigator.credentials.create({
    publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options)
})).toJSON()"""
USE = """async (options) => (await navigator.credentials.get({
    publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options)
})).toJSON()"""

# The few parts of the official client that the guides use, over the test's own way to the server.
CLIENT = """
window.pb = {
  authStore: { token: '', save(token, record) { Object.assign(this, { token, record }); } },
  async send(path, { method = 'GET', body = null } = {}) {
    const answer = await ask(path, method, body, this.authStore.token);
    if (answer.status < 400) return answer.body;
    throw Object.assign(new Error(answer.body.message), { response: answer.body });
  },
  collection(name) {
    const url = `/api/collections/${name}/auth-with-password`;
    return { authWithPassword: async (identity, password) => {
      const { token, record } = await pb.send(url, { method: 'POST', body: { identity, password } });
      pb.authStore.save(token, record);
    } };
  },
};
"""
DOCS = Path(__file__).parents[2] / "docs"
SCRIPT = re.compile(r"^```js\n(.*?)^```", re.DOTALL | re.MULTILINE)


class Browser:
    """A page of the app, and its authenticator."""

    def __init__(self, page: Page, wire: CDPSession) -> None:
        self.page, self._wire, self._authenticator = page, wire, ""
        self.site: Any = None  # whom the page's scripts speak to

    async def ask(self, path: str, method: str, body: Any, token: str) -> dict[str, Any]:
        headers = {"Authorization": token} if token else {}
        answer = await self.site.client.request(method, path, json=body, headers=headers)
        return {"status": answer.status_code, "body": answer.json() if answer.content else None}

    async def run(self, script: str, **given: Any) -> Any:
        """Run a guide's script with these names; returns what the client then stores."""
        names = "".join(f"const {name} = {json.dumps(value)};" for name, value in given.items())
        return await self.page.evaluate(f"async () => {{ {names} {script}; return pb.authStore; }}")

    async def plug_in(self, *, verifies: bool = True) -> None:
        """Use a new authenticator, which has no passkeys yet."""
        if self._authenticator:
            await self._wire.send(
                "WebAuthn.removeVirtualAuthenticator", {"authenticatorId": self._authenticator}
            )
        options = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": verifies,
            "isUserVerified": verifies,
            "automaticPresenceSimulation": True,
        }
        made = await self._wire.send("WebAuthn.addVirtualAuthenticator", {"options": options})
        self._authenticator = made["authenticatorId"]

    async def make(self, options: Any) -> Any:
        return await self.page.evaluate(MAKE, options)

    async def use(self, options: Any) -> Any:
        return await self.page.evaluate(USE, options)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def app_page() -> AsyncIterator[Browser]:
    program = shutil.which(BROWSER)
    if program is None:
        pytest.skip(f"needs the Debian package {BROWSER}")

    async def answer(route: Route) -> None:
        await route.fulfill(body="<!doctype html><title>App</title>", content_type="text/html")

    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        context = await started.new_context()
        context.set_default_timeout(60_000)
        await context.route(f"{APP}/**", answer)
        page = await context.new_page()
        await page.goto(APP)
        wire = await context.new_cdp_session(page)
        await wire.send("WebAuthn.enable", {"enableUI": False})
        browser = Browser(page, wire)
        await page.expose_function("ask", browser.ask)
        yield browser
        await started.close()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared_site(
    postgres_url: str, tmp_path_factory: pytest.TempPathFactory, site_type: Any
) -> AsyncIterator[Any]:
    """One server for all of this module, whose public address is the app's."""
    async for url in own_database(postgres_url, INSTALLED):
        config = Config(data_dir=str(tmp_path_factory.mktemp("passkeys")))
        async with running(config, url) as server:
            site = site_type(server)
            await site.settings.change({"meta": {"appURL": APP}})
            yield site


@pytest_asyncio.fixture(loop_scope="module")
async def browser(app_page: Browser) -> Browser:
    await app_page.plug_in()
    return app_page


class Person:
    """Somebody with a password who is signed in."""

    def __init__(self, site: Any, record: dict[str, Any], browser: Browser) -> None:
        self.site, self.record, self.browser = site, record, browser
        self.email: str = record["email"]
        self.header: dict[str, str] = {}

    async def post(self, path: str, **body: Any) -> Any:
        return await self.site.client.post(f"{BASE}/{path}", json=body, headers=self.header)

    async def ask(self, path: str, **body: Any) -> Any:
        """As a guest."""
        return await self.site.client.post(f"{BASE}/{path}", json=body)

    async def password(self) -> Any:
        return await self.ask("auth-with-password", identity=self.email, password="1234567890")

    async def register(self, name: str = "Phone") -> dict[str, Any]:
        begun = (await self.post("passkeys/options")).json()
        credential = await self.browser.make(begun["options"])
        answer = await self.post("passkeys", id=begun["id"], credential=credential, name=name)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def signed(self, mfa_id: str = "") -> dict[str, Any]:
        """What the browser sends to sign in."""
        begun = (await self.ask("request-passkey", mfaId=mfa_id)).json()
        return {"id": begun["id"], "credential": await self.browser.use(begun["options"])}

    async def passkeys(self) -> list[dict[str, Any]]:
        answer = await self.site.client.get(f"{BASE}/passkeys", headers=self.header)
        assert answer.status_code == 200, answer.text
        return list(answer.json())


@pytest_asyncio.fixture(loop_scope="module")
async def person(shared_site: Any, browser: Browser) -> Person:
    off: dict[str, Any] = {"rpId": "", "origins": [], "enabled": True}
    await shared_site.allow(passkeys=off, totp={"enabled": True}, mfa={"enabled": False})
    number = random.getrandbits(40)
    record = await shared_site.user(f"user{number}@example.com")
    person = Person(shared_site, record, browser)
    person.header = {"Authorization": (await person.password()).json()["token"]}
    return person


async def test_a_passkey_signs_in_without_a_name_being_typed(person: Person) -> None:
    made = await person.register()
    assert list(made) == ["id", "name", "model", "transports", "synced", "created", "lastUsed"]
    assert (made["name"], made["transports"], made["lastUsed"]) == ("Phone", ["internal"], "")
    answer = await person.ask("auth-with-passkey", **await person.signed())
    assert answer.status_code == 200, answer.text
    assert answer.json()["record"]["id"] == person.record["id"]
    header = {"Authorization": answer.json()["token"]}
    sessions = (await person.site.client.get(f"{BASE}/sessions", headers=header)).json()["items"]
    assert [each["method"] for each in sessions if each["current"]] == ["passkey"]
    assert (await person.passkeys())[0]["lastUsed"] != ""


async def test_what_was_signed_counts_once(person: Person) -> None:
    await person.register()
    signed = await person.signed()
    answers = await asyncio.gather(*(person.ask("auth-with-passkey", **signed) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400]
    other = (await person.ask("request-passkey")).json()["id"]
    assert (await person.ask("auth-with-passkey", **(signed | {"id": other}))).json() == FAILED


async def test_a_challenge_is_good_for_minutes_and_for_one_thing(person: Person) -> None:
    begun = (await person.post("passkeys/options")).json()
    credential = await person.browser.make(begun["options"])
    sent = {"id": begun["id"], "credential": credential}
    await person.site.db.execute("UPDATE _passkey_challenges SET expires = now() - interval '1 second'")
    answer = await person.post("passkeys", **sent)
    assert answer.json()["data"]["credential"]["code"] == "validation_invalid_value"
    await person.browser.plug_in()
    await person.register()
    signed = await person.signed()
    begun = (await person.post("passkeys/options")).json()
    assert (await person.ask("auth-with-passkey", **(signed | {"id": begun["id"]}))).json() == FAILED
    expired = await person.signed()
    await person.site.db.execute("UPDATE _passkey_challenges SET expires = now() - interval '1 second'")
    assert (await person.ask("auth-with-passkey", **expired)).json() == FAILED


async def test_only_pages_of_the_site_can_be_listed(person: Person) -> None:
    root = await person.site.superuser()
    wrong = await person.site.client.patch(
        "/api/collections/users",
        json={"passkeys": {"origins": ["http://app.example.com", "https://x.example/a"], "rpId": "a b"}},
        headers=root,
    )
    assert {key: value["code"] for key, value in wrong.json()["data"]["passkeys"].items()} == {
        "rpId": "validation_is_domain",
        "origins": "validation_is_url",
    }


async def test_an_assertion_of_another_origin_is_refused(person: Person) -> None:
    await person.register()
    signed = await person.signed()
    await person.site.allow(passkeys={"origins": ["https://else.app.example.com"]})
    assert (await person.ask("auth-with-passkey", **signed)).json() == FAILED
    await person.site.allow(passkeys={"origins": []})
    signed = await person.signed()
    await person.site.allow(passkeys={"rpId": "example.com"})
    assert (await person.ask("auth-with-passkey", **signed)).json() == FAILED


async def test_a_copied_passkey_is_found_out_by_its_counter(person: Person) -> None:
    made = await person.register()
    await person.site.db.execute("UPDATE _passkeys SET sign_count = 1000 WHERE id = $1", made["id"])
    assert (await person.ask("auth-with-passkey", **await person.signed())).json() == FAILED


async def test_a_passkey_without_verification_completes_a_sign_in_that_waits(person: Person) -> None:
    await person.browser.plug_in(verifies=False)
    await person.register()
    secret = (await person.post("totp")).json()["secret"]
    confirmed = await person.post("totp/confirm", code=pyotp.TOTP(secret).now())
    assert confirmed.status_code == 200, confirmed.text
    mfa_id = (await person.password()).json()["mfaId"]
    alone = await person.ask("auth-with-passkey", **await person.signed(mfa_id))
    assert (alone.status_code, list(alone.json())) == (401, ["mfaId"]), "one factor of two"
    signed = await person.signed(mfa_id)
    assert (await person.ask("auth-with-passkey", **signed, mfaId=mfa_id)).status_code == 200


async def test_a_passkey_that_verifies_is_two_factors(person: Person) -> None:
    await person.register()
    secret = (await person.post("totp")).json()["secret"]
    assert (await person.post("totp/confirm", code=pyotp.TOTP(secret).now())).status_code == 200
    assert (await person.ask("auth-with-passkey", **await person.signed())).status_code == 200


async def test_passkeys_are_renamed_and_deleted_by_their_owner(person: Person) -> None:
    made = await person.register()
    url = f"{BASE}/passkeys/{made['id']}"
    client = person.site.client
    stranger = await person.site.user(f"x{random.getrandbits(40)}@example.com")
    other = {"Authorization": issue(person.site.schema.current.find("users"), stranger)}
    for header, status in (({}, 401), (other, 404)):
        assert (await client.patch(url, json={"name": "Mine"}, headers=header)).status_code == status
        assert (await client.delete(url, headers=header)).status_code == status
    renamed = await client.patch(url, json={"name": "Laptop"}, headers=person.header)
    assert renamed.json()["name"] == "Laptop"
    for bad in ("", "x" * 101, "a\n"):
        assert (await client.patch(url, json={"name": bad}, headers=person.header)).status_code == 400
    signed = await person.signed()
    assert (await client.delete(url, headers=person.header)).status_code == 204
    assert (await person.ask("auth-with-passkey", **signed)).json() == FAILED
    assert await person.passkeys() == []


async def test_a_browser_is_not_asked_for_a_second_passkey_of_one_authenticator(person: Person) -> None:
    made = await person.register()
    options = (await person.post("passkeys/options")).json()["options"]
    assert len(options["excludeCredentials"]) == 1
    assert options["rp"] == {"name": "Acme", "id": "app.example.com"}
    assert made["id"] not in str(options)
    assert (await person.ask("request-passkey")).json()["options"]["allowCredentials"] == []


async def test_to_add_a_passkey_a_token_alone_is_not_enough(person: Person) -> None:
    where = "UPDATE _sessions SET created = created - interval '1 hour' WHERE record = $1"
    await person.site.db.execute(where, person.record["id"])
    assert (await person.post("passkeys/options")).status_code == 403
    assert (await person.post("passkeys/options", password="wrong")).status_code == 403
    assert (await person.post("passkeys/options", password="1234567890")).status_code == 200


async def test_a_passkey_from_before_the_address_was_proven_does_not_stay(person: Person) -> None:
    await person.register()
    signed = await person.signed()
    users = person.site.schema.current.find("users")
    await person.site.services.records.save_fields(users, person.record["id"], {"verified": True})
    assert (await person.ask("auth-with-passkey", **signed)).json() == FAILED


async def test_the_scripts_of_the_guides_do_what_they_say(person: Person) -> None:
    scripts = SCRIPT.findall((DOCS / "http-factors.md").read_text(encoding="utf-8"))
    generator, make_passkey, use_passkey, follow_link = scripts
    (sessions,) = SCRIPT.findall((DOCS / "http-sessions.md").read_text(encoding="utf-8"))
    browser = person.browser
    browser.site = person.site
    secret = (await person.post("totp")).json()["secret"]
    assert (await person.post("totp/confirm", code=pyotp.TOTP(secret).now())).status_code == 200

    later = pyotp.TOTP(secret).at(time.time() + 30)
    await browser.page.evaluate(f"() => {{ {CLIENT} window.prompt = () => '{later}'; }}")
    stored = await browser.run(generator, email=person.email, password="1234567890")
    assert stored["record"]["id"] == person.record["id"]
    await browser.run(make_passkey)
    assert [each["name"] for each in await person.passkeys()] == ["My phone"]
    await browser.page.evaluate(f"() => {{ {CLIENT} }}")
    stored = await browser.run(use_passkey)
    assert stored["record"]["id"] == person.record["id"]
    listed = f"{BASE}/sessions"
    header = {"Authorization": stored["token"]}
    assert (await person.site.client.get(listed, headers=header)).json()["totalItems"] == 3
    await browser.run(sessions)
    assert (await person.site.client.get(listed, headers=header)).json()["totalItems"] == 2
    await browser.page.evaluate("() => { location.hash = 'mistyped'; }")
    with pytest.raises(PageError, match="not configured to allow mailed links"):
        await browser.run(follow_link)


async def test_hostile_credentials_are_refused_in_one_sentence(person: Person) -> None:
    made = await person.register()
    good = await person.signed()
    dice = random.Random(7)
    for number in range(120):
        begun = (await person.ask("request-passkey")).json()
        credential = copy.deepcopy(good["credential"])
        place: Any = credential if number % 3 == 0 else credential["response"]
        key = dice.choice(sorted(place))
        old = place[key]
        if isinstance(old, str) and number % 2 and old:
            raw = bytearray(base64.urlsafe_b64decode(old + "=="))
            raw[dice.randrange(len(raw))] ^= 1 << dice.randrange(8)
            place[key] = (
                base64.urlsafe_b64encode(bytes(raw[: dice.randrange(len(raw) + 1)])).decode().rstrip("=")
            )
        else:
            place[key] = dice.choice([None, 5, [], {}, "", "A" * 3, "\x00", "%", "é", {"a": [1]}, True, 1e99])
        answer = await person.ask("auth-with-passkey", id=begun["id"], credential=credential)
        assert answer.status_code == 400, (number, key, answer.text)
    for body in ({}, {"id": good["id"]}, {"id": "\0", "credential": {}}, {"credential": []}):
        assert (await person.ask("auth-with-passkey", **body)).status_code == 400
    large = {"id": "x", "response": {"clientDataJSON": "A" * 200_000}}
    assert (await person.ask("auth-with-passkey", id="x", credential=large)).status_code == 413
    registered = json.loads(json.dumps(good["credential"]))
    begun = (await person.post("passkeys/options")).json()
    assert (await person.post("passkeys", id=begun["id"], credential=registered)).status_code == 400
    assert (await person.passkeys())[0]["id"] == made["id"]


async def test_a_collection_without_passkeys_has_none(person: Person) -> None:
    await person.site.allow(passkeys={"enabled": False})
    for path in ("passkeys/options", "request-passkey", "auth-with-passkey"):
        answer = await person.post(path, id="x", credential={"id": "a", "response": {}})
        assert answer.status_code == 403, path
    assert (await person.site.client.get(f"{BASE}/passkeys", headers=person.header)).status_code == 403


async def test_without_the_library_the_answer_says_what_to_install(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "webauthn", None)
    answer = await person.ask("request-passkey")
    assert answer.status_code == 503
    assert "pip install 'groundplane[passkeys]'" in answer.json()["message"]


async def test_without_a_public_address_with_tls_the_answer_says_what_is_missing(person: Person) -> None:
    await person.site.settings.change({"meta": {"appURL": "http://app.example.com"}})
    answer = await person.ask("request-passkey")
    await person.site.settings.change({"meta": {"appURL": APP}})
    assert answer.status_code == 503
    assert "public address" in answer.json()["message"]
