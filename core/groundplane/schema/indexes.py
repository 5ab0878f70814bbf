"""`CREATE INDEX` statements as the API shows them: reading, writing, and what they promise (contract §7)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from groundplane.schema.collection import Collection

LONGEST_STATEMENT = 20_000  # characters

HEAD = re.compile(r"\s*CREATE\s+(UNIQUE\s+)?INDEX\s+(IF\s+NOT\s+EXISTS\s+)?", re.IGNORECASE)
NAME = re.compile(
    r"`((?:[^`]|``)+)`|\"((?:[^\"]|\"\")+)\"|'((?:[^']|'')+)'|\[([^\]]+)\]|([^\s`\"'\[\](),.;]+)"
)
EMPTY_NAME = re.compile(r"``|\"\"|''|\[\]")
DOT = re.compile(r"\s*\.\s*")
ON = re.compile(r"\s+ON\s+|(?<=[`\"'\]])ON\s+", re.IGNORECASE)
OPENING = re.compile(r"\s*\(")
WHERE = re.compile(r"\s*WHERE\b", re.IGNORECASE)
CLOSING = {"`": "`", '"': '"', "'": "'", "[": "]"}


class IndexColumn(NamedTuple):
    """`name` is a column's name without quotes, or an expression as it was written."""

    name: str
    collate: str = ""
    sort: str = ""

    @property
    def is_expression(self) -> bool:
        return "(" in self.name or " " in self.name


class Index(NamedTuple):
    name: str
    unique: bool
    columns: tuple[IndexColumn, ...]
    where: str = ""
    table: str = ""
    optional: bool = False  # IF NOT EXISTS
    database: str = ""

    def build(self) -> str:
        """Write the statement in its normal form."""
        words = ["CREATE"]
        if self.unique:
            words.append("UNIQUE")
        words.append("INDEX")
        if self.optional:
            words.append("IF NOT EXISTS")
        owner = f"`{self.database}`." if self.database else ""
        words.append(f"{owner}`{self.name}` ON `{self.table}` ({self.column_list()})")
        if self.where:
            words.append(f"WHERE {self.where}")
        return " ".join(words)

    def column_list(self) -> str:
        columns = []
        for column in self.columns:
            text = column.name if column.is_expression else f"`{column.name}`"
            if column.collate:
                text += f" COLLATE {column.collate}"
            if column.sort:
                text += f" {column.sort}"
            columns.append(text)
        return columns[0] if len(columns) == 1 else "\n  " + ",\n  ".join(columns) + "\n"

    @property
    def definition(self) -> tuple[object, ...]:
        """What the index does, apart from its name and the table's."""
        columns = tuple((each.name.lower(), each.collate.lower(), each.sort) for each in self.columns)
        return (self.unique, columns, self.where)


@lru_cache(maxsize=4096)
def parse_index(text: str) -> Index | None:
    """Read a statement in any accepted spelling; None when it is none, or has no name or no columns."""
    if len(text) > LONGEST_STATEMENT:
        return None
    head = HEAD.match(text)
    if head is None:
        return None
    names, position = dotted_name(text, head.end())
    on = ON.match(text, position)
    if not names or len(names) > 2 or on is None:
        return None
    tables, position = dotted_name(text, on.end())
    opening = OPENING.match(text, position)
    if not tables or opening is None:
        return None
    parts, position = column_texts(text, opening.end())
    if parts is None:
        return None
    columns = [read_column(part) for part in parts]
    if not columns or None in columns:
        return None
    where = WHERE.match(text, position)
    rest = text[position if where is None else where.end() :].strip().removesuffix(";").rstrip()
    # Something else than a condition, or WHERE without one.
    if bool(rest) is (where is None):
        return None
    return Index(
        name=names[-1],
        unique=head[1] is not None,
        columns=tuple(column for column in columns if column is not None),
        where=rest,
        table=tables[-1],
        optional=head[2] is not None,
        database=names[0] if len(names) == 2 else "",
    )


def dotted_name(text: str, position: int) -> tuple[list[str], int]:
    """Read `name` or `schema.name`, quoted or not; returns the parts and where they end."""
    names: list[str] = []
    while True:
        empty = EMPTY_NAME.match(text, position)
        match = None if empty is not None else NAME.match(text, position)
        if empty is not None:
            names.append("")
            position = empty.end()
        elif match is not None:
            names.append(unquoted(match[0]))
            position = match.end()
        else:
            return [], position
        dot = DOT.match(text, position)
        if dot is None:
            # An index needs a name, a table may still be without one.
            return names, position
        position = dot.end()


def unquoted(name: str) -> str:
    closing = CLOSING.get(name[0])
    if closing is None or len(name) < 2 or name[-1] != closing:
        return name
    inner = name[1:-1]
    return inner if closing == "]" else inner.replace(closing * 2, closing)


def column_texts(text: str, position: int) -> tuple[list[str] | None, int]:
    """Split at the commas up to the parenthesis that closes the list; None if it never closes."""
    parts: list[str] = []
    start, depth = position, 0
    while position < len(text):
        character = text[position]
        if character in CLOSING:
            end = text.find(CLOSING[character], position + 1)
            if end < 0:
                return None, position
            position = end
        elif character == "(":
            depth += 1
        elif character == ")" and depth:
            depth -= 1
        elif character == ")":
            parts.append(text[start:position])
            return parts, position + 1
        elif character == "," and not depth:
            parts.append(text[start:position])
            start = position + 1
        position += 1
    return None, position


def read_column(text: str) -> IndexColumn | None:
    """Read a column's name or expression with its COLLATE and its direction."""
    text = text.strip()
    sort = collate = ""
    words = text.rsplit(None, 1)
    if len(words) == 2 and words[1].upper() in ("ASC", "DESC"):
        text, sort = words[0], words[1].upper()
    words = text.rsplit(None, 2)
    if len(words) == 3 and words[1].upper() == "COLLATE":
        text, collate = words[0], unquoted(words[2])
    name = unquoted(text) if text else ""
    return IndexColumn(name, collate, sort) if name else None


def rewrite_table(text: str, table: str) -> str:
    """Return the statement for the given table: verbatim if it names it already or cannot be read."""
    index = parse_index(text)
    if index is None or (index.table == table and not index.database):
        return text
    return index._replace(table=table, database="").build()


def is_single_unique(collection: Collection, field_name: str) -> bool:
    """Whether the field alone has a unique index; conditions and collations do not matter."""
    return single_unique_index(collection.indexes, field_name) is not None


def unique_nocase(collection: Collection, field_name: str) -> bool:
    """Whether the field's own unique index ignores case (`COLLATE NOCASE`)."""
    index = single_unique_index(collection.indexes, field_name)
    return index is not None and index.columns[0].collate.lower() == "nocase"


def single_unique_index(indexes: tuple[str, ...], field_name: str) -> Index | None:
    name = field_name.lower()
    for text in indexes:
        index = parse_index(text)
        if index is None or not index.unique or len(index.columns) != 1:
            continue
        if index.columns[0].name.lower() == name:
            return index
    return None
