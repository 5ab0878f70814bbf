"""Who is in which channel, by the word of each process: what every process knows of all the others.

Each process tells the others what changes in its own part, numbered without gaps, and now and then its number.
Whoever finds that it has missed something asks for the whole part. A process that has gone takes its part along.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

Seat: TypeAlias = tuple[str, str]  # channel and member
Said: TypeAlias = tuple[str, str, str]  # channel, member, and how others see the member, as JSON; "" has left
Happening: TypeAlias = Literal["join", "update", "leave"]


class Seen(NamedTuple):
    """What those who are in a channel are told; `member` is JSON."""

    channel: str
    happening: Happening
    id: str
    member: str


class Part:
    """What one process has said."""

    def __init__(self, now: float) -> None:
        self.number = -1  # of the last change; -1 before its first whole word
        self.heard = now  # when it said anything, as `time.monotonic`
        self.asked = 0.0  # when it was asked for the whole
        self.members: dict[Seat, str] = {}
        self.coming: dict[Seat, str] | None = None  # of a whole part that is not here to its end


class Presence:
    """The parts of all processes, this one's among them."""

    def __init__(self) -> None:
        self.parts: dict[str, Part] = {}
        self._channels: dict[str, dict[str, str]] = {}

    def members(self, channel: str) -> dict[str, str]:
        """The members that can be seen in a channel, as JSON by their ids."""
        return self._channels.get(channel, {})

    def change(self, process: str, changes: Sequence[Said], now: float) -> list[Seen]:
        """Put down what a process says of its members, and return what is new."""
        part = self._part(process, now)
        seen = []
        for channel, id, member in changes:
            before = part.members.get((channel, id), "")
            if member == before:
                continue
            here = self._channels.setdefault(channel, {})
            if member:
                here[id] = part.members[channel, id] = member
                seen.append(Seen(channel, "update" if before else "join", id, member))
            else:
                here.pop(id, None)
                del part.members[channel, id]
                if not here:
                    del self._channels[channel]
                seen.append(Seen(channel, "leave", id, before))
        return seen

    def heard(self, process: str, base: int, changes: Sequence[Said], now: float) -> list[Seen] | None:
        """As `change`, of another process whose last change before these is `base`; None: some was missed."""
        part = self._part(process, now)
        part.heard = now
        if part.number < 0 and base == 0:
            part.number = 0  # it has begun just now, and nothing can have been missed
        if part.number != base:
            return None
        part.number += len(changes)
        return self.change(process, changes, now)

    def whole(
        self, process: str, number: int, members: Sequence[Said], now: float, *, first: bool, last: bool
    ) -> list[Seen]:
        """Put down what a process has in full, which may come in several pieces."""
        part = self._part(process, now)
        part.heard = now
        if first:
            part.coming = {}
        if part.coming is None:
            return []
        part.coming |= {(channel, id): member for channel, id, member in members}
        if not last:
            return []
        coming, part.coming, part.number = part.coming, None, number
        gone = [(channel, id, "") for channel, id in part.members if (channel, id) not in coming]
        return self.change(process, [*gone, *((*seat, member) for seat, member in coming.items())], now)

    def gone(self, process: str) -> list[Seen]:
        """Forget a process that is not there any more."""
        part = self.parts.get(process)
        if part is None:
            return []
        seen = self.change(process, [(*seat, "") for seat in part.members], part.heard)
        del self.parts[process]
        return seen

    def _part(self, process: str, now: float) -> Part:
        part = self.parts.get(process)
        if part is None:
            part = self.parts[process] = Part(now)
        return part


def in_full(members: Mapping[Seat, str]) -> list[Said]:
    return [(*seat, member) for seat, member in members.items()]
