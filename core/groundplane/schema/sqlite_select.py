"""SQLite SELECT statements to PostgreSQL: sources, joins, grouping, sets and order."""

from __future__ import annotations

from collections.abc import Callable

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from groundplane.db.sql import ident
from groundplane.schema import sqlite_functions as functions
from groundplane.schema.cache import Schema
from groundplane.schema.fields.base import physical_name
from groundplane.schema.sqlite_expressions import (
    Expressions,
    PlainSQLite,
    canonical,
    direction,
    is_aggregate,
    only,
    set_key,
)
from groundplane.schema.sqlite_scope import Scope, Selected, Source, collection_source
from groundplane.schema.sqlite_values import (
    AS_TEXT_IN_SETS,
    Shape,
    Untranslatable,
    Value,
    as_shape,
    common,
    compare,
    sort_keys,
    text,
)

MAX_QUERY_CHARACTERS = 20_000
MAX_DEPTH = 20  # SELECTs inside SELECTs


def label(name: str) -> str:
    """Quote the name of an output column, a WITH table or an alias."""
    return ident(physical_name(name))


def parse_select(query: str) -> exp.Expression:
    """Parse exactly one SELECT (or a UNION, EXCEPT, INTERSECT of them); a trailing `;` is ignored."""
    if len(query) > MAX_QUERY_CHARACTERS:
        raise Untranslatable("the query is too long")
    if "\x00" in query:
        raise Untranslatable("the query contains a NUL character")
    try:
        statements = [each for each in sqlglot.parse(query, dialect=PlainSQLite) if each is not None]
    except (SqlglotError, ValueError) as error:
        detail = str(error).splitlines()[0] if str(error) else "syntax error"
        raise Untranslatable(f"the query cannot be read: {detail[:200]}") from None
    except RecursionError:
        raise Untranslatable("the query is nested too deeply") from None
    if not statements:
        raise Untranslatable("the query is empty")
    if len(statements) > 1:
        raise Untranslatable("multiple statements are not supported")
    statement = statements[0]
    if not isinstance(statement, (exp.Select, exp.SetOperation)):
        raise Untranslatable("only SELECT statements are supported")
    return statement


def output_name(node: exp.Expression) -> str:
    """The name SQLite gives to a column of the result: its alias, its column's name, or its own text."""
    if isinstance(node, exp.Alias):
        return str(node.alias)
    if isinstance(node, exp.Column) and isinstance(node.this, exp.Identifier):
        return str(node.name)
    return str(node.sql(dialect=PlainSQLite, comments=False, normalize_functions=False))


def unaliased(node: exp.Expression) -> exp.Expression:
    return node.this if isinstance(node, exp.Alias) else node


