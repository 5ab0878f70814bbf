"""The collection editor: fields, rules, indexes and options as a draft, and the tabs on which they are changed."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath

from groundplane.api.exchange import AnyRequest
from groundplane.errors import Invalid, NotFound
from groundplane.query.errors import QueryError
from groundplane.query.rules import check_rule
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.schema.errors import BadShape
from groundplane.schema.wire import TYPES
from groundplane_admin.catalogue import say
from groundplane_admin.registry import CollectionLink, Command, Screen
from groundplane_admin.schema import draft as drafts
from groundplane_admin.schema.draft import Draft
from groundplane_admin.schema.editor import (
    TABS,
    Problems,
    address_of,
    checked,
    editor_page,
    tab_address,
    tab_of,
)
from groundplane_admin.schema.reading import READERS, do
from groundplane_admin.schema.words import rule_words
from groundplane_admin.visits import Toast, Visit, visit_of


class StartPage(NamedTuple):
    """A new collection: its name and type, and the draft of one that was begun before."""

    name: str
    type: str
    error: str
    begun: Draft | None


class PreviewPage(NamedTuple):
    """A view's query as it is: its first records, or what is wrong with it."""

    columns: list[str]
    records: list[list[str]]
    problem: str


def stored_of(visit: Visit) -> Collection:
    """The collection in the path; raises NotFound."""
    return visit.services.schema.current.find(visit.ask.segments[2], say("records.no_collection"))


async def draft_or_stored(visit: Visit, stored: Collection | None) -> Draft:
    """The draft, or one without a change; raises NotFound when there is nothing to begin with."""
    found = await drafts.read(visit, stored)
    if found is not None:
        return found
    if stored is None:
        raise NotFound(say("schema.no_draft"))
    return drafts.draft_of(stored)


def known_tab(draft: Draft, tab: str) -> str:
    tabs = TABS[draft.type]
    if not tab:
        return tabs[0]
    if tab not in tabs:
        raise NotFound()
    return tab


async def show(visit: Visit, stored: Collection | None, tab: str) -> Response[bytes]:
    draft = await draft_or_stored(visit, stored)
    tab = known_tab(draft, tab)
    query = visit.ask.query
    problems = Problems({})
    if "errors" in query:
        _, problems = await checked(visit, draft)
    page = editor_page(visit, draft, stored, tab, problems=problems, focus=query.get("at", ""))
    return visit.page("schema/editor.html", page, status=422 if problems.by_name or problems.message else 200)


async def change(visit: Visit, stored: Collection | None, tab: str) -> Response[bytes]:
    """Take over what the form says, and do what its button says."""
    draft = await draft_or_stored(visit, stored)
    tab = known_tab(draft, tab)
    form = await visit.form()
    action = form.text("do") or "keep"
    base = address_of(stored)
    if action == "discard":
        await drafts.forget(visit, draft.base)
        return visit.go_to("/_/" if stored is None else base, toast=Toast("schema.discarded"))
    READERS[tab](draft, form)
    focus = do(draft, action, form, visit.services.schema.current)
    await drafts.keep(visit, draft, stored)
    if action == "keep" and "x-quiet" in visit.ask.headers:
        return visit.fragment("schema/_count.html", len(drafts.changes(draft, stored)))
    if action.startswith("go:"):
        return visit.go_to(tab_address(base, known_tab(draft, action[3:])))
    if action == "review":
        return await to_plan(visit, draft, stored, tab)
    page = editor_page(visit, draft, stored, tab, focus=focus, opened=form.all("open"))
    return visit.page("schema/editor.html", page)


async def to_plan(visit: Visit, draft: Draft, stored: Collection | None, tab: str) -> Response[bytes]:
    """The plan, or the tab with the first thing that is wrong."""
    _, problems = await checked(visit, draft)
    if not problems.by_name and not problems.message:
        return visit.go_to(f"{address_of(stored)}/plan")
    wrong = [tab_of(name) for name in problems.by_name]
    if wrong and tab not in wrong and wrong[0] in TABS[draft.type]:
        tab = wrong[0]
    page = editor_page(visit, draft, stored, tab, problems=problems)
    return visit.page("schema/editor.html", page, status=422)


@get(["/_/c/{collection:str}/schema", "/_/c/{collection:str}/schema/{tab:str}"])
async def edit(request: AnyRequest, tab: FromPath[str] = "") -> Response[bytes]:
    """A tab of the editor."""
    visit = visit_of(request)
    return await show(visit, stored_of(visit), tab)


@post(["/_/c/{collection:str}/schema", "/_/c/{collection:str}/schema/{tab:str}"], status_code=200)
async def edited(request: AnyRequest, tab: FromPath[str] = "") -> Response[bytes]:
    visit = visit_of(request)
    return await change(visit, stored_of(visit), tab)


