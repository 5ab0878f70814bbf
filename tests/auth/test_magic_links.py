"""Signing in with a mailed link: once, soon, and perhaps only in the browser that asked."""

from __future__ import annotations

import asyncio
import email
import re
from email.policy import default
from typing import Any

import pytest

from groundplane.testing.captured import run_due

BASE = "/api/collections/users"
BAD = {"data": {}, "message": "Invalid or expired link.", "status": 400}
LINK = re.compile(r"confirm-magic-link/(\S+)")


class Mailbox:
    """Where the server's mails go while no mail server is set."""

    def __init__(self, site: Any) -> None:
        self.site = site
        self.seen: set[str] = set()

    async def links(self) -> list[str]:
        """The tokens of the links that were mailed since the last look."""
        await run_due(self.site.services)
        folder = self.site.services.config.outbox_folder
        found = []
        for path in sorted(folder.glob("*.eml")) if folder.is_dir() else []:
            if path.name not in self.seen:
                self.seen.add(path.name)
                mail = email.message_from_bytes(path.read_bytes(), policy=default)
                body = mail.get_body(("plain",))
                match = LINK.search(body.get_content() if body is not None else "")
                assert match is not None
                found.append(match[1].rstrip(")>"))
        return found

    async def link(self, address: str = "a@example.com", **more: Any) -> str:
        answer = await self.ask(address, **more)
        assert answer.status_code == 200, answer.text
        return (await self.links())[0]

    async def ask(self, address: str, **more: Any) -> Any:
        return await self.site.client.post(f"{BASE}/request-magic-link", json={"email": address, **more})

    async def sign_in(self, token: str, **more: Any) -> Any:
        body = {"token": token, **more}
        return await self.site.client.post(f"{BASE}/auth-with-magic-link", json=body)


@pytest.fixture
async def mailbox(site: Any) -> Mailbox:
    await site.allow(magicLink={"enabled": True})
    return Mailbox(site)


async def test_a_mailed_link_signs_in_once_and_proves_the_address(mailbox: Mailbox) -> None:
    await mailbox.site.user("a@example.com")
    token = await mailbox.link()
    answers = await asyncio.gather(*(mailbox.sign_in(token) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400]
    good = next(answer for answer in answers if answer.status_code == 200)
    assert good.json()["record"]["verified"] is True
    header = {"Authorization": good.json()["token"]}
    listed = await mailbox.site.client.get(f"{BASE}/sessions", headers=header)
    assert [each["method"] for each in listed.json()["items"]] == ["magicLink"]
    assert (await mailbox.site.sign_in("a@example.com")).status_code == 400, (
        "whose password that was is unknown"
    )
    methods = (await mailbox.site.client.get(f"{BASE}/auth-methods")).json()
    assert methods["magicLink"] == {"enabled": True, "duration": 900}


async def test_nothing_tells_whether_there_is_an_account(mailbox: Mailbox) -> None:
    await mailbox.site.user("a@example.com")
    for same_browser in (False, True):
        known = await mailbox.ask("a@example.com", sameBrowser=same_browser)
        unknown = await mailbox.ask("nobody@example.com", sameBrowser=same_browser)
        assert (known.status_code, known.json().keys()) == (unknown.status_code, unknown.json().keys())
        assert len(known.json()["browserKey"]) == len(unknown.json()["browserKey"]) == 50 * same_browser
    added = await mailbox.site.db.fetch("SELECT payload FROM _jobs WHERE kind = 'mail'")
    assert len(added) == 4
    assert len(await mailbox.links()) == 2
    token = f"{mailbox.site.schema.current.find('users').id}.{'x' * 50}"
    assert (await mailbox.sign_in(token)).json() == BAD


async def test_a_link_for_one_browser_works_in_no_other_and_is_not_used_up_there(mailbox: Mailbox) -> None:
    await mailbox.site.user("a@example.com")
    key = (await mailbox.ask("a@example.com", sameBrowser=True)).json()["browserKey"]
    token = (await mailbox.links())[0]
    for wrong in ("", "x" * 50, key[:-1]):
        assert (await mailbox.sign_in(token, browserKey=wrong)).json() == BAD
    assert (await mailbox.sign_in(token, browserKey=key)).status_code == 200


async def test_a_link_ends_with_its_time_and_with_a_new_password_or_address(mailbox: Mailbox) -> None:
    user = await mailbox.site.user("a@example.com", verified=True)
    users = mailbox.site.schema.current.find("users")
    expired = await mailbox.link()
    await mailbox.site.db.execute("UPDATE _magic_links SET expires = now() - interval '1 second'")
    assert (await mailbox.sign_in(expired)).json() == BAD
    old = await mailbox.link()
    await mailbox.site.services.sessions.end_all(users, user["id"])
    assert (await mailbox.sign_in(old)).json() == BAD
    other = await mailbox.link()
    await mailbox.site.services.records.delete_internal(users, user["id"])
    assert (await mailbox.sign_in(other)).json() == BAD


async def test_an_account_gets_few_links_in_a_while(mailbox: Mailbox) -> None:
    await mailbox.site.user("a@example.com")
    for _ in range(6):
        assert (await mailbox.ask("a@example.com")).status_code == 200
    assert len(await mailbox.links()) == 3


async def test_a_link_is_one_factor_where_two_are_needed(mailbox: Mailbox) -> None:
    await mailbox.site.user("a@example.com", verified=True)
    await mailbox.site.allow(mfa={"enabled": True}, otp={"enabled": True})
    answer = await mailbox.sign_in(await mailbox.link())
    assert answer.status_code == 401
    mfa_id = answer.json()["mfaId"]
    same = await mailbox.sign_in(await mailbox.link(), mfaId=mfa_id)
    assert same.json()["message"] == "A different authentication method is required."
    assert (await mailbox.site.sign_in("a@example.com", mfaId=mfa_id)).status_code == 200


async def test_hostile_input_is_refused(mailbox: Mailbox) -> None:
    for address in ("", "no address", "a@example.com\r\nBcc: x@example.com", "x" * 300 + "@example.com"):
        answer = await mailbox.ask(address)
        assert set(answer.json()["data"]) == {"email"}, address
    for token in ("", ".", "\0", "x" * 10_000, "é", "'; --"):
        assert (await mailbox.sign_in(token)).json() == BAD, token
    assert (await mailbox.sign_in(5)).status_code == 400  # type: ignore[arg-type]  # that is the point


async def test_the_token_is_stored_as_a_hash_and_never_in_the_queue(mailbox: Mailbox) -> None:
    await mailbox.site.user("a@example.com")
    token = await mailbox.link(sameBrowser=True)
    rows = await mailbox.site.db.fetch("SELECT * FROM _magic_links")
    jobs = await mailbox.site.db.fetch("SELECT payload::text FROM _jobs")
    stored = str([dict(row) for row in (*rows, *jobs)])
    assert token.partition(".")[2] not in stored


async def test_a_collection_without_links_mails_none(site: Any) -> None:
    mailbox = Mailbox(site)
    await site.user("a@example.com")
    for answer in (await mailbox.ask("a@example.com"), await mailbox.sign_in("x")):
        assert answer.status_code == 403
        assert answer.json()["message"] == "The collection is not configured to allow mailed links."
