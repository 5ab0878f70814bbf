"""Numbers of several processes in files that each maps into its memory, and that whoever is asked adds up.

A scrape reaches one of several workers behind one port, and must not show that one's numbers alone. Each process
writes into a file of its own: adding one is a write into its memory, which the others see at once and which
outlives a `kill -9`. The client library has a mode like this; it is switched on by an environment variable
before the first import, locks for every number, and never tidies its folder, so only its text format is used.
Over the broker, numbers would be late by a round trip to PostgreSQL, and lost with a worker that is killed.

`<role>-<pid>-<start>.names` holds JSON: a line about the process, then one for each series with its place in
`….values`, an array of doubles. A process holds a lock on its names as long as it lives. When one has died, the
next that starts takes over its counters, so that sums never fall; those of an earlier server are forgotten.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from operator import add
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

if sys.platform != "win32":
    import fcntl

CAPACITY = 65_536  # doubles of one process: half a MiB, of which only what is used takes memory
SPARE = 64  # at the end, for what has no room
MAX_OF_ONE_NAME = 1000  # series; what comes later counts as `other`, whatever a client makes up
OTHER = "other"
LOCK = "lock"
BYTES = 8


class Key(NamedTuple):
    """One series: the name of its metric, and the values of that metric's labels."""

    name: str
    labels: tuple[str, ...]


class Head(msgspec.Struct):
    """The first line of a file of names."""

    role: str
    parent: str


class Line(msgspec.Struct, array_like=True):
    """Where one series stands: `width` numbers from `place`; `is_kept` says that it outlives its process."""

    name: str
    labels: tuple[str, ...]
    place: int
    width: int
    is_kept: bool


class Read(NamedTuple):
    """What one process has written; `is_alive` is false for one that has died and waits for its heir."""

    role: str
    is_alive: bool
    series: dict[Key, tuple[float, ...]]


class Store:
    """The numbers of this process; `values` may be added to by place.

    `role` is what the process does: `web` or `jobs`.
    """

    def __init__(self, folder: Path, role: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._places: dict[Key, int] = {}
        self._count: dict[str, int] = {}
        self._used = 0
        self._seen: dict[Key, float] = {}
        with locked(folder, exclusive=True):
            self._stem = folder / f"{role}-{os.getpid()}-{time.time_ns()}"
            self._names = self._stem.with_suffix(".names").open("xb", buffering=0)
            hold(self._names)
            with self._stem.with_suffix(".values").open("xb+", buffering=0) as file:
                file.truncate(CAPACITY * BYTES)
                self._map = mmap.mmap(file.fileno(), CAPACITY * BYTES)
            self.values = memoryview(self._map).cast("d")
            self._write(Head(role, parent_mark()))
            self._inherit()

    def place(self, name: str, labels: tuple[str, ...], width: int = 1, *, is_kept: bool = True) -> int:
        """Return where a series begins in `values`, making it when it is new.

        Of a name with too many series the next ones are that of `other`.
        """
        key = Key(name, labels)
        place = self._places.get(key)
        if place is None and self._count.get(name, 0) >= MAX_OF_ONE_NAME:
            key = Key(name, (OTHER,) * len(labels))
            place = self._places.get(key)
        if place is not None:
            return place
        if self._used + width > CAPACITY - SPARE:
            return CAPACITY - SPARE  # full: these numbers are nobody's
        place = self._places[key] = self._used
        self._used += width
        self._count[name] = self._count.get(name, 0) + 1
        self._write(Line(name, key.labels, place, width, is_kept))
        return place

    def add(self, name: str, labels: tuple[str, ...], amount: float = 1.0) -> None:
        """Add to a counter."""
        self.values[self.place(name, labels)] += amount

    def advance(self, name: str, labels: tuple[str, ...], total: float) -> None:
        """Add to a counter what a total, counted elsewhere in this process, has grown by."""
        key = Key(name, labels)
        self.values[self.place(name, labels)] += total - self._seen.get(key, 0.0)
        self._seen[key] = total

    def show(self, name: str, labels: tuple[str, ...], value: float) -> None:
        """Set a gauge, which ends with its process."""
        self.values[self.place(name, labels, is_kept=False)] = value

    def _write(self, line: Head | Line) -> None:
        self._names.write(msgspec.json.encode(line) + b"\n")

    def _inherit(self) -> None:
        """Take over the counters of processes of this server that have died; forget earlier servers."""
        for names in sorted(self._folder.glob("*.names")):
            if names.stem == self._stem.name or is_held(names):
                continue
            found = read_one(names)
            if found is not None and found[0].parent == parent_mark():
                for line, numbers in found[1]:
                    if line.is_kept:
                        place = self.place(line.name, line.labels, line.width)
                        for offset, number in enumerate(numbers):
                            self.values[place + offset] += number
            names.with_suffix(".values").unlink(missing_ok=True)
            names.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the files; they stay for the next process."""
        self.values.release()
        self._map.close()
        self._names.close()


def read_all(folder: Path) -> list[Read]:
    """Return what all processes of this server have written."""
    mark = parent_mark()
    with locked(folder, exclusive=False):
        found = []
        for names in sorted(folder.glob("*.names")):
            read = read_one(names)
            if read is not None and read[0].parent == mark:
                is_alive = is_held(names)
                series = {
                    Key(line.name, line.labels): numbers
                    for line, numbers in read[1]
                    if is_alive or line.is_kept
                }
                found.append(Read(read[0].role, is_alive, series))
        return found


def read_one(names: Path) -> tuple[Head, list[tuple[Line, tuple[float, ...]]]] | None:
    """Read a process's files; None when they are not whole, as those of one that was killed at its start."""
    try:
        first, *rest = names.read_bytes().splitlines(keepends=True)
        raw = names.with_suffix(".values").read_bytes()
        numbers = memoryview(raw).cast("d")
        head = msgspec.json.decode(first, type=Head)
        # The last line may be half written.
        lines = [msgspec.json.decode(line, type=Line) for line in rest if line.endswith(b"\n")]
    except (OSError, ValueError, TypeError):  # msgspec's errors are ValueErrors
        return None
    return head, [(line, tuple(numbers[line.place : line.place + line.width])) for line in lines]


def parent_mark() -> str:
    """What all processes of one server have in common: who started them, with the time when that began."""
    parent = os.getppid()
    try:
        after = Path(f"/proc/{parent}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
        return f"{parent}:{after.split()[19]}"
    except (OSError, IndexError):
        return str(parent)


@contextlib.contextmanager
def locked(folder: Path, *, exclusive: bool) -> Iterator[None]:
    """Keep the counters of a dead process from being seen twice, or not at all, while they change hands."""
    if sys.platform == "win32":
        yield
        return
    with (folder / LOCK).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield


def hold(file: BinaryIO | Any) -> None:
    if sys.platform != "win32":
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_held(names: Path) -> bool:
    """Whether the process that writes these files lives; where files cannot be locked so, it is believed to."""
    if sys.platform == "win32":
        return True
    try:
        with names.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return names.exists()
    return False


def added(reads: Sequence[Read], largest: Collection[str] = ()) -> dict[Key, tuple[float, ...]]:
    """Add up what the processes have; of the names in `largest` the largest counts."""
    total: dict[Key, tuple[float, ...]] = {}
    for read in reads:
        for key, numbers in read.series.items():
            before = total.get(key, (0.0,) * len(numbers))
            together = max if key.name in largest else add
            total[key] = tuple(map(together, before, numbers))
    return total
