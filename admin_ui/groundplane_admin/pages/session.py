"""Signing in and out, the first account, and the viewer's own choices."""

from __future__ import annotations

from typing import NamedTuple

from litestar import Response, get, post

from groundplane.api.exchange import AnyRequest
from groundplane.context import SUPERUSERS
from groundplane.errors import Forbidden, GroundplaneError, Invalid, TooManyRequests
from groundplane.records.values import Submitted
from groundplane_admin.catalogue import say
from groundplane_admin.fields import field_messages
from groundplane_admin.registry import Screen
from groundplane_admin.sessions import (
    ask_second,
    end_session,
    enter,
    factor_page,
    limit,
    mail_code,
    open_session,
    prove_second,
)
from groundplane_admin.visits import SESSION, THEME, THEMES, YEAR_S, Toast, Visit, safe_next, visit_of


class SignInPage(NamedTuple):
    next: str
    email: str = ""
    problem: str = ""
    is_first_run: bool = False


class SetupPage(NamedTuple):
    token: str
    email: str = ""
    problem: str = ""
    errors: dict[str, str] = {}  # noqa: RUF012  # a default that nobody changes
    is_expired: bool = False


class ForgotPage(NamedTuple):
    sent_to: str = ""


@get("/_/sign-in")
async def sign_in_page(request: AnyRequest) -> Response[bytes]:
    """The form to sign in with, or what a server without an account needs."""
    visit = visit_of(request)
    to = safe_next(visit.ask.query.get("next", ""))
    if visit.caller is not None:
        return visit.go_to(to)
    is_first_run = not await visit.services.superusers.all()
    return visit.alone("session/sign_in.html", SignInPage(to, is_first_run=is_first_run))


@post("/_/sign-in")
async def sign_in(request: AnyRequest) -> Response[bytes]:
    """Sign a superuser in with a password; a second factor is asked for where the collection wants one."""
    visit = visit_of(request)
    form = await visit.form()
    to, email = safe_next(form.text("next")), form.text("email")
    try:
        return await open_session(visit, email, form.text("password"), to)
    except TooManyRequests:
        raise
    except GroundplaneError as error:
        if error.status >= 500:
            raise
        # Whoever comes so far has given the right password: there is more to say.
        knows = isinstance(error, Forbidden) or error.message == say("session.factor.none")
        message = error.message if knows else say("session.failed")
        page = SignInPage(to, email, message)
        return visit.alone("session/sign_in.html", page, status=422)


@post("/_/sign-in/factor")
async def second_factor(request: AnyRequest) -> Response[bytes]:
    """Take the second proof of a sign-in, or mail a code for it."""
    visit = visit_of(request)
    form = await visit.form()
    said = {name: form.text(name).strip() for name in ("mfaId", "otpId", "code")}
    page = await factor_page(visit, said["mfaId"], form.text("email").strip(), safe_next(form.text("next")))
    if form.has("send") and page.takes_otp:
        return ask_second(visit, page._replace(otp_id=await mail_code(visit, page.email)))
    try:
        return enter(visit, await prove_second(visit, said), page.next)
    except TooManyRequests:
        raise
    except GroundplaneError as error:
        if error.status >= 500:
            raise
        problem = error.message if isinstance(error, Forbidden) else say("session.factor.wrong")
        return ask_second(visit, page._replace(otp_id=said["otpId"], problem=problem), status=422)


@post("/_/sign-out")
async def sign_out(request: AnyRequest) -> Response[bytes]:
    """End the session of this browser: its cookie is worth nothing from then on, wherever a copy of it is."""
    visit = visit_of(request)
    await end_session(visit)
    visit.forget_cookie(SESSION)
    visit.toasts = [Toast("session.signed_out", kind="info")]
    visit.keep_messages()
    return visit.go_outside("/_/sign-in")


@get("/_/forgotten-password")
async def forgot_page(request: AnyRequest) -> Response[bytes]:
    return visit_of(request).alone("session/forgot.html", ForgotPage())


@post("/_/forgotten-password")
async def forgot(request: AnyRequest) -> Response[bytes]:
    """Mail a link, if there is such an account; the answer is the same either way."""
    visit = visit_of(request)
    email = (await visit.form()).text("email").strip()[:255]
    await request_reset(visit, email)
    return visit.alone("session/forgot.html", ForgotPage(sent_to=email))


async def request_reset(visit: Visit, email: str) -> None:
    """Ask for the mail as the API does."""
    await limit(visit, "requestPasswordReset")
    services = visit.services
    try:
        await services.email_flows.request_password_reset(services.auth.collection(SUPERUSERS), email)
    except Invalid:
        return  # no address: nothing that the visitor should learn


@get("/_/setup")
async def setup_page(request: AnyRequest) -> Response[bytes]:
    """Where the code of the set-up link is typed by those whose browser runs no script."""
    return visit_of(request).alone("session/setup.html", SetupPage(""))


@post("/_/setup")
async def setup(request: AnyRequest) -> Response[bytes]:
    """Make the first superuser with the token of the set-up link, and sign in."""
    visit = visit_of(request)
    form = await visit.form()
    token, email, password = form.text("token").strip(), form.text("email").strip(), form.text("password")
    installer = await visit.services.auth.callers.caller(token) if token else None
    if installer is None or not installer.is_superuser:
        return visit.alone("session/setup.html", SetupPage("", is_expired=True), status=403)
    if not form.has("email"):
        return visit.alone("session/setup.html", SetupPage(token))
    visit.ask.caller = installer
    values = {"email": email, "password": password, "passwordConfirm": password}
    try:
        await visit.services.records.create(SUPERUSERS, Submitted(values), {}, visit.info(body=values))
    except Invalid as error:
        errors = field_messages(error)
        problem = "" if errors else error.message
        page = SetupPage(token, email, problem, errors)
        return visit.alone("session/setup.html", page, status=422)
    visit.ask.caller = None
    visit.toasts = [Toast("setup.done")]
    return await open_session(visit, email, password, "/_/")


@post("/_/account/theme")
async def choose_theme(request: AnyRequest) -> Response[bytes]:
    """Light, dark, or as the system has it."""
    visit = visit_of(request)
    form = await visit.form()
    theme = form.text("theme")
    if theme in THEMES:
        visit.cookie(THEME, theme, max_age=YEAR_S)
    return visit.go_to(safe_next(form.text("next")))


SCREEN = Screen(
    handlers=[choose_theme, sign_out],
    open_handlers=[forgot, forgot_page, second_factor, setup, setup_page, sign_in, sign_in_page],
)
