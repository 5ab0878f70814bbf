"""The parameters of a list request, as clients send them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from groundplane.errors import Invalid

DEFAULT_PER_PAGE = 30
MAX_PER_PAGE = 1000
MAX_FILTER_BYTES = 3500
INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
MAX_INTEGER = 2**63 - 1
TRUE_WORDS = frozenset({"1", "t", "T", "TRUE", "true", "True"})
FALSE_WORDS = frozenset({"0", "f", "F", "FALSE", "false", "False"})


class ListRequest(msgspec.Struct, frozen=True, kw_only=True):
    page: int = 1
    per_page: int = DEFAULT_PER_PAGE
    skip_total: bool = False
    filter: str = ""
    sort: str = ""
    expand: str = ""
    cursor: str | None = None  # "" before the first page, None where the client pages by numbers
    estimated: bool = False  # whether PostgreSQL's estimate will do for the total

    @property
    def by_number(self) -> bool:
        """Whether the client knows of nothing but PocketBase's parameters."""
        return self.cursor is None and not self.estimated

    @property
    def offset(self) -> int:
        """Rows before the page; a number beyond what a table can hold stays within 64 bits."""
        return min((self.page - 1) * self.per_page, MAX_INTEGER)


def list_request(query: Mapping[str, str]) -> ListRequest:
    """Read and normalise the parameters (contract, records §3.1); raises Invalid."""
    page = integer(query.get("page", ""), 1)
    per_page = integer(query.get("perPage", ""), DEFAULT_PER_PAGE)
    filter_text = query.get("filter", "")
    if len(filter_text.encode("utf-8", "surrogatepass")) > MAX_FILTER_BYTES:
        raise Invalid()
    return ListRequest(
        page=max(page, 1) if "cursor" not in query else 1,
        per_page=min(per_page, MAX_PER_PAGE) if per_page > 0 else DEFAULT_PER_PAGE,
        skip_total=flag(query.get("skipTotal", "")),
        filter=filter_text,
        sort=query.get("sort", ""),
        expand=query.get("expand", ""),
        cursor=query.get("cursor"),
        estimated=query.get("total") == "estimate",
    )


def integer(text: str, default: int) -> int:
    if not text:
        return default
    # The length first: reading a million digits takes long.
    if len(text) > 100 or not INTEGER.fullmatch(text):
        raise Invalid()
    value = int(text)
    if not -MAX_INTEGER - 1 <= value <= MAX_INTEGER:
        raise Invalid()
    return value


def flag(text: str) -> bool:
    if text in TRUE_WORDS:
        return True
    if not text or text in FALSE_WORDS:
        return False
    raise Invalid()


def page_of(items: list[Any], ask: ListRequest, total: int, cursor: str | None = None) -> dict[str, Any]:
    """The page object; `total` is -1 when it was not counted, `cursor` leads to the next page ("": none)."""
    return {
        "items": items,
        **({} if cursor is None else {"nextCursor": cursor}),
        "page": ask.page,
        "perPage": ask.per_page,
        "totalItems": total,
        "totalPages": -1 if total < 0 else -(-total // ask.per_page),
    }
