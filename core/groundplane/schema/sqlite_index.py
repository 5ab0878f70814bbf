"""CREATE INDEX statements of SQLite, on our physical tables and columns."""

from __future__ import annotations

import re

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from groundplane.db.sql import ident
from groundplane.schema.collection import Collection
from groundplane.schema.fields.base import physical_name
from groundplane.schema.sqlite_expressions import Expressions, PlainSQLite
from groundplane.schema.sqlite_scope import Scope, Source, collection_source
from groundplane.schema.sqlite_values import Shape, Untranslatable, text, with_collation

MAX_INDEX_CHARACTERS = 10_000

NAME = r"""(?:`[^`]+`|"(?:[^"]|"")+"|'(?:[^']|'')+'|\[[^\]]+\]|\w+)"""
HEAD = re.compile(
    rf"\s*CREATE\s+(?P<unique>UNIQUE\s+)?INDEX\s+(?:IF\s+NOT\s+EXISTS\s+)?"
    rf"(?:{NAME}\s*\.\s*)?(?P<name>{NAME})\s*\bON\b\s*{NAME}\s*\(",
    re.IGNORECASE,
)
# The name may touch ON when it is quoted.
QUOTED_HEAD = re.compile(HEAD.pattern.replace(r"\s*\bON\b\s*", r"\s*ON\s*"), re.IGNORECASE)
SORT = re.compile(r"\s+(ASC|DESC)\s*$", re.IGNORECASE)
WHERE = re.compile(r"\s*WHERE\s+(?P<condition>.+)", re.IGNORECASE | re.DOTALL)
CLOSING = {"`": "`", '"': '"', "'": "'", "[": "]"}


def translate_index(index_text: str, collection: Collection) -> str:
    """Translate CREATE INDEX for the collection's table, whatever table the statement names.

    Raises Untranslatable with a plain reason: unreadable, unknown column, unknown function.
    """
    try:
        return _translated(index_text, collection)
    except RecursionError:
        raise Untranslatable("the expression is nested too deeply") from None


def _translated(index_text: str, collection: Collection) -> str:
    if len(index_text) > MAX_INDEX_CHARACTERS or "\x00" in index_text:
        raise Untranslatable("the statement is too long or contains a NUL character")
    head = HEAD.match(index_text) or QUOTED_HEAD.match(index_text)
    if head is None:
        raise Untranslatable("not a CREATE INDEX statement")
    columns, rest = _split(index_text[head.end() :])
    condition = WHERE.fullmatch(rest)
    if condition is None and rest.strip().rstrip(";").strip():
        raise Untranslatable("unexpected text after the columns")
    scope = _scope(collection)
    translator = _IndexExpressions()
    keys = [_key(each, translator, scope) for each in columns]
    where = ""
    if condition is not None:
        node = _parse(condition["condition"].rstrip().rstrip(";"))
        where = f" WHERE {translator.condition(node, scope)}"
    # An unset date is a value in SQLite, so two of them collide; with us it is NULL.
    dates = head["unique"] and any(dated for _, dated in keys)
    name = ident(physical_name(_unquoted(head["name"])))
    return (
        f'CREATE {"UNIQUE " if head["unique"] else ""}INDEX {name} ON "public".{ident(collection.table)} '
        f"({', '.join(key for key, _ in keys)}){' NULLS NOT DISTINCT' if dates else ''}{where}"
    )


class _IndexExpressions(Expressions):
    fixed_only = True


def _scope(collection: Collection) -> Scope:
    source = collection_source(collection, collection.table)
    prefix = ident(collection.table) + "."
    # CREATE INDEX takes no qualified columns.
    bare = {
        name: value._replace(sql=value.sql.removeprefix(prefix)) for name, value in source.columns.items()
    }
    bare = {name: value for name, value in bare.items() if prefix not in value.sql}
    scope = Scope()
    scope.add(Source(collection.name, bare, collection=collection))
    return scope


def _key(part: str, translator: Expressions, scope: Scope) -> tuple[str, bool]:
    """One column or expression of the index, and whether it is a date column."""
    sort = SORT.search(part)
    node = _parse(part[: sort.start()] if sort else part)
    descending = sort is not None and sort[1].upper() == "DESC"
    value = translator.value(node, scope)
    plain = value.column
    if value.shape in (Shape.JSON, Shape.GEO):
        key, plain = text(value), False
    elif value.shape is Shape.NULL:
        raise Untranslatable("an index needs a column or an expression")
    elif value.collation:
        key, plain = with_collation(value.sql, value.collation), False
    elif value.shape is Shape.TEXT and not value.column:
        inner = node.this if isinstance(node, exp.Collate) else node
        # COLLATE BINARY is what our columns have anyway.
        bare = translator.value(inner, scope) if isinstance(node, exp.Collate) else value
        key, plain = (bare.sql, True) if bare.column and bare.shape is Shape.TEXT else (value.sql, False)
    else:
        key = value.sql
    if value.literal is not None:
        raise Untranslatable("no such column: " + str(value.literal)[:100])
    # NULL, which only dates and expressions can be, is the smallest value in SQLite.
    ends = " NULLS FIRST" if not descending else " NULLS LAST"
    suffix = (" DESC" if descending else "") + (ends if value.shape is Shape.DATE else "")
    return (key if plain else f"({key})") + suffix, value.shape is Shape.DATE and value.column


def _parse(part: str) -> exp.Expression:
    try:
        statements = sqlglot.parse(f"SELECT {part}", dialect=PlainSQLite)
    except (SqlglotError, ValueError, RecursionError):
        raise Untranslatable(f"the expression {part.strip()[:100]} cannot be read") from None
    statement = statements[0] if len(statements) == 1 else None
    if not isinstance(statement, exp.Select) or len(statement.expressions) != 1:
        raise Untranslatable(f"the expression {part.strip()[:100]} cannot be read")
    if any(value for name, value in statement.args.items() if name != "expressions"):
        raise Untranslatable(f"the expression {part.strip()[:100]} cannot be read")
    node: exp.Expression = statement.expressions[0]
    return node


def _split(body: str) -> tuple[list[str], str]:
    """Split `a, lower(b)) WHERE …` into the parts between the commas and what follows the parenthesis."""
    parts: list[str] = []
    depth, start, at = 0, 0, 0
    while at < len(body):
        character = body[at]
        if character in CLOSING:
            end = body.find(CLOSING[character], at + 1)
            if end < 0:
                break
            at = end
        elif character == "(":
            depth += 1
        elif character == ")":
            if depth == 0:
                parts.append(body[start:at])
                return parts, body[at + 1 :]
            depth -= 1
        elif character == "," and depth == 0:
            parts.append(body[start:at])
            start = at + 1
        at += 1
    raise Untranslatable("the list of columns is not closed")


def _unquoted(name: str) -> str:
    if name[0] in CLOSING:
        inner = name[1:-1]
        return inner.replace(name[0] * 2, name[0]) if name[0] in "\"'" else inner
    return name