class Selects(Expressions):
    """Translates whole statements over the collections of a schema; nothing else can be reached."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.depth = 0
        self.unnamed = 0

    def subquery_values(self, node: exp.Expression, scope: Scope) -> tuple[str, list[Value]]:
        selected = self.query(node, scope, {})
        columns = [value._replace(sql=f"q.{value.sql}", not_null=False) for value in selected.columns]
        return selected.sql, columns

    def query(self, node: exp.Expression, parent: Scope | None, tables: dict[str, Selected]) -> Selected:
        """Translate a SELECT or a set operation; `tables` are the WITH tables that are in sight."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Untranslatable("the query is nested too deeply")
        try:
            tables, prefix = self.with_tables(node, parent, tables)
            if isinstance(node, exp.Subquery):
                only(node, "this")
                selected = self.query(node.this, parent, tables)
            elif isinstance(node, exp.Select):
                selected = self.select(node, parent, tables)
            elif isinstance(node, exp.SetOperation):
                selected = self.combination(node, parent, tables)
            else:
                raise Untranslatable("only SELECT statements are supported")
        finally:
            self.depth -= 1
        return selected._replace(sql=prefix + selected.sql)

    def with_tables(
        self, node: exp.Expression, parent: Scope | None, tables: dict[str, Selected]
    ) -> tuple[dict[str, Selected], str]:
        with_ = node.args.get("with_")
        inherited = parent.tables if parent is not None else {}
        tables = inherited | tables
        if with_ is None:
            return tables, ""
        if with_.args.get("recursive") and any(_names_itself(each) for each in with_.expressions):
            raise Untranslatable("WITH RECURSIVE is not supported")
        parts: list[str] = []
        for each in with_.expressions:
            only(each, "this", "alias")
            selected = self.query(each.this, parent, tables)
            names = [column.name for column in each.args["alias"].args.get("columns") or ()]
            if names and len(names) != len(selected.names):
                raise Untranslatable(
                    f"table {each.alias} has {len(selected.names)} values for {len(names)} columns"
                )
            header = ", ".join(label(name) for name in names)
            parts.append(f"{label(each.alias)}{f'({header})' if names else ''} AS ({selected.sql})")
            if names:
                columns = [
                    value._replace(sql=label(name))
                    for name, value in zip(names, selected.columns, strict=True)
                ]
                selected = selected._replace(names=names, columns=columns)
            tables = tables | {each.alias.lower(): selected._replace(sql=label(each.alias))}
        return tables, f"WITH {', '.join(parts)} "

    # One SELECT

    def select(self, node: exp.Select, parent: Scope | None, tables: dict[str, Selected]) -> Selected:
        outermost = self.depth == 1
        only(
            node, "expressions", "distinct", "from_", "joins", "where", "group", "having", "order",
            "limit", "offset", "with_",
        )  # fmt: skip
        scope = Scope(parent)
        scope.tables = tables
        origin = self.sources(node, scope, tables)
        outputs = self.expand(node.expressions, scope)
        scope.aliases = {
            output_name(each).lower(): unaliased(each) for each in outputs if isinstance(each, exp.Alias)
        }
        where = node.args.get("where")
        condition = f" WHERE {self.condition(where.this, scope)}" if where is not None else ""
        grouping = self.grouping(node, outputs, scope)
        distinct = node.args.get("distinct")
        if distinct is not None:
            only(distinct, "expressions")
        values = [self.value(unaliased(each), scope) for each in outputs]
        names = [output_name(each) for each in outputs]
        _refuse_duplicates(names)
        if distinct is not None:
            values = [_in_set(value) for value in values]
        order = self.select_order(node, outputs, values, scope, positions_only=distinct is not None)
        if outermost and not order and distinct is None and scope.keys:
            # SQLite gives groups in the order of their keys.
            keys = [key for value in dict.fromkeys(scope.keys.values()) for key in sort_keys(value)]
            order = f" ORDER BY {', '.join(f'{key} ASC NULLS FIRST' for key in keys)}"
        listed = ", ".join(
            f"{_typed(value)} AS {label(name)}" for name, value in zip(names, values, strict=True)
        )
        word = "SELECT DISTINCT" if distinct is not None else "SELECT"
        source = f" FROM {origin}" if origin else ""
        sql = f"{word} {listed}{source}{condition}{grouping}{order}{self.limits(node)}"
        return Selected(sql, names, [_output(value, name) for name, value in zip(names, values, strict=True)])

    def expand(self, expressions: list[exp.Expression], scope: Scope) -> list[exp.Expression]:
        """Replace `*` and `t.*` by the columns they stand for."""
        outputs: list[exp.Expression] = []
        for each in expressions:
            table = None
            if isinstance(each, exp.Star):
                only(each)
            elif isinstance(each, exp.Column) and isinstance(each.this, exp.Star):
                table = each.text("table")
            else:
                outputs.append(each)
                continue
            sources = [
                source for source in scope.sources if table is None or source.name.lower() == table.lower()
            ]
            if not sources:
                raise Untranslatable(f"no such table: {table}" if table else "no tables specified")
            for source in sources:
                names = (
                    [field.name for field in source.collection.fields]
                    if source.collection is not None
                    else list(source.columns)
                )
                outputs.extend(
                    exp.column(
                        exp.to_identifier(name, quoted=True),
                        table=exp.to_identifier(source.name, quoted=True),
                    )
                    for name in names
                    if table is not None or name.lower() not in source.hidden
                )
        return outputs

    def grouping(self, node: exp.Select, outputs: list[exp.Expression], scope: Scope) -> str:
        """Write GROUP BY and HAVING, and set the scope up for what stands in the select list and in ORDER BY."""
        group, having = node.args.get("group"), node.args.get("having")
        order = node.args.get("order")
        parts = [unaliased(each) for each in outputs]
        parts += [having.this] if having is not None else []
        parts += [each.this for each in order.expressions] if order is not None else []
        calls = [call for part in parts for call in _aggregates_in(part)]
        if group is None and not calls:
            if having is not None:
                raise Untranslatable("a GROUP BY clause is required before HAVING")
            first = scope.sources[0] if scope.sources else None
            if first is not None and all(source.row for source in scope.sources):
                scope.natural_order = ", ".join(source.row for source in scope.sources)
            return ""
        keys: list[str] = []
        if group is not None:
            only(group, "expressions")
            for each in group.expressions:
                target = self.grouped_by(each, outputs, scope)
                value = self.value(target, scope)
                key = set_key(value)
                if value.shape in AS_TEXT_IN_SETS or value.collation:
                    value = Value(key, Shape.TEXT, not_null=value.not_null)
                keys.append(key)
                scope.keys[canonical(target)] = value
                if target is not each or isinstance(each, exp.Column):
                    scope.keys[canonical(each)] = value
                if isinstance(target, exp.Column):
                    self.remember_column(target, value, scope)
        scope.bare = self.bare_column(calls, scope)
        scope.aggregates = True
        sql = f" GROUP BY {', '.join(keys)}" if keys else ""
        if having is not None:
            sql += f" HAVING {self.condition(having.this, scope)}"
        return sql

    def grouped_by(self, node: exp.Expression, outputs: list[exp.Expression], scope: Scope) -> exp.Expression:
        """What a GROUP BY term means: a place in the select list, one of its aliases, or the expression itself."""
        place = _position(node, len(outputs))
        if place is not None:
            return unaliased(outputs[place])
        if isinstance(node, exp.Column) and not node.text("table") and scope.find(node.name) is None:
            return scope.aliases.get(node.name.lower(), node)
        return node

    def remember_column(self, node: exp.Column, value: Value, scope: Scope) -> None:
        """A grouped column may be named with and without its table."""
        plain = exp.column(exp.to_identifier(node.name, quoted=True))
        if scope.parent is None or not node.text("table"):
            scope.keys.setdefault(canonical(plain), value)
        for source in scope.sources:
            found = source.columns.get(node.name.lower())
            if found is not None and found.sql == value.sql:
                qualified = exp.column(
                    exp.to_identifier(node.name, quoted=True),
                    table=exp.to_identifier(source.name, quoted=True),
                )
                scope.keys.setdefault(canonical(qualified), value)

    def bare_column(self, calls: list[exp.Anonymous], scope: Scope) -> Callable[[Value], Value]:
        """How a column outside of aggregates is read: from some row, or from that of the only min or max."""
        extremes = [call for call in calls if str(call.this).lower() in ("min", "max")]
        # Else the row that came first, so that it is the same one every time.
        row = scope.sources[0].row if scope.sources else ""
        order = f" ORDER BY {row}" if row else ""
        if len(extremes) == 1 and len(calls) == 1:
            keys = sort_keys(self.value(extremes[0].expressions[0], scope.ungrouped()))
            word = "DESC NULLS LAST" if str(extremes[0].this).lower() == "max" else "ASC NULLS LAST"
            order = " ORDER BY " + ", ".join(f"{key} {word}" for key in keys)

        def read(value: Value) -> Value:
            return value._replace(sql=f"gp.lite_any({value.sql}{order})", not_null=False, column=False)

        return read

    def select_order(
        self,
        node: exp.Select,
        outputs: list[exp.Expression],
        values: list[Value],
        scope: Scope,
        *,
        positions_only: bool,
    ) -> str:
        order = node.args.get("order")
        if order is None:
            return ""
        only(order, "expressions")
        texts = [canonical(unaliased(each)) for each in outputs]
        names = [output_name(each).lower() for each in outputs]
        keys: list[str] = []
        for term in order.expressions:
            inner = term.this if isinstance(term, exp.Ordered) else term
            place = _position(inner, len(outputs))
            if place is None and isinstance(inner, exp.Column) and not inner.text("table"):
                place = names.index(inner.name.lower()) if inner.name.lower() in names else None
            if place is None and canonical(inner) in texts:
                place = texts.index(canonical(inner))
            if place is not None and positions_only:
                keys.append(f"{place + 1}{direction(term)}")
                continue
            if positions_only:
                raise Untranslatable("ORDER BY of a SELECT DISTINCT must name columns of its result")
            value = values[place] if place is not None else self.value(inner, scope)
            keys.extend(f"{key}{direction(term)}" for key in sort_keys(value))
        return f" ORDER BY {', '.join(keys)}"

    def limits(self, node: exp.Expression) -> str:
        sql = ""
        for name in ("limit", "offset"):
            part = node.args.get(name)
            if part is None:
                continue
            only(part, "expression")
            amount = part.expression
            negative = isinstance(amount, exp.Neg)
            amount = amount.this if negative else amount
            if not isinstance(amount, exp.Literal) or not str(amount.this).isdigit():
                raise Untranslatable(f"{name.upper()} must be a constant")
            if not negative:  # a negative one means none
                sql += f" {name.upper()} {min(int(amount.this), 2**62)}"
        return sql

    # FROM

    def sources(self, node: exp.Select, scope: Scope, tables: dict[str, Selected]) -> str:
        from_ = node.args.get("from_")
        if from_ is None:
            return ""
        only(from_, "this")
        sql = self.source(from_.this, scope, tables)
        for join in node.args.get("joins") or ():
            sql += self.join(join, scope, tables)
        return sql

    def join(self, join: exp.Join, scope: Scope, tables: dict[str, Selected]) -> str:
        only(join, "this", "side", "kind", "on", "using", "method")
        side, kind = str(join.args.get("side") or "").upper(), str(join.args.get("kind") or "").upper()
        method = str(join.args.get("method") or "").upper()
        if side not in ("", "LEFT", "RIGHT", "FULL") or kind not in ("", "INNER", "OUTER", "CROSS"):
            raise Untranslatable(f"{side} {kind} JOIN is not supported".strip())
        if method not in ("", "NATURAL"):
            raise Untranslatable(f"{method} JOIN is not supported")
        before = list(scope.sources)
        source = self.source(join.this, scope, tables, lateral=True)
        added = scope.sources[len(before) :]
        conditions: list[str] = []
        if join.args.get("on") is not None:
            conditions.append(self.condition(join.args["on"], scope))
        shared = [each.name.lower() for each in join.args.get("using") or ()]
        if method == "NATURAL":
            known = {name for each in before for name in each.columns} - {"rowid", "_rowid_", "oid"}
            shared = [name for name in added[0].columns if name in known]
        for name in shared:
            left = next((each.columns[name] for each in before if name in each.columns), None)
            right = added[0].columns.get(name)
            if left is None or right is None:
                raise Untranslatable(f"cannot join using column {name} - column not present in both tables")
            conditions.append(compare("=", left, right).sql)
            added[0].hidden.add(name)
        if side in ("LEFT", "FULL"):
            _make_optional(added)
        if side in ("RIGHT", "FULL"):
            _make_optional(before)
        if not conditions and not side:
            return f" CROSS JOIN {source}"
        return f" {side + ' ' if side else ''}JOIN {source} ON {' AND '.join(conditions) or 'true'}"

    def source(
        self, node: exp.Expression, scope: Scope, tables: dict[str, Selected], *, lateral: bool = False
    ) -> str:
        if isinstance(node, exp.Subquery):
            only(node, "this", "alias")
            name = node.alias or self.unnamed_source()
            selected = self.query(node.this, scope.parent, tables)
            return self.derived(selected, f"({selected.sql})", name, scope)
        if not isinstance(node, exp.Table):
            raise Untranslatable(f"{type(node).__name__.upper()} is not supported in FROM")
        only(node, "this", "alias", "db")
        if isinstance(node.this, exp.Anonymous):
            return self.table_function(node, scope, lateral=lateral)
        if node.text("db") and node.text("db").lower() != "main":
            raise Untranslatable(f"no such table: {node.text('db')}.{node.name}")
        alias = node.args.get("alias")
        if alias is not None:
            only(alias, "this")
        name = node.alias or node.name
        table = tables.get(node.name.lower()) if not node.text("db") else None
        if table is not None:
            return self.derived(table, table.sql, name, scope)
        collection = self.schema.by_lower_name.get(node.name.lower())
        if collection is None:
            raise Untranslatable(f"no such table: {node.name}")
        scope.add(collection_source(collection, name))
        return f'"public".{ident(collection.table)} AS {label(name)}'

    def derived(self, selected: Selected, sql: str, name: str, scope: Scope) -> str:
        columns = {
            key.lower(): value._replace(sql=f"{label(name)}.{label(key)}")
            for key, value in zip(selected.names, selected.columns, strict=True)
        }
        scope.add(Source(name, columns))
        return f"{sql} AS {label(name)}"

    def table_function(self, node: exp.Table, scope: Scope, *, lateral: bool) -> str:
        """json_each over a json field, a list or a text."""
        call = node.this
        function = str(call.this).lower()
        if function != "json_each" or not 1 <= len(call.expressions) <= 2:
            raise Untranslatable(f"no such table-valued function: {function}")
        name = node.alias or function
        value = self.value(call.expressions[0], scope)
        inner = functions.document(value)
        if len(call.expressions) == 2:
            inner = f"({inner} #> {functions.json_path(self.value(call.expressions[1], scope))})"
        plain = Value("", Shape.ANY)
        members = {
            each: plain._replace(sql=f"{label(name)}.{label(each)}") for each in ("key", "value", "atom")
        }
        members["type"] = Value(f"{label(name)}.{label('type')}", Shape.TEXT)
        if value.shape is Shape.MULTI:
            # Members of a list are texts for certain, so they compare like any other text.
            texts = Value(f"({label(name)}.{label('value')} #>> '{{}}')", Shape.TEXT)
            members["value"] = members["atom"] = texts
        scope.add(Source(name, members))
        return f"{'LATERAL ' if lateral else ''}gp.lite_each({inner}) AS {label(name)}"

    def unnamed_source(self) -> str:
        self.unnamed += 1
        return f"subquery {self.unnamed}"

    # UNION, EXCEPT, INTERSECT

    def combination(
        self, node: exp.SetOperation, parent: Scope | None, tables: dict[str, Selected]
    ) -> Selected:
        only(node, "this", "expression", "distinct", "order", "limit", "offset", "with_")
        left = self.query(node.this, parent, tables)
        right = self.query(node.expression, parent, tables)
        if len(left.columns) != len(right.columns):
            raise Untranslatable("the SELECTs of a UNION do not have the same number of result columns")
        shapes = [
            _in_set(Value("", common([one, other]))).shape
            for one, other in zip(left.columns, right.columns, strict=True)
        ]
        word = {exp.Union: "UNION", exp.Except: "EXCEPT", exp.Intersect: "INTERSECT"}[type(node)]
        if not node.args.get("distinct"):
            word += " ALL"
        sides = [_recast(each, shapes, left.names) for each in (left, right)]
        columns = [
            Value(label(name), shape, not_null=one.not_null and other.not_null)
            for name, shape, one, other in zip(left.names, shapes, left.columns, right.columns, strict=True)
        ]
        sql = f"{sides[0]} {word} {sides[1]}"
        order = node.args.get("order")
        if order is not None or node.args.get("limit") or node.args.get("offset"):
            scope = Scope(parent)
            name = self.unnamed_source()
            wrapped = self.derived(Selected(sql, left.names, columns), f"({sql})", name, scope)
            keys = ""
            if order is not None:
                terms: list[str] = []
                for term in order.expressions:
                    place = _position(term.this, len(columns))
                    value = scope.sources[0].columns[left.names[place].lower()] if place is not None else None
                    found = value or self.value(term.this, scope)
                    terms.extend(f"{key}{direction(term)}" for key in sort_keys(found))
                keys = f" ORDER BY {', '.join(terms)}"
            sql = f"SELECT * FROM {wrapped}{keys}{self.limits(node)}"  # noqa: S608  # built from parsed nodes
        return Selected(sql, left.names, columns)


