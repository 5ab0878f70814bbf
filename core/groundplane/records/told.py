"""What a rule takes from the request besides the caller: the time, query parameters and headers.

Each value that is told becomes one of a learnt statement's values where it is a plain text; what is missing or
special is part of the statement's key instead, as the compiler treats it in another way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from groundplane.clock import now
from groundplane.context import Caller, RequestInfo
from groundplane.query.errors import QueryError
from groundplane.query.macros import MACROS
from groundplane.query.parser import parse
from groundplane.records.shapes import MOMENT, TEXT, is_plain, names_in

MAX_CONSTANT = 64  # characters of a value that statements are learnt for one by one
# Values of the caller that a token alone does not say.
STORED = frozenset({"email", "emailVisibility", "verified"})

Headers = Callable[
    [], Mapping[str, str]
]  # by lower-case name with underscores, made only when they are needed


class Wanted(NamedTuple):
    """The time, and names of query parameters and headers."""

    now: bool = False
    query: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()


NOTHING = Wanted()


class Told(NamedTuple):
    """What was wanted, as told by one request: `key` says all but the `values`, which are of `classes`."""

    key: tuple[tuple[str, str, str, str | None], ...] = ()
    classes: tuple[str, ...] = ()
    values: tuple[Any, ...] = ()

    def info(self, caller: Caller | None, caller_id: str, method: str, values: Iterable[Any]) -> RequestInfo:
        """A request by a caller of the same collection that tells `values` instead."""
        each = iter(values)
        query: dict[str, str] = {}
        headers: dict[str, str] = {}
        moment = None
        for source, name, kind, constant in self.key:
            value: Any = next(each) if kind else constant
            if source == "now":
                moment = value
            elif value is not None:
                (query if source == "query" else headers)[name] = value
        known = None
        if caller is not None:
            known = Caller(
                id=caller_id, collection_id=caller.collection_id, collection_name=caller.collection_name
            )
        return RequestInfo(caller=known, method=method, moment=moment, query=query, headers=headers)


SILENT = Told()


@lru_cache(maxsize=4096)
def wanted_by(rule: str | None) -> Wanted | None:
    """What a rule takes from a request without a body besides id and collection of the caller; None: more."""
    if not rule:
        return NOTHING
    try:
        names = set(names_in(parse(rule)))
    except QueryError:
        return None
    at_all, query, headers = False, set[str](), set[str]()
    for name in names:
        if not name.startswith("@") or name.startswith(("@collection.", "@request.body.")):
            continue
        source, _, path = name.removeprefix("@request.").partition(".")
        first = path.partition(":")[0]
        if name in MACROS:
            at_all = True
        elif name in ("@request.method", "@request.context") or (source == "auth" and first not in STORED):
            continue
        elif source == "query" and first and "." not in path:
            query.add(first)
        elif source == "headers" and first and "." not in path:
            headers.add(first)
        else:
            return None
    return Wanted(at_all, tuple(sorted(query)), tuple(sorted(headers)))


def told(
    wanted: Wanted, query: Mapping[str, str], headers: Headers, *, also_now: bool = False
) -> Told | None:
    """Take what is wanted from a request; None when one of the values is too special."""
    if wanted == NOTHING and not also_now:
        return SILENT
    key: list[tuple[str, str, str, str | None]] = []
    values: list[Any] = []
    if wanted.now or also_now:
        key.append(("now", "", MOMENT, None))
        values.append(now())
    sent = headers() if wanted.headers else {}
    for source, names, given in (("query", wanted.query, query), ("headers", wanted.headers, sent)):
        for name in names:
            value = given.get(name)
            if value is not None and is_plain(value):
                key.append((source, name, TEXT, None))
                values.append(value)
            elif value is None or len(value) <= MAX_CONSTANT:
                key.append((source, name, "", value))
            else:
                return None
    return Told(tuple(key), tuple(kind for _, _, kind, _ in key if kind), tuple(values))
