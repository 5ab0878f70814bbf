"""Tokens to a tree (contract, filters §2)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from groundplane.query.errors import QueryError
from groundplane.query.lexer import Token, decode, tokens
from groundplane.query.nodes import All, Any, Call, Comparison, Identifier, Node, Number, Operand, Text

MAX_COMPARISONS = 200  # per text, as in PocketBase
MAX_ARGUMENTS = 16  # above what any function takes
CACHED_LENGTH = 1 << 16  # characters; longer texts are parsed each time so that the cache stays small
END = Token("end", "", -1)


def parse(source: str) -> Node:
    """Return the tree of a filter or rule; raises QueryError. Equal texts are parsed once."""
    if len(source) > CACHED_LENGTH:
        return parse_afresh(source)
    return parse_cached(source)


class Level:
    """One open group: the alternatives so far, each a list of items that must all hold."""

    __slots__ = ("alternatives",)

    def __init__(self) -> None:
        self.alternatives: list[list[Node]] = [[]]

    def node(self) -> Node:
        """The group as one node; a group of one item is that item, so depth never exceeds the comparisons."""
        parts = [items[0] if len(items) == 1 else All(spliced(items, All)) for items in self.alternatives]
        return parts[0] if len(parts) == 1 else Any(spliced(parts, Any))


def spliced(items: list[Node], kind: type[All | Any]) -> tuple[Node, ...]:
    """Put the items of children of the same kind in their place: the tree stays shallow."""
    flat: list[Node] = []
    for item in items:
        if isinstance(item, kind):
            flat.extend(item.items)
        else:
            flat.append(item)
    return tuple(flat)


def parse_afresh(source: str) -> Node:
    """Parse with a stack of our own: no depth of parentheses can exhaust Python's."""
    try:
        source.encode()
    except UnicodeEncodeError:
        raise QueryError("text is not valid Unicode") from None
    stream = tokens(source)
    levels = [Level()]
    comparisons = 0
    wants_item = True
    for token in stream:
        if wants_item:
            if token.kind == "open":
                levels.append(Level())
                continue
            comparisons += 1
            if comparisons > MAX_COMPARISONS:
                raise QueryError(f"more than {MAX_COMPARISONS} comparisons", token.position)
            levels[-1].alternatives[-1].append(comparison(token, stream))
            wants_item = False
        elif token.kind == "join":
            if token.text == "||":
                levels[-1].alternatives.append([])
            wants_item = True
        elif token.kind == "close" and len(levels) > 1:
            node = levels.pop().node()
            levels[-1].alternatives[-1].append(node)
        else:
            raise QueryError("expected && or ||", token.position)
    if wants_item:
        raise QueryError("expected a comparison", len(source))
    if len(levels) > 1:
        raise QueryError("group is not closed", len(source))
    return levels[0].node()


parse_cached = lru_cache(maxsize=2048)(parse_afresh)


def comparison(first: Token, stream: Iterator[Token]) -> Comparison:
    left = operand(first, stream)
    sign = next(stream, END)
    if sign.kind != "sign":
        raise QueryError("expected an operator", sign.position)
    right = operand(next(stream, END), stream)
    return Comparison(left, sign.text.removeprefix("?"), sign.text[0] == "?", right)


def operand(token: Token, stream: Iterator[Token]) -> Operand:
    if token.kind == "call":
        return call(token, stream)
    return leaf(token)


def leaf(token: Token) -> Identifier | Number | Text:
    match token.kind:
        case "name":
            return Identifier(token.text, token.position)
        case "number":
            return Number(float(token.text), token.position)
        case "text":
            return Text(decode(token.text), token.position)
    raise QueryError("expected an identifier, number or text", token.position)


def call(name: Token, stream: Iterator[Token]) -> Call:
    """Read the arguments; neither function takes the result of another one, so nesting is refused here."""
    next(stream)  # the parenthesis that made it a call
    arguments: list[Identifier | Number | Text] = []
    token = next(stream, END)
    while token.kind != "close":
        if len(arguments) == MAX_ARGUMENTS:
            raise QueryError("too many arguments", token.position)
        arguments.append(leaf(token))
        token = next(stream, END)
        if token.kind == "comma":
            token = next(stream, END)
        elif token.kind != "close":
            raise QueryError("expected , or )", token.position)
    return Call(name.text, tuple(arguments), name.position)
