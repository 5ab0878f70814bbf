"""SQLite expressions to PostgreSQL: columns, operators and calls, node by node; unknown nodes do not pass."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from sqlglot import exp
from sqlglot.dialects.sqlite import SQLite
from sqlglot.parsers.sqlite import SQLiteParser

from groundplane.schema import sqlite_functions as functions
from groundplane.schema.sqlite_scope import Scope
from groundplane.schema.sqlite_values import (
    AS_TEXT_IN_SETS,
    NULL,
    NUMERIC,
    TEXTUAL,
    Collation,
    Shape,
    Untranslatable,
    Value,
    anything,
    as_shape,
    common,
    compare,
    number,
    sort_keys,
    text,
    text_literal,
    truth,
    with_collation,
)

# It would write pieces of the queries of our users into the log.
logging.getLogger("sqlglot").setLevel(logging.ERROR)


class PlainSQLite(SQLite):
    """SQLite in which every call stays a call: we decide by its name what it means."""

    class Parser(SQLiteParser):
        FUNCTIONS: ClassVar[dict[str, Any]] = {}
        FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {"CAST": SQLiteParser.FUNCTION_PARSERS["CAST"]}
        NO_PAREN_FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {
            "CASE": SQLiteParser.NO_PAREN_FUNCTION_PARSERS["CASE"]
        }


def canonical(node: exp.Expr) -> str:
    """Text by which two expressions are recognised as the same, in any letter case of names."""
    return str(node.transform(_plain_name).sql(dialect=PlainSQLite, comments=False))


def _plain_name(node: exp.Expr) -> exp.Expr:
    return exp.to_identifier(node.name.lower(), quoted=True) if isinstance(node, exp.Identifier) else node


def only(node: exp.Expression, *allowed: str) -> None:
    """Refuse a node that says more than we translate."""
    for name, value in node.args.items():
        if value and name not in allowed:
            raise Untranslatable(f"{name.strip('_').replace('_', ' ').upper()} is not supported here")


COMPARISONS: dict[type[exp.Expr], str] = {
    exp.EQ: "=",
    exp.GT: ">",
    exp.GTE: ">=",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.NEQ: "<>",
    exp.NullSafeEQ: "IS",
    exp.NullSafeNEQ: "IS-NOT",
}
COLLATIONS: dict[str, Collation] = {"binary": "", "nocase": "nocase", "rtrim": "rtrim"}
BITWISE: dict[type[exp.Expression], str] = {exp.BitwiseAnd: "&", exp.BitwiseOr: "|"}
WINDOW_WORDS = {"UNBOUNDED": "UNBOUNDED", "CURRENT ROW": "CURRENT ROW"}


class Expressions:
    """Translates expressions in a scope; statements are the subclass's business.

    `fixed_only` is for indexes: nothing whose value may change with time or settings.
    """

    fixed_only = False

    def subquery_values(self, node: exp.Expression, scope: Scope) -> tuple[str, list[Value]]:
        """Translate an inner SELECT; gives its SQL and its columns as values named by `Value.sql`."""
        raise Untranslatable("a subquery is not allowed here")

    def value(self, node: exp.Expr | None, scope: Scope) -> Value:
        """Translate one expression."""
        if node is None:
            raise Untranslatable("the expression is incomplete")
        if scope.keys:
            key = scope.keys.get(canonical(node))
            if key is not None:
                return key
        handler = HANDLERS.get(type(node))
        if handler is not None:
            return handler(self, node, scope)
        operator = COMPARISONS.get(type(node))
        if operator is not None:
            return compare(operator, self.value(node.this, scope), self.value(node.expression, scope))
        raise Untranslatable(f"{type(node).__name__.upper()} is not supported")

    def condition(self, node: exp.Expr, scope: Scope) -> str:
        return truth(self.value(node, scope))

    # Names and literals

    def column(self, node: exp.Expression, scope: Scope) -> Value:
        only(node, "this", "table", "db")
        name = node.this
        if not isinstance(name, exp.Identifier):
            raise Untranslatable("dynamic column names are not supported")
        if node.args.get("db") and node.args["db"].name.lower() != "main":
            raise Untranslatable(f"no such column: {node.sql(dialect=PlainSQLite, comments=False)}")
        found = scope.find(name.name, node.text("table"))
        if found is not None:
            return found
        if not node.text("table"):
            aliased = scope.aliases.get(name.name.lower())
            if aliased is not None and aliased is not node:
                return self.value(aliased, scope.without_alias(name.name))
            if name.args.get("quoted"):
                # SQLite takes a quoted name that is no column for a string.
                return self.literal_text(name.name)
        raise Untranslatable(f"no such column: {node.sql(dialect=PlainSQLite, comments=False)}")

    def literal_text(self, content: str) -> Value:
        return Value(text_literal(content), Shape.TEXT, not_null=True, literal=content)

    def literal(self, node: exp.Expression, scope: Scope) -> Value:
        if node.args.get("is_string"):
            return self.literal_text(node.name)
        written = str(node.this).lower()
        try:
            value = float(int(written, 16) if written.startswith("0x") else written)
        except (ValueError, OverflowError):
            raise Untranslatable(f"{written[:40]} is not a number") from None
        if value in (float("inf"), float("-inf")):
            raise Untranslatable(f"{written[:40]} is out of range")
        integral = written.isdigit() or written.startswith("0x")
        shape = Shape.INTEGER if integral else Shape.REAL
        return Value(f"{value!r}::double precision", shape, not_null=True, literal=value)

    def boolean(self, node: exp.Expression, scope: Scope) -> Value:
        word = "true" if node.this else "false"
        return Value(word, Shape.TRUTH, not_null=True, literal=1.0 if node.this else 0.0)

    def null(self, node: exp.Expression, scope: Scope) -> Value:
        return NULL

    def current(self, node: exp.Expression, scope: Scope) -> Value:
        names: dict[type[exp.Expression], str] = {
            exp.CurrentDate: "date",
            exp.CurrentTime: "time",
            exp.CurrentTimestamp: "datetime",
        }
        return functions.call(names[type(node)], [], fixed_only=self.fixed_only)

    def paren(self, node: exp.Expression, scope: Scope) -> Value:
        inner = self.value(node.this, scope)
        # In SQLite (x) still has the affinity of x.
        return inner._replace(sql=f"({inner.sql})")

    def collate(self, node: exp.Expression, scope: Scope) -> Value:
        inner = self.value(node.this, scope)
        collation = COLLATIONS.get(node.expression.name.lower())
        if collation is None:
            raise Untranslatable(f"no such collation sequence: {node.expression.name}")
        if inner.shape in NUMERIC:
            return inner
        return inner._replace(sql=text(inner), shape=Shape.TEXT, collation=collation, column=False)

    # Operators

    def connect(self, node: exp.Expression, scope: Scope) -> Value:
        word = "AND" if isinstance(node, exp.And) else "OR"
        parts = [self.condition(each, scope) for each in node.flatten(unnest=False)]
        return Value(f"({f' {word} '.join(parts)})", Shape.TRUTH)

    def negation(self, node: exp.Expression, scope: Scope) -> Value:
        inner = node.this
        if isinstance(inner, exp.Is):
            return self.is_(inner, scope, negated=True)
        return Value(f"(NOT {self.condition(inner, scope)})", Shape.TRUTH)

    def is_(self, node: exp.Expression, scope: Scope, *, negated: bool = False) -> Value:
        left, right = self.value(node.this, scope), self.value(node.expression, scope)
        word = "NOT " if negated else ""
        if isinstance(node.expression, exp.Boolean):
            return Value(f"({truth(left)} IS {word}{right.sql})", Shape.TRUTH, not_null=True)
        if right.shape is Shape.NULL:
            if left.shape is Shape.DATE and left.column:
                # An unset date is '' in SQLite; only a missing row makes it NULL.
                sql = f"({left.row} IS {word}NULL)" if left.row else ("true" if negated else "false")
            else:
                sql = f"(({left.sql}) IS {word}NULL)"
            return Value(sql, Shape.TRUTH, not_null=True)
        return compare("IS-NOT" if negated else "IS", left, right)

    def minus(self, node: exp.Expression, scope: Scope) -> Value:
        inner = self.value(node.this, scope)
        literal = -inner.literal if isinstance(inner.literal, float) else None
        shape = inner.shape if inner.shape in (Shape.INTEGER, Shape.REAL) else Shape.NUMBER
        return Value(f"(- {number(inner)})", shape, not_null=inner.not_null, literal=literal)

    def arithmetic(self, node: exp.Expression, scope: Scope) -> Value:
        left, right = self.value(node.this, scope), self.value(node.expression, scope)
        if Shape.NULL in (left.shape, right.shape):
            return NULL
        shape = Shape.INTEGER if {left.shape, right.shape} == {Shape.INTEGER} else Shape.NUMBER
        if Shape.REAL in (left.shape, right.shape):
            shape = Shape.REAL
        one, other = number(left), number(right)
        filled = left.not_null and right.not_null
        match node:
            case exp.Add():
                return Value(f"({one} + {other})", shape, not_null=filled)
            case exp.Sub():
                return Value(f"({one} - {other})", shape, not_null=filled)
            case exp.Mul():
                return Value(f"({one} * {other})", shape, not_null=filled)
            case exp.Mod():
                return Value(f"gp.lite_modulo({one}, {other})", shape)
            case _:
                # Two integers divide to an integer; a column's values are integers when they look so.
                real = ", true" if shape is Shape.REAL else ""
                return Value(f"gp.lite_divide({one}, {other}{real})", shape)

    def bitwise(self, node: exp.Expression, scope: Scope) -> Value:
        one, other = (
            f"gp.lite_bits({number(self.value(each, scope))})" for each in (node.this, node.expression)
        )
        sql = f"({one} {BITWISE[type(node)]} {other})::double precision"
        return Value(sql, Shape.INTEGER)

    def concatenate(self, node: exp.Expression, scope: Scope) -> Value:
        parts = [self.value(each, scope) for each in node.flatten(unnest=False)]
        filled = all(each.not_null for each in parts)
        return Value(f"({' || '.join(text(each) for each in parts)})", Shape.TEXT, not_null=filled)

    def like(self, node: exp.Expression, scope: Scope) -> Value:
        escape = "''"
        if isinstance(node, exp.Escape):
            character = self.value(node.expression, scope).literal
            if not isinstance(character, str) or len(character) != 1:
                raise Untranslatable("ESCAPE expression must be a single character")
            escape = text_literal(character)
            node = node.this
        if not isinstance(node, exp.Like):
            raise Untranslatable("ESCAPE is only supported with LIKE")
        # LIKE of SQLite does not mind the case of ASCII letters.
        one, other = (
            with_collation(text(self.value(each, scope)), "nocase") for each in (node.this, node.expression)
        )
        return Value(f"({one} LIKE {other} ESCAPE {escape})", Shape.TRUTH)

    def glob(self, node: exp.Expression, scope: Scope) -> Value:
        pattern = self.value(node.expression, scope).literal
        if not isinstance(pattern, str) or any(each in pattern for each in "[]"):
            raise Untranslatable("GLOB is only supported with a constant of plain characters, * and ?")
        like = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        like = like.replace("*", "%").replace("?", "_")
        return Value(f"({text(self.value(node.this, scope))} LIKE {text_literal(like)})", Shape.TRUTH)

    def between(self, node: exp.Expression, scope: Scope) -> Value:
        only(node, "this", "low", "high")
        value = self.value(node.this, scope)
        low = compare(">=", value, self.value(node.args["low"], scope))
        high = compare("<=", value, self.value(node.args["high"], scope))
        return Value(f"({low.sql} AND {high.sql})", Shape.TRUTH)

    def within(self, node: exp.Expression, scope: Scope) -> Value:
        only(node, "this", "expressions", "query")
        value = self.value(node.this, scope)
        query = node.args.get("query")
        if query is None:
            parts = [compare("=", value, self.value(each, scope)).sql for each in node.expressions]
            return Value(f"({' OR '.join(parts)})" if parts else "false", Shape.TRUTH)
        sql, columns = self.subquery_values(query, scope)
        if len(columns) != 1:
            raise Untranslatable(f"sub-select returns {len(columns)} columns - expected 1")
        one, other = _comparable(value, columns[0])
        return Value(f"({one} IN (SELECT {other} FROM ({sql}) AS q))", Shape.TRUTH)  # noqa: S608  # built from parsed nodes

    def exists(self, node: exp.Expression, scope: Scope) -> Value:
        sql, _ = self.subquery_values(node.this, scope)
        return Value(f"(EXISTS ({sql}))", Shape.TRUTH, not_null=True)

    def scalar_subquery(self, node: exp.Expression, scope: Scope) -> Value:
        only(node, "this")
        sql, columns = self.subquery_values(node.this, scope)
        if len(columns) != 1:
            raise Untranslatable(f"sub-select returns {len(columns)} columns - expected 1")
        first = f"(SELECT {columns[0].sql} FROM ({sql}) AS q LIMIT 1)"  # noqa: S608  # built from parsed nodes
        return columns[0]._replace(sql=first, not_null=False, row="", column=False)

    def case(self, node: exp.Expression, scope: Scope) -> Value:
        subject = self.value(node.this, scope) if node.this else None
        pairs: list[tuple[str, Value]] = []
        for branch in node.args["ifs"]:
            if subject is None:
                when = self.condition(branch.this, scope)
            else:
                when = compare("=", subject, self.value(branch.this, scope)).sql
            pairs.append((when, self.value(branch.args["true"], scope)))
        default = node.args.get("default")
        return functions.choose(pairs, self.value(default, scope) if default is not None else NULL)

    def cast(self, node: exp.Expression, scope: Scope) -> Value:
        inner = self.value(node.this, scope)
        kind = node.args["to"].this
        types = exp.DataType.Type
        # A blob of SQLite's is its bytes, and every value here is text or has a text form.
        if kind in (types.TEXT, types.VARCHAR, types.CHAR, types.NVARCHAR, types.BLOB, types.VARBINARY):
            return Value(text(inner), Shape.TEXT, "text", inner.not_null)
        if kind in (types.INT, types.BIGINT, types.SMALLINT, types.TINYINT):
            return Value(f"trunc({number(inner)})", Shape.INTEGER, "numeric", inner.not_null)
        if kind in (types.DOUBLE, types.FLOAT):
            return Value(number(inner), Shape.REAL, "numeric", inner.not_null)
        if kind is types.DECIMAL:
            return Value(number(inner), Shape.NUMBER, "numeric", inner.not_null)
        if kind is types.BOOLEAN:
            return Value(number(inner), Shape.NUMBER, "numeric", inner.not_null)
        if kind in (types.DATE, types.DATETIME, types.TIMESTAMP):
            # These type names mean NUMERIC to SQLite: the leading digits.
            return Value(number(inner), Shape.NUMBER, "numeric", inner.not_null)
        raise Untranslatable(f"CAST to {node.args['to'].sql(dialect=PlainSQLite)} is not supported")

    def arrow(self, node: exp.Expression, scope: Scope) -> Value:
        path = node.expression
        steps: list[str] = []
        for part in path.expressions if isinstance(path, exp.JSONPath) else ():
            match part:
                case exp.JSONPathRoot():
                    continue
                case exp.JSONPathKey() | exp.JSONPathSubscript() if isinstance(part.this, (str, int)):
                    steps.append(text_literal(str(part.this)))
                case _:
                    raise Untranslatable("this JSON path is not supported")
        if not steps:
            raise Untranslatable("a JSON path must be a constant")
        inner = functions.document(self.value(node.this, scope))
        where = f"ARRAY[{', '.join(steps)}]::text[]"
        if isinstance(node, exp.JSONExtractScalar):
            return Value(f"gp.lite_extract({inner}, {where})", Shape.ANY)
        return Value(f"({inner} #> {where})", Shape.JSON)

    # Calls

    def function(self, node: exp.Expression, scope: Scope) -> Value:
        only(node, "this", "expressions")
        name = str(node.this).lower()
        if is_aggregate(node):
            return self.aggregate(node, scope)
        if name in functions.WINDOWED:
            raise Untranslatable(f"misuse of window function {name}()")
        args = [self.value(each, scope) for each in node.expressions]
        return functions.call(name, args, fixed_only=self.fixed_only)

    def aggregate(self, node: exp.Expression, scope: Scope, *, filtered: str = "", over: str = "") -> Value:
        name = str(node.this).lower()
        if not scope.aggregates and not over:
            raise Untranslatable(f"misuse of aggregate: {name}()")
        inner = scope.ungrouped() if not over else scope
        expressions = list(node.expressions)
        order = ""
        if expressions and isinstance(expressions[0], exp.Order):
            order = " " + self.order(expressions[0].expressions, inner)
            expressions[0] = expressions[0].this
        distinct = bool(expressions) and isinstance(expressions[0], exp.Distinct)
        if distinct:
            expressions[:1] = expressions[0].expressions
        if expressions and isinstance(expressions[0], exp.Star):
            if name != "count":
                raise Untranslatable(f"wrong number of arguments to function {name}()")
            expressions = []
        least, most = functions.AGGREGATES[name]
        if not least <= len(expressions) <= most:
            raise Untranslatable(f"wrong number of arguments to function {name}()")
        args = [self.value(each, inner) for each in expressions]
        sql, shape = functions.aggregate(name, args, distinct, order)
        # The result of a whole, not of its parts: FILTER and OVER belong to the call.
        if sql.startswith("(json_"):
            sql = f"({sql[1:-1]}{filtered}{over})"
        else:
            sql = f"{sql}{filtered}{over}"
        if shape is Shape.INTEGER:
            return Value(f"({sql})::double precision", shape, not_null=True)
        if name == "total":
            return Value(f"coalesce({sql}, 0)", shape, not_null=True)
        return Value(sql, shape)

    def filtered(self, node: exp.Expression, scope: Scope, *, over: str = "") -> Value:
        call = node.this
        if not isinstance(call, exp.Anonymous) or not is_aggregate(call):
            raise Untranslatable("FILTER may only be used with aggregates")
        inner = scope.ungrouped() if not over else scope
        condition = f" FILTER (WHERE {self.condition(node.expression.this, inner)})"
        return self.aggregate(call, scope, filtered=condition, over=over)

    def window(self, node: exp.Expression, scope: Scope) -> Value:
        only(node, "this", "partition_by", "order", "spec", "over")
        over = self.over(node, scope)
        call = node.this
        if isinstance(call, exp.Filter):
            return self.filtered(call, scope, over=over)
        if not isinstance(call, exp.Anonymous):
            raise Untranslatable("this window function is not supported")
        name = str(call.this).lower()
        if name in functions.AGGREGATES:
            return self.aggregate(call, scope, over=over)
        if name not in functions.WINDOWED:
            raise Untranslatable(f"{name}() may not be used as a window function")
        least, most, shape = functions.WINDOWED[name]
        args = [self.value(each, scope) for each in call.expressions]
        if not least <= len(args) <= most:
            raise Untranslatable(f"wrong number of arguments to function {name}()")
        if shape is None:
            parts = [args[0].sql, *(f"gp.lite_integer({number(each)})" for each in args[1:])]
            return Value(f"{name}({', '.join(parts)}){over}", args[0].shape)
        parts = [f"gp.lite_integer({number(each)})" for each in args]
        return Value(f"({name}({', '.join(parts)}){over})::double precision", shape, not_null=True)

    def over(self, node: exp.Expression, scope: Scope) -> str:
        parts: list[str] = []
        partition = node.args.get("partition_by")
        if partition:
            keys = [set_key(self.value(each, scope)) for each in partition]
            parts.append(f"PARTITION BY {', '.join(keys)}")
        order = node.args.get("order")
        if order is not None:
            parts.append(self.order(order.expressions, scope))
        elif (
            not partition and scope.natural_order and str(node.this.this).lower() in functions.IN_ORDER_FOUND
        ):
            # SQLite numbers rows as it finds them: in order of insertion.
            parts.append(f"ORDER BY {scope.natural_order}")
        spec = node.args.get("spec")
        if spec is not None:
            parts.append(self.frame(spec))
        return f" OVER ({' '.join(parts)})"

    def frame(self, spec: exp.Expression) -> str:
        kind = str(spec.args.get("kind", "")).upper()
        if kind not in ("ROWS", "RANGE", "GROUPS") or spec.args.get("exclude"):
            raise Untranslatable("this window frame is not supported")
        ends: list[str] = []
        for side in ("start", "end"):
            at = spec.args.get(side)
            if at is None:
                ends.append("CURRENT ROW")
                continue
            direction = str(spec.args.get(f"{side}_side") or "").upper()
            if (
                isinstance(at, exp.Literal)
                and str(at.this).isdigit()
                and direction in ("PRECEDING", "FOLLOWING")
            ):
                ends.append(f"{int(at.this)} {direction}")
            elif at == "CURRENT ROW":
                ends.append("CURRENT ROW")
            elif at == "UNBOUNDED" and direction in ("PRECEDING", "FOLLOWING"):
                ends.append(f"UNBOUNDED {direction}")
            else:
                raise Untranslatable("this window frame is not supported")
        return f"{kind} BETWEEN {ends[0]} AND {ends[1]}"

    def order(self, terms: Iterable[exp.Expression], scope: Scope) -> str:
        """An ORDER BY clause; NULL is the smallest value in SQLite."""
        keys: list[str] = []
        for term in terms:
            inner = term.this if isinstance(term, exp.Ordered) else term
            keys.extend(f"{key}{direction(term)}" for key in sort_keys(self.value(inner, scope)))
        return f"ORDER BY {', '.join(keys)}"


def direction(term: exp.Expression) -> str:
    if not isinstance(term, exp.Ordered):
        return " ASC NULLS FIRST"
    descending = bool(term.args.get("desc"))
    first = term.args.get("nulls_first")
    first = (not descending) if first is None else bool(first)
    return f"{' DESC' if descending else ' ASC'} NULLS {'FIRST' if first else 'LAST'}"


def set_key(value: Value) -> str:
    """A value as a key of GROUP BY, PARTITION BY or DISTINCT."""
    if value.shape in AS_TEXT_IN_SETS or value.collation:
        return with_collation(text(value), value.collation)
    return as_shape(value, value.shape)


def _comparable(left: Value, right: Value) -> tuple[str, str]:
    """Both sides of an IN with a subquery in one type."""
    shapes = {left.shape, right.shape} - {Shape.NULL}
    if shapes <= NUMERIC:
        return number(left), number(right)
    if shapes <= TEXTUAL:
        return text(left), text(right)
    if common([left, right]) is Shape.TEXT:
        return text(left), text(right)
    return anything(left), anything(right)


def is_aggregate(node: exp.Expression) -> bool:
    """Whether a call is an aggregate; min and max of several values are ordinary functions."""
    if not isinstance(node, exp.Anonymous):
        return False
    name = str(node.this).lower()
    if name in ("min", "max"):
        return len(node.expressions) == 1
    return name in functions.AGGREGATES


HANDLERS: dict[type[exp.Expr], Callable[[Expressions, Any, Scope], Value]] = {
    exp.Add: Expressions.arithmetic,
    exp.And: Expressions.connect,
    exp.Anonymous: Expressions.function,
    exp.Between: Expressions.between,
    exp.BitwiseAnd: Expressions.bitwise,
    exp.BitwiseOr: Expressions.bitwise,
    exp.Boolean: Expressions.boolean,
    exp.Case: Expressions.case,
    exp.Cast: Expressions.cast,
    exp.Collate: Expressions.collate,
    exp.Column: Expressions.column,
    exp.CurrentDate: Expressions.current,
    exp.CurrentTime: Expressions.current,
    exp.CurrentTimestamp: Expressions.current,
    exp.DPipe: Expressions.concatenate,
    exp.Div: Expressions.arithmetic,
    exp.Escape: Expressions.like,
    exp.Exists: Expressions.exists,
    exp.Filter: Expressions.filtered,
    exp.Glob: Expressions.glob,
    exp.In: Expressions.within,
    exp.Is: Expressions.is_,
    exp.JSONExtract: Expressions.arrow,
    exp.JSONExtractScalar: Expressions.arrow,
    exp.Like: Expressions.like,
    exp.Literal: Expressions.literal,
    exp.Mod: Expressions.arithmetic,
    exp.Mul: Expressions.arithmetic,
    exp.Neg: Expressions.minus,
    exp.Not: Expressions.negation,
    exp.Null: Expressions.null,
    exp.Or: Expressions.connect,
    exp.Paren: Expressions.paren,
    exp.Sub: Expressions.arithmetic,
    exp.Subquery: Expressions.scalar_subquery,
    exp.Window: Expressions.window,
}
