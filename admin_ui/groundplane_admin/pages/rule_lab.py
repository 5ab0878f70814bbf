"""The rule lab: whether somebody may do something with a record, and which clause of the rule decides it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, cast, get_args
from urllib.parse import unquote, urlsplit

from litestar import Response, get

from groundplane.api.exchange import AnyRequest
from groundplane.context import Caller, RequestInfo
from groundplane.errors import Invalid
from groundplane.query.effective import Action
from groundplane.records.explain import Explanation, explain
from groundplane.schema.collection import Collection
from groundplane_admin.catalogue import say
from groundplane_admin.registry import NavItem, Screen
from groundplane_admin.visits import Visit, visit_of, with_query

ACTIONS: tuple[str, ...] = get_args(Action)
GUEST = "guest"
OFFERED = 12  # accounts and records that are offered for choice
RECORDS_PATH = re.compile(r"/api/collections/([^/]+)/records(?:/([^/]+))?")
BY_METHOD = {"POST": "create", "PATCH": "update", "DELETE": "delete"}


class Question(NamedTuple):
    """What the address asks: `who` is "guest" or `<collection>/<id or address>`."""

    collection: Collection
    action: str
    who: str
    record: str
    body: str


class LabPage(NamedTuple):
    """`asked` is what was asked, as it was typed; the answer is there when it could be found."""

    question: Question
    collections: list[str]
    actions: list[str]
    accounts: list[str]
    records: list[tuple[str, str]]
    answer: Explanation | None
    rule: str
    sql: str
    values: list[tuple[int, str]]
    problem: str
    is_guest: bool


def lab_address(method: str, url: str, auth: str, auth_id: str) -> str:
    """The lab with the question of a request that was logged; "" when it was not about records.

    Where the log does not keep ids of accounts, which account it was is left to be chosen.
    """
    found = RECORDS_PATH.fullmatch(urlsplit(url).path)
    if found is None:
        return ""
    collection, record = unquote(found[1]), unquote(found[2] or "")
    action = BY_METHOD.get(method, "view" if record else "list")
    who = GUEST if not auth else f"{auth}/{auth_id}"
    return with_query("/_/rules/lab", **{"as": who}, action=action, collection=collection, record=record)


def question_of(visit: Visit) -> Question:
    query = visit.ask.query
    schema = visit.services.schema.current
    named = query.get("collection", "")
    if named:
        collection = schema.find(named, say("records.no_collection"))
    else:
        ordered = sorted(schema, key=lambda each: (each.system, each.is_auth, each.name.lower()))
        collection = ordered[0]
    action = query.get("action", "")
    return Question(
        collection,
        action if action in actions_of(collection) else actions_of(collection)[0],
        query.get("as", "").strip() or GUEST,
        query.get("record", "").strip(),
        query.get("body", "").strip(),
    )


def actions_of(collection: Collection) -> list[str]:
    return list(ACTIONS[:2] if collection.is_view else ACTIONS)


async def caller_of(visit: Visit, who: str) -> Caller | None:
    """The account that is chosen; None for a guest. Raises Invalid for one that is not there."""
    if who == GUEST:
        return None
    name, _, wanted = who.partition("/")
    collection = visit.services.schema.current.get(name)
    if collection is None or not collection.is_auth:
        raise Invalid(say("lab.no_accounts", name=name))
    if not wanted or "\x00" in wanted:
        raise Invalid(say("lab.choose_account", name=name))
    record = await visit.services.auth.callers.record(collection, wanted)
    if record is None:
        record = await visit.services.records.find_one(collection, 'r."email" = $1', wanted)
    if record is None:
        raise Invalid(say("lab.no_account", name=wanted, collection=name))
    return Caller(record["id"], collection.id, collection.name, record)


def body_of(text: str) -> Mapping[str, Any]:
    """The body as JSON; raises Invalid."""
    if not text:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Invalid(say("lab.bad_body", problem=str(error))) from None
    if not isinstance(value, dict):
        raise Invalid(say("lab.no_object"))
    return value


async def answer_to(visit: Visit, question: Question) -> Explanation:
    caller = await caller_of(visit, question.who)
    body = body_of(question.body)
    method = {"create": "POST", "update": "PATCH", "delete": "DELETE"}.get(question.action, "GET")
    info = RequestInfo(caller=caller, method=method, body=body, ip=visit.info().ip)
    return await explain(
        visit.services.db,
        visit.services.schema.current,
        question.collection,
        cast(Action, question.action),
        info,
        record_id=question.record,
        body=body,
    )


async def offered(visit: Visit, collection: Collection) -> list[tuple[str, str]]:
    """The first records by id, each with the words that people know it by."""
    shown = [field.name for field in collection.fields if field.type_name in ("text", "email")][:4]
    titles = [name for name in shown if name not in ("id", "tokenKey")][:1]
    asked = {"perPage": str(OFFERED), "skipTotal": "1", "fields": ",".join(["id", *titles])}
    page = await visit.services.records.page(collection.id, asked, visit.info())
    return [(each["id"], str(each.get(titles[0], "")) if titles else "") for each in page["items"]]


@get("/_/rules/lab")
async def lab(request: AnyRequest) -> Response[bytes]:
    """A question and its answer; the address holds the question."""
    visit = visit_of(request)
    question = question_of(visit)
    schema = visit.services.schema.current
    accounts = [GUEST]
    for each in sorted(schema, key=lambda each: each.name):
        if each.is_auth and not each.system:
            accounts += [f"{each.name}/{title or id}" for id, title in await accounts_of(visit, each)]
    records = await offered(visit, question.collection) if question.action != "create" else []
    # The form keeps what was asked for: an id that was filled in for one collection is none of the next.
    asked = question if question.record or not records else question._replace(record=records[0][0])
    answer, problem = None, ""
    if asked.action != "create" and not asked.record:
        problem = say("lab.no_records")
    elif "collection" in visit.ask.query:
        try:
            answer = await answer_to(visit, asked)
        except Invalid as error:
            problem = error.message
    ordered = sorted(schema, key=lambda each: (each.system, each.name.lower()))
    rule = answer.rule if answer is not None else None
    page = LabPage(
        question,
        [each.name for each in ordered],
        actions_of(question.collection),
        accounts,
        records,
        answer,
        rule if isinstance(rule, str) else "",
        answer.sql.text if answer is not None else "",
        [(number, repr_of(value)) for number, value in enumerate(answer.sql.args, 1)] if answer else [],
        problem,
        question.who == GUEST,
    )
    return visit.page("lab/page.html", page, status=422 if problem and asked.record else 200)


async def accounts_of(visit: Visit, collection: Collection) -> list[tuple[str, str]]:
    asked = {"perPage": str(OFFERED), "skipTotal": "1", "fields": "id,email"}
    page = await visit.services.records.page(collection.id, asked, visit.info())
    return [(each["id"], str(each.get("email", ""))) for each in page["items"]]


def repr_of(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


SCREEN = Screen(
    handlers=[lab],
    nav=[NavItem("access", "lab.title", "/_/rules/lab", "flask", order=31)],
)
