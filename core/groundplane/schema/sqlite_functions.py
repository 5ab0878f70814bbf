"""The SQLite functions that view queries and indexes may call; whatever is not listed does not pass."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from groundplane.schema.sqlite_values import (
    NULL,
    NUMERIC,
    Shape,
    Untranslatable,
    Value,
    anything,
    as_shape,
    common,
    compare,
    number,
    text,
    text_literal,
    truth,
)

Build = Callable[[list[Value]], Value]


class Function(NamedTuple):
    """How a call is written; `fixed` functions give the same answer for the same input for ever."""

    build: Build
    least: int
    most: int | None
    fixed: bool = True


def call(name: str, args: list[Value], *, fixed_only: bool = False) -> Value:
    """Translate a call of the scalar function `name` (lower case)."""
    function = SCALAR.get(name)
    if function is None:
        raise Untranslatable(f"the function {name}() is not available")
    if len(args) < function.least or (function.most is not None and len(args) > function.most):
        raise Untranslatable(f"wrong number of arguments to function {name}()")
    if fixed_only and not function.fixed:
        raise Untranslatable(f"the function {name}() may not be used in an index")
    return function.build(args)


def aggregate(name: str, args: list[Value], distinct: bool, order: str) -> tuple[str, Shape]:
    """Translate an aggregate without its FILTER and OVER; gives its SQL and shape.

    `order` is an ORDER BY clause inside the parentheses, or "".
    """
    unique = "DISTINCT " if distinct else ""
    if name == "count":
        if not args:
            return "count(*)", Shape.INTEGER
        value = args[0]
        # json and point have no equality.
        inner = text(value) if distinct and value.shape in (Shape.JSON, Shape.GEO) else value.sql
        return f"count({unique}{inner})", Shape.INTEGER
    if name == "group_concat" or name == "string_agg":
        separator = text(args[1]) if len(args) > 1 else "','::text"
        return f"string_agg({unique}{text(args[0])}, {separator}{order})", Shape.TEXT
    if name == "json_group_array":
        return f"(json_agg({_element(args[0])}{order}))", Shape.JSON
    if name == "json_group_object":
        return f"(json_object_agg({text(args[0])}, {_element(args[1])}{order}))", Shape.JSON
    value = args[0]
    if name in ("min", "max"):
        if value.shape in NUMERIC:
            return f"{name}({number(value)})", Shape.NUMBER
        if value.shape in (Shape.ANY, Shape.JSON):
            return f"gp.lite_{name}({anything(value)})", Shape.ANY
        return f'{name}(({text(value)}) COLLATE "C")', Shape.TEXT
    if name == "sum":
        return f"sum({unique}{number(value)})", Shape.NUMBER
    if name == "total":
        return f"sum({unique}{number(value)})", Shape.REAL
    if name == "avg":
        return f"avg({unique}{number(value)})", Shape.REAL
    raise Untranslatable(f"the function {name}() is not available")


# Name to number of arguments, least and most.
AGGREGATES: dict[str, tuple[int, int]] = {
    "avg": (1, 1),
    "count": (0, 1),
    "group_concat": (1, 2),
    "json_group_array": (1, 1),
    "json_group_object": (2, 2),
    "max": (1, 1),
    "min": (1, 1),
    "string_agg": (2, 2),
    "sum": (1, 1),
    "total": (1, 1),
}

# Functions that only make sense with OVER, and the shape of their result; None is that of the argument.
WINDOWED: dict[str, tuple[int, int, Shape | None]] = {
    "cume_dist": (0, 0, Shape.REAL),
    "dense_rank": (0, 0, Shape.INTEGER),
    "first_value": (1, 1, None),
    "lag": (1, 2, None),
    "last_value": (1, 1, None),
    "lead": (1, 2, None),
    "ntile": (1, 1, Shape.INTEGER),
    "percent_rank": (0, 0, Shape.REAL),
    "rank": (0, 0, Shape.INTEGER),
    "row_number": (0, 0, Shape.INTEGER),
}

# Of these, the ones whose result without ORDER BY depends on the order in which rows are found.
IN_ORDER_FOUND = frozenset({"first_value", "lag", "lead", "ntile", "row_number"})


def _element(value: Value) -> str:
    """A member of a JSON array or object: JSON columns are embedded, texts quoted."""
    if value.shape in (Shape.JSON, Shape.ANY):
        return value.sql
    if value.shape in NUMERIC:
        return f"to_json({number(value)})"
    if value.shape is Shape.MULTI:
        return f"to_json({value.sql})"
    return f"to_json({text(value)})"


def _integer(value: Value) -> str:
    """A number of characters or digits, cut to what PostgreSQL's integer holds."""
    return f"gp.lite_integer({number(value)})"


