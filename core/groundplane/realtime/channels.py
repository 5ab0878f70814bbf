"""Named channels: clients send each other messages, and see who is there.

A stream is in a channel while it has a topic `@channel/NAME` and the channel's `join` rule lets it. Rules are asked
when it subscribes, when the record that it acts as changes, and again every half minute; who is not let any more
is out. Every process knows the members of all processes (`presence.py`) and hears every message
(`channel_words.py`), and hands both to its own members.

Alternatives: members as rows of a table would cost a write for each that comes and goes, and a reading of all
of them for each who is told; hashes in Valkey with a time to live would do, but Valkey is not always there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from groundplane.broker.broker import Broker
from groundplane.context import RequestInfo
from groundplane.errors import Forbidden, GroundplaneError, Invalid, NotFound, TooLarge, TooManyRequests
from groundplane.realtime.channel_rules import ChannelRules, Place, Question
from groundplane.realtime.channel_words import Message, Words
from groundplane.realtime.clients import Client, Clients, Subscription, tail_of
from groundplane.realtime.members import Guest, Membership
from groundplane.realtime.presence import Seen

log = logging.getLogger(__name__)

MAX_CHANNELS = 100  # of one client
MAX_STATE_BYTES = 1024
MAX_EVENT_LENGTH = 100
LOOK_S = 30.0  # between two evaluations of the rules for those who are in
TOGETHER_S = 0.05  # who comes and goes within that is told at once
NO_CHANNEL = "Missing channel."
NOT_THERE = "Your stream is not in this channel."


class Channels:
    """The channels as one process sees them, and the members among its streams."""

    def __init__(self, rules: ChannelRules, clients: Clients, broker: Broker) -> None:
        self.rules = rules
        self._clients = clients
        self._guests: dict[Client, Guest] = {}
        self._here: dict[str, dict[str, Membership]] = {}  # by channel and member
        self._untold: dict[str, list[Seen]] = {}
        self._telling: asyncio.TimerHandle | None = None
        self._looking: asyncio.Task[None] | None = None
        # Without channels nothing of this costs anybody anything.
        self._words = Words(broker, self._note, self._hand_out) if rules else None
        clients.closed = self._left

    async def start(self) -> None:
        if self._words is not None:
            self._words.start()
            self._looking = asyncio.create_task(self._look(), name="channels")

    def follow(self) -> None:
        """Begin to know who is there: for processes that have streams."""
        if self._words is not None:
            self._words.follow()

    async def close(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        if self._words is not None:
            await self._words.close()

    # Who is in

    async def settle(self, client: Client, *, is_asked: bool = True) -> None:
        """Bring a client into the channels of its topics that let it, and out of all others.

        With `is_asked` it hears of every channel that refuses it, else only of those where it has been.
        Raises Unavailable and the like; it is in no channel then.
        """
        while True:
            subscriptions, caller = client.subscriptions, client.caller
            wanted = wanted_channels(subscriptions.values())
            if not wanted and client not in self._guests:
                return
            places = {name: place for name in wanted if (place := self.rules.place(name)) is not None}
            questions = []
            for name, place in places.items():
                info = wanted[name][0].info
                questions += [
                    Question(rule, place, info) for rule in (place.config.join, place.config.presence)
                ]
            try:
                answers = await self.rules.allowed(questions)
            except GroundplaneError:
                self._left(client)
                raise
            if client.subscriptions is subscriptions and client.caller is caller:
                break
        if self._clients.get(client.id) is not client:
            self._left(client)
            return
        verdicts = dict(zip(places, zip(answers[::2], answers[1::2], strict=True), strict=True))
        guest = self._guests.setdefault(client, Guest())
        for name in [name for name in guest.memberships if name not in wanted]:
            self._leave(guest, name)
        for name, topics in wanted.items():
            may_join, is_seen = verdicts.get(name, (False, False))
            self._decide(guest, client, places.get(name), topics, may_join, is_seen, is_asked=is_asked)
        if not wanted:
            del self._guests[client]

    def _decide(
        self,
        guest: Guest,
        client: Client,
        place: Place | None,
        topics: list[Subscription],
        may_join: bool,
        is_seen: bool,
        *,
        is_asked: bool,
    ) -> None:
        name = topics[0].topic.channel
        known = guest.memberships.get(name)
        failure: GroundplaneError | None = None
        if place is None or not may_join:
            failure = Forbidden()
        elif known is None:
            failure = self._reason_against(guest, place, is_seen=is_seen)
        newcomers = [each for each in topics if is_new(each, known)]
        state = next((each.topic.state for each in reversed(newcomers) if each.topic.state), "")
        if len(state.encode()) > MAX_STATE_BYTES:
            failure = Invalid(f"The state is larger than {MAX_STATE_BYTES} bytes")
        if failure is not None or place is None:
            if known is not None:
                self._leave(guest, name)
            if failure is not None and (is_asked or known is not None):
                put(topics, refusal(failure))
            return
        membership = known
        if membership is None:
            membership = guest.memberships[name] = Membership(client, place)
            self._here.setdefault(name, {})[membership.id] = membership
        elif newcomers:
            self._tell(name)  # the other topics hear before what the new ones are welcomed with
        membership.subscriptions = topics
        membership.state = state or membership.state
        was_seen = membership.shown
        self._show(membership, membership.picture() if is_seen else "")
        if is_seen and not was_seen:
            newcomers = topics
        if newcomers:
            put(newcomers, self._welcome(membership))
            membership.unseen_from = len(self._untold.get(name, ()))

    def _reason_against(self, guest: Guest, place: Place, *, is_seen: bool) -> GroundplaneError | None:
        if len(guest.memberships) >= MAX_CHANNELS:
            return Invalid(f"A stream may be in at most {MAX_CHANNELS} channels")
        if not guest.joins.take():
            return TooManyRequests()
        if is_seen and len(self.members(place.name)) >= place.config.max_present:
            return Forbidden("The channel is full.")
        return None

    def _welcome(self, membership: Membership) -> bytes:
        data: dict[str, Any] = {"action": "joined", "id": membership.id}
        if membership.shown:
            data["members"] = [
                msgspec.Raw(each.encode()) for each in self.members(membership.place.name).values()
            ]
        return msgspec.json.encode(data)

    def _show(self, membership: Membership, shown: str) -> None:
        if shown != membership.shown and self._words is not None:
            membership.shown = shown
            self._words.change(membership.place.name, membership.id, shown)

    def _leave(self, guest: Guest, name: str) -> None:
        membership = guest.memberships.pop(name)
        here = self._here[name]
        del here[membership.id]
        if not here:
            del self._here[name]
        self._show(membership, "")

    def _left(self, client: Client) -> None:
        """Take a client out of all channels; what its topics ask for is not looked at."""
        guest = self._guests.pop(client, None)
        if guest is not None:
            for name in list(guest.memberships):
                self._leave(guest, name)

    async def look_again(self, clients: Iterable[Client]) -> None:
        """Settle clients whose caller has changed; who cannot be judged now is out."""
        for client in clients:
            if client in self._guests:
                try:
                    await self.settle(client, is_asked=False)
                except GroundplaneError as error:
                    log.warning("A client was taken out of its channels: %s", error)
                    for topics in wanted_channels(client.subscriptions.values()).values():
                        put(topics, refusal(error))

    async def _look(self) -> None:
        """Evaluate the rules again, since what they read may have changed; all questions together."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.look_at_all()
            except GroundplaneError as error:
                log.warning("The rules of channels could not be asked: %s", error)

    async def look_at_all(self) -> None:
        """Settle those for whom a rule says something else than when they came."""
        inside = [each for guest in self._guests.values() for each in guest.memberships.values()]
        questions = [
            Question(rule, each.place, each.info)
            for each in inside
            for rule in (each.place.config.join, each.place.config.presence)
        ]
        answers = await self.rules.allowed(questions)
        verdicts = zip(inside, answers[::2], answers[1::2], strict=True)
        await self.look_again(
            {
                each.client
                for each, may_join, is_seen in verdicts
                if not may_join or is_seen != bool(each.shown)
            }
        )

    # What they do

    def members(self, channel: str) -> dict[str, str]:
        """The members that can be seen in a channel, on all nodes, as JSON by their ids."""
        return self._words.presence.members(channel) if self._words is not None else {}

    def membership(self, client: Client, channel: str) -> Membership:
        """Raises Forbidden when the client is not in the channel."""
        guest = self._guests.get(client)
        found = guest.memberships.get(channel) if guest is not None else None
        if found is None:
            raise Forbidden(NOT_THERE)
        return found

    async def say(self, client: Client, message: Message) -> None:
        """Send a member's message, if the channel's `send` rule lets it.

        The rule sees `event` and `data` as `@request.body`. Raises Forbidden, TooLarge, TooManyRequests, Unavailable.
        """
        membership = self.membership(client, message.channel)
        self._check_budget(membership)
        check_size(message, membership.place)
        body = {"event": message.event, "data": msgspec.json.decode(message.data)}
        info = msgspec.structs.replace(membership.info, method="POST", body=body)
        rule = membership.place.config.send
        if not (await self.rules.allowed([Question(rule, membership.place, info)]))[0]:
            raise Forbidden()
        message.sender = membership.id
        await self._send(message)

    async def broadcast(self, message: Message) -> None:
        """Send a message of the server's own; raises NotFound, TooLarge and Unavailable."""
        place = self.place(message.channel)
        check_size(message, place)
        message.sender = ""
        await self._send(message)

    async def set_state(self, client: Client, channel: str, state: str) -> None:
        """Change how a member is seen; `state` is a JSON object. Raises Forbidden, Invalid, TooManyRequests."""
        membership = self.membership(client, channel)
        self._check_budget(membership)
        if len(state.encode()) > MAX_STATE_BYTES:
            raise Invalid(f"The state is larger than {MAX_STATE_BYTES} bytes")
        membership.state = state
        if membership.shown:
            self._show(membership, membership.picture())

    async def seen_by(self, channel: str, info: RequestInfo) -> list[str]:
        """The members of a channel as JSON, for who may join and be seen; raises NotFound and Forbidden."""
        place = self.place(channel)
        rules = (place.config.join, place.config.presence)
        if not all(await self.rules.allowed([Question(rule, place, info) for rule in rules])):
            raise Forbidden()
        return list(self.members(channel).values())

    def place(self, channel: str) -> Place:
        place = self.rules.place(channel)
        if place is None:
            raise NotFound(NO_CHANNEL)
        return place

    def _check_budget(self, membership: Membership) -> None:
        if not self._guests[membership.client].messages(membership.place).take():
            raise TooManyRequests()

    async def _send(self, message: Message) -> None:
        if self._words is not None:
            await self._words.send(message)

    # What they hear

    def _note(self, seen: Sequence[Seen]) -> None:
        """Keep who has come and gone for a moment: when many come back at once, each is told of all at once."""
        for each in seen:
            if each.channel in self._here:
                self._untold.setdefault(each.channel, []).append(each)
        if self._untold and self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(TOGETHER_S, self._tell_all)

    def _tell_all(self) -> None:
        self._telling = None
        for channel in list(self._untold):
            self._tell(channel)

    def _tell(self, channel: str) -> None:
        """Tell the members here what has changed since they were told last."""
        seen = self._untold.pop(channel, None)
        if not seen:
            return
        groups: dict[int, list[Subscription]] = {}
        for membership in self._here.get(channel, {}).values():
            first, membership.unseen_from = membership.unseen_from, 0
            if membership.shown:
                groups.setdefault(first, []).extend(membership.subscriptions)
        for first, subscriptions in groups.items():
            data = difference(seen[first:])
            if data is not None:
                put(subscriptions, data)

    def _hand_out(self, message: Message) -> None:
        """Give a message to the members here, behind the news of who sends it."""
        here = self._here.get(message.channel)
        if here is None:
            return
        self._tell(message.channel)
        data = msgspec.json.encode(
            {
                "action": "message",
                "event": message.event,
                "data": msgspec.Raw(message.data.encode()),
                "from": message.sender or None,
            }
        )
        subscriptions: list[Subscription] = []
        for id, membership in here.items():
            if (id != message.sender or message.echo) and (not message.to or id == message.to):
                subscriptions += membership.subscriptions
        put(subscriptions, data)


