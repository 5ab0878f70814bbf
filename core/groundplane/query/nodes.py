"""The tree that the parser makes of a filter text; immutable, shared between requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Identifier:
    """A path such as `author.name:lower`, a macro, a keyword or an `@request.…` name, as written."""

    name: str
    position: int


@dataclass(frozen=True, slots=True)
class Number:
    value: float
    position: int


@dataclass(frozen=True, slots=True)
class Text:
    """A quoted text after decoding its escapes."""

    value: str
    position: int


@dataclass(frozen=True, slots=True)
class Call:
    """A function call; calls inside calls are refused by the parser, so arguments are leaves."""

    name: str
    arguments: tuple[Identifier | Number | Text, ...]
    position: int


Operand: TypeAlias = Identifier | Number | Text | Call


@dataclass(frozen=True, slots=True)
class Comparison:
    """`any` tells the `?` variants; `sign` is the operator without it."""

    left: Operand
    sign: str
    any: bool
    right: Operand


@dataclass(frozen=True, slots=True)
class All:
    """At least two items that must all hold."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Any:
    """At least two items of which one must hold."""

    items: tuple[Node, ...]


Node: TypeAlias = Comparison | All | Any
