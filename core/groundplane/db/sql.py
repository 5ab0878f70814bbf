"""SQL text apart from its values: placeholders, quoted names and named statements."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import NamedTuple


class Sql(NamedTuple):
    """One statement and the values for its $1, $2, … placeholders."""

    text: str
    args: tuple[object, ...] = ()


class Args:
    """Collects values while a statement is being written and hands out their placeholders."""

    def __init__(self) -> None:
        self._values: list[object] = []

    def add(self, value: object) -> str:
        self._values.append(value)
        return f"${len(self._values)}"

    @property
    def values(self) -> tuple[object, ...]:
        return tuple(self._values)

    def bind(self, text: str) -> Sql:
        return Sql(text, tuple(self._values))


def ident(name: str) -> str:
    """Quote an identifier; a name with a NUL byte cannot exist in PostgreSQL."""
    if "\x00" in name:
        raise ValueError("identifier contains a NUL byte")
    return '"' + name.replace('"', '""') + '"'


def load_queries(package: str, file: str = "queries.sql") -> dict[str, str]:
    """Read the `-- name: x` blocks of a package's SQL file, keyed by name."""
    source = (files(package) / file).read_text(encoding="utf-8")
    parts = re.split(r"^-- name: (\w+)\s*$", source, flags=re.MULTILINE)
    return {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}
