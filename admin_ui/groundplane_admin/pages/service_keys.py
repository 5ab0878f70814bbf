"""Service keys: with which programs sign in, what each may do, and how that ends."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from litestar import Response, get, post
from litestar.params import FromPath

from groundplane.api.exchange import AnyRequest
from groundplane.clock import now
from groundplane.errors import Invalid
from groundplane_admin.api_page.sending import caller_named
from groundplane_admin.fields import field_messages
from groundplane_admin.registry import Command, NavItem, Screen
from groundplane_admin.visits import Form, Toast, Visit, visit_of

if TYPE_CHECKING:
    from groundplane.auth.scopes import Key

ACTIONS = ("list", "view", "create", "update", "delete")
ACCESS = ("rules", "full", "superuser")
EVERYTHING = "*"
GRACES = (0, 3600, 24 * 3600, 7 * 24 * 3600)  # seconds


class Row(NamedTuple):
    key: Key
    state: str
    scopes: list[tuple[list[str], list[str]]]
    acts_as: str
    goes_on: datetime | None


class KeysPage(NamedTuple):
    rows: list[Row]


class Values(NamedTuple):
    name: str
    access: str
    record: str
    collections: list[str]
    actions: list[str]
    expires: str


class FormPage(NamedTuple):
    values: Values
    known: list[str]
    errors: dict[str, str]
    access: tuple[str, ...] = ACCESS
    actions: tuple[str, ...] = ACTIONS


class SecretPage(NamedTuple):
    key: Key
    text: str


class KeyPage(NamedTuple):
    row: Row
    graces: tuple[int, ...] = GRACES


@get("/_/access/keys")
async def keys(request: AnyRequest) -> Response[bytes]:
    visit = visit_of(request)
    return visit.page(
        "service_keys/page.html", KeysPage([row_of(visit, each) for each in await visit.services.keys.all()])
    )


@get("/_/access/keys/new")
async def new_key(request: AnyRequest) -> Response[bytes]:
    visit = visit_of(request)
    values = Values("", "full", "", [], ["list", "view"], "")
    return visit.page("service_keys/form.html", form_page(visit, values, {}))


@post("/_/access/keys", status_code=200)
async def create_key(request: AnyRequest) -> Response[bytes]:
    """Make one; this page and that of a rotation are the only ones that show it."""
    visit = visit_of(request)
    values = values_of(await visit.form())
    errors: dict[str, str] = {}
    try:
        raw = await raw_of(visit, values)
    except Invalid as error:
        errors["record"] = error.message
    else:
        try:
            key, text = await visit.services.keys.create(raw)
        except Invalid as error:
            errors = field_messages(error)
        else:
            return visit.page("service_keys/secret.html", SecretPage(key, text))
    return visit.page("service_keys/form.html", form_page(visit, values, errors), status=422)


@get("/_/access/keys/{key_id:str}")
async def view_key(request: AnyRequest, key_id: FromPath[str]) -> Response[bytes]:
    """A key with what can be done about it."""
    visit = visit_of(request)
    return visit.page("service_keys/key.html", KeyPage(row_of(visit, await visit.services.keys.view(key_id))))


@post("/_/access/keys/{key_id:str}/rotate", status_code=200)
async def rotate_key(request: AnyRequest, key_id: FromPath[str]) -> Response[bytes]:
    """Replace the key; the old one goes on for a while."""
    visit = visit_of(request)
    wanted = (await visit.form()).text("grace")
    grace = int(wanted) if wanted in {str(each) for each in GRACES} else 0
    key, text = await visit.services.keys.rotate(key_id, grace)
    return visit.page("service_keys/secret.html", SecretPage(key, text))


@post("/_/access/keys/{key_id:str}/revoke", status_code=303)
async def revoke_key(request: AnyRequest, key_id: FromPath[str]) -> Response[bytes]:
    visit = visit_of(request)
    key = await visit.services.keys.view(key_id)
    await visit.services.keys.revoke(key_id)
    return visit.go_to("/_/access/keys", toast=Toast("service_keys.revoked", {"name": key.name}))


def row_of(visit: Visit, key: Key) -> Row:
    moment = now()
    names = {each.id: each.name for each in visit.services.schema.current}
    scopes = [([names.get(id, id) for id in each.collections], list(each.actions)) for each in key.scopes]
    acts_as = f"{names.get(key.collection, key.collection)}/{key.record}" if key.record else ""
    goes_on = key.previous_until if key.previous_until is not None and key.previous_until > moment else None
    return Row(key, "valid" if key.is_valid(moment) else "expired", scopes, acts_as, goes_on)


def form_page(visit: Visit, values: Values, errors: dict[str, str]) -> FormPage:
    known = sorted(each.name for each in visit.services.schema.current if not each.system)
    return FormPage(values, known, errors)


def values_of(form: Form) -> Values:
    access = form.text("access", "full")
    return Values(
        name=form.text("name").strip(),
        access=access if access in ACCESS else "full",
        record=form.text("record").strip(),
        collections=[each for each in form.all("collections") if each],
        actions=[each for each in form.all("actions") if each],
        expires=form.text("expires").strip(),
    )


async def raw_of(visit: Visit, values: Values) -> dict[str, Any]:
    """The form as the API takes it; raises Invalid for an account that is not there."""
    raw: dict[str, Any] = {"name": values.name, "access": values.access}
    if values.expires:
        raw["expires"] = f"{values.expires} 00:00:00.000Z"
    if values.access == "superuser":
        return raw
    if values.collections:
        raw["scopes"] = [{"collections": values.collections, "actions": values.actions}]
    if values.access == "rules" and (caller := await caller_named(visit, values.record)) is not None:
        raw["record"] = {"collection": caller.collection_name, "id": caller.id}
    return raw


SCREEN = Screen(
    handlers=[create_key, keys, new_key, revoke_key, rotate_key, view_key],
    nav=[NavItem("access", "service_keys.title", "/_/access/keys", "key", order=30)],
    commands=[Command("service_keys.new", "/_/access/keys/new", "plus")],
)
