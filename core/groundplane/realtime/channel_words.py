"""What the processes tell each other of channels: who is there, and what is sent.

One task sends, so that all of a process's words arrive in their order: who has joined is known before what it says.
Words get lost while a broker is away; the numbers in `presence.py` show it, and the whole is asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from groundplane.broker.broker import Broker
from groundplane.errors import GroundplaneError
from groundplane.realtime.presence import Presence, Said, Seen, in_full

log = logging.getLogger(__name__)

WORDS = "rt-channels"  # channel of the broker
BEAT_S = 5.0  # between two signs of life of a process that has members
SILENT_S = 20.0  # after which a process without them is taken for dead, as when its machine lost its power
LOOK_S = 2.0  # between two looks for processes that have gone
ASK_AGAIN_S = 1.0
LAST_WORDS_S = 2.0
MAX_WORD_BYTES = 7000  # a notification of PostgreSQL holds a little more
EVERYBODY = "*"


class Message(msgspec.Struct, omit_defaults=True):
    """One message: `data` is JSON, `sender` a member or "" for the server, `to` one member or "" for all."""

    channel: str
    event: str
    data: str
    sender: str = ""
    to: str = ""
    echo: bool = False  # also to its sender


class Word(msgspec.Struct, omit_defaults=True):
    """`number` counts the changes of `process` before these; `whole` says that they are all of its members."""

    process: str
    number: int
    changes: list[Said] = []
    whole: bool = False
    first: bool = True
    last: bool = True
    messages: list[Message] = []
    ask: str = ""  # a process, or everybody, that is to send its whole


class Words:
    """Both directions; `seen` and `said` are called with what is new, in the order of its happening."""

    def __init__(
        self, broker: Broker, seen: Callable[[Sequence[Seen]], None], said: Callable[[Message], None]
    ) -> None:
        self.presence = Presence()
        self._broker = broker
        self._own = broker.process
        self._seen = seen
        self._said = said
        self._changes: list[Said] = []
        self._messages: deque[tuple[Message, asyncio.Future[None]]] = deque()
        self._asks: deque[str] = deque()
        self._whole_wanted = self._beat = self._follows = False
        self._number = 0  # changes that were sent
        self._spoke = 0.0
        self._waiting = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        broker.subscribe(WORDS, self._on_word)
        broker.on_reconnect(self._catch_up)

    def start(self) -> None:
        for work in (self._send_on, self._watch):
            self._tasks.append(asyncio.create_task(work(), name="channels"))

    def follow(self) -> None:
        """Begin to know who is there; processes without streams, as those of commands, need not."""
        if not self._follows:
            self._follows = True
            self._ask(EVERYBODY)

    async def close(self) -> None:
        """Send what waits, so that the others hear who has left, and stop."""
        if self._tasks and (self._changes or self._messages):
            with contextlib.suppress(TimeoutError, GroundplaneError):
                async with asyncio.timeout(LAST_WORDS_S):
                    await self.send(Message("", "", "null"))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    def change(self, channel: str, member: str, shown: str) -> None:
        """Say how a member of this process is seen from now on; "" is that it has left."""
        self.follow()
        changes = [(channel, member, shown)]
        seen = self.presence.change(self._own, changes, time.monotonic())
        if seen:
            self._changes += changes
            self._waiting.set()
            self._seen(seen)

    async def send(self, message: Message) -> None:
        """Send a message to all processes, this one included; raises Unavailable when that is not possible."""
        sent = asyncio.get_running_loop().create_future()
        self._messages.append((message, sent))
        self._waiting.set()
        await sent

    # Sending

    async def _send_on(self) -> None:
        while True:
            await self._waiting.wait()
            self._waiting.clear()
            while self._changes or self._messages or self._asks or self._whole_wanted or self._beat:
                await self._send_some()

    async def _send_some(self) -> None:
        changes, self._changes = self._changes[:50], self._changes[50:]
        word = Word(self._own, self._number, changes)
        self._number += len(changes)
        waiting: list[asyncio.Future[None]] = []
        size = sum(len(shown) for _, _, shown in changes)
        # Messages go behind all changes, whole parts behind both.
        while not self._changes and self._messages and (not size or size < MAX_WORD_BYTES):
            message, sent = self._messages.popleft()
            size += len(message.data) + 200
            word.messages.append(message)
            waiting.append(sent)
        if self._asks:
            word.ask = self._asks.popleft()
        says_something, self._beat = changes or waiting or word.ask or self._beat, False
        failure = await self._publish(word) if says_something else None
        for each in waiting:
            if each.done():
                continue  # nobody waits any more
            if failure is None:
                each.set_result(None)
            else:
                each.set_exception(failure)
        if self._whole_wanted and not self._changes:
            await self._send_whole()

    async def _send_whole(self) -> None:
        self._whole_wanted = False
        part = self.presence.parts.get(self._own)
        everything, number = in_full(part.members if part is not None else {}), self._number
        pieces: list[list[Said]] = [[]]
        size = 0
        for each in everything:
            size += len(each[2]) + 150
            if size > MAX_WORD_BYTES and pieces[-1]:
                pieces.append([])
                size = 0
            pieces[-1].append(each)
        for place, piece in enumerate(pieces):
            first, last = place == 0, place == len(pieces) - 1
            if await self._publish(Word(self._own, number, piece, whole=True, first=first, last=last)):
                return  # whoever waits for the end of it asks again

    async def _publish(self, word: Word) -> GroundplaneError | None:
        self._spoke = time.monotonic()
        try:
            await self._broker.publish(WORDS, msgspec.json.encode(word))
        except GroundplaneError as error:
            log.warning("Other processes do not hear of channels now: %s", error)
            return error
        return None

    def _ask(self, process: str) -> None:
        self._asks.append(process)
        self._waiting.set()

    # Hearing

    async def _on_word(self, payload: bytes) -> None:
        word = msgspec.json.decode(payload, type=Word)
        if word.process != self._own and self._follows:
            self._hear(word, time.monotonic())
        for message in word.messages:
            if message.channel:
                self._said(message)

    def _hear(self, word: Word, now: float) -> None:
        if word.ask in (EVERYBODY, self._own):
            self._whole_wanted = True
            self._waiting.set()
        if word.whole:
            seen = self.presence.whole(
                word.process, word.number, word.changes, now, first=word.first, last=word.last
            )
        else:
            heard = self.presence.heard(word.process, word.number, word.changes, now)
            if heard is None:
                part = self.presence.parts[word.process]
                if now - part.asked >= ASK_AGAIN_S:
                    part.asked = now
                    self._ask(word.process)
                return
            seen = heard
        if seen:
            self._seen(seen)

    async def _catch_up(self) -> None:
        """Words may have been missed in both directions."""
        if not self._follows:
            return
        now = time.monotonic()
        for part in self.presence.parts.values():
            part.heard = now
        self._whole_wanted = True
        self._ask(EVERYBODY)

    async def _watch(self) -> None:
        """Forget processes that have gone, and show that this one is there."""
        while True:
            await asyncio.sleep(LOOK_S)
            own = self.presence.parts.get(self._own)
            if own is not None and own.members and time.monotonic() - self._spoke >= BEAT_S:
                self._beat = True
                self._waiting.set()
            if self.presence.parts.keys() - {self._own} and self._broker.trusted:
                await self._forget_the_dead()

    async def _forget_the_dead(self) -> None:
        try:
            alive = await self._broker.processes()
        except GroundplaneError as error:
            log.warning("Nobody can say which processes are there: %s", error)
            return
        silent_since = time.monotonic() - SILENT_S
        for process, part in list(self.presence.parts.items()):
            if process != self._own and (process not in alive or part.heard < silent_since):
                seen = self.presence.gone(process)
                if seen:
                    self._seen(seen)