def _texts(template: str, *, shape: Shape = Shape.TEXT) -> Build:
    """A function of texts only; `{0}`, `{1}` stand for the arguments."""
    return lambda args: Value(template.format(*(text(each) for each in args)), shape)


def _numbers(template: str, *, shape: Shape = Shape.NUMBER) -> Build:
    return lambda args: Value(template.format(*(number(each) for each in args)), shape)


def _coalesce(args: list[Value]) -> Value:
    shape = common(args)
    parts = ", ".join(as_shape(each, shape) for each in args)
    return Value(f"coalesce({parts})", shape, not_null=any(each.not_null for each in args))


def _nullif(args: list[Value]) -> Value:
    same = compare("=", args[0], args[1])
    value = args[0]
    if value.shape is Shape.NULL:
        return NULL
    return Value(f"CASE WHEN {same.sql} THEN NULL ELSE {value.sql} END", value.shape)


def choose(pairs: list[tuple[str, Value]], default: Value) -> Value:
    """Write a CASE whose branches share one shape; `pairs` are conditions and their results."""
    shape = common([*(value for _, value in pairs), default])
    branches = " ".join(f"WHEN {when} THEN {as_shape(value, shape)}" for when, value in pairs)
    filled = default.not_null and all(value.not_null for _, value in pairs)
    return Value(f"CASE {branches} ELSE {as_shape(default, shape)} END", shape, not_null=filled)


def _iif(args: list[Value]) -> Value:
    return choose([(truth(args[0]), args[1])], args[2] if len(args) > 2 else NULL)


def _extreme(word: str) -> Build:
    def build(args: list[Value]) -> Value:
        shape = common(args)
        if shape in NUMERIC:
            parts = [number(each) for each in args]
            shape = Shape.NUMBER
        elif shape in (Shape.TEXT, Shape.DATE, Shape.MULTI, Shape.GEO):
            parts = [f'({text(each)}) COLLATE "C"' for each in args]
            shape = Shape.TEXT
        else:
            raise Untranslatable(f"{word} of values of different types")
        # SQLite gives NULL as soon as one of them is NULL; PostgreSQL leaves NULLs out.
        missing = " OR ".join(f"({each}) IS NULL" for each in parts)
        return Value(f"CASE WHEN {missing} THEN NULL ELSE {word}({', '.join(parts)}) END", shape)

    return build


def _length(args: list[Value]) -> Value:
    return Value(f"length({text(args[0])})::double precision", Shape.INTEGER, not_null=args[0].not_null)


def _trim(word: str) -> Build:
    def build(args: list[Value]) -> Value:
        characters = text(args[1]) if len(args) > 1 else "' '::text"
        return Value(f"{word}({text(args[0])}, {characters})", Shape.TEXT)

    return build


def _substr(args: list[Value]) -> Value:
    count = f", {_integer(args[2])}" if len(args) > 2 else ""
    return Value(f"gp.lite_substr({text(args[0])}, {_integer(args[1])}{count})", Shape.TEXT)


def _round(args: list[Value]) -> Value:
    digits = _integer(args[1]) if len(args) > 1 else "0"
    return Value(f"gp.lite_round({number(args[0])}, {digits})", Shape.REAL)


def _typeof(args: list[Value]) -> Value:
    value = args[0]
    match value.shape:
        case Shape.NULL:
            return Value("'null'::text", Shape.TEXT)
        case Shape.INTEGER | Shape.BOOL | Shape.TRUTH:
            name = "'integer'"
        case Shape.REAL:
            name = "'real'"
        case Shape.NUMBER:
            name = f"CASE WHEN {value.sql} = trunc({value.sql}) THEN 'integer' ELSE 'real' END"
        case Shape.JSON | Shape.ANY:
            inner = anything(value)
            name = f"CASE jsonb_typeof({inner}) WHEN 'string' THEN 'text' ELSE 'real' END"
        case _:
            name = "'text'"
    return Value(f"CASE WHEN {value.sql} IS NULL THEN 'null' ELSE {name} END", Shape.TEXT, not_null=True)


def _concat(args: list[Value]) -> Value:
    parts = " || ".join(f"coalesce({text(each)}, '')" for each in args)
    return Value(f"({parts})", Shape.TEXT, not_null=True)


# Dates


