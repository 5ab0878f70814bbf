"""What a plugin's filter function is: a name, typed parameters, and SQL with places for them."""

from __future__ import annotations

import re
from string import Formatter
from typing import Literal, TypeAlias

import msgspec

ParameterType: TypeAlias = Literal["text", "number"]
ResultType: TypeAlias = Literal["text", "number", "bool"]

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}", re.ASCII)
MAX_PARAMETERS = 8  # the language has room for more, and nobody could read them


class FilterFunction(msgspec.Struct, frozen=True, kw_only=True):
    """A function of the filter language: `{0}`, `{1}`, … in `sql` stand for the arguments.

    An argument is SQL of type `text` or `double precision`, NULL where there is no value or, for a number,
    where a text is none. Values are always parameters of the statement, never part of its text. `sql` gives
    `text`, `double precision` or `boolean`. It runs for every row that is looked at, so it must be quick, and
    an error in it fails the request.
    """

    name: str
    sql: str
    parameters: tuple[ParameterType, ...] = ("text",)
    returns: ResultType = "text"


def function_problem(function: object) -> str:
    """Why this is no filter function; "" when it is one."""
    if not isinstance(function, FilterFunction):
        return f"it is {type(function).__name__}, not a FilterFunction"
    if not isinstance(function.name, str) or NAME.fullmatch(function.name) is None:
        return f"{function.name!r} is no name for a function"
    types = function.parameters
    if not isinstance(types, tuple) or len(types) > MAX_PARAMETERS or set(types) - {"text", "number"}:
        return f"{function.name}: parameters are text or number, at most {MAX_PARAMETERS}"
    if function.returns not in ("text", "number", "bool"):
        return f"{function.name}: it returns text, number or bool"
    try:
        places = {name for _, name, form, conversion in Formatter().parse(function.sql) if name is not None}
        function.sql.format(*types)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return f"{function.name}: write {{0}}, {{1}}, … in its SQL for the arguments, and other braces twice"
    if places != {str(number) for number in range(len(types))}:
        return f"{function.name}: its SQL must use each of its {len(types)} arguments as {{0}}, {{1}}, …"
    return ""
