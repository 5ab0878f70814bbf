"""What a client subscribes to: a name, and options that travel inside of it (contract, realtime §3)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qs

import msgspec

from groundplane.schema.cache import Schema
from groundplane.schema.casting import to_text
from groundplane.schema.collection import Collection

OAUTH2 = "@oauth2"
CHANNEL = "@channel/"
MAX_OPTION_BYTES = 2500


class Topic(NamedTuple):
    """`text` as it was sent, which is also the name of its events; `collection` is a name or an id.

    `record` is "" for every record of the collection; `collection` is "" for a topic that no record fires.
    `channel` is the name in `@channel/NAME`, and `state` what the client shows of itself there, as JSON, or "".
    """

    text: str
    collection: str
    record: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    channel: str = ""
    state: str = ""

    @property
    def gate(self) -> Literal["list", "view"]:
        """The rule that decides: whoever names one record must be able to view it."""
        return "view" if self.record else "list"


@lru_cache(maxsize=4096)
def read_topic(text: str) -> Topic:
    """Read a topic; nothing is refused, what cannot be read has no options or never fires."""
    base, _, query = text.partition("?")
    collection, slash, record = base.partition("/")
    if base.startswith("@") or (slash and not record):
        collection = record = ""
    options = read_options(query)
    given = options.get("query")
    state = given.get("state") if isinstance(given, dict) else None
    return Topic(
        text=text,
        collection=collection,
        record="" if record == "*" else record,
        query=texts(options.get("query")),
        headers={
            name.lower().replace("-", "_"): value for name, value in texts(options.get("headers")).items()
        },
        channel=base.removeprefix(CHANNEL) if base.startswith(CHANNEL) else "",
        state=msgspec.json.encode(state).decode() if isinstance(state, dict) else "",
    )


def read_options(query: str) -> dict[str, Any]:
    if not query:
        return {}
    try:
        given = parse_qs(query, max_num_fields=20).get("options", [""])[0]
        options = msgspec.json.decode(given[: MAX_OPTION_BYTES * 4])
    except (ValueError, msgspec.DecodeError):
        return {}
    return options if isinstance(options, dict) else {}


def texts(given: object) -> dict[str, str]:
    """The members of an object as texts; anything else is no members."""
    if not isinstance(given, dict):
        return {}
    return {str(name): to_text(value) for name, value in given.items()}


def named(schema: Schema, name: str) -> Collection | None:
    """The collection with this name or id, in exactly this spelling; views never fire."""
    found = schema.get(name) if name else None
    return found if found is not None and name in (found.name, found.id) and not found.is_view else None
