"""The API of one collection: its endpoints with their rules in words, a try of each, and code for it."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from litestar import Response, get, post

from groundplane.api.exchange import AnyRequest
from groundplane.context import SUPERUSERS
from groundplane.errors import GroundplaneError, Invalid
from groundplane.schema.collection import Collection
from groundplane_admin.api_page.code import (
    LANGUAGES,
    METHODS,
    SIGN_IN,
    SUBSCRIBE,
    Call,
    code,
    literal,
)
from groundplane_admin.api_page.samples import newest_id, sample_body
from groundplane_admin.api_page.sending import Answer, caller_named, send
from groundplane_admin.catalogue import say
from groundplane_admin.pages.records import collection_of
from groundplane_admin.registry import CollectionLink, Screen
from groundplane_admin.visits import Form, Visit, visit_of, with_query

READING = ("list", "view")
QUERY = {"list": ("filter", "sort", "expand", "fields", "page", "perPage"), "view": ("expand", "fields")}
SIGNED_IN = '@request.auth.id != ""'
PREFERENCE = "api.language"
MOST_ACCOUNTS = 20
MAX_TEXT = 200_000  # characters of a body


class Endpoint(NamedTuple):
    """`access` is anyone, locked, signed_in, rule, or "" where a rule does not decide."""

    action: str
    method: str
    path: str
    access: str
    rule: str
    href: str


class Values(NamedTuple):
    """The form as it was sent, or as it begins."""

    who: str
    id: str
    query: dict[str, str]
    body: str


class ApiPage(NamedTuple):
    collection: Collection
    endpoints: list[Endpoint]
    endpoint: Endpoint
    values: Values
    accounts: list[tuple[str, str]]
    can_send: bool
    changes: bool
    code: dict[str, str]
    languages: dict[str, str]
    language: str
    answer: Answer | None = None
    problems: dict[str, str] = {}  # noqa: RUF012  # never changed


@get("/_/c/{collection:str}/api")
async def api(request: AnyRequest) -> Response[bytes]:
    """An endpoint, chosen with `do`, ready to be tried; `as` says as whom."""
    visit = visit_of(request)
    collection = collection_of(visit)
    action = visit.ask.query.get("do", "list")
    values = Values(
        who=visit.ask.query.get("as", ""),
        id=visit.ask.query.get("id", "") or await newest_id(visit, collection),
        query=first_query(collection, action),
        body=literal(await first_body(visit, collection, action)),
    )
    return visit.page("api/page.html", await api_page(visit, collection, action, values))


@post("/_/c/{collection:str}/api", status_code=200)
async def try_api(request: AnyRequest) -> Response[bytes]:
    """Send the request, and show what came back."""
    visit = visit_of(request)
    collection = collection_of(visit)
    form = await visit.form()
    action = form.text("do", "list")
    values = sent_values(form, action)
    page = await api_page(visit, collection, action, values, await chosen_language(visit, form))
    if page.can_send and not page.problems:
        try:
            caller = await caller_named(visit, values.who)
        except Invalid as error:
            page = page._replace(problems={"as": error.message})
        else:
            call = call_of(visit, page, collection)
            page = page._replace(answer=await send(visit, call, page.endpoint.method, caller))
    status = 422 if page.problems else 200
    if visit.is_fragment and not visit.is_boosted:
        return visit.fragment("api/_answer.html", page, status=status)
    return visit.page("api/page.html", page, status=status)


def sent_values(form: Form, action: str) -> Values:
    return Values(
        who=form.text("as").strip(),
        id=form.text("id").strip(),
        query={name: form.text(name).strip() for name in QUERY.get(action, ())},
        body=form.text("body")[:MAX_TEXT],
    )


async def chosen_language(visit: Visit, form: Form) -> str:
    """The language of the form, which is remembered."""
    language = form.text("lang")
    if language in LANGUAGES:
        await visit.services.preferences.keep(visit.user.id, PREFERENCE, language)
    return language


async def api_page(
    visit: Visit, collection: Collection, action: str, values: Values, language: str = ""
) -> ApiPage:
    endpoints = endpoints_of(collection, values)
    endpoint = next((each for each in endpoints if each.action == action), endpoints[0])
    if language not in LANGUAGES:
        language = await visit.services.preferences.read(visit.user.id, PREFERENCE, str, "js")
    problems: dict[str, str] = {}
    if endpoint.action in ("create", "update") and not isinstance(read_body(values.body), dict):
        problems["body"] = say("api.no_object")
    page = ApiPage(
        collection=collection,
        endpoints=endpoints,
        endpoint=endpoint,
        values=values,
        accounts=await accounts(visit),
        can_send=endpoint.action in METHODS,
        changes=endpoint.action in METHODS and endpoint.action not in READING,
        code={},
        languages=LANGUAGES,
        language=language if language in LANGUAGES else "js",
        problems=problems,
    )
    return page._replace(code=code(call_of(visit, page, collection)))


def call_of(visit: Visit, page: ApiPage, collection: Collection) -> Call:
    action, values = page.endpoint.action, page.values
    owner, _, address = values.who.partition("/")
    if action == SIGN_IN:
        owner, address = collection.name, "mira@example.com"
    body = read_body(values.body)
    return Call(
        base=base_of(visit),
        collection=collection.name,
        action=action,
        id=values.id or "RECORD_ID",
        query={name: value for name, value in values.query.items() if value},
        body=body if isinstance(body, dict) else {},
        account=(owner, address),
    )


def base_of(visit: Visit) -> str:
    """The address of this server as the browser knows it."""
    host = visit.ask.headers.get("host", "")
    if visit.is_at_app_url or not host:
        return visit.services.settings.current.meta.app_url.rstrip("/")
    return f"{'https' if visit.is_secure else 'http'}://{host}"


def read_body(text: str) -> Any:
    """The JSON of a body; None for what is none."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def endpoints_of(collection: Collection, values: Values) -> list[Endpoint]:
    base = f"/_/c/{collection.name}/api"
    rules = {
        "list": collection.list_rule,
        "view": collection.view_rule,
        "create": collection.create_rule,
        "update": collection.update_rule,
        "delete": collection.delete_rule,
    }
    path = f"/api/collections/{collection.name}/records"

    def address(action: str) -> str:
        return with_query(base, do=action, **{"as": values.who})

    found = []
    for action, method in METHODS.items():
        if collection.is_view and action not in READING:
            continue
        end = "" if action in ("list", "create") else "/{id}"
        found.append(
            Endpoint(
                action, method, path + end, access_of(rules[action]), rules[action] or "", address(action)
            )
        )
    if not collection.is_view:
        found.append(Endpoint(SUBSCRIBE, "GET", "/api/realtime", "", "", address(SUBSCRIBE)))
    if collection.is_auth:
        sign_in = f"/api/collections/{collection.name}/auth-with-password"
        found.append(Endpoint(SIGN_IN, "POST", sign_in, "", "", address(SIGN_IN)))
    return found


