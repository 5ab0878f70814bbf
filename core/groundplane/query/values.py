"""Values apart from the SQL being written: markers first, placeholders for what the final text still uses."""

from __future__ import annotations

import re

from groundplane.db.sql import Args
from groundplane.query.errors import QueryError
from groundplane.schema.casting import NUL, clean_text

# No name or literal can hold a NUL (`ident` refuses it), so a marker cannot be mistaken for anything else.
MARKER = re.compile("\x00([0-9]+)\x00")


class Values:
    """Keeps the values of one compilation until the SQL is whole.

    Folding a comparison drops pieces of SQL; PostgreSQL refuses a statement with a placeholder that is
    numbered but not used, so numbers are given at the end.
    """

    def __init__(self) -> None:
        self._values: list[object] = []

    def put(self, value: object) -> str:
        """Return a marker for the value; text is made fit for PostgreSQL."""
        if isinstance(value, str):
            value = storable(value)
        elif isinstance(value, list):
            value = [storable(item) for item in value]
        self._values.append(value)
        return f"\x00{len(self._values) - 1}\x00"

    def bind(self, sql: str, args: Args) -> str:
        """Replace the markers in `sql` by placeholders of `args`, one for each value."""
        given: dict[str, str] = {}

        def placeholder(match: re.Match[str]) -> str:
            key = match[1]
            if key not in given:
                given[key] = args.add(self._values[int(key)])
            return given[key]

        return MARKER.sub(placeholder, sql)


def storable(text: str) -> str:
    """Return text that PostgreSQL takes; a NUL is refused, nothing stored can have it."""
    if NUL in text:
        raise QueryError("text contains a NUL character")
    return clean_text(text)
