"""Which questions clients ask about collections: filters without their values, and sorts, counted by sample."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from urllib.parse import parse_qsl

from groundplane.logs.entry import Entry, Note
from groundplane.records.paging import TRUE_WORDS

SAMPLE = 20  # requests of one batch that are looked at; the others are taken to be like them
MAX_KNOWN = 500  # questions kept in memory between two writings
MAX_TEXT = 1000  # characters of a filter or sort that is remembered
LIST = re.compile(rb"/api/collections/([^/]+)/records/?$")
# Quoted texts and numbers as the filter language reads them.
LITERAL = re.compile(
    r"""'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*"|(?<![\w.@:])-?[0-9][0-9.]*(?![\w.])""", re.DOTALL
)
BLANKS = re.compile(r"\s+")


def without_values(text: str) -> str:
    """The filter with every text as '' and every number as 0, so that no value is kept."""
    return BLANKS.sub(" ", LITERAL.sub(lambda found: "''" if found[0][0] in "'\"" else "0", text)).strip()


class Shapes:
    """Counts questions by collection, filter, sort, and whether the total was asked for.

    Reading a request's parameters costs more than answering a small list is worth, so of a batch only some are
    read and count for the rest.
    """

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, str, bool]] = Counter()

    def look_at(self, entries: Sequence[Entry]) -> None:
        lists = [
            (found[1].decode("latin-1"), each[4])
            for each in entries
            if not isinstance(each, Note | bytes)
            and each[4]
            and each[5] == 200
            and each[2] == "GET"
            and (found := LIST.match(each[3])) is not None
        ]
        if not lists:
            return
        step = -(-len(lists) // SAMPLE)
        for name, query in lists[::step]:
            try:
                asked = dict(parse_qsl(query.decode("latin-1"), max_num_fields=50))
            except ValueError:
                continue
            text, sort = asked.get("filter", "").replace("\x00", ""), asked.get("sort", "")
            if not (text or sort) or len(text) > MAX_TEXT or len(sort) > MAX_TEXT:
                continue
            counted = asked.get("skipTotal", "") not in TRUE_WORDS
            key = name[:MAX_TEXT].replace("\x00", ""), without_values(text), sort.replace("\x00", ""), counted
            if key in self._counts or len(self._counts) < MAX_KNOWN:
                self._counts[key] += step

    def taken(self) -> tuple[list[object], ...] | None:
        """The columns of what was counted since the last call; None when there is nothing."""
        if not self._counts:
            return None
        counts, self._counts = self._counts, Counter()
        columns: list[list[object]] = [list(column) for column in zip(*counts, strict=True)]
        return *columns, list(counts.values())
