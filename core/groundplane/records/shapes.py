"""Statements that are compiled once and then only get the values of each request.

Compiling a rule or filter looks at the request's values: an empty text is compared in another way than a full
one, a number in quotes in another way than a word. So values are divided into *classes* within which the
compiler does the same. A statement is learnt from two examples of its classes: where both give the same SQL,
and each value in it is either the same in both or made from an example in a known way, the rest of the class
is answered by putting the request's values in their places. What cannot be learnt is compiled every time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache, partial
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

from groundplane.db.lanes import PLACEHOLDER, Shape
from groundplane.db.sql import Sql
from groundplane.query.compare import WIRE_DATE, ascii_lower, like_pattern, moment_of
from groundplane.query.errors import QueryError
from groundplane.query.macros import MACROS, macro
from groundplane.query.nodes import All, Call, Identifier, Node
from groundplane.query.nodes import Any as AnyOf
from groundplane.query.parser import parse
from groundplane.schema.cache import Schema

Given: TypeAlias = tuple[Any, ...]
Form: TypeAlias = Callable[[Any], Any] | None  # None leaves the value as it is

PLANS = "shapes"  # our shelf in `Schema.plans`
MAX_SHAPES = 2000  # of one schema version; clients can make new ones as long as they like
SIGHTINGS = 3  # of a statement before it is learnt: two examples and a preparation must be worth it

# A text that is no number, no date and no beginning of one, and means nothing special to LIKE.
PLAIN_TEXT = re.compile(r"(?=.*[A-DF-Ya-df-z])[ !#-&(-\[\]-~]+")
LIKE_WORDS = re.compile(r"[%]")
# Quoted texts as the lexer reads them, and numbers that stand alone. Whatever is quoted is taken as a whole, so
# that no quote inside of one text is the beginning of another.
LITERAL = re.compile(
    r"""(?P<quoted>'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*")
      | (?P<number>(?<=[=<>~ ])-?[0-9]{1,15}(?:\.[0-9]{1,6})?(?=[\s)&|]|$))""",
    re.VERBOSE | re.DOTALL,
)
TEXT, DATE, NUMBER, COUNT, MOMENT = "text", "date", "number", "count", "moment"
# Two moments of which no macro has the same value, nor one macro in both what another has.
MOMENTS = (
    datetime(2041, 3, 5, 4, 6, 7, 8_000, tzinfo=UTC),
    datetime(2046, 10, 21, 17, 38, 49, 321_000, tzinfo=UTC),
)
EXAMPLES: dict[str, Callable[[int, int], Any]] = {
    TEXT: lambda number, turn: f"Xq{number}w{'aK' if turn else 'bZ'}t",
    DATE: lambda number, turn: f"20{40 + turn}-03-{number % 28 + 1:02} 04:05:06.{number:03}Z",
    NUMBER: lambda number, turn: 40_961.25 + 1000 * number + turn,
    COUNT: lambda number, turn: 50_021 + 1000 * number + turn,
    MOMENT: lambda number, turn: MOMENTS[turn],
}


def macro_forms() -> Iterator[Form]:
    """What the compiler makes of a moment: each macro's value, as text and as date, or as number."""
    for name in MACROS:
        yield partial(macro, name)
        yield (
            partial(macro_moment, name)
            if isinstance(macro(name, MOMENTS[0]), str)
            else partial(macro_number, name)
        )


def macro_moment(name: str, moment: datetime) -> datetime | None:
    return moment_of(str(macro(name, moment)))


def macro_number(name: str, moment: datetime) -> float:
    return float(macro(name, moment) or 0)


# What the compiler makes of a value before it becomes a parameter.
FORMS: dict[str, tuple[Form, ...]] = {
    TEXT: (None, lambda text: ascii_lower(like_pattern(text) or ""), ascii_lower),
    DATE: (None, moment_of),
    NUMBER: (None,),
    COUNT: (None,),
    MOMENT: tuple(macro_forms()),
}


class NotLearnt(Exception):
    """A statement cannot be written for all values of its classes."""


class Learnt(NamedTuple):
    """A shape, and what makes the values of its slots of a request's."""

    shape: Shape
    values: Callable[[Given], Given]


def taker(picks: Sequence[tuple[int, Form]]) -> Callable[[Given], Given]:
    """What takes for each slot one of a request's values and writes it in its form."""
    if len(picks) > 1 and all(form is None for _, form in picks):
        return itemgetter(*(position for position, _ in picks))
    return lambda given: tuple(
        [given[position] if form is None else form(given[position]) for position, form in picks]
    )


def learn(classes: Sequence[str], write: Callable[[Given], Sql], *, together: int) -> Learnt | None:
    """Learn the statement that `write` makes of values of these classes; None when it depends on more.

    What `write` raises passes through: it would for every request of the classes.
    """
    first, second = (
        tuple(EXAMPLES[each](number, turn) for number, each in enumerate(classes)) for turn in (0, 1)
    )
    one, other = write(first), write(second)
    if one.text != other.text or len(one.args) != len(other.args):
        return None
    picks: list[tuple[int, Form]] = []
    constants: list[Any] = []
    places: dict[int, tuple[bool, int]] = {}  # by old number: whether it is a slot, and which
    for number, (left, right) in enumerate(zip(one.args, other.args, strict=True), 1):
        if type(left) is type(right) and left == right:
            constants.append(left)
            places[number] = False, len(constants)
            continue
        pick = pick_of(classes, first, second, left, right)
        if pick is None:
            return None
        picks.append(pick)
        places[number] = True, len(picks)

    def renumbered(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0]
        is_slot, place = places[int(match[1])]
        return f"${place if is_slot else place + len(picks)}"

    text = PLACEHOLDER.sub(renumbered, one.text)
    return Learnt(Shape(text, len(picks), tuple(constants), together=together), taker(picks))


