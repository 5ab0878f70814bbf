"""What requests with a service key may be about, decided before anything of them is looked at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from groundplane.auth.scopes import ONLY_ITS_OWN, OUTSIDE, Access, Key, follows_relations
from groundplane.errors import Forbidden
from groundplane.realtime.topics import named, read_topic
from groundplane.records.batch import Item, target_of

if TYPE_CHECKING:
    from groundplane.api.exchange import Exchange
    from groundplane.context import Caller
    from groundplane.schema.collection import Collection
    from groundplane.services import Services

# A file token would live on when the key does not; the key itself opens protected files.
FILE_TOKEN = ("api", "files", "token")
# What a request does to records, by its method and whether it names one.
RECORD_ACTIONS = {
    ("GET", False): "list",
    ("HEAD", False): "list",
    ("GET", True): "view",
    ("HEAD", True): "view",
    ("POST", False): "create",
    ("PATCH", True): "update",
    ("DELETE", True): "delete",
}


def key_of(caller: Caller, services: Services) -> Key:
    """The key that a caller has come with; raises Forbidden when it has just been revoked."""
    key = services.keys.key_of(caller)
    if key is None:
        raise Forbidden(OUTSIDE)
    return key


def check_key(exchange: Exchange, services: Services) -> None:
    """Refuse a request with a service key that its scopes do not cover; raises Forbidden.

    What is not about records is for keys with a superuser's access only. Items of a batch and topics of a
    stream are checked one by one, when they are known.
    """
    caller = exchange.caller
    if caller is None or not caller.key:
        return
    key = key_of(caller, services)
    if key.access is Access.SUPERUSER and exchange.segments != FILE_TOKEN:
        return
    method = exchange.method
    match exchange.segments:
        case ("api", "collections", name, "records", *rest) if len(rest) <= 1:
            action = RECORD_ACTIONS.get((method, bool(rest)), "")
            require(key, services, name, action, exchange)
        case ("api", "files", name, _, _) if method in ("GET", "HEAD"):
            require(key, services, name, "view", exchange)
        case ("api", "batch") | ("api", "realtime") | ("api", "health"):
            return
        case _:
            raise Forbidden(OUTSIDE)


def require(key: Key, services: Services, name: str, action: str, exchange: Exchange) -> None:
    collection = services.schema.current.get(name)
    # Whether a collection exists is nothing that a key for others should learn.
    if collection is None:
        raise Forbidden(OUTSIDE)
    key.require(collection, action, exchange.query)


def check_items(exchange: Exchange, services: Services, items: Iterable[Item]) -> None:
    """Refuse items of a batch that would read other records than they write."""
    caller = exchange.caller
    if caller is None or not caller.key or key_of(caller, services).access is not Access.FULL:
        return
    for item in items:
        target = target_of(item)
        if target is not None and follows_relations(target.query):
            raise Forbidden(ONLY_ITS_OWN)


def check_action(exchange: Exchange, services: Services, collection: Collection, action: str) -> None:
    """Refuse an item of a batch that the scopes do not cover."""
    caller = exchange.caller
    if caller is not None and caller.key:
        key_of(caller, services).require(collection, action)


def check_topics(services: Services, caller: Caller, topics: Sequence[str]) -> None:
    """Refuse topics of a stream that the scopes do not cover; called in the process that holds the stream."""
    if not caller.key:
        return
    key = key_of(caller, services)
    if key.access is Access.SUPERUSER:
        return
    for text in topics:
        topic = read_topic(text)
        collection = named(services.schema.current, topic.collection)
        if collection is None:
            raise Forbidden(OUTSIDE)
        key.require(collection, "view" if topic.record else "list", topic.query)
