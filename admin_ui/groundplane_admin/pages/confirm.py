"""The pages behind links in mails, and where the windows of other sign-in services end."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote, urlsplit

from litestar import Response, get, post
from litestar.params import FromPath

from groundplane.api.exchange import AnyRequest
from groundplane.errors import GroundplaneError, Invalid, NotFound
from groundplane_admin.catalogue import say
from groundplane_admin.fields import field_messages
from groundplane_admin.registry import Screen
from groundplane_admin.sessions import open_session_by_link
from groundplane_admin.visits import Visit, visit_of

VERIFICATION, PASSWORD_RESET, EMAIL_CHANGE, MAGIC_LINK = KINDS = (
    "confirm-verification",
    "confirm-password-reset",
    "confirm-email-change",
    "confirm-magic-link",
)
# Behind it an app finds the token of a mailed link that its own server page hands on.
HANDED_ON = "#magic-link="
INCOMPLETE = "The link is not complete, or too old. Ask for another one."
MAX_TOKEN_CHARS = 8192
# Where the window of another sign-in service ends, and how it went.
ENDS = {"oauth2-redirect-success": "done", "oauth2-redirect-failure": "failed"}


class EndPage(NamedTuple):
    outcome: str


class ConfirmPage(NamedTuple):
    """`token` is "" until the script of the page has taken it out of the address, or somebody has pasted it.

    `app` is the address of the app to go on to, with what it needs.
    """

    kind: str
    token: str = ""
    is_done: bool = False
    app: str = ""
    problem: str = ""
    errors: dict[str, str] = {}  # noqa: RUF012  # a default that nobody changes


@get("/_/auth/{kind:str}")
async def confirm_page(request: AnyRequest, kind: FromPath[str]) -> Response[bytes]:
    """Show what the link is for; nothing happens before the button, as some programs follow links in mails."""
    if kind in ENDS:
        return visit_of(request).alone("confirm/ended.html", EndPage(ENDS[kind]))
    return shown(visit_of(request), ConfirmPage(known(kind)))


@post("/_/auth/{kind:str}")
async def confirm(request: AnyRequest, kind: FromPath[str]) -> Response[bytes]:
    """Do what the link is for, as the API does it."""
    visit = visit_of(request)
    form = await visit.form()
    token = form.text("token").strip()[:MAX_TOKEN_CHARS]
    page = ConfirmPage(known(kind), token)
    try:
        if page.kind == MAGIC_LINK:
            return await sign_in_or_hand_on(visit, page)
        await carry_out(visit, page, form.text("password"), form.text("passwordConfirm"))
    except GroundplaneError as error:
        if error.status >= 500:
            raise
        errors = field_messages(error)
        problem = errors.pop("token", "") or ("" if errors else error.message)
        return shown(visit, page._replace(problem=problem, errors=errors), status=422)
    return shown(visit, page._replace(token="", is_done=True))


async def carry_out(visit: Visit, page: ConfirmPage, password: str, confirmation: str) -> None:
    """Raises Invalid with the errors of the API."""
    flows = visit.services.email_flows
    collection = flows.collection_of(page.token)
    if collection is None or (collection.is_superusers and page.kind != PASSWORD_RESET):
        raise Invalid(INCOMPLETE)
    if page.kind == VERIFICATION:
        await flows.confirm_verification(collection, page.token)
    elif page.kind == PASSWORD_RESET:
        await flows.confirm_password_reset(collection, page.token, password, confirmation)
    else:
        await flows.confirm_email_change(collection, page.token, password)


async def sign_in_or_hand_on(visit: Visit, page: ConfirmPage) -> Response[bytes]:
    """Sign a superuser in to the console; others sign in to their app, which uses the link up itself.

    It has to: the session is to be the app's, and a link may be bound to what the app keeps in the browser.
    """
    collection = visit.services.own_methods.magic_links.collection_of(page.token)
    if collection is None:
        raise Invalid(INCOMPLETE)
    if collection.is_superusers:
        return await open_session_by_link(visit, page.token)
    address = urlsplit(visit.services.settings.current.meta.app_url)
    if address.scheme not in ("http", "https"):
        raise Invalid(say("confirm.link.no_app"))
    app = f"{address._replace(fragment='').geturl()}{HANDED_ON}{quote(page.token, safe='')}"
    return shown(visit, page._replace(token="", app=app))


def known(kind: str) -> str:
    if kind not in KINDS:
        raise NotFound()
    return kind


def shown(visit: Visit, page: ConfirmPage, *, status: int = 200) -> Response[bytes]:
    return visit.alone("confirm/page.html", page, status=status)


SCREEN = Screen(open_handlers=[confirm, confirm_page])