def _strftime(pattern: str | None, shape: Shape = Shape.TEXT) -> Build:
    """strftime itself (None: the first argument is the pattern) or one of its short forms."""

    def build(args: list[Value]) -> Value:
        form = text(args[0]) if pattern is None else f"'{pattern}'::text"
        rest = args[1:] if pattern is None else args
        moment = text(rest[0]) if rest else "'now'::text"
        modifiers = ", ".join(text(each) for each in rest[1:])
        sql = f"gp.strftime({form}, {moment}, ARRAY[{modifiers}]::text[])"
        return Value(sql if shape is Shape.TEXT else f"({sql})::double precision", shape)

    return build


# JSON

PATH = re.compile(r"\$(?P<steps>(?:\.[\w-]+|\.\"[^\"]+\"|\[\d+\])*)")
STEP = re.compile(r"\.([\w-]+)|\.\"([^\"]+)\"|\[(\d+)\]")


def json_path(path: Value) -> str:
    """The text[] of a literal path such as `$.a[0]."b c"`, of a plain key or of a position."""
    literal = path.literal
    if isinstance(literal, float):
        return f"ARRAY[{text_literal(str(int(literal)))}]"
    if not isinstance(literal, str):
        raise Untranslatable("a JSON path must be a constant")
    if not literal.startswith("$"):
        return f"ARRAY[{text_literal(literal)}]"
    match = PATH.fullmatch(literal)
    if match is None:
        raise Untranslatable(f"the JSON path {literal} is not supported")
    steps = [key or quoted or index for key, quoted, index in STEP.findall(match["steps"])]
    return f"ARRAY[{', '.join(text_literal(step) for step in steps)}]::text[]"


def document(value: Value) -> str:
    """The SQL of a json document; text that is not JSON gives NULL."""
    if value.shape is Shape.JSON:
        return value.sql
    if value.shape is Shape.MULTI:
        return f"to_json({value.sql})"
    return f"gp.lite_document({text(value)})"


def extract(args: list[Value]) -> Value:
    """json_extract and ->>: the value at a path, as SQL number or text."""
    if len(args) != 2:
        raise Untranslatable("json_extract() with several paths is not supported")
    return Value(f"gp.lite_extract({document(args[0])}, {json_path(args[1])})", Shape.ANY)


def extract_json(args: list[Value]) -> Value:
    """The operator ->: the value at a path, as JSON."""
    return Value(f"({document(args[0])} #> {json_path(args[1])})", Shape.JSON)


def _json_array_length(args: list[Value]) -> Value:
    if args[0].shape is Shape.MULTI and len(args) == 1:
        return Value(f"cardinality({args[0].sql})::double precision", Shape.INTEGER)
    inner = document(args[0]) if len(args) == 1 else f"({document(args[0])} #> {json_path(args[1])})"
    return Value(f"gp.lite_array_length({inner})", Shape.INTEGER)


def _json_type(args: list[Value]) -> Value:
    inner = document(args[0]) if len(args) == 1 else f"({document(args[0])} #> {json_path(args[1])})"
    return Value(f"gp.lite_json_type({inner})", Shape.TEXT)


def _json_valid(args: list[Value]) -> Value:
    return Value(f"(gp.lite_document({text(args[0])}) IS NOT NULL)", Shape.TRUTH)


def _json_array(args: list[Value]) -> Value:
    return Value(f"json_build_array({', '.join(_element(each) for each in args)})", Shape.JSON)


def _json_object(args: list[Value]) -> Value:
    if len(args) % 2:
        raise Untranslatable("json_object() requires an even number of arguments")
    parts = [f"{text(key)}, {_element(value)}" for key, value in zip(args[::2], args[1::2], strict=True)]
    return Value(f"json_build_object({', '.join(parts)})", Shape.JSON)


# printf

DIRECTIVE = re.compile(r"%(?P<zero>0?)(?P<width>\d{0,3})(?:\.(?P<digits>\d{1,2}))?(?P<kind>[%a-zA-Z])")


def _printf(args: list[Value]) -> Value:
    """printf with a constant format of %s %d %f and %%, widths and decimals."""
    form = args[0].literal
    if not isinstance(form, str):
        raise Untranslatable("the format of printf() must be a constant")
    rest = iter(args[1:])
    parts: list[str] = []
    at = 0
    for match in DIRECTIVE.finditer(form):
        parts.append(text_literal(form[at : match.start()]))
        at = match.end()
        if match["kind"] == "%":
            parts.append("'%'::text")
            continue
        sql = _directive(match, next(rest, NULL))
        if match["width"]:
            width = int(match["width"])
            if match["zero"]:
                # The sign stays in front of the zeros.
                digits = (
                    f"lpad(ltrim({sql}, '-'), greatest(length(ltrim({sql}, '-')), {width} - s.size), '0')"
                )
                sign = f"(SELECT (({sql}) LIKE '-%')::integer AS size) AS s"
                sql = f"(SELECT left({sql}, s.size) || {digits} FROM {sign})"  # noqa: S608  # built from parsed nodes
            else:
                sql = f"lpad({sql}, greatest(length({sql}), {width}))"
        parts.append(f"coalesce({sql}, '')")
    if "%" in form[at:]:
        raise Untranslatable("printf() with this format is not supported")
    parts.append(text_literal(form[at:]))
    return Value(f"({' || '.join(parts)})", Shape.TEXT, not_null=True)


