"""Which collections anybody listens to: changes of all others are not logged, and cost nothing.

A process says for how long it wants changes of a collection to be logged, and whether deletions must be judged
while all is still there; what all of them say is in the table `_event_interest`, which every process has read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from groundplane.broker.broker import Broker
from groundplane.config import RealtimeConfig
from groundplane.realtime.clients import Clients, Subscription
from groundplane.realtime.judge import Check, check_of
from groundplane.realtime.log import EventLog
from groundplane.realtime.topics import named
from groundplane.schema.cache import Schema, SchemaCache

INTEREST = "rt-interest"  # channel of the broker
SLACK_S = 90.0  # that an interest outlives its last renewal
SHORTEST_KEPT_S = 60.0  # of the log, for processes that are behind


class Interest:
    """What this process wants, and what all of them do."""

    def __init__(
        self, log: EventLog, schema: SchemaCache, clients: Clients, broker: Broker, config: RealtimeConfig
    ) -> None:
        self._log = log
        self._schema = schema
        self._clients = clients
        self._broker = broker
        self._config = config
        # Of all processes: changes of these collections are logged, and deletions judged before where it is true.
        self.logged: dict[str, bool] = {}
        self._wanted: set[str] = set()
        self._wanted_for: tuple[int, Schema | None] = (-1, None)
        broker.subscribe(INTEREST, self._on_interest)

    async def load(self) -> None:
        """Learn what the other processes want to hear of."""
        self.logged = await self._log.interest()

    async def _on_interest(self, _: bytes) -> None:
        await self.load()

    def ids(self, names: Iterable[str]) -> set[str]:
        """The ids of the collections that topics name."""
        schema = self._schema.current
        return {found.id for name in names if (found := named(schema, name)) is not None}

    def here(self) -> set[str]:
        """The ids of the collections of this process's subscriptions and callers."""
        key = (self._clients.version, self._schema.current)
        if self._wanted_for != key:
            bound = {collection_id for collection_id, _ in self._clients.bound}
            self._wanted, self._wanted_for = self.ids(self._clients.wanted()) | bound, key
        return self._wanted

    def wants(self) -> dict[str, bool]:
        everybody = (each for client in self._clients for each in client.subscriptions.values())
        return dict.fromkeys(self.here(), False) | self.depth(everybody)

    def depth(self, subscriptions: Iterable[Subscription]) -> dict[str, bool]:
        """The collections that subscriptions concern, and whether any of them reads other records."""
        schema = self._schema.current
        found: dict[str, bool] = {}
        for each in subscriptions:
            collection = named(schema, each.topic.collection)
            if collection is not None:
                verdict = check_of(schema, collection, each)
                deep = "expand" in each.topic.query or (isinstance(verdict, Check) and verdict.reads_others)
                found[collection.id] = found.get(collection.id, False) or deep
        return found

    async def want(self, wanted: Mapping[str, bool]) -> None:
        """See to it that every process does from now on what changes of these collections need."""
        logged = self.logged
        if any(id not in logged or (deep and not logged[id]) for id, deep in wanted.items()):
            await self.renew(wanted)
            await self._broker.publish_and_wait(INTEREST)

    async def renew(self, wanted: Mapping[str, bool]) -> None:
        names = self._schema.current.by_id
        kept = {
            id: (self.kept_s(names[id].name) + SLACK_S, deep) for id, deep in wanted.items() if id in names
        }
        if kept:
            await self._log.want(kept)

    def kept_s(self, name: str) -> float:
        return max(self._config.replay.get(name, self._config.replay_s), 0.0)

    async def forget(self) -> None:
        """Remove from the log what nobody may ask for any more."""
        schema = self._schema.current
        others = {
            collection.id: max(kept_s, SHORTEST_KEPT_S)
            for name, kept_s in self._config.replay.items()
            if (collection := named(schema, name)) is not None
        }
        await self._log.forget(max(self._config.replay_s, SHORTEST_KEPT_S), others)
