"""The plan of a changed collection, its application, its patch for the file; and deletion of a whole collection."""

from __future__ import annotations

from typing import NamedTuple

from litestar import Response, get, post

from groundplane.api.exchange import AnyRequest
from groundplane.collections.review import NotConfirmed, Review, Reviewer, patch_of, version_of
from groundplane.collections.service import referring_collections
from groundplane.collections.steps import Step
from groundplane.errors import Conflict, Invalid
from groundplane.schema.collection import Collection
from groundplane_admin.pages.schema import draft_or_stored, stored_of, to_plan
from groundplane_admin.registry import Screen
from groundplane_admin.schema import draft as drafts
from groundplane_admin.schema.draft import Draft
from groundplane_admin.schema.editor import TABS, address_of, checked, is_managed
from groundplane_admin.visits import Toast, Visit, visit_of

MARKS = {"add": "plus", "create": "plus", "drop": "trash", "delete": "trash", "rename": "edit"}


class Line(NamedTuple):
    number: int
    step: Step
    mark: str


class PlanPage(NamedTuple):
    """`typed` is what stood in the inputs that ask for names, `problem` what the last try has met."""

    draft: Draft
    stored: Collection | None
    review: Review
    lines: list[Line]
    base: str
    is_managed: bool
    entry: str
    patch: str
    sql: str
    typed: list[str]
    problem: str


class DangerPage(NamedTuple):
    collection: Collection
    base: str
    rows: int
    referring: list[str]
    is_managed: bool
    errors: dict[str, str]


def plan_page(
    visit: Visit,
    draft: Draft,
    stored: Collection | None,
    review: Review,
    typed: list[str] | None = None,
    problem: str = "",
) -> PlanPage:
    lines = [
        Line(number, step, MARKS.get(step.kind.partition("_")[0], "edit"))
        for number, step in enumerate(review.plan.steps, 1)
    ]
    entry, patch = patch_of(review, visit.services.schema.current)
    return PlanPage(
        draft,
        stored,
        review,
        lines,
        address_of(stored),
        is_managed(visit, stored),
        entry,
        patch,
        "\n".join(f"{statement};" for step in review.plan.steps for statement in step.sql),
        typed or [],
        problem,
    )


async def show_plan(visit: Visit, stored: Collection | None) -> Response[bytes]:
    draft = await draft_or_stored(visit, stored)
    review, problems = await checked(visit, draft)
    if review is None or problems.by_name:
        return await to_plan(visit, draft, stored, TABS[draft.type][0])
    return visit.page("schema/plan.html", plan_page(visit, draft, stored, review))


async def apply_plan(visit: Visit, stored: Collection | None) -> Response[bytes]:
    """Carry out the plan; what is not confirmed, or came in between, is shown on it."""
    draft = await draft_or_stored(visit, stored)
    typed = [each.strip() for each in (await visit.form()).all("confirm")]
    reviewer = Reviewer(visit.services.collections, visit.services.planner)
    problem = ""
    if is_managed(visit, stored):
        problem = "schema.managed_refused"
    else:
        try:
            saved = await reviewer.apply(draft.submitted(), draft.base, seen=draft.seen, confirmed=typed)
        except NotConfirmed as refused:
            name = "schema.not_confirmed" if refused.review.to_confirm else "schema.plugins_refuse"
            page = plan_page(visit, draft, stored, refused.review, typed, name)
            return visit.page("schema/plan.html", page, status=422)
        except Conflict:
            # The plan that is shown now is of the present, so the next try begins from there.
            current = visit.services.schema.current.by_id.get(draft.base)
            draft.seen = version_of(current) if current is not None else ""
            await drafts.keep(visit, draft, current)
            problem = "schema.conflict"
        except Invalid as error:
            if error.data:
                return await to_plan(visit, draft, stored, TABS[draft.type][0])
            problem = error.message
        else:
            await drafts.forget(visit, draft.base)
            name = "schema.created" if stored is None else "schema.applied"
            return visit.go_to(f"/_/c/{saved.name}", toast=Toast(name, {"name": saved.name}))
    review, problems = await checked(visit, draft)
    if review is None or problems.by_name:
        return await to_plan(visit, draft, stored, TABS[draft.type][0])
    page = plan_page(visit, draft, stored, review, typed, problem)
    return visit.page("schema/plan.html", page, status=422)


