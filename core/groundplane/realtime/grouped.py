"""One statement for many callers: the same text with each one's values, which go along as arrays."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from groundplane.db.engine import Database
from groundplane.db.lanes import Shape, together
from groundplane.errors import GroundplaneError

MAX_STATEMENTS = 1000
MAX_MEMBERS = 500  # callers in one statement

Values: TypeAlias = "tuple[Any, ...]"  # of one caller, lists as tuples


class Grouped:
    """Asks, and remembers the statements that it has made."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._many: OrderedDict[tuple[str, str], str] = OrderedDict()

    async def ask(
        self, head: str, inner: str, callers: Sequence[Values], rest: Sequence[object] = ()
    ) -> list[tuple[Any, int]]:
        """The first column of each row that `inner` gives for a caller, with the caller's place, from 0.

        `inner` has a caller's values as $1 and so on, `head` stands before it and has those of `rest` behind them.
        For a value that a statement cannot take there are no rows; raises Unavailable and the like.
        """
        found: list[tuple[Any, int]] = []
        for first, part in parts_of(callers):
            try:
                found += [(value, first[place]) for value, place in await self._ask(head, inner, part, rest)]
            except GroundplaneError as error:
                # As a filter that fails, unless it is the server's fault.
                if error.status >= 500:
                    raise
        return found

    async def _ask(
        self, head: str, inner: str, callers: Sequence[Values], rest: Sequence[object]
    ) -> list[tuple[Any, int]]:
        if len(callers) == 1:
            values = [list(each) if isinstance(each, tuple) else each for each in callers[0]]
            return [(row[0], 0) for row in await self._db.fetch(head + inner, *values, *rest)]
        text = self._many.get((head, inner))
        if text is None:
            async with self._db.connection() as connection:
                single = await connection.prepare(head + inner)
                text = head + together(Shape(inner, len(callers[0])), single.get_parameters())
            self._many[head, inner] = text
            if len(self._many) > MAX_STATEMENTS:
                self._many.popitem(last=False)
        columns = [list(column) for column in zip(*callers, strict=True)]
        return [(row[0], row[1] - 1) for row in await self._db.fetch(text, *columns, *rest)]


def parts_of(callers: Sequence[Values]) -> Iterator[tuple[Sequence[int], Sequence[Values]]]:
    """The callers that can be asked for with one statement each time, with their places before.

    A list among the values would be taken apart by `unnest`: such callers are asked for alone.
    """
    plain: list[int] = []
    for place, values in enumerate(callers):
        if any(isinstance(value, tuple) for value in values):
            yield [place], [values]
        else:
            plain.append(place)
    for first in range(0, len(plain), MAX_MEMBERS):
        places = plain[first : first + MAX_MEMBERS]
        yield places, [callers[place] for place in places]