def access_of(rule: str | None) -> str:
    if rule is None:
        return "locked"
    if rule == "":
        return "anyone"
    return "signed_in" if rule.replace("'", '"').strip() == SIGNED_IN else "rule"


def first_query(collection: Collection, action: str) -> dict[str, str]:
    query = dict.fromkeys(QUERY.get(action, ()), "")
    if action == "list":
        query |= {"page": "1", "perPage": "20"}
        if any(each.name == "created" for each in collection.fields):
            query["sort"] = "-created"
    return query


async def first_body(visit: Visit, collection: Collection, action: str) -> dict[str, Any]:
    if action not in ("create", "update"):
        return {}
    body = await sample_body(visit, collection)
    if action == "update":
        body = {name: value for name, value in list(body.items())[:1]}
    return body


async def accounts(visit: Visit) -> list[tuple[str, str]]:
    """The newest accounts of each auth collection, as what stands for them and what they are called."""
    found = []
    for collection in visit.services.schema.current:
        if not collection.is_auth:
            continue
        asked = {"perPage": str(MOST_ACCOUNTS), "skipTotal": "1", "sort": "-@rowid", "fields": "id,email"}
        try:
            page = await visit.services.records.page(collection.id, asked, visit.info())
        except GroundplaneError:
            continue
        label = say("api.superuser") if collection.name == SUPERUSERS else collection.name
        found += [(f"{collection.name}/{each.get('email') or each['id']}", label) for each in page["items"]]
    return found


SCREEN = Screen(handlers=[api, try_api], collection_links=[CollectionLink("api", "api.link", order=50)])
