"""Notices when the event loop stands still, and names the plugin whose code is running then."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Iterable
from types import FrameType
from typing import NamedTuple

log = logging.getLogger(__name__)

PATIENCE_S = 0.25  # far longer than any honest step between two awaits


class Blockage(NamedTuple):
    """What stood in the way: the plugin's name, and where in its code."""

    plugin: str
    place: str


class Watchdog:
    """A thread that asks the loop for a sign of life, and looks at its stack when none comes.

    `modules` are names of plugins' modules with the names of the plugins.
    """

    def __init__(self, modules: dict[str, str], *, patience_s: float = PATIENCE_S) -> None:
        self._modules = modules
        self._patience_s = patience_s
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self.seen: list[Blockage] = []

    def start(self) -> None:
        """Watch the loop that is running in this thread."""
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(
            target=self._watch, args=(loop, threading.get_ident()), name="plugin-watchdog", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self, loop: asyncio.AbstractEventLoop, loop_thread: int) -> None:
        while not self._ended.wait(self._patience_s):
            alive = threading.Event()
            try:
                loop.call_soon_threadsafe(alive.set)
            except RuntimeError:
                return  # the loop is closed
            while not alive.wait(self._patience_s):
                found = self.blocking(sys._current_frames().get(loop_thread))
                if found is not None:
                    self.seen = [*self.seen[-99:], found]
                    log.error(
                        "Plugin %s blocks the event loop in %s: nobody is answered meanwhile",
                        found.plugin,
                        found.place,
                    )
                    # Once per standstill; whoever reads the log knows enough.
                    while not alive.wait(self._patience_s) and not self._ended.is_set():
                        pass
                    break
                if self._ended.is_set():
                    return

    def blocking(self, frame: FrameType | None) -> Blockage | None:
        """The innermost code of a plugin on a stack."""
        while frame is not None:
            name = str(frame.f_globals.get("__name__", ""))
            plugin = next((self._modules[each] for each in parents(name) if each in self._modules), None)
            if plugin is not None:
                return Blockage(plugin, f"{frame.f_code.co_filename}:{frame.f_lineno}")
            frame = frame.f_back
        return None


def parents(name: str) -> Iterable[str]:
    """The name of a module and of the packages around it."""
    while name:
        yield name
        name = name.rpartition(".")[0]