@get("/_/new-collection")
async def start(request: AnyRequest) -> Response[bytes]:
    """Name and type of a new collection."""
    visit = visit_of(request)
    kind = visit.ask.query.get("type", "base")
    page = StartPage("", kind if kind in TYPES else "base", "", await drafts.read(visit, None))
    return visit.page("schema/start.html", page)


@post("/_/new-collection", status_code=200)
async def started(request: AnyRequest) -> Response[bytes]:
    """Begin a draft, if a collection can have this name."""
    visit = visit_of(request)
    form = await visit.form()
    name, kind = form.text("name").strip(), form.text("type", "base")
    draft = drafts.new_draft(name, kind if kind in TYPES else "base")
    _, problems = await checked(visit, draft)
    error = problems.by_name.get("name", "") or problems.message
    if error:
        page = StartPage(name, draft.type, error, None)
        return visit.page("schema/start.html", page, status=422)
    await drafts.keep(visit, draft, None)
    return visit.go_to(tab_address("/_/new-collection", TABS[draft.type][0]))


@get("/_/new-collection/{tab:str}")
async def edit_new(request: AnyRequest, tab: FromPath[str]) -> Response[bytes]:
    return await show(visit_of(request), None, tab)


@post("/_/new-collection/{tab:str}", status_code=200)
async def edited_new(request: AnyRequest, tab: FromPath[str]) -> Response[bytes]:
    return await change(visit_of(request), None, tab)


# What the rules' inputs ask while they are typed


async def drafted(visit: Visit, stored: Collection | None) -> tuple[Collection, Schema]:
    """The collection as the draft has it, in a schema that has it, too."""
    schema = visit.services.schema.current
    draft = await draft_or_stored(visit, stored)
    try:
        collection = drafts.as_collection(draft, stored, schema)
    except BadShape:
        collection = stored or drafts.as_collection(drafts.new_draft(draft.name, draft.type), None, schema)
    others = [each for each in schema if each.id != collection.id]
    return collection, Schema([*others, collection], schema.version)


async def say_words(visit: Visit, stored: Collection | None) -> Response[bytes]:
    collection, schema = await drafted(visit, stored)
    return as_json(rule_words(schema, collection))


async def say_problem(visit: Visit, stored: Collection | None) -> Response[bytes]:
    collection, schema = await drafted(visit, stored)
    text = visit.ask.query.get("filter", "").strip()
    problem, column = "", 0
    if text:
        try:
            check_rule(schema, collection, text)
        except QueryError as error:
            problem, column = str(error), 0 if error.position is None else error.position + 1
    return as_json({"problem": problem, "column": column})


def as_json(value: object) -> Response[bytes]:
    headers = {"Cache-Control": "no-store"}
    return Response(msgspec.json.encode(value), media_type="application/json", headers=headers)


@get("/_/c/{collection:str}/schema/words")
async def words(request: AnyRequest) -> Response[bytes]:
    """What a rule may name."""
    visit = visit_of(request)
    return await say_words(visit, stored_of(visit))


@get("/_/c/{collection:str}/schema/check")
async def check(request: AnyRequest) -> Response[bytes]:
    """Whether a rule compiles, and where it does not."""
    visit = visit_of(request)
    return await say_problem(visit, stored_of(visit))


@get("/_/new-collection/words")
async def new_words(request: AnyRequest) -> Response[bytes]:
    return await say_words(visit_of(request), None)


@get("/_/new-collection/check")
async def new_check(request: AnyRequest) -> Response[bytes]:
    return await say_problem(visit_of(request), None)


@post("/_/view-preview", status_code=200)
async def preview(request: AnyRequest) -> Response[bytes]:
    """The first records of a view's query, or what the database says about it."""
    visit = visit_of(request)
    try:
        answer = await visit.services.collections.dry_run_view((await visit.form()).text("viewQuery"))
    except Invalid as error:
        return visit.fragment("schema/_preview.html", PreviewPage([], [], error.message))
    columns = [each["name"] for each in answer["fields"]]
    records = [[text_of(record.get(name)) for name in columns] for record in answer["sample"]]
    return visit.fragment("schema/_preview.html", PreviewPage(columns, records, ""))


def text_of(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


SCREEN = Screen(
    handlers=[
        edit,
        edited,
        start,
        started,
        edit_new,
        edited_new,
        words,
        check,
        new_words,
        new_check,
        preview,
    ],
    collection_links=[CollectionLink("schema", "schema.edit", order=10)],
    commands=[Command("nav.new_collection", "/_/new-collection", "plus", words="schema.words")],
)
