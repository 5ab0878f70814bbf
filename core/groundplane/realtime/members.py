"""A client in its channels: how others see it, and how much it may still do."""

from __future__ import annotations

import time

import msgspec

from groundplane.context import RequestInfo
from groundplane.realtime.channel_rules import Place
from groundplane.realtime.clients import Client, Subscription
from groundplane.security.ids import record_id

JOINS, JOINS_PER_S = 200.0, 10.0  # of one client, at once and on and on
BURST_S = 2.0  # seconds' worth of messages that may come at once


class Budget:
    """How many steps somebody may take: `most` at once, and `per_s` more each second."""

    def __init__(self, most: float, per_s: float) -> None:
        self.most, self.per_s = max(most, 1.0), per_s
        self._left, self._at = self.most, time.monotonic()

    def take(self) -> bool:
        now = time.monotonic()
        self._left = min(self.most, self._left + (now - self._at) * self.per_s)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Membership:
    """One client in one channel; `shown` is how others see it, as JSON, "" while they do not."""

    __slots__ = ("client", "id", "place", "shown", "state", "subscriptions", "unseen_from")

    def __init__(self, client: Client, place: Place) -> None:
        self.client = client
        self.place = place
        self.id = record_id()
        self.subscriptions: list[Subscription] = []
        self.state = "{}"
        self.shown = ""
        self.unseen_from = 0  # of what waits to be told, what it has not seen when it came

    @property
    def info(self) -> RequestInfo:
        return self.subscriptions[0].info

    def picture(self) -> str:
        """The member as others may see it."""
        caller = self.client.caller
        who = None
        if caller is not None:
            who = {
                "collectionId": caller.collection_id,
                "collectionName": caller.collection_name,
                "id": caller.id,
            }
        member = {"id": self.id, "caller": who, "state": msgspec.Raw(self.state.encode())}
        return msgspec.json.encode(member).decode()


class Guest:
    """One client in all of its channels."""

    def __init__(self) -> None:
        self.memberships: dict[str, Membership] = {}
        self.joins = Budget(JOINS, JOINS_PER_S)
        self._messages: dict[int, Budget] = {}

    def messages(self, place: Place) -> Budget:
        """What is left to it in channels of this kind."""
        config = place.config
        budget = self._messages.get(id(config))
        if budget is None:
            budget = Budget(config.messages_per_s * BURST_S, config.messages_per_s)
            self._messages[id(config)] = budget
        return budget
