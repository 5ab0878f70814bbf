"""One plugin's function for one hook: called with a deadline, counted, observed, and answered for by its plugin."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Callable, Container, Coroutine, Generator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

import msgspec

from groundplane.context import REQUEST_ID
from groundplane.errors import GroundplaneError
from groundplane.hooks import Options
from groundplane.hooks.observers import Call, CallOutcome, Observer

if TYPE_CHECKING:
    from groundplane.schema.collection import Collection

log = logging.getLogger(__name__)

# A plugin that calls sys.exit() must not take the server with it.
FAULTS: tuple[type[BaseException], ...] = (Exception, SystemExit)
THREADS = 4  # for all implementations that are declared `threaded`


class PluginFailed(GroundplaneError):
    """A plugin raised, took too long or answered nonsense; the client learns no more than "500"."""

    status = 500

    def __init__(self, plugin: str, hook: str, reason: str) -> None:
        super().__init__()
        self.plugin = plugin
        self.hook = hook
        self.reason = reason
        self.is_timeout = False

    def __str__(self) -> str:
        return f"plugin {self.plugin} failed in {self.hook}: {self.reason}"


class Counters(msgspec.Struct):
    """What one implementation has done in this process; times in seconds."""

    calls: int = 0
    failures: int = 0
    timeouts: int = 0
    dropped: int = 0
    total_s: float = 0.0
    slowest_s: float = 0.0

    def add(self, took_s: float) -> None:
        self.calls += 1
        self.total_s += took_s
        self.slowest_s = max(self.slowest_s, took_s)


class Surroundings:
    """What all hooks of one process share: the services that they hand on, the threads, who looks on."""

    def __init__(self) -> None:
        self.services: Any = None
        # For tests: (hook, plugin) of every call in its order, when it is a list.
        self.trace: list[tuple[str, str]] | None = None
        self.observers: list[Observer] = []
        self._threads: ThreadPoolExecutor | None = None

    @property
    def threads(self) -> ThreadPoolExecutor:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="plugin")
        return self._threads

    def traced(self, implementation: Implementation) -> None:
        if self.trace is not None:
            self.trace.append((implementation.hook, implementation.plugin))

    def close(self) -> None:
        if self._threads is not None:
            # A thread that hangs cannot be ended; the process does not wait for it here.
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None


class Implementation:
    """A function with the name of its plugin and hook."""

    def __init__(
        self, plugin: str, hook: str, function: Callable[..., Any], arguments: Iterable[str], options: Options
    ) -> None:
        self.plugin = plugin
        self.hook = hook
        self.function = function
        self.arguments = tuple(arguments)
        self.options = options
        self.counters = Counters()

    def concerns(self, collection: Collection | None) -> bool:
        """Whether the filters by collection and tag let a call about this collection through."""
        wanted, tags = self.options.collections, self.options.tags
        if collection is None or not (wanted or tags):
            return True
        if wanted and collection.name not in wanted and collection.id not in wanted:
            return False
        own = {collection.type, "system"} if collection.system else {collection.type}
        return own.issuperset(tags)

    def reads(self, headers: Container[Any]) -> bool:
        """Whether the filter by header lets a call about this request through; names are texts or bytes."""
        wanted = self.options.headers
        return not wanted or any(name in headers or name.encode() in headers for name in wanted)

    def call(self, given: Mapping[str, Any]) -> Any:
        return self.function(**{name: given[name] for name in self.arguments})

    def deadline(self, usual_s: float) -> float:
        return usual_s if self.options.deadline_s is None else self.options.deadline_s

    def failed(self, reason: str, cause: BaseException | None = None) -> PluginFailed:
        """Count and log a failure; returns the error to raise."""
        self.counters.failures += 1
        log.error("Plugin %s failed in %s: %s", self.plugin, self.hook, reason, exc_info=cause)
        error = PluginFailed(self.plugin, self.hook, reason)
        error.__cause__ = cause
        return error

    def took_too_long(self, limit_s: float) -> PluginFailed:
        self.counters.timeouts += 1
        error = self.failed(f"it took longer than {limit_s:g} s")
        error.is_timeout = True
        return error

    def concluded(
        self, surroundings: Surroundings, took_s: float, error: BaseException | None = None
    ) -> None:
        """Count a call that has just ended, and tell those who look on."""
        self.counters.add(took_s)
        if not surroundings.observers:
            return
        call = Call(
            plugin=self.plugin,
            hook=self.hook,
            started=time.time() - took_s,
            duration_s=took_s,
            outcome=outcome_of(error),
            request_id=REQUEST_ID.get(),
            error=str(error) if error is not None else "",
        )
        for observer in surroundings.observers:
            try:
                observer.called(call)
            except Exception:
                log.exception("An observer of plugins failed")

    def ask(self, surroundings: Surroundings, given: Mapping[str, Any]) -> Any:
        """Call a plain function; raises PluginFailed."""
        started = perf_counter()
        error: BaseException | None = None
        try:
            result = self.call(given)
            if inspect.iscoroutine(result):
                result.close()
                raise TypeError("it returned a coroutine that nobody awaits")
            return result
        except FAULTS as cause:
            error = self.failed(described(cause), cause)
            raise error from cause
        finally:
            self.concluded(surroundings, perf_counter() - started, error)

    async def answer(
        self,
        surroundings: Surroundings,
        given: Mapping[str, Any],
        limit_s: float | None,
        *,
        passing: tuple[type[Exception], ...] = (GroundplaneError,),
    ) -> Any:
        """Call and await it; raises what it may say by raising (`passing`), or PluginFailed.

        `limit_s` None leaves the time to the caller.
        """
        surroundings.traced(self)
        started = perf_counter()
        error: BaseException | None = None
        try:
            return await self._result(surroundings, given, limit_s, passing)
        except BaseException as raised:
            error = raised
            raise
        finally:
            self.concluded(surroundings, perf_counter() - started, error)

    async def _result(
        self,
        surroundings: Surroundings,
        given: Mapping[str, Any],
        limit_s: float | None,
        passing: tuple[type[Exception], ...],
    ) -> Any:
        limit_s = limit_s if limit_s is None else self.deadline(limit_s)
        timeout = asyncio.timeout(limit_s)
        try:
            if self.options.threaded:
                async with timeout:
                    loop = asyncio.get_running_loop()
                    result = await loop.run_in_executor(surroundings.threads, partial(self.call, given))
            else:
                result = self.call(given)
                if inspect.iscoroutine(result):
                    try:
                        first = result.send(None)
                    except StopIteration as end:
                        # Most wait for nothing; a deadline for those would cost more than they do.
                        result = end.value
                    else:
                        async with timeout:
                            result = await Begun(result, first)
        except passing:
            raise
        except TimeoutError as error:
            if limit_s is not None and timeout.expired():
                raise self.took_too_long(limit_s) from None
            raise self.failed(described(error), error) from error
        except FAULTS as error:
            raise self.failed(described(error), error) from error
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            raise self.failed("it was cancelled by itself", error) from error
        if inspect.iscoroutine(result):
            result.close()
            raise self.failed("it returned a coroutine that nobody awaits")
        return result


def is_cancelled() -> bool:
    """Whether somebody has cancelled this task; a plugin may raise CancelledError for reasons of its own."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class Begun:
    """A coroutine that was started by hand: awaiting this goes on from where it waits."""

    __slots__ = ("_coroutine", "_first")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], first: Any) -> None:
        self._coroutine = coroutine
        self._first = first

    def __await__(self) -> Generator[Any, Any, Any]:
        waiting = self._first
        while True:
            try:
                try:
                    sent = yield waiting
                except BaseException as error:  # noqa: BLE001  # a cancellation too is the coroutine's
                    waiting = self._coroutine.throw(error)
                else:
                    waiting = self._coroutine.send(sent)
            except StopIteration as end:
                return end.value


def described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def outcome_of(error: BaseException | None) -> CallOutcome:
    if error is None:
        return "done"
    if isinstance(error, PluginFailed):
        return "timed_out" if error.is_timeout else "failed"
    return "refused" if isinstance(error, Exception) else "cancelled"
