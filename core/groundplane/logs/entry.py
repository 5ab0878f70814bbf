"""Entries of the log: what requests and the server's own messages look like when they are stored."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from struct import Struct
from time import perf_counter
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import unquote, unquote_plus

import msgspec
from msgspec import UNSET, UnsetType

from groundplane.clock import unix_time
from groundplane.context import Caller
from groundplane.settings.values import Logs as LogSettings

DEBUG, INFO, WARN, ERROR = -4, 0, 4, 8

MAX_URL, MAX_TEXT, MAX_METHOD = 3000, 2000, 50  # bytes, as in PocketBase
MAX_MESSAGE = 4000  # characters
MAX_DATA_VALUE = 2000  # characters of one text in an entry's data
HIDDEN = "***"
# Names of parameters and data whose values give access to something.
SECRET = re.compile(
    r"token|passw|secret|credential|authorization|cookie|api.?key|^(?:code|key|jwt|otp)$", re.IGNORECASE
)
# Whether a query may hold such a name: it is there in plain letters, or a name has encoded letters.
SUSPECT = re.compile(
    r"token|passw|secret|credential|authori|cookie|api.?key|(?:^|&)(?:code|key|jwt|otp)=|(?:^|&)[^=&]*[%+]",
    re.IGNORECASE,
)
# Answered often and not worth an entry as long as all is well (contract, admin-api §3.1).
UNLOGGED = re.compile(rb"/(?!api(?:/|$))|/api/(?:logs|oauth2-redirect)(?:/|$)|/api/realtime/?$")
COLLECTIONS = b"/api/collections/"
# What a URL cannot show as it is, or JSON; in a query escapes are usual.
UNPLAIN = re.compile(rb'[%"\\\x00-\x1f\x7f]')
UNPLAIN_QUERY = re.compile(rb'["\\\x00-\x1f\x7f-\xff]')
# Parameters of lists and views, none of which gives access to anything.
HARMLESS = frozenset({b"page", b"perPage", b"skipTotal", b"total", b"filter", b"sort", b"expand", b"fields"})
STREAM = re.compile(rb"/api/realtime/?$")

TIME_BITS = 18  # of an entry's number that are not its time
NUMBERS_PER_PROCESS = 1 << 10
POSTGRES_EPOCH_MS = 946_684_800_000  # 2000-01-01
DAY_MS = 86_400_000
COPY_HEAD = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0"
COPY_TAIL = b"\xff\xff"
NO_DATA: Mapping[str, Any] = {}

# One row of PostgreSQL's binary COPY: five columns, each after its length; two texts follow.
_head = Struct(">hiqiqihi")
_row = _head.pack
_length = Struct(">i").pack
_encode = msgspec.json.Encoder(enc_hook=repr).encode


class Failure(NamedTuple):
    """Why a request failed; `details` is JSON-like and stays on this side."""

    error: str
    details: Any


# A request that was answered, a plain tuple because making one of a class costs three times as much:
# started and ended (of `perf_counter`), method, path and query as they came, status, Referer, User-Agent,
# the caller, the client's address, the peer's, why it failed.
Seen: TypeAlias = tuple[
    float, float, str, bytes, bytes, int, bytes, bytes, Caller | None, str, str, Failure | None
]  # fmt: skip

# Of the entries of plain requests that differ in path and time only: the method and a blank, and the data before
# the time, between time and path, and behind the path.
Common: TypeAlias = tuple[bytes, bytes, bytes, bytes]


class Note(NamedTuple):
    """A message of the server or of a plugin; `created_ms` in milliseconds since 1970."""

    created_ms: int
    level: int
    message: str
    data: Mapping[str, Any]


# The third kind is a finished row of COPY: see `plain_row`.
Entry: TypeAlias = Seen | Note | bytes


class RequestData(msgspec.Struct):
    """The `data` of a request's entry, keys in their order on the wire."""

    auth: str
    authId: str | UnsetType
    details: Any
    error: str | UnsetType
    execTime: float
    method: str
    referer: str
    remoteIP: str | UnsetType
    status: int
    type: str
    url: str
    userAgent: str
    userIP: str | UnsetType


class Numbers:
    """Gives entries numbers that grow with time: milliseconds, then who, then which of that millisecond.

    Two processes of one machine differ in `who`; a chance meeting of two machines in one millisecond would
    only give two entries one number.
    """

    def __init__(self, process: int, series: int = 0) -> None:
        """A process may give numbers in two series, 0 and 1, whose times need not be in step."""
        self._who = (process % NUMBERS_PER_PROCESS << 8) + (series << 7)
        self._last_ms = 0
        self._count = 0

    def next(self, created_ms: int) -> int:
        if created_ms != self._last_ms:
            self._last_ms, self._count = created_ms, 0
        count = self._count
        self._count = count + 1
        return (created_ms << TIME_BITS) + self._who + (count & 0x7F)