def wanted_channels(subscriptions: Iterable[Subscription]) -> dict[str, list[Subscription]]:
    """The topics of channels, by the channel's name."""
    wanted: dict[str, list[Subscription]] = {}
    for each in subscriptions:
        if each.topic.channel:
            wanted.setdefault(each.topic.channel, []).append(each)
    return wanted


def is_new(subscription: Subscription, membership: Membership | None) -> bool:
    return membership is None or subscription not in membership.subscriptions


def check_size(message: Message, place: Place) -> None:
    if len(message.event) > MAX_EVENT_LENGTH or len(message.data.encode()) > place.config.max_message_bytes:
        raise TooLarge()


def refusal(error: GroundplaneError) -> bytes:
    return msgspec.json.encode({"action": "refused", "status": error.status, "message": error.message})


def difference(seen: Sequence[Seen]) -> bytes | None:
    """What has changed from the first to the last of these; None when that is nothing."""
    first: dict[str, str] = {}
    last: dict[str, Seen] = {}
    for each in seen:
        first.setdefault(each.id, each.happening)
        last[each.id] = each
    joined, updated, left = [], [], []
    for id, each in last.items():
        member = msgspec.Raw(each.member.encode())
        if each.happening == "leave":
            if first[id] != "join":
                left.append(member)
        elif first[id] == "join":
            joined.append(member)
        else:
            updated.append(member)
    if not (joined or updated or left):
        return None
    data = {"action": "presence", "joined": joined, "updated": updated, "left": left}
    return msgspec.json.encode(data)


def put(subscriptions: Iterable[Subscription], data: bytes) -> None:
    """Send the same to all of these, its bytes made once for each topic."""
    tails: dict[str, bytes] = {}
    clients: dict[Client, None] = {}
    for each in subscriptions:
        text = each.topic.text
        tail = tails.get(text)
        if tail is None:
            tail = tails[text] = tail_of(text, data)
        each.client.queue(text, data, tail)
        clients[each.client] = None
    for client in clients:
        client.flush()
