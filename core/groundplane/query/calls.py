"""The two functions of the filter language (contract, filters §8.6); others are those of plugins."""

from __future__ import annotations

from groundplane.query.errors import QueryError
from groundplane.query.functions import plugin_call
from groundplane.query.joins import Joins
from groundplane.query.names import Names
from groundplane.query.nodes import Call, Text
from groundplane.query.operands import Operand

MAX_TIME_ARGUMENTS = 10


def call(node: Call, names: Names, joins: Joins) -> Operand:
    match node.name:
        case "geoDistance":
            return geo_distance(node, names, joins)
        case "strftime":
            return strftime(node, names, joins)
    return plugin_call(node, names, joins)


def geo_distance(node: Call, names: Names, joins: Joins) -> Operand:
    """Kilometres; rows of several are compared one by one, always in the "any" way."""
    if len(node.arguments) != 4 or any(isinstance(argument, Text) for argument in node.arguments):
        raise QueryError("geoDistance takes four identifiers or numbers", node.position)
    operands = [names.operand(argument, joins) for argument in node.arguments]
    numbers = ", ".join(as_number(operand) for operand in operands)
    return Operand(
        number=f"gp.geo_distance({numbers})",
        is_json=True,
        strict=all(operand.strict for operand in operands),
        joins=frozenset().union(*(operand.joins for operand in operands)),
        visible=tuple(dict.fromkeys(condition for operand in operands for condition in operand.visible)),
    )


def as_number(operand: Operand) -> str:
    if operand.text is None:
        return operand.number or "NULL"
    number = f"gp.to_number({operand.text})"
    return number if operand.number is None else f"COALESCE({operand.number}, {number})"


def strftime(node: Call, names: Names, joins: Joins) -> Operand:
    """The formatted time, NULL where the value is no time."""
    if not 1 <= len(node.arguments) <= MAX_TIME_ARGUMENTS:
        raise QueryError("strftime takes 1 to 10 arguments", node.position)
    given, *rest = node.arguments
    texts = [argument.value for argument in [given, *rest[1:]] if isinstance(argument, Text)]
    if len(texts) != len(node.arguments) - len(rest[:1]):
        raise QueryError("format and modifiers of strftime must be texts", node.position)
    values = names.values
    pattern = f"{values.put(texts[0])}::text"
    modifiers = f"{values.put(texts[1:])}::text[]"
    if not rest:
        return Operand(text=f"gp.strftime({pattern}, 'now', {modifiers})")
    time = names.operand(rest[0], joins)
    return Operand(
        text=f"gp.strftime({pattern}, {time.as_text}, {modifiers})",
        strict=time.strict,
        joins=time.joins,
        multi=time.multi,
        visible=time.visible,
    )
