"""All rules on one page: who may do what in every collection, and the plan of changing one of them."""

from __future__ import annotations

from typing import NamedTuple

from litestar import Response, get, post
from litestar.params import FromPath

from groundplane.api.exchange import AnyRequest
from groundplane.collections.review import NotConfirmed, Review, Reviewer, patch_of, version_of
from groundplane.errors import Conflict, Invalid, NotFound
from groundplane.schema.collection import RULES, Collection
from groundplane.schema.wire import RULE_ATTRIBUTES
from groundplane_admin.fields import field_messages
from groundplane_admin.panels import closing, emptied, list_behind
from groundplane_admin.registry import NavItem, Screen
from groundplane_admin.schema.editor import RuleInput, is_managed
from groundplane_admin.schema.reading import rule_of, state_of
from groundplane_admin.visits import Toast, Visit, visit_of, with_query

PICTURES = {"locked": "lock", "anyone": "globe", "expression": "rule"}


class Cell(NamedTuple):
    """One rule; `state` "" where there is no such action."""

    rule: str
    state: str
    picture: str
    text: str
    href: str


class Line(NamedTuple):
    collection: Collection
    cells: list[Cell]


class Open(NamedTuple):
    """A rule in the panel; `review` is there once its plan was asked for."""

    collection: Collection
    input: RuleInput
    base: str
    seen: str
    review: Review | None
    entry: str
    is_managed: bool
    problem: str
    back: str
    closing: str


class RulesPage(NamedTuple):
    lines: list[Line]
    only: str
    q: str
    open: Open | None
    open_href: str
    total: int


def rules_page(visit: Visit, open: Open | None = None) -> RulesPage:
    query = visit.ask.query
    only = query.get("only", "") if query.get("only") in ("public", "system") else ""
    q = query.get("q", "").strip()[:200]
    lines = []
    ordered = sorted(visit.services.schema.current, key=lambda each: (each.system, each.name.lower()))
    for collection in ordered:
        if collection.system != (only == "system"):
            continue
        cells = [cell_of(collection, rule, only, q) for rule in RULES]
        if only == "public" and not any(cell.state == "anyone" for cell in cells):
            continue
        words = f"{collection.name} {' '.join(cell.text for cell in cells)}".lower()
        if q.lower() in words:
            lines.append(Line(collection, cells))
    href = f"/_/rules/{open.collection.name}/{open.input.name}" if open is not None else ""
    return RulesPage(lines, only, q, open, href, len(lines))


def cell_of(collection: Collection, rule: str, only: str, q: str) -> Cell:
    if collection.is_view and rule not in RULES[:2]:
        return Cell(rule, "", "", "", "")
    text = getattr(collection, RULE_ATTRIBUTES[rule])
    state = state_of(text)
    href = with_query(f"/_/rules/{collection.name}/{rule}", only=only, q=q)
    return Cell(rule, state, PICTURES[state], text or "", href)


def opened(
    visit: Visit,
    collection: Collection,
    rule: str,
    value: str | None,
    *,
    review: Review | None = None,
    error: str = "",
    problem: str = "",
) -> Open:
    stored = getattr(collection, RULE_ATTRIBUTES[rule])
    back = list_behind(visit, "/_/rules")
    entry = patch_of(review, visit.services.schema.current)[0] if review is not None else ""
    return Open(
        collection,
        RuleInput(rule, state_of(value), value or "", error, value != stored),
        f"/_/c/{collection.name}/schema",
        version_of(collection),
        review,
        entry,
        is_managed(visit, collection),
        problem,
        back,
        closing(back),
    )


def place_of(visit: Visit, rule: str) -> Collection:
    """The collection in the path, which has this rule; raises NotFound."""
    collection = visit.services.schema.current.find(visit.ask.segments[2])
    if rule not in RULES or (collection.is_view and rule not in RULES[:2]):
        raise NotFound()
    return collection


@get("/_/rules")
async def rules(request: AnyRequest) -> Response[bytes]:
    """Every collection's rules."""
    visit = visit_of(request)
    if (none := emptied(visit)) is not None:
        return none
    return visit.page("rules/page.html", rules_page(visit))


@get("/_/rules/{collection:str}/{rule:str}")
async def rule(request: AnyRequest, rule: FromPath[str]) -> Response[bytes]:
    """One rule, in the panel."""
    visit = visit_of(request)
    collection = place_of(visit, rule)
    shown = opened(visit, collection, rule, getattr(collection, RULE_ATTRIBUTES[rule]))
    if visit.is_fragment and visit.ask.headers.get("hx-target", "").endswith("#panel"):
        return visit.fragment("rules/_panel.html", shown)
    return visit.page("rules/page.html", rules_page(visit, shown))


@post("/_/rules/{collection:str}/{rule:str}", status_code=200)
async def change_rule(request: AnyRequest, rule: FromPath[str]) -> Response[bytes]:
    """Show what changing it comes to, or change it."""
    visit = visit_of(request)
    collection = place_of(visit, rule)
    form = await visit.form()
    value = rule_of(form, rule)
    reviewer = Reviewer(visit.services.collections, visit.services.planner)
    raw = {rule: value}
    review = await reviewer.review(raw, collection.id)
    problem, error = "", ""
    if review.errors:
        error = field_messages(Invalid(data=review.errors)).get(rule, "")
        problem = "" if error else "rules.other_errors"
    elif form.text("do") == "apply" and not is_managed(visit, collection):
        try:
            await reviewer.apply(raw, collection.id, seen=form.text("seen"))
        except Conflict:
            problem = "schema.conflict"
        except NotConfirmed:
            problem = "schema.plugins_refuse"
        else:
            toast = Toast("rules.changed", {"rule": rule, "name": collection.name})
            return visit.go_to("/_/rules", toast=toast)
    refused = bool(error or problem)
    shown = opened(
        visit,
        collection,
        rule,
        value,
        review=None if review.errors else review,
        error=error,
        problem=problem,
    )
    if visit.is_fragment and not visit.is_boosted:
        return visit.fragment("rules/_panel.html", shown, status=422 if refused else 200)
    return visit.page("rules/page.html", rules_page(visit, shown), status=422 if refused else 200)


SCREEN = Screen(
    handlers=[rules, rule, change_rule],
    nav=[NavItem("access", "rules.title", "/_/rules", "rule", order=30)],
)
