"""Whoever was first at an address: an attacker never keeps access to it, and the one whose it is never loses it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest
from tests.auth.oauth_site import OAuthSite

from groundplane.auth.oauth_accounts import Visitor, owner_of
from groundplane.auth.providers import OAuthUser
from groundplane.context import Caller, RequestInfo
from groundplane.security.passwords import hash_password

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAIL = "victim@example.com"
OTP = {"enabled": True, "duration": 180, "length": 8}
ATTACKERS_PASSWORD, VICTIMS_PASSWORD = "attacker's own", "victim's own"


class Entry(NamedTuple):
    """What somebody has after they were let in: a token, and a way to come again that may or may not work."""

    id: str
    token: str
    again: Callable[[], Awaitable[str]]  # the id of the account that one gets into, "" when nowhere


async def entered(site: OAuthSite, answer: Any) -> str:
    return answer.json()["record"]["id"] if answer.status_code == 200 else ""


async def by_password(site: OAuthSite, people: str, password: str) -> Entry | None:
    """Sign up with the address and a password; None when the address is taken."""
    body = {"email": MAIL, "password": password, "passwordConfirm": password}
    made = await site.client.post(f"/api/collections/{people}/records", json=body)
    if made.status_code != 200:
        return None
    answer = await site.with_password(people, MAIL, password)

    async def again() -> str:
        return await entered(site, await site.with_password(people, MAIL, password))

    return Entry(answer.json()["record"]["id"], answer.json()["token"], again)


async def by_code(site: OAuthSite, people: str) -> Entry:
    """Sign in with a code that was mailed to the address."""
    found = site.services.schema.current.find(people)

    async def once() -> Any:
        record = await site.services.records.find_one(found, 'r."email" = $1', MAIL)
        assert record is not None
        id, code = await site.services.otp.issue(found, record)
        # As once the mail is out.
        await site.services.db.execute('UPDATE "_otps" SET "sentTo" = $2 WHERE "id" = $1', id, MAIL)
        body = {"otpId": id, "password": code}
        return await site.client.post(f"/api/collections/{people}/auth-with-otp", json=body)

    answer = await once()
    assert answer.status_code == 200, answer.text

    async def again() -> str:
        return await entered(site, await once())

    return Entry(answer.json()["record"]["id"], answer.json()["token"], again)


async def by_provider(
    site: OAuthSite, people: str, provider: str, sub: str, *, verified: bool, token: str = ""
) -> Entry | None:
    """Sign in through a provider that has, or has not, verified the address; None when that is refused."""
    profile = {"email": MAIL, "email_verified": verified}

    async def once() -> Any:
        code = site.provider.code_for(sub, **profile)
        # Whoever is not verified says the address as theirs at sign-up.
        return await site.sign_in(people, code, provider, createData={"email": MAIL}, token=token)

    answer = await once()
    if answer.status_code != 200:
        return None

    async def again() -> str:
        return await entered(site, await once_without_token())

    async def once_without_token() -> Any:
        code = site.provider.code_for(sub, **profile)
        return await site.sign_in(people, code, provider, createData={"email": MAIL})

    return Entry(answer.json()["record"]["id"], answer.json()["token"], again)


async def attack(site: OAuthSite, people: str, way: str) -> list[Entry]:
    """All that an attacker has got with the victim's address, who cannot prove that it is theirs."""
    if way == "password":
        entries = [await by_password(site, people, ATTACKERS_PASSWORD)]
    elif way == "password and a linked provider":
        first = await by_password(site, people, ATTACKERS_PASSWORD)
        token = first.token if first is not None else ""
        entries = [first, await by_provider(site, people, "oidc2", "evil", verified=False, token=token)]
    elif way == "otp":
        # The code is mailed to the victim; what is left is to guess.
        asked = await site.client.post(f"/api/collections/{people}/request-otp", json={"email": MAIL})
        body = {"otpId": asked.json()["otpId"], "password": "00000000"}
        assert (
            await site.client.post(f"/api/collections/{people}/auth-with-otp", json=body)
        ).status_code == 400
        entries = []
    elif way == "two providers":
        first = await by_provider(site, people, "oidc2", "evil", verified=False)
        token = first.token if first is not None else ""
        entries = [first, await by_provider(site, people, "oidc", "evil", verified=False, token=token)]
    else:
        entries = [await by_provider(site, people, way, "evil", verified=False)]
    return [entry for entry in entries if entry is not None]


async def arrive(site: OAuthSite, people: str, way: str) -> Entry:
    """The victim, who can prove that the address is theirs, gets in."""
    if way in ("oidc", "oidc2"):
        entry = await by_provider(site, people, way, "victim", verified=True)
        assert entry is not None
        return entry
    found = site.services.schema.current.find(people)
    record = await site.services.records.find_one(found, 'r."email" = $1', MAIL)
    if record is None:
        entry = await by_password(site, people, VICTIMS_PASSWORD)
        assert entry is not None
        if way == "password, verified":
            await site.verify(people, entry.id)
    elif way != "otp":
        # What a password reset does, for which the mail goes to the victim.
        changes = {"password": await hash_password(VICTIMS_PASSWORD), "verified": True}
        await site.services.records.save_fields(found, record["id"], changes)
    if way == "otp":
        return await by_code(site, people)
    answer = (await site.with_password(people, MAIL, VICTIMS_PASSWORD)).json()

    async def again() -> str:
        return await entered(site, await site.with_password(people, MAIL, VICTIMS_PASSWORD))

    return Entry(answer["record"]["id"], answer["token"], again)


ATTACKS = ("password", "oidc", "oidc2", "password and a linked provider", "two providers")