def _directive(match: re.Match[str], value: Value) -> str:
    match match["kind"]:
        case "s" if match["digits"] is None:
            return text(value)
        case "d" | "i" if match["digits"] is None:
            return f"gp.lite_text(trunc(coalesce({number(value)}, 0)))"
        case "f":
            digits = int(match["digits"] or 6)
            return f"round((coalesce({number(value)}, 0))::numeric, {digits})::text"
        case _:
            raise Untranslatable("printf() with this format is not supported")


SCALAR: dict[str, Function] = {
    "abs": Function(_numbers("abs({0})"), 1, 1),
    "ceil": Function(_numbers("ceil({0})"), 1, 1),
    "ceiling": Function(_numbers("ceil({0})"), 1, 1),
    "coalesce": Function(_coalesce, 2, None),
    "concat": Function(_concat, 1, None),
    "date": Function(_strftime("%Y-%m-%d"), 0, 10, fixed=False),
    "datetime": Function(_strftime("%Y-%m-%d %H:%M:%S"), 0, 10, fixed=False),
    "floor": Function(_numbers("floor({0})"), 1, 1),
    "format": Function(_printf, 1, 50),
    "ifnull": Function(_coalesce, 2, 2),
    "iif": Function(_iif, 2, 3),
    "if": Function(_iif, 2, 3),
    "instr": Function(_texts("strpos({0}, {1})::double precision", shape=Shape.INTEGER), 2, 2),
    "json": Function(lambda args: Value(document(args[0]), Shape.JSON), 1, 1),
    "json_array": Function(_json_array, 0, 50),
    "json_array_length": Function(_json_array_length, 1, 2),
    "json_extract": Function(extract, 2, 2),
    "json_object": Function(_json_object, 0, 50),
    "json_type": Function(_json_type, 1, 2),
    "json_valid": Function(_json_valid, 1, 1),
    "julianday": Function(_strftime("%J", Shape.REAL), 0, 10, fixed=False),
    "length": Function(_length, 1, 1),
    "lower": Function(_texts('lower(({0}) COLLATE "C")'), 1, 1),
    "ltrim": Function(_trim("ltrim"), 1, 2),
    "max": Function(_extreme("greatest"), 2, 50),
    "min": Function(_extreme("least"), 2, 50),
    "mod": Function(_numbers("gp.lite_modulo({0}, {1})"), 2, 2),
    "nullif": Function(_nullif, 2, 2),
    "pow": Function(_numbers("gp.lite_power({0}, {1})", shape=Shape.REAL), 2, 2),
    "power": Function(_numbers("gp.lite_power({0}, {1})", shape=Shape.REAL), 2, 2),
    "printf": Function(_printf, 1, 50),
    "random": Function(
        lambda args: Value("floor((random() - 0.5) * 18446744073709549568)", Shape.INTEGER), 0, 0, fixed=False
    ),
    "replace": Function(_texts("replace({0}, {1}, {2})"), 3, 3),
    "round": Function(_round, 1, 2),
    "rtrim": Function(_trim("rtrim"), 1, 2),
    "sign": Function(_numbers("sign({0})", shape=Shape.INTEGER), 1, 1),
    "sqrt": Function(_numbers("sqrt(CASE WHEN {0} >= 0 THEN {0} END)", shape=Shape.REAL), 1, 1),
    "strftime": Function(_strftime(None), 1, 10, fixed=False),
    "substr": Function(_substr, 2, 3),
    "substring": Function(_substr, 2, 3),
    "time": Function(_strftime("%H:%M:%S"), 0, 10, fixed=False),
    "trim": Function(_trim("btrim"), 1, 2),
    "typeof": Function(_typeof, 1, 1),
    "unixepoch": Function(_strftime("%s", Shape.INTEGER), 0, 10, fixed=False),
    "upper": Function(_texts('upper(({0}) COLLATE "C")'), 1, 1),
}
