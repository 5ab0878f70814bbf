"""The filter builder: rows of field, operator and value, read from an expression and written as one."""

from __future__ import annotations

from typing import NamedTuple

from litestar import Response, get

from groundplane.api.exchange import AnyRequest
from groundplane.query.errors import QueryError
from groundplane.query.nodes import All, Comparison, Identifier, Node, Number, Text
from groundplane.query.nodes import Any as AnyOf
from groundplane.query.parser import parse
from groundplane.schema.collection import Collection
from groundplane_admin.pages.records import collection_of
from groundplane_admin.records.columns import visible_fields
from groundplane_admin.records.display import number_shown, quoted
from groundplane_admin.records.state import ListState
from groundplane_admin.registry import Screen
from groundplane_admin.visits import visit_of

SIGNS = ("=", "!=", "~", "!~", ">", ">=", "<", "<=")
AND, OR = "&&", "||"
BLANK_ROWS = 2  # for who has no script to add one
MOST = 50
WORDS = frozenset({"true", "false", "null"})


class Condition(NamedTuple):
    """One row; `value` as somebody types it, without quotes."""

    field: str
    sign: str
    value: str


class BuilderPage(NamedTuple):
    collection: Collection
    state: ListState
    fields: list[str]
    join: str
    conditions: list[Condition]
    is_too_complex: bool


class TooComplex(Exception):
    """The rows cannot show this expression."""


def conditions_of(text: str) -> tuple[str, list[Condition]]:
    """The rows of an expression and what joins them; raises TooComplex."""
    if not text:
        return AND, []
    try:
        tree = parse(text)
    except QueryError:
        raise TooComplex from None
    items: tuple[Node, ...] = tree.items if isinstance(tree, All | AnyOf) else (tree,)
    return OR if isinstance(tree, AnyOf) else AND, [condition_of(each) for each in items]


def condition_of(node: Node) -> Condition:
    if not isinstance(node, Comparison) or node.any or not isinstance(node.left, Identifier):
        raise TooComplex
    match node.right:
        case Text(value=value):
            shown = value
        case Number(value=number):
            shown = number_shown(number)
        case Identifier(name=name) if name in WORDS or name.startswith("@"):
            shown = name
        case _:
            raise TooComplex
    if node.sign not in SIGNS:
        raise TooComplex
    return Condition(node.left.name, node.sign, shown)


def expression_of(collection: Collection, join: str, conditions: list[Condition]) -> str:
    """The rows as an expression; a value is a number, word or macro where the field is no text."""
    parts = []
    for each in conditions:
        if not each.field or each.sign not in SIGNS:
            continue
        field = collection.by_name.get(each.field)
        kind = field.type_name if field is not None else ""
        is_plain = (
            each.value in WORDS or each.value.startswith("@") or (kind == "number" and is_number(each.value))
        ) and kind not in ("text", "email", "url", "editor")
        parts.append(f"{each.field} {each.sign} {each.value if is_plain else quoted(each.value)}")
    return f" {OR if join == OR else AND} ".join(parts)


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.replace("-", "", 1).replace(".", "", 1).isdigit()


@get("/_/c/{collection:str}/builder")
async def builder(request: AnyRequest) -> Response[bytes]:
    """The filter as rows; or, with rows (`field`, `sign`, `value`), the list that they describe."""
    visit = visit_of(request)
    collection = collection_of(visit)
    state = ListState.read(collection.name, visit.ask.query)
    if "apply" in visit.ask.query:
        pairs = visit.ask.query_pairs
        columns = [
            [value for name, value in pairs if name == each][:MOST] for each in ("field", "sign", "value")
        ]
        rows = [Condition(*each) for each in zip(*columns, strict=False) if each[0]]
        text = expression_of(collection, visit.ask.query.get("join", AND), rows)
        return visit.go_to(state.filtered(text).href)
    try:
        join, conditions = conditions_of(state.filter)
        is_too_complex = False
    except TooComplex:
        join, conditions, is_too_complex = AND, [], True
    names = [each.name for each in visible_fields(collection)]
    names += [each.field for each in conditions if each.field not in names]
    conditions += [Condition("", "=", "")] * (BLANK_ROWS if conditions else BLANK_ROWS + 1)
    page = BuilderPage(collection, state, names, join, conditions, is_too_complex)
    if visit.is_fragment and not visit.is_boosted:
        return visit.fragment("records/_builder.html", page)
    return visit.page("records/builder.html", page)


SCREEN = Screen(handlers=[builder])