@pytest.mark.parametrize("victims", ["password, verified", "otp", "oidc"])
@pytest.mark.parametrize("attackers", ATTACKS)
async def test_an_attacker_who_was_first_is_out_when_the_victim_comes(
    oauth_site: OAuthSite, attackers: str, victims: str
) -> None:
    site = oauth_site
    people = await site.collection(otp=OTP)
    attacks = await attack(site, people, attackers)
    assert attacks
    victim = await arrive(site, people, victims)
    for each in attacks:
        assert await site.refresh(people, each.token) == 401
        assert await each.again() != victim.id
    assert await site.refresh(people, victim.token) == 200
    # The attempts to come again have changed nothing for the victim either.
    assert await victim.again() == victim.id
    record = await site.stored(people, victim.id)
    assert (record["email"], record["verified"]) == (MAIL, True)
    assert all(sub == "victim" for _, sub in await site.links(people, victim.id))


@pytest.mark.parametrize("victims", ["password", "password, verified", "otp", "oidc", "oidc2"])
async def test_an_attacker_who_comes_later_gets_nothing_and_takes_nothing(
    oauth_site: OAuthSite, victims: str
) -> None:
    site = oauth_site
    people = await site.collection(otp=OTP)
    victim = await arrive(site, people, victims)
    before = await site.stored(people, victim.id)
    links = await site.links(people, victim.id)
    for way in ("otp", *ATTACKS):
        for each in await attack(site, people, way):
            assert each.id != victim.id
            assert await each.again() != victim.id
    assert await site.refresh(people, victim.token) == 200
    assert await victim.again() == victim.id
    after = await site.stored(people, victim.id)
    assert {name: after[name] for name in ("email", "verified", "tokenKey")} == {
        name: before[name] for name in ("email", "verified", "tokenKey")
    }
    assert await site.links(people, victim.id) == links


async def test_a_second_factor_that_an_attacker_has_set_up_does_not_keep_the_victim_out(
    oauth_site: OAuthSite,
) -> None:
    site = oauth_site
    people = await site.collection(totp={"enabled": True})
    early = await by_password(site, people, ATTACKERS_PASSWORD)
    assert early is not None
    owner = site.services.schema.current.find(people).id, early.id
    await site.services.db.execute(
        'INSERT INTO "_totp" ("collection", "record", "secret", "confirmed", "last_step", "created") '
        "VALUES ($1, $2, 'JBSWY3DPEHPK3PXP', now(), 0, now())",
        *owner,
    )
    victim = await by_provider(site, people, "oidc", "victim", verified=True)
    assert victim is not None
    assert victim.id == early.id
    assert await site.services.db.fetchval('SELECT count(*) FROM "_totp" WHERE "record" = $1', early.id) == 0


async def test_who_links_a_provider_to_their_own_unverified_account_stays_signed_in_and_keeps_the_password(
    oauth_site: OAuthSite,
) -> None:
    site = oauth_site
    people = await site.collection()
    entry = await by_password(site, people, VICTIMS_PASSWORD)
    assert entry is not None
    linked = await by_provider(site, people, "oidc", "victim", verified=True, token=entry.token)
    assert linked is not None
    assert linked.id == entry.id
    assert (await site.stored(people, entry.id))["verified"] is True
    assert await site.refresh(people, entry.token) == 200
    assert await entry.again() == entry.id


async def test_a_victim_whose_password_was_never_verified_gets_in_through_the_provider_and_the_password_ends(
    oauth_site: OAuthSite,
) -> None:
    site = oauth_site
    people = await site.collection()
    early = await by_password(site, people, VICTIMS_PASSWORD)
    assert early is not None
    victim = await by_provider(site, people, "oidc", "victim", verified=True)
    assert victim is not None
    # Nobody can tell this password from an attacker's; the account itself is the victim's all the same.
    assert victim.id == early.id
    assert await early.again() == ""
    assert await site.refresh(people, early.token) == 401
    assert await victim.again() == early.id


async def test_a_link_of_an_account_that_becomes_verified_otherwise_is_gone(oauth_site: OAuthSite) -> None:
    site = oauth_site
    people = await site.collection()
    [evil] = await attack(site, people, "oidc2")
    assert await site.links(people, evil.id) == [("oidc2", "evil")]
    await site.verify(people, evil.id)
    assert await site.links(people, evil.id) == []
    assert await site.refresh(people, evil.token) == 401
    assert await evil.again() == ""


async def test_letters_that_an_index_folds_lead_to_the_same_account_and_secure_it(
    oauth_site: OAuthSite,
) -> None:
    site = oauth_site
    people = await site.collection(
        indexes=["CREATE UNIQUE INDEX `idx_folded` ON `people` (`email` COLLATE NOCASE) WHERE `email` != ''"]
    )
    early = await by_password(site, people, ATTACKERS_PASSWORD)
    assert early is not None
    code = site.provider.code_for("victim", email=MAIL.upper(), email_verified=True)
    answer = await site.signed_in(people, code)
    assert answer["record"]["id"] == early.id
    assert (answer["record"]["email"], answer["record"]["verified"]) == (MAIL, True)
    assert await early.again() == ""
    assert await site.refresh(people, early.token) == 401


async def test_a_programs_key_links_nothing(oauth_site: OAuthSite) -> None:
    """A key may do what its scopes say; a link would be a way to all the rest."""
    found = oauth_site.services.schema.current.find("users")

    async def may() -> None:
        return

    def visitor(key: str) -> Visitor:
        caller = Caller(id="x", collection_id=found.id, collection_name="users", key=key)
        return Visitor(found, "oidc", OAuthUser(id="x"), {}, RequestInfo(caller=caller), may)

    assert owner_of(visitor("")) is not None
    assert owner_of(visitor("some key")) is None