async def send_patch(visit: Visit, stored: Collection | None) -> Response[bytes]:
    draft = await draft_or_stored(visit, stored)
    review, problems = await checked(visit, draft)
    if review is None or problems.by_name:
        raise Invalid("The draft cannot be saved as it is.")
    entry, _ = patch_of(review, visit.services.schema.current)
    headers = {
        "Content-Disposition": f'attachment; filename="{review.new.name}.toml"',
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(entry.encode(), media_type="application/toml", headers=headers)


@get("/_/c/{collection:str}/schema/plan")
async def plan(request: AnyRequest) -> Response[bytes]:
    """The steps, what they cost, and what is lost."""
    visit = visit_of(request)
    return await show_plan(visit, stored_of(visit))


@post("/_/c/{collection:str}/schema/plan", status_code=200)
async def apply(request: AnyRequest) -> Response[bytes]:
    visit = visit_of(request)
    return await apply_plan(visit, stored_of(visit))


@get("/_/c/{collection:str}/schema/patch")
async def patch(request: AnyRequest) -> Response[bytes]:
    """The collection's entry for the configuration file, as a file."""
    visit = visit_of(request)
    return await send_patch(visit, stored_of(visit))


@get("/_/new-collection/plan")
async def new_plan(request: AnyRequest) -> Response[bytes]:
    return await show_plan(visit_of(request), None)


@post("/_/new-collection/plan", status_code=200)
async def new_apply(request: AnyRequest) -> Response[bytes]:
    return await apply_plan(visit_of(request), None)


@get("/_/new-collection/patch")
async def new_patch(request: AnyRequest) -> Response[bytes]:
    return await send_patch(visit_of(request), None)


# The whole collection


async def danger_page(visit: Visit, errors: dict[str, str] | None = None) -> DangerPage:
    collection = stored_of(visit)
    schema = visit.services.schema.current
    reviewer = Reviewer(visit.services.collections, visit.services.planner)
    return DangerPage(
        collection,
        address_of(collection),
        (await reviewer.review({}, collection.id)).rows,
        referring_collections(schema, collection),
        is_managed(visit, collection),
        errors or {},
    )


@get("/_/c/{collection:str}/schema/danger")
async def danger(request: AnyRequest) -> Response[bytes]:
    """Deleting all records, or the collection with them."""
    visit = visit_of(request)
    return visit.page("schema/danger.html", await danger_page(visit))


@post("/_/c/{collection:str}/schema/danger", status_code=200)
async def destroy(request: AnyRequest) -> Response[bytes]:
    """Do it when the name was typed."""
    visit = visit_of(request)
    collection = stored_of(visit)
    form = await visit.form()
    action = "delete" if form.text("do") == "delete" else "truncate"
    if form.text("confirm").strip() != collection.name:
        page = await danger_page(visit, {action: "schema.type_name"})
        return visit.page("schema/danger.html", page, status=422)
    try:
        if action == "delete":
            await visit.services.collections.delete(collection.id)
        else:
            await visit.services.collections.truncate(collection.id)
    except Invalid as error:
        page = await danger_page(visit, {action: error.message})
        return visit.page("schema/danger.html", page, status=422)
    toast = Toast("schema.deleted" if action == "delete" else "schema.truncated", {"name": collection.name})
    if action == "delete":
        await drafts.forget(visit, collection.id)
        return visit.go_to("/_/", toast=toast)
    return visit.go_to(f"/_/c/{collection.name}", toast=toast)


SCREEN = Screen(handlers=[plan, apply, patch, new_plan, new_apply, new_patch, danger, destroy])
