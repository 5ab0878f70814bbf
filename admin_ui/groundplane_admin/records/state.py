"""What an address of the record list says: collection, filter, sort, page; and the addresses next to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote

from groundplane_admin.visits import with_query

PER_PAGE = (25, 50, 100, 200)
MAX_TRAIL = 12  # cursors of pages before this one; further back one begins anew
START = "-"  # stands in a trail for the first page


class ListState(NamedTuple):
    """`cursor` "" is the first page; `trail` are the cursors of the pages before, `start` the rows before."""

    collection: str
    filter: str = ""
    search: str = ""
    sort: str = ""
    view: str = ""
    per_page: int = 50
    cursor: str = ""
    trail: tuple[str, ...] = ()
    start: int = 0

    @classmethod
    def read(cls, collection: str, query: Mapping[str, str]) -> ListState:
        """The state of a request; what makes no sense is as if it were not there."""
        per_page, start = query.get("n", ""), query.get("from", "")
        wanted = int(per_page) if per_page.isascii() and per_page.isdigit() and len(per_page) < 5 else 50
        trail = tuple(each for each in query.get("trail", "").split(",") if each)
        return cls(
            collection,
            filter=query.get("filter", "").strip(),
            search=query.get("q", "").strip(),
            sort=query.get("sort", "").strip(),
            view=query.get("view", ""),
            per_page=wanted if wanted in PER_PAGE else 50,
            cursor=query.get("cursor", ""),
            trail=trail[-MAX_TRAIL:],
            start=int(start) if start.isascii() and start.isdigit() and len(start) < 12 else 0,
        )

    @property
    def base(self) -> str:
        return f"/_/c/{quote(self.collection, safe='')}"

    def query(self) -> dict[str, str]:
        return {
            "filter": self.filter,
            "q": self.search,
            "sort": self.sort,
            "view": self.view,
            "n": "" if self.per_page == 50 else str(self.per_page),
            "cursor": self.cursor,
            "trail": ",".join(self.trail),
            "from": str(self.start) if self.start else "",
        }

    @property
    def href(self) -> str:
        return with_query(self.base, **self.query())

    def record_href(self, record_id: str, tab: str = "") -> str:
        """The record's panel, with this list behind it."""
        path = f"{self.base}/r/{quote(record_id, safe='')}"
        return with_query(f"{path}/{tab}" if tab else path, **self.query())

    def path_href(self, path: str, **more: str) -> str:
        """Another address of the collection that keeps the list."""
        return with_query(f"{self.base}/{path}", **self.query(), **more)

    def first_page(self) -> ListState:
        return self._replace(cursor="", trail=(), start=0)

    def sorted_by(self, sort: str) -> ListState:
        return self.first_page()._replace(sort=sort)

    def filtered(self, text: str) -> ListState:
        return self.first_page()._replace(filter=text)

    def next_page(self, cursor: str, shown: int) -> ListState:
        trail = (*self.trail, self.cursor or START)[-MAX_TRAIL:]
        return self._replace(cursor=cursor, trail=trail, start=self.start + shown)

    def page_before(self) -> ListState | None:
        """The page that led here; None on the first one."""
        if not self.cursor:
            return None
        if not self.trail:
            return self.first_page()
        last = self.trail[-1]
        start = max(0, self.start - self.per_page)
        return self._replace(cursor="" if last == START else last, trail=self.trail[:-1], start=start)
