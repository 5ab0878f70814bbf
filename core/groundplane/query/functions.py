"""The filter functions that plugins have added to this process."""

from __future__ import annotations

from groundplane.hooks.filters import FilterFunction, ParameterType
from groundplane.query.errors import QueryError
from groundplane.query.joins import Joins
from groundplane.query.names import Names
from groundplane.query.nodes import Call
from groundplane.query.operands import Operand, number_of

BUILT_IN = frozenset({"geoDistance", "strftime"})
FUNCTIONS: dict[str, tuple[str, FilterFunction]] = {}  # by name: the plugin, and the function


def add_function(plugin: str, function: FilterFunction) -> str:
    """Add a plugin's function for this process; returns why that is not possible, "" when it is done."""
    owner, _ = FUNCTIONS.get(function.name, (plugin, function))
    if function.name in BUILT_IN or owner != plugin:
        return f"the filter function {function.name} is there already"
    FUNCTIONS[function.name] = (plugin, function)
    return ""


def remove_function(function: FilterFunction) -> None:
    """Take a plugin's function out again."""
    found = FUNCTIONS.get(function.name)
    if found is not None and found[1] is function:
        del FUNCTIONS[function.name]


def plugin_call(node: Call, names: Names, joins: Joins) -> Operand:
    """The call of a plugin's function; raises QueryError for an unknown one and for wrong arguments."""
    if node.name not in FUNCTIONS:
        raise QueryError(f"unknown function {node.name}", node.position)
    _, function = FUNCTIONS[node.name]
    if len(node.arguments) != len(function.parameters):
        takes = ", ".join(function.parameters) or "nothing"
        raise QueryError(f"{node.name} takes {takes}", node.position)
    operands = [names.operand(argument, joins) for argument in node.arguments]
    given = [
        argument(node, operand, wanted) for operand, wanted in zip(operands, function.parameters, strict=True)
    ]
    # Only the pieces of SQL made here go in: what a client wrote is behind a marker for a parameter.
    sql = f"({function.sql.format(*given)})"
    number, text, boolean = result(function, sql)
    return Operand(
        number=number,
        text=text,
        boolean=boolean,
        joins=frozenset().union(*(operand.joins for operand in operands)),
        multi=any(operand.multi for operand in operands),
        # What the function makes of a missing row is not known.
        strict=False,
        visible=tuple(dict.fromkeys(condition for operand in operands for condition in operand.visible)),
    )


def argument(node: Call, operand: Operand, wanted: ParameterType) -> str:
    if wanted == "text":
        return f"({operand.as_text})"
    constant = operand.constant
    if isinstance(constant, str) and number_of(constant) is None:
        raise QueryError(f"{node.name} takes a number where a text is", node.position)
    if operand.text is None:
        return f"({operand.number or 'NULL'})::double precision"
    number = f"gp.to_number({operand.text})"
    return number if operand.number is None else f"COALESCE({operand.number}, {number})"


def result(function: FilterFunction, sql: str) -> tuple[str | None, str | None, str | None]:
    """The value as number, text and boolean, as far as it may be one."""
    match function.returns:
        case "text":
            return None, f"{sql}::text", None
        case "number":
            return f"{sql}::double precision", None, None
    return f"{sql}::integer", None, sql