def rows_of(
    entries: Iterable[Entry], settings: LogSettings, numbers: Numbers, *, now_ms: float, now_counter: float
) -> dict[int, list[bytes]]:
    """The entries that the settings keep as rows for COPY, by day (days since 1970).

    `now_ms` and `now_counter` are the same moment on both clocks.
    """
    days: dict[int, list[bytes]] = {}
    if settings.max_days == 0:
        return days
    least = settings.min_level
    finished: list[bytes] = []
    offset_ms = now_ms - now_counter * 1000
    for entry in entries:
        if isinstance(entry, bytes):
            finished.append(entry)
            continue
        if isinstance(entry, Note):
            level = entry.level
            if level < least:
                continue
            created_ms = entry.created_ms
            message = entry.message[:MAX_MESSAGE].replace("\x00", "").encode(errors="replace")
            data = _encode(cleaned(entry.data)).replace(b"\\u0000", b"")
        else:
            level = ERROR if entry[5] >= 400 else INFO
            if level < least:
                continue
            if level == INFO and not entry[3].startswith(COLLECTIONS) and is_unlogged(entry[3], entry[2]):
                continue
            created_ms = int(offset_ms + entry[1] * 1000)
            message, data = plain_texts(entry, settings) or request_texts(entry, settings)
        number = numbers.next(created_ms)
        row = _row(5, 8, number, 8, (created_ms - POSTGRES_EPOCH_MS) * 1000, 2, level, len(message))
        days.setdefault(created_ms // DAY_MS, []).append(row + message + _length(len(data)) + data)
    if finished and (day := day_of(finished[0])) == day_of(finished[-1]):
        days.setdefault(day, []).extend(finished)
    else:
        for each in finished:
            days.setdefault(day_of(each), []).append(each)
    return days


def day_of(row: bytes) -> int:
    """The day of a finished row."""
    created_us: int = _head.unpack_from(row)[4]
    return (created_us // 1000 + POSTGRES_EPOCH_MS) // DAY_MS


def in_common(
    method: str, caller: Caller | None, ip: str, headers: Mapping[bytes, bytes], settings: LogSettings
) -> Common | None:
    """What the entries of plain requests with these headers have in common; None where the settings keep none."""
    if settings.max_days == 0 or settings.min_level > INFO:
        return None
    auth, auth_id = ("", "") if caller is None else (caller.collection_name, caller.id)
    address = ip if settings.log_ip else None
    return method.encode() + b" ", *around(
        auth,
        auth_id if settings.log_auth_id else "",
        method,
        headers.get(b"referer", b""),
        200,
        headers.get(b"user-agent", b""),
        address,
        address,
    )


def plain_row(common: Common, path: bytes, took_us: int, created_ms: int, number: int) -> bytes:
    """The row for COPY of a request with the status 200 and no query, whose path can stand in JSON as it is."""
    method, first, middle, last = common
    took = b"%d.%03d" % divmod(took_us, 1000)
    size = len(first) + len(took) + len(middle) + len(path) + len(last)
    head = _row(5, 8, number, 8, (created_ms - POSTGRES_EPOCH_MS) * 1000, 2, INFO, len(method) + len(path))
    return b"".join((head, method, path, _length(size), first, took, middle, path, last))


def plain_texts(seen: Seen, settings: LogSettings) -> tuple[bytes, bytes] | None:
    """What `request_texts` gives for most requests, at a third of its cost; None for one that needs care."""
    started, ended, method, path, query, status, referer, user_agent, caller, ip, remote_ip, failure = seen
    if failure is not None or not path.isascii() or UNPLAIN.search(path) or len(path) + len(query) > MAX_TEXT:
        return None
    url = shown = path
    if query:
        if UNPLAIN_QUERY.search(query):
            return None
        for part in query.split(b"&"):
            if part.partition(b"=")[0] not in HARMLESS:
                return None
        url = shown = b"%b?%b" % (path, query)
        if b"%" in query:
            shown = unquote(url.decode()).replace("\x00", "").encode(errors="replace")
    auth, auth_id = ("", "") if caller is None else (caller.collection_name, caller.id)
    first, method_and_more, last = around(
        auth,
        auth_id if settings.log_auth_id else "",
        method,
        referer,
        status,
        user_agent,
        *((ip, remote_ip) if settings.log_ip else (None, None)),
    )
    took = int((ended - started) * 1_000_000)
    return b"%b %b" % (method.encode(), shown), b"%b%d.%03d%b%b%b" % (
        first, took // 1000, took % 1000, method_and_more, url, last,
    )  # fmt: skip


@lru_cache(maxsize=512)
def around(
    auth: str,
    auth_id: str,
    method: str,
    referer: bytes,
    status: int,
    user_agent: bytes,
    ip: str | None,
    remote_ip: str | None,
) -> tuple[bytes, bytes, bytes]:
    """The data of a request before its time, between time and URL, and behind the URL; the same for many."""
    settings = LogSettings(log_ip=ip is not None, log_auth_id=bool(auth_id))
    caller = Caller(id=auth_id, collection_id="", collection_name=auth) if auth else None
    seen = (0.0, 0.0, method, b"/", b"", status, referer, user_agent, caller, ip or "", remote_ip or "", None)
    _, data = request_texts(seen, settings)
    first, _, rest = data.partition(b'"execTime":0.0')
    middle, _, last = rest.rpartition(b'"url":"/"')
    return first + b'"execTime":', middle + b'"url":"', b'"' + last


def request_texts(seen: Seen, settings: LogSettings) -> tuple[bytes, bytes]:
    """The message and the data of a request's entry."""
    started, ended, method, path, query, status, referer, user_agent, caller, ip, remote_ip, failure = seen
    url, agent = path.decode("latin-1"), user_agent.decode("latin-1")
    if query:
        url = f"{url}?{without_secrets(query.decode('latin-1'))}"
    if len(url) > MAX_URL:
        url = cut(url, MAX_URL)
    if len(method) > MAX_METHOD:
        method = cut(method, MAX_METHOD)
    data = RequestData(
        "" if caller is None else caller.collection_name,
        caller.id if caller is not None and settings.log_auth_id else UNSET,
        UNSET if failure is None else failure.details,
        UNSET if failure is None else failure.error,
        int((ended - started) * 1_000_000) / 1000,
        method,
        shown_referer(referer) if referer else "",
        remote_ip if settings.log_ip else UNSET,
        status,
        "request",
        url,
        agent if len(agent) <= MAX_TEXT else cut(agent, MAX_TEXT),
        ip if settings.log_ip else UNSET,
    )
    decoded = unquote(url).replace("\x00", "") if "%" in url else url
    return f"{method} {decoded}".encode(errors="replace"), _encode(data)


@lru_cache(maxsize=1024)
def is_unlogged(path: bytes, method: str) -> bool:
    """Whether an answer that is no failure leaves no entry: static files, streams, the log itself."""
    if UNLOGGED.match(path) is None:
        return False
    return method in ("GET", "HEAD") or STREAM.match(path) is None


@lru_cache(maxsize=256)
def shown_referer(raw: bytes) -> str:
    path, question, query = raw.decode("latin-1").partition("?")
    return cut(f"{path}{question}{without_secrets(query)}" if query else path, MAX_TEXT)


def without_secrets(query: str) -> str:
    """The query with the values of parameters that give access replaced."""
    if SUSPECT.search(query) is None:
        return query
    parts = []
    for part in query.split("&"):
        name, equals, _ = part.partition("=")
        secret = equals and SECRET.search(unquote_plus(name)) is not None
        parts.append(f"{name}={HIDDEN}" if secret else part)
    return "&".join(parts)


def cut(text: str, limit: int) -> str:
    """The text cut to `limit` bytes, with three dots when something is missing."""
    raw = text.encode(errors="replace")
    return text if len(raw) <= limit else raw[:limit].decode(errors="ignore") + "..."


def cleaned(value: Any, depth: int = 0) -> Any:
    """Data of a note as JSON can hold it: secrets hidden by their names, long texts cut, depth limited."""
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return value if len(value) <= MAX_DATA_VALUE else value[:MAX_DATA_VALUE] + "..."
        case Mapping() if depth < 6:
            return {
                str(key): HIDDEN if SECRET.search(str(key)) else cleaned(each, depth + 1)
                for key, each in value.items()
            }
        case list() | tuple() | set() | frozenset() if depth < 6:
            return [cleaned(each, depth + 1) for each in value]
    return cleaned(repr(value))


def both_clocks() -> tuple[float, float]:
    """This moment in milliseconds since 1970 and on the clock of `Seen`."""
    return unix_time() * 1000, perf_counter()
