"""Whether an account exists can be read from no answer, and from no time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
import pytest_asyncio
from tests.mail.mail_site import MailSite

from groundplane.db.engine import Database
from groundplane.security import passwords

pytestmark = pytest.mark.asyncio(loop_scope="module")

KNOWN, UNKNOWN = "known@example.com", "nobody@example.com"
TRIES = 200
Ask = Callable[[MailSite, str], Awaitable[httpx.Response]]


async def verification(site: MailSite, email: str) -> httpx.Response:
    return await site.post("request-verification", {"email": email})


async def reset(site: MailSite, email: str) -> httpx.Response:
    return await site.post("request-password-reset", {"email": email})


async def otp(site: MailSite, email: str) -> httpx.Response:
    return await site.post("request-otp", {"email": email})


async def wrong_password(site: MailSite, email: str) -> httpx.Response:
    return await site.sign_in(email, "wrong password")


async def wrong_code(site: MailSite, email: str) -> httpx.Response:
    """Try a code with the id that was given for the address."""
    return await site.post("auth-with-otp", {"otpId": site.ids[email], "password": "00000000x"})


WAYS = [verification, reset, otp, wrong_password, wrong_code]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def prepared(shared_mail_site: MailSite) -> MailSite:
    mailed = shared_mail_site
    await mailed.options(otp={"enabled": True}, authAlert={"enabled": False})
    for name in ("known", "other"):
        await mailed.user(f"{name}@example.com")
    for email in (KNOWN, UNKNOWN):
        mailed.ids[email] = (await otp(mailed, email)).json()["otpId"]
    await mailed.run_jobs()
    return mailed


@pytest_asyncio.fixture(loop_scope="module")
async def site(prepared: MailSite) -> MailSite:
    """The same accounts and codes for every test, with all attempts and mails forgotten."""
    for table in ("_sign_in_counters", "_jobs"):
        await prepared.db.execute(f'DELETE FROM "{table}"')
    return prepared


class Work:
    """Counts the statements and the hashes that a request makes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        for name in ("execute", "fetch", "fetchrow", "fetchval"):
            monkeypatch.setattr(Database, name, self._watching(getattr(Database, name)))
        monkeypatch.setattr(passwords, "_in_thread", self._hashing(passwords._in_thread))

    def _watching(self, original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def watched(database: Database, statement: str, *args: object) -> Any:
            self.done.append(statement)
            return await original(database, statement, *args)

        return watched

    def _hashing(self, original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def watched(work: Callable[[], Any]) -> Any:
            self.done.append("a hash")
            return await original(work)

        return watched

    async def of(self, site: MailSite, ask: Ask, email: str) -> list[str]:
        self.done.clear()
        await ask(site, email)
        return list(self.done)


@pytest.mark.parametrize("ask", WAYS)
async def test_the_answer_is_the_same(site: MailSite, ask: Ask) -> None:
    answers = []
    for email in (KNOWN, UNKNOWN):
        answer = await ask(site, email)
        body = {"otpId": "…"} if ask is otp else answer.content
        names = sorted(name for name in answer.headers if name != "date")
        answers.append((answer.status_code, body, names, len(answer.content)))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("ask", [verification, reset, otp])
async def test_asking_for_a_mail_runs_the_same_statements(
    site: MailSite, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work(monkeypatch)
    known = await work.of(site, ask, KNOWN)
    assert known == await work.of(site, ask, UNKNOWN)
    assert known
    assert "a hash" not in known


@pytest.mark.parametrize("ask", [wrong_password, wrong_code])
async def test_a_refusal_costs_one_hash(site: MailSite, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(monkeypatch)
    counts = [(await work.of(site, ask, email)).count("a hash") for email in (KNOWN, UNKNOWN)]
    assert counts == [1, 1]


@pytest.mark.slow
@pytest.mark.parametrize("ask", WAYS)
async def test_the_time_of_200_tries_is_the_same(site: MailSite, ask: Ask) -> None:
    """Both kinds in turn, so that whatever else the machine does falls on both.

    Told apart would be a difference of the medians that stands out from how much they vary by chance.
    """
    took: dict[str, list[float]] = {KNOWN: [], UNKNOWN: []}
    for number in range(TRIES):
        for email in (KNOWN, UNKNOWN) if number % 2 else (UNKNOWN, KNOWN):
            await site.db.execute('DELETE FROM "_sign_in_counters"')
            await site.db.execute('DELETE FROM "_jobs"')
            started = time.perf_counter()
            await ask(site, email)
            took[email].append(time.perf_counter() - started)
    medians = {email: statistics.median(each) for email, each in took.items()}
    everything = sorted(took[KNOWN] + took[UNKNOWN])
    spread = everything[len(everything) * 3 // 4] - everything[len(everything) // 4]
    # The median of 200 values varies by about 1.25 * (spread / 1.35) / sqrt(200) = 0.065 spreads.
    assert abs(medians[KNOWN] - medians[UNKNOWN]) < 5 * 0.065 * 1.42 * spread, medians
