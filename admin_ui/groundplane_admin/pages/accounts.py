"""Tabs of an account's panel: where it is signed in, and by which ways it can sign in."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from litestar import Response, post

from groundplane.api.exchange import AnyRequest
from groundplane.errors import NotFound
from groundplane.schema.collection import Collection
from groundplane_admin.pages.logs import read_date
from groundplane_admin.records.state import ListState
from groundplane_admin.registry import RecordTab, Rendered, Screen
from groundplane_admin.visits import Toast, Visit, visit_of

if TYPE_CHECKING:
    from groundplane.auth.passkeys import Passkey
    from groundplane.auth.totp import Standing
    from groundplane.hooks.events_sessions import Session

MOST = 100
EXTERNAL = "_externalAuths"
SYSTEMS = {
    "Android": "Android",
    "iPhone": "iOS",
    "iPad": "iOS",
    "Windows": "Windows",
    "Mac OS": "macOS",
    "Linux": "Linux",
}
PROGRAMS = {
    "Edg/": "Edge",
    "Firefox/": "Firefox",
    "Chrome/": "Chrome",
    "Safari/": "Safari",
    "node": "Node",
    "curl/": "curl",
}


class SessionRow(NamedTuple):
    session: Session
    agent: str
    is_current: bool


class SessionsPage(NamedTuple):
    action: str
    sessions: list[SessionRow]
    total: int


class Identity(NamedTuple):
    id: str
    provider: str
    provider_id: str
    created: datetime | None


class WaysPage(NamedTuple):
    """`totp` and `passkeys` are None where the collection has them switched off."""

    action: str
    has_password: bool
    identities: list[Identity]
    totp: Standing | None
    passkeys: list[Passkey] | None


def agent_words(agent: str) -> str:
    """`Firefox, Linux` of what a browser says of itself; its own words when they are of no known kind."""
    program = next((name for mark, name in PROGRAMS.items() if mark in agent), "")
    system = next((name for mark, name in SYSTEMS.items() if mark in agent), "")
    return ", ".join(each for each in (program, system) if each) or agent[:60]


def action_of(collection: Collection, record_id: str) -> str:
    return f"/_/accounts/{quote(collection.name, safe='')}/{quote(record_id, safe='')}"


async def sessions_tab(visit: Visit, collection: Collection, record_id: str) -> Rendered:
    """The account's sessions, the last used first."""
    services = visit.services
    record = await services.auth.record(collection.id, record_id)
    found, total = await services.sessions.page(collection, record, limit=MOST, offset=0, with_total=True)
    own = visit.user.collection_id == collection.id and visit.user.id == record_id
    current = await services.sessions.current(visit.user) if own else ""
    rows = [SessionRow(each, agent_words(each.agent), each.id == current) for each in found]
    return "accounts/_sessions.html", SessionsPage(action_of(collection, record_id), rows, total)


async def ways_tab(visit: Visit, collection: Collection, record_id: str) -> Rendered:
    """How the account can sign in: linked accounts elsewhere, a code generator, passkeys."""
    options, own = collection.options, visit.services.own_methods
    page = WaysPage(
        action=action_of(collection, record_id),
        has_password=options is not None and options.password_auth.enabled,
        identities=[identity_of(each) for each in await linked(visit, collection, record_id)],
        totp=await own.totp.standing(collection, record_id)
        if options is not None and options.totp.enabled
        else None,
        passkeys=await own.passkeys.all(collection, record_id)
        if options is not None and options.passkeys.enabled
        else None,
    )
    return "accounts/_ways.html", page


async def linked(visit: Visit, collection: Collection, record_id: str) -> list[dict[str, Any]]:
    """The account's records of other sign-in services."""
    wanted = f'collectionRef = "{collection.id}" && recordRef = "{record_id}"'
    asked = {"filter": wanted, "perPage": str(MOST), "skipTotal": "1"}
    page = await visit.services.records.page(EXTERNAL, asked, visit.info())
    items: list[dict[str, Any]] = page["items"]
    return items


def identity_of(item: dict[str, Any]) -> Identity:
    return Identity(item["id"], item["provider"], item["providerId"], read_date(str(item["created"])))


class Account(NamedTuple):
    """Whom a form is about, with the part of the path behind it."""

    visit: Visit
    collection: Collection
    id: str
    part: str

    def done(self, tab: str, said: str) -> Response[bytes]:
        address = ListState(self.collection.name).record_href(self.id, tab)
        return self.visit.go_to(address, toast=Toast(f"accounts.{said}"))


async def account_of(request: AnyRequest) -> Account:
    """The account in the path; raises NotFound."""
    visit = visit_of(request)
    segments = visit.ask.segments
    collection = visit.services.auth.collection(segments[2])
    record = await visit.services.auth.record(collection.id, segments[3])
    return Account(visit, collection, record["id"], segments[5] if len(segments) > 5 else "")


@post("/_/accounts/{collection:str}/{id:str}/end-all", status_code=303)
async def end_all(request: AnyRequest) -> Response[bytes]:
    """Sign an account out everywhere."""
    account = await account_of(request)
    await account.visit.services.sessions.end_all(account.collection, account.id, account.visit.info())
    return account.done("sessions", "all_ended")


@post("/_/accounts/{collection:str}/{id:str}/end/{session:str}", status_code=303)
async def end_one(request: AnyRequest) -> Response[bytes]:
    """Sign out one session."""
    account = await account_of(request)
    sessions = account.visit.services.sessions
    await sessions.end(account.collection, account.id, account.part, account.visit.info())
    return account.done("sessions", "ended")


@post("/_/accounts/{collection:str}/{id:str}/unlink/{identity:str}", status_code=303)
async def unlink(request: AnyRequest) -> Response[bytes]:
    """Forget an account elsewhere."""
    account = await account_of(request)
    if all(
        each["id"] != account.part for each in await linked(account.visit, account.collection, account.id)
    ):
        raise NotFound()
    await account.visit.services.records.delete(EXTERNAL, account.part, account.visit.info())
    return account.done("ways", "unlinked")


@post("/_/accounts/{collection:str}/{id:str}/totp", status_code=303)
async def remove_totp(request: AnyRequest) -> Response[bytes]:
    """Forget the code generator of somebody who has lost it."""
    account = await account_of(request)
    await account.visit.services.own_methods.totp.end(account.collection, account.id)
    return account.done("ways", "totp_removed")


@post("/_/accounts/{collection:str}/{id:str}/passkey/{passkey:str}", status_code=303)
async def remove_passkey(request: AnyRequest) -> Response[bytes]:
    """Forget a passkey."""
    account = await account_of(request)
    await account.visit.services.own_methods.passkeys.delete(account.collection, account.id, account.part)
    return account.done("ways", "passkey_removed")


def is_account(visit: Visit, collection: Collection) -> bool:
    return collection.is_auth


SCREEN = Screen(
    handlers=[end_all, end_one, remove_passkey, remove_totp, unlink],
    record_tabs=[
        RecordTab("sessions", "accounts.sessions", sessions_tab, order=30, applies=is_account),
        RecordTab("ways", "accounts.ways", ways_tab, order=40, applies=is_account),
    ],
)
