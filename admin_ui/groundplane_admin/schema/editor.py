"""What a page of the collection editor shows: the draft beside the stored collection, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from groundplane.collections.file import BadFile, read_document
from groundplane.errors import Invalid
from groundplane_admin.fields import first_message
from groundplane_admin.schema.draft import GONE, KEY, Draft, changes, draft_of, plain, rule_names
from groundplane_admin.schema.options import Option, options_of, picture_of, type_names
from groundplane_admin.schema.reading import AUTH_RULES, state_of

if TYPE_CHECKING:
    from groundplane.collections.review import Review
    from groundplane.schema.cache import Schema
    from groundplane.schema.collection import Collection
    from groundplane_admin.visits import Visit

TABS = {
    "base": ("fields", "rules", "indexes"),
    "auth": ("fields", "rules", "indexes", "options"),
    "view": ("query", "rules"),
}


class Input(NamedTuple):
    option: Option
    value: Any
    error: str


class Row(NamedTuple):
    """A field in the list; `was` is its stored name where that is another one."""

    key: str
    name: str
    type: str
    picture: str
    system: bool
    state: str
    was: str
    summary: str
    inputs: list[Input]
    is_open: bool
    error: str
    name_error: str


class RuleInput(NamedTuple):
    """A rule with its three choices; `nobody` names what "locked" means here."""

    name: str
    state: str
    text: str
    error: str
    changed: bool


class Tab(NamedTuple):
    name: str
    href: str
    is_current: bool
    has_errors: bool


class EditorPage(NamedTuple):
    draft: Draft
    stored: Collection | None
    base: str
    tab: str
    tabs: list[Tab]
    changed: int
    errors: dict[str, str]
    rows: list[Row]
    rules: list[RuleInput]
    types: list[tuple[str, str]]
    targets: list[tuple[str, str]]
    focus: str
    is_managed: bool
    is_stale: bool
    problem: str


def address_of(stored: Collection | None) -> str:
    """Where the editor of a collection is (None: of a new one)."""
    return f"/_/c/{quote(stored.name, safe='')}/schema" if stored is not None else "/_/new-collection"


def tab_address(base: str, tab: str) -> str:
    first = tab in ("fields", "query") and base.endswith("/schema")
    return base if first else f"{base}/{tab}"


def is_managed(visit: Visit, collection: Collection | None) -> bool:
    """Whether the configuration file declares this collection, or all that there may be."""
    try:
        declared = read_document(visit.services.config.declared)
    except BadFile:
        return False
    if collection is None:
        return declared.exclusive
    return declared.find(collection.name) is not None


class Problems(NamedTuple):
    """Errors of the API by what they are about: parts of the collection, and `fields.<key>.<option>`."""

    by_name: dict[str, str]
    message: str = ""


def problems_of(review: Review, draft: Draft) -> Problems:
    found: dict[str, str] = {}
    for name, data in review.errors.items():
        if name == "fields" and isinstance(data, Mapping):
            for position, error in data.items():
                key = key_at(review, draft, str(position))
                if key and isinstance(error, Mapping):
                    for option, each in error.items():
                        found[f"fields.{key}.{option}"] = first_message(each)
                else:
                    found["fields"] = first_message(error)
        elif name in ("indexes", "mfa", "otp", "passwordAuth") and isinstance(data, Mapping):
            for part, error in data.items():
                found[f"{name}.{part}"] = first_message(error)
        else:
            found[name] = first_message(data)
    return Problems(found)


def key_at(review: Review, draft: Draft, position: str) -> str:
    """The key of the field that stands there in what would be saved."""
    fields = review.new.fields
    if not position.isdecimal() or int(position) >= len(fields):
        return ""
    field = fields[int(position)]
    for each in draft.fields:
        if each[KEY] == field.id or (not each["id"] and each["name"] == field.name):
            return str(each[KEY])
    return ""


def tab_of(name: str) -> str:
    """The tab that an error is shown on."""
    part = name.partition(".")[0]
    if part == "fields" or part == "name":
        return "fields"
    if part == "indexes":
        return "indexes"
    if part.endswith("Rule") and part not in AUTH_RULES:
        return "rules"
    return "query" if part == "viewQuery" else "options"


async def checked(visit: Visit, draft: Draft) -> tuple[Review | None, Problems]:
    """Review a draft; what cannot even be read has a message for the whole."""
    from groundplane.collections.review import Reviewer

    reviewer = Reviewer(visit.services.collections, visit.services.planner)
    try:
        review = await reviewer.review(draft.submitted(), draft.base)
    except Invalid as error:
        return None, Problems({}, error.message)
    return review, problems_of(review, draft)


def editor_page(
    visit: Visit,
    draft: Draft,
    stored: Collection | None,
    tab: str,
    *,
    problems: Problems | None = None,
    focus: str = "",
    opened: Sequence[str] = (),
) -> EditorPage:
    schema = visit.services.schema.current
    found = problems or Problems({})
    base = address_of(stored)
    tabs = TABS[draft.type]
    wrong = {tab_of(name) if draft.type != "view" or name != "name" else "query" for name in found.by_name}
    before = draft_of(stored) if stored is not None else None
    return EditorPage(
        draft,
        stored,
        base,
        tab,
        [Tab(each, tab_address(base, each), each == tab, each in wrong) for each in tabs],
        len(changes(draft, stored)),
        found.by_name,
        rows_of(draft, before, schema, found.by_name, focus, opened) if tab == "fields" else [],
        rules_of(draft, before, found.by_name, AUTH_RULES if tab == "options" else rule_names(draft)),
        [(each, each) for each in type_names()],
        [(each.id, each.name) for each in schema if not each.is_view or draft.type != "view"],
        focus,
        is_managed(visit, stored),
        stored is not None and draft.seen != draft_of(stored).seen,
        found.message,
    )


def rules_of(
    draft: Draft, before: Draft | None, errors: Mapping[str, str], names: Sequence[str]
) -> list[RuleInput]:
    found = []
    for name in names:
        rule = draft.raw.get(name)
        changed = before is not None and before.raw.get(name) != rule
        found.append(RuleInput(name, state_of(rule), rule or "", errors.get(name, ""), changed))
    return found


def rows_of(
    draft: Draft,
    before: Draft | None,
    schema: Schema,
    errors: Mapping[str, str],
    focus: str,
    opened: Sequence[str],
) -> list[Row]:
    known = {each[KEY]: each for each in before.fields} if before is not None else {}
    rows = []
    for each in draft.fields:
        key, stored = each[KEY], known.get(each[KEY])
        start = f"fields.{key}."
        wrong = {name[len(start) :]: text for name, text in errors.items() if name.startswith(start)}
        inputs = [
            Input(option, each.get(option.key), wrong.pop(option.key, ""))
            for option in options_of(each["type"])
        ]
        shown_errors = [entry.error for entry in inputs if entry.error]
        name_error = wrong.pop("name", "")
        rows.append(
            Row(
                key,
                each["name"],
                each["type"],
                picture_of(each["type"]),
                bool(each.get("system")),
                row_state(each, stored),
                stored["name"] if stored is not None and stored["name"] != each["name"] else "",
                summary_of(each, schema),
                inputs,
                key in opened or focus == f"name.{key}" or bool(shown_errors or name_error or wrong),
                next(iter(wrong.values()), ""),
                name_error,
            )
        )
    return rows


def row_state(field: dict[str, Any], stored: dict[str, Any] | None) -> str:
    if field.get(GONE):
        return "gone"
    if stored is None:
        return "" if field.get("system") else "new"
    return "changed" if plain(field) != plain(stored) else ""


def summary_of(field: Mapping[str, Any], schema: Schema) -> str:
    """The options that say most, in words of the API."""
    found = [key for key in ("required", "hidden") if field.get(key) and not field.get("system")]
    target = schema.get(str(field.get("collectionId") or ""))
    if target is not None:
        found.append(f"→ {target.name}")
    if (field.get("maxSelect") or 0) > 1:
        found.append("several")
    if field.get("cascadeDelete"):
        found.append("cascade")
    if not field.get("system"):
        limits = {key: field.get(key) for key in ("min", "max")}
        found += [
            f"{key} {limit:g}"
            for key, limit in limits.items()
            if isinstance(limit, int | float) and (limit or field["type"] == "number")
        ]
    if field.get("values"):
        found.append(", ".join(field["values"]))
    return " · ".join(found)
