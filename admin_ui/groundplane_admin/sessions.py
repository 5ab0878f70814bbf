"""The cookie that a superuser is known by: an auth token, looked up with every request; and how one gets it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from litestar import Response

from groundplane.auth import factors
from groundplane.auth.service import FirstFactor, SignIn
from groundplane.context import SUPERUSERS
from groundplane.errors import Invalid, NotFound
from groundplane_admin.catalogue import say
from groundplane_admin.visits import SESSION, VISITOR, Visit


class FactorPage(NamedTuple):
    """A sign-in that waits for a second proof; `otp_id` is that of a code which was mailed.

    `takes_totp` and `takes_otp` say which proofs count for it: a code generator, a code by mail.
    """

    mfa_id: str
    email: str
    next: str
    takes_totp: bool
    takes_otp: bool
    otp_id: str = ""
    problem: str = ""


async def open_session(visit: Visit, email: str, password: str, to: str) -> Response[bytes]:
    """Sign in and go on to a page; raises what a sign-in over the API raises."""
    await limit(visit, "authWithPassword", "auth")
    form = {"identity": email.strip(), "password": password, "identityField": "", "mfaId": ""}
    info = visit.info(body={"identity": email.strip()}, context="password")
    outcome = await visit.services.auth.with_password(SUPERUSERS, form, info)
    if isinstance(outcome, FirstFactor):
        return ask_second(visit, await factor_page(visit, outcome.mfa_id, email.strip(), to))
    return enter(visit, outcome, to)


async def open_session_by_link(visit: Visit, token: str) -> Response[bytes]:
    """Sign in with the token of a mailed link; raises what a sign-in over the API raises."""
    await limit(visit, "authWithMagicLink", "auth")
    form = {"token": token, "browserKey": "", "mfaId": ""}
    outcome = await visit.services.own_methods.with_magic_link(
        SUPERUSERS, form, visit.info(context="magicLink")
    )
    if isinstance(outcome, FirstFactor):
        return ask_second(visit, await factor_page(visit, outcome.mfa_id, "", "/_/"))
    return enter(visit, outcome, "/_/")


async def factor_page(visit: Visit, mfa_id: str, email: str, to: str) -> FactorPage:
    """Which second proofs there are for a sign-in; raises Invalid when there is none."""
    collection = visit.services.auth.collection(SUPERUSERS)
    owner = await factors.owner(visit.services.db, mfa_id)
    takes_totp = owner is not None and await visit.services.own_methods.totp.is_on(collection, owner[1])
    # Whoever has a code generator does not get around it by a mail.
    takes_otp = not takes_totp and collection.options is not None and collection.options.otp.enabled
    if owner is not None and not takes_totp and not takes_otp:
        raise Invalid(say("session.factor.none"))
    return FactorPage(mfa_id, email, to, takes_totp, takes_otp)


def ask_second(visit: Visit, page: FactorPage, status: int = 200) -> Response[bytes]:
    return visit.alone("session/factor.html", page, status=status)


async def mail_code(visit: Visit, email: str) -> str:
    """Have a code mailed; returns its id, whether there is such an account or not."""
    await limit(visit, "requestOTP")
    return await visit.services.otp.request(SUPERUSERS, email)


async def prove_second(visit: Visit, form: Mapping[str, str]) -> SignIn:
    """Check a second proof, `code`: a mailed one if there is an `otpId`, or a generator's, or a recovery code."""
    info = visit.info(context="otp" if form["otpId"] else "default")
    outcome: SignIn | FirstFactor
    if form["otpId"]:
        await limit(visit, "authWithOTP", "auth")
        said = {"otpId": form["otpId"], "password": form["code"], "mfaId": form["mfaId"]}
        outcome = await visit.services.otp.sign_in(SUPERUSERS, said, info)
    else:
        await limit(visit, "authWithTOTP", "auth")
        code = "".join(form["code"].split())
        # A generator's code is digits; a recovery code has letters, and dashes between its parts.
        kind, other = ("code", "recoveryCode") if code.isdecimal() else ("recoveryCode", "code")
        said = {"mfaId": form["mfaId"], kind: code, other: ""}
        outcome = await visit.services.own_methods.with_totp(SUPERUSERS, said, info)
    if isinstance(outcome, FirstFactor):
        raise Invalid(say("session.factor.wrong"))
    return outcome


async def end_session(visit: Visit) -> None:
    """End the session of this browser's cookie, in every process; other sessions go on."""
    sessions, caller = visit.services.sessions, visit.user
    collection = visit.services.auth.collection(SUPERUSERS)
    try:
        await sessions.end(collection, caller.id, await sessions.settled(caller, visit.info()), visit.info())
    except NotFound:
        return  # it has ended meanwhile


async def limit(visit: Visit, *tags: str) -> None:
    """Count an attempt as the API counts it; raises TooManyRequests."""
    collection = visit.services.schema.current.find(SUPERUSERS)
    await visit.ask.limits.check_action(visit.ask, collection, *tags)


def enter(visit: Visit, outcome: SignIn, to: str) -> Response[bytes]:
    """Begin the session of a sign-in."""
    visit.forget_cookie(VISITOR)
    visit.cookie(SESSION, outcome.token)
    visit.keep_messages()
    return visit.go_outside(to)