def _names_itself(table: exp.Expression) -> bool:
    return any(each.name.lower() == table.alias.lower() for each in table.this.find_all(exp.Table))


def _refuse_duplicates(names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if not name:
            raise Untranslatable("a column has an empty name")
        if name.lower() in seen:
            raise Untranslatable(f"the column name {name[:100]} appears twice")
        seen.add(name.lower())


def _make_optional(sources: list[Source]) -> None:
    """Give the sources a column that is NULL when the outer join found no row."""
    for source in sources:
        # Every collection has an id; what a subquery lost to an outer join of its own stays as it is.
        anchor = source.columns.get("id") if source.collection is not None else None
        source.make_optional(anchor.sql if anchor is not None else "")
        source.row = ""


def _in_set(value: Value) -> Value:
    """A value in a shape that PostgreSQL can compare for DISTINCT and UNION."""
    if value.shape in AS_TEXT_IN_SETS:
        return Value(text(value) if value.sql else "", Shape.TEXT, not_null=value.not_null)
    return value


def _typed(value: Value) -> str:
    if value.shape is Shape.NULL:
        return "NULL::text"
    return value.sql


def _output(value: Value, name: str) -> Value:
    """How the surrounding query sees this column."""
    keeps = value.column and value.shape in (Shape.BOOL, Shape.DATE)
    return Value(
        label(name),
        Shape.TEXT if value.shape is Shape.NULL else value.shape,
        value.affinity,
        value.not_null,
        column=keeps or value.column,
        collation=value.collation,
    )


def _recast(selected: Selected, shapes: list[Shape], names: list[str]) -> str:
    parts = [
        f"{as_shape(value._replace(sql=f'q.{value.sql}'), shape)} AS {label(name)}"
        for value, shape, name in zip(selected.columns, shapes, names, strict=True)
    ]
    return f"(SELECT {', '.join(parts)} FROM ({selected.sql}) AS q)"  # noqa: S608  # built from parsed nodes


def _aggregates_in(node: exp.Expression) -> list[exp.Anonymous]:
    """The aggregate calls of an expression itself: not those with OVER, not those of inner SELECTs."""
    if isinstance(node, (exp.Query, exp.Subquery)):
        return []
    if isinstance(node, exp.Window):
        inner = node.this.this if isinstance(node.this, exp.Filter) else node.this
        return [call for each in inner.expressions for call in _aggregates_in(each)]
    if isinstance(node, exp.Anonymous) and is_aggregate(node):
        return [node]
    return [call for child in node.iter_expressions() for call in _aggregates_in(child)]


def _position(node: exp.Expression, count: int) -> int | None:
    """The place (from 0) that a bare integer in ORDER BY or GROUP BY means."""
    if not isinstance(node, exp.Literal) or node.args.get("is_string") or not str(node.this).isdigit():
        return None
    place = int(node.this)
    if not 1 <= place <= count:
        raise Untranslatable(f"term {place} is out of range - should be between 1 and {count}")
    return place - 1