def pick_of(
    classes: Sequence[str], first: Given, second: Given, left: Any, right: Any
) -> tuple[int, Form] | None:
    """Find the value that became `left` in one example and `right` in the other."""
    for position, each in enumerate(classes):
        for form in FORMS[each]:
            one, other = first[position], second[position]
            if form is not None:
                one, other = form(one), form(other)
            if type(one) is type(left) and one == left and type(other) is type(right) and other == right:
                return position, form
    return None


class Shapes:
    """What has been learnt for one schema version, by a key that says everything the SQL depends on."""

    def __init__(self) -> None:
        self._known: dict[object, Learnt | None] = {}
        self._seen: dict[object, int] = {}

    def find(
        self, key: object, classes: Sequence[str], write: Callable[[Given], Sql], *, together: int
    ) -> Learnt | None:
        """The statement for this key, learnt when it has come often enough; None to compile it afresh."""
        try:
            return self._known[key]
        except KeyError:
            pass
        count = self._seen.get(key, 0) + 1
        if count < SIGHTINGS:
            if len(self._seen) >= MAX_SHAPES:
                self._seen.clear()
            self._seen[key] = count
            return None
        self._seen.pop(key, None)
        if len(self._known) >= MAX_SHAPES:
            self._known.clear()
        try:
            found = learn(classes, write, together=together)
        except (QueryError, NotLearnt):
            found = None
        self._known[key] = found
        return found


def shapes_of(schema: Schema) -> Shapes:
    shelf = schema.plans.setdefault(PLANS, {})
    found = shelf.get(PLANS)
    if not isinstance(found, Shapes):
        found = shelf[PLANS] = Shapes()
    return found


# What a text depends on


@lru_cache(maxsize=8192)
def is_plain(text: str) -> bool:
    """Whether the text is of the class TEXT."""
    return PLAIN_TEXT.fullmatch(text) is not None and LIKE_WORDS.search(text) is None


def literals(text: str) -> tuple[str, list[str], list[Any]]:
    """Split a filter text into its skeleton and the classes and values of the literals taken out of it.

    Texts with equal skeletons differ in nothing but those literals. A literal of no class stays in.
    """
    classes: list[str] = []
    values: list[Any] = []

    def taken(match: re.Match[str]) -> str:
        written = match["number"]
        if written is not None:
            # True and false compare with 1 and 0.
            if written.lstrip("-").strip("0.") in ("", "1"):
                return match[0]
            classes.append(NUMBER)
            values.append(float(written))
            return "\x00n"
        value = match["quoted"][1:-1]
        if is_plain(value):
            classes.append(TEXT)
        elif WIRE_DATE.fullmatch(value) is not None and moment_of(value) is not None:
            classes.append(DATE)
        else:
            return match[0]
        values.append(value)
        return "\x00t" if classes[-1] == TEXT else "\x00d"

    return LITERAL.sub(taken, text), classes, values


def written_with(skeleton: str, values: Sequence[Any]) -> str:
    """Put literals back into a skeleton."""
    each = iter(values)

    def literal(match: re.Match[str]) -> str:
        value = next(each)
        return f"{value:.6f}".rstrip("0").rstrip(".") if isinstance(value, float) else f"'{value}'"

    return re.sub("\x00[ntd]", literal, skeleton)


@lru_cache(maxsize=4096)
def depends_on_caller_only(rule: str | None) -> bool:
    """Whether all that a rule takes from the request is who asks, by id and collection."""
    if not rule:
        return True
    try:
        tree = parse(rule)
    except QueryError:
        return False
    for name in names_in(tree):
        if not name.startswith("@") or name.startswith("@collection."):
            continue
        path = name.removeprefix("@request.auth.")
        if path == name or path.partition(":")[0] in ("email", "emailVisibility", "verified"):
            return False
    return True


def names_in(node: Node) -> Iterator[str]:
    """Every identifier of a tree."""
    waiting: list[Node] = [node]
    while waiting:
        each = waiting.pop()
        if isinstance(each, All | AnyOf):
            waiting.extend(each.items)
            continue
        for side in (each.left, each.right):
            for leaf in side.arguments if isinstance(side, Call) else (side,):
                if isinstance(leaf, Identifier):
                    yield leaf.name


def guards_are_known(schema: Schema) -> bool:
    """Whether every list rule depends on the caller only: a filter's path may bring any of them along."""
    shelf = schema.plans.setdefault(PLANS, {})
    found = shelf.get("guards")
    if not isinstance(found, bool):
        found = all(depends_on_caller_only(each.list_rule) for each in schema)
        shelf["guards"] = found
    return found
