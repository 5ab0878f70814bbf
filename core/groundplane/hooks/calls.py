"""How a hook is called: five kinds, each call with a deadline, counted, and answered for by its plugin."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import Context
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from groundplane.errors import GroundplaneError
from groundplane.hooks import Options

if TYPE_CHECKING:
    from groundplane.schema.collection import Collection

log = logging.getLogger(__name__)

BEFORE_S = 5.0  # a request and perhaps a database connection wait for it
NOTIFY_S = 10.0
COLLECT_S = 30.0
THREADS = 4  # for all implementations that are declared `threaded`
MAX_WAITING = 10_000  # events per implementation of a notify hook; beyond, the oldest is dropped and counted
DRAIN_S = 5.0  # for events that still wait when the process ends


class PluginFailed(GroundplaneError):
    """A plugin raised, took too long or answered nonsense; the client learns no more than "500"."""

    status = 500

    def __init__(self, plugin: str, hook: str, reason: str) -> None:
        super().__init__()
        self.plugin = plugin
        self.hook = hook
        self.reason = reason

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
    """What all hooks of one process share: the services that they hand on, and the pool of threads."""

    def __init__(self) -> None:
        self.services: Any = None
        # For tests: (hook, plugin) of every call in its order, when it is a list.
        self.trace: list[tuple[str, str]] | None = None
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
    """One plugin's function for one hook."""

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

    async def answer(self, surroundings: Surroundings, given: Mapping[str, Any], limit_s: float) -> Any:
        """Call and await it; raises a GroundplaneError of the plugin's own, or PluginFailed."""
        limit_s = self.deadline(limit_s)
        surroundings.traced(self)
        started = perf_counter()
        timeout = asyncio.timeout(limit_s)
        try:
            async with timeout:
                if self.options.threaded:
                    loop = asyncio.get_running_loop()
                    result = await loop.run_in_executor(surroundings.threads, partial(self.call, given))
                else:
                    result = self.call(given)
                    if inspect.isawaitable(result):
                        result = await result
        except GroundplaneError:
            raise
        except TimeoutError as error:
            if not timeout.expired():
                raise self.failed(described(error), error) from error
            self.counters.timeouts += 1
            raise self.failed(f"it took longer than {limit_s:g} s") from None
        except Exception as error:
            raise self.failed(described(error), error) from error
        finally:
            self.counters.add(perf_counter() - started)
        if inspect.iscoroutine(result):
            result.close()
            raise self.failed("it returned a coroutine that nobody awaits")
        return result


def described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


class Outcome(NamedTuple):
    """What one plugin gave to a collecting hook, or why it gave nothing."""

    plugin: str
    result: Any
    error: GroundplaneError | None = None


class Hook:
    """A hook's implementations in the order of their calls; false while there is none."""

    kind = ""

    def __init__(self, name: str, surroundings: Surroundings) -> None:
        self.name = name
        self.implementations: tuple[Implementation, ...] = ()
        self._surroundings = surroundings

    def __bool__(self) -> bool:
        return bool(self.implementations)

    def concerns(self, collection: Collection) -> bool:
        """Whether any implementation wants calls about this collection."""
        return any(each.concerns(collection) for each in self.implementations)

    def _given(self, arguments: dict[str, Any]) -> dict[str, Any]:
        arguments["services"] = self._surroundings.services
        return arguments


class Collect(Hook):
    """Asks everybody; a failure is an outcome like others."""

    kind = "collect"

    def ask(self, about: Collection | None = None, **arguments: Any) -> list[Outcome]:
        """Ask the implementations of a plain function."""
        given = self._given(arguments)
        outcomes: list[Outcome] = []
        for each in self.implementations:
            if not each.concerns(about):
                continue
            started = perf_counter()
            try:
                outcomes.append(Outcome(each.plugin, each.call(given)))
            except Exception as error:  # noqa: BLE001  # whatever it is, it is the plugin's
                outcomes.append(Outcome(each.plugin, None, each.failed(described(error), error)))
            finally:
                each.counters.add(perf_counter() - started)
        return outcomes

    async def gather(self, **arguments: Any) -> list[Outcome]:
        """Ask the implementations of an async function, one after another."""
        given = self._given(arguments)
        return [await self.one(each, given) for each in self.implementations]

    async def one(
        self, implementation: Implementation, given: Mapping[str, Any], limit_s: float = COLLECT_S
    ) -> Outcome:
        try:
            result = await implementation.answer(self._surroundings, given, limit_s)
        except GroundplaneError as error:
            return Outcome(implementation.plugin, None, error)
        return Outcome(implementation.plugin, result)


class First(Hook):
    """The first answer that is not None; those behind it are not asked."""

    kind = "first"

    async def __call__(self, about: Collection | None = None, **arguments: Any) -> Any:
        given = self._given(arguments)
        for each in self.implementations:
            if each.concerns(about):
                answer = await each.answer(self._surroundings, given, BEFORE_S)
                if answer is not None:
                    return answer
        return None


class Before(Hook):
    """One after another, in the caller's task and transaction; the first that raises ends it."""

    kind = "before"

    async def __call__(self, about: Collection | None = None, **arguments: Any) -> None:
        given = self._given(arguments)
        for each in self.implementations:
            if each.concerns(about):
                result = await each.answer(self._surroundings, given, BEFORE_S)
                if result is not None:
                    raise each.failed(f"it returned {type(result).__name__} where nothing is expected")


class Around(Hook):
    """Async generators: entered in order, left in reverse."""

    kind = "around"

    @asynccontextmanager
    async def __call__(self, about: Collection | None = None, **arguments: Any) -> AsyncIterator[None]:
        given = self._given(arguments)
        async with AsyncExitStack() as stack:
            for each in self.implementations:
                if each.concerns(about):
                    self._surroundings.traced(each)
                    await stack.enter_async_context(Embrace(each, given))
            yield


class Embrace:
    """One implementation of an around hook as an async context manager."""

    def __init__(self, implementation: Implementation, given: Mapping[str, Any]) -> None:
        self._of = implementation
        self._generator = implementation.call(given)
        self._took_s = 0.0

    async def __aenter__(self) -> None:
        if not await self._step(self._generator.__anext__):
            raise self._of.failed("it ended without a yield")

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if error is None:
            more = await self._step(self._generator.__anext__)
        else:
            more = await self._step(partial(self._generator.athrow, error), error)
        if more:
            await self._generator.aclose()
            raise self._of.failed("it has more than one yield")
        self._of.counters.add(self._took_s)
        return False

    async def _step(self, step: Callable[[], Awaitable[Any]], inner: BaseException | None = None) -> bool:
        """Run the generator to its next yield (true) or its end (false)."""
        limit_s = self._of.deadline(BEFORE_S)
        started = perf_counter()
        timeout = asyncio.timeout(limit_s)
        try:
            async with timeout:
                await step()
                return True
        except StopAsyncIteration:
            return False
        except GroundplaneError:
            raise
        except TimeoutError as error:
            if error is inner:
                return False
            if timeout.expired():
                self._of.counters.timeouts += 1
                raise self._of.failed(f"it took longer than {limit_s:g} s") from None
            raise self._of.failed(described(error), error) from error
        except Exception as error:
            if error is inner:
                # Passed on; the context manager above raises it again by itself.
                return False
            raise self._of.failed(described(error), error) from error
        finally:
            self._took_s += perf_counter() - started


class Line:
    """The events that wait for one implementation, and the task that works them off in order."""

    def __init__(self, implementation: Implementation, surroundings: Surroundings) -> None:
        self._of = implementation
        self._surroundings = surroundings
        self._waiting: deque[dict[str, Any]] = deque()
        self._task: asyncio.Task[None] | None = None

    def put(self, given: dict[str, Any]) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft()
            self._of.counters.dropped += 1
        self._waiting.append(given)
        if self._task is None or self._task.done():
            # An empty context: the task must not take the request's transaction for its own.
            self._task = asyncio.get_running_loop().create_task(self._work(), context=Context())

    async def _work(self) -> None:
        while self._waiting:
            given = self._waiting.popleft()
            try:
                result = await self._of.answer(self._surroundings, given, NOTIFY_S)
                if result is not None:
                    self._of.failed(f"it returned {type(result).__name__} where nothing is expected")
            except PluginFailed:
                continue  # logged and counted where it was raised
            except GroundplaneError as error:
                self._of.failed(described(error), error)

    async def finished(self) -> None:
        if self._task is not None:
            await asyncio.wait([self._task])

    def cancel(self) -> None:
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()


class Notify(Hook):
    """Tells everybody, each plugin in a line of its own: nobody waits for it, no failure reaches anybody."""

    kind = "notify"

    def __init__(self, name: str, surroundings: Surroundings) -> None:
        super().__init__(name, surroundings)
        self._lines: dict[Implementation, Line] = {}

    def __call__(self, about: Collection | None = None, **arguments: Any) -> None:
        """Queue the event for every implementation; call it after the commit."""
        for each in self.implementations:
            if each.concerns(about):
                line = self._lines.get(each)
                if line is None:
                    line = self._lines[each] = Line(each, self._surroundings)
                line.put(self._given(arguments))

    async def finished(self) -> None:
        """Return when nothing waits any more."""
        for line in list(self._lines.values()):
            await line.finished()

    async def close(self, limit_s: float) -> None:
        """Give what waits some seconds, then give it up."""
        try:
            async with asyncio.timeout(limit_s):
                await self.finished()
        except TimeoutError:
            log.warning("Events of %s were not delivered before the process ended", self.name)
        for line in self._lines.values():
            line.cancel()
        self._lines.clear()


KINDS: dict[str, type[Hook]] = {each.kind: each for each in (Collect, First, Before, Around, Notify)}


class Hooks:
    """One attribute per hook of `specs.py`, for those who call them. Nobody implements one at first."""

    def __init__(self) -> None:
        self.surroundings = surroundings = Surroundings()
        self.register_routes = Collect("register_routes", surroundings)
        self.register_commands = Collect("register_commands", surroundings)
        self.startup = Collect("startup", surroundings)
        self.ready = Notify("ready", surroundings)
        self.shutdown = Collect("shutdown", surroundings)
        self.health_checks = Collect("health_checks", surroundings)
        self.collection_saving = Before("collection_saving", surroundings)
        self.plan_check = Before("plan_check", surroundings)
        self.schema_applied = Notify("schema_applied", surroundings)
        self.access_rules = Collect("access_rules", surroundings)
        self.record_request = Around("record_request", surroundings)
        self.list_query = Before("list_query", surroundings)
        self.record_enrich = Before("record_enrich", surroundings)
        self.password_check = Before("password_check", surroundings)
        self.record_saving = Before("record_saving", surroundings)
        self.record_deleting = Before("record_deleting", surroundings)
        self.record_saved = Notify("record_saved", surroundings)
        self.record_deleted = Notify("record_deleted", surroundings)
        self.record_write_failed = Notify("record_write_failed", surroundings)
        self.auth_attempt = Around("auth_attempt", surroundings)
        self.auth_succeeded = Notify("auth_succeeded", surroundings)
        self.settings_saving = Before("settings_saving", surroundings)
        self.settings_saved = Notify("settings_saved", surroundings)

    @property
    def all(self) -> dict[str, Hook]:
        """The hooks by name, in the order of `specs.py`."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Hook)}

    async def finished(self) -> None:
        """Return when no event waits for a plugin any more; for tests and for an orderly end."""
        for hook in self.all.values():
            if isinstance(hook, Notify):
                await hook.finished()

    async def close(self) -> None:
        for hook in self.all.values():
            if isinstance(hook, Notify):
                await hook.close(DRAIN_S)
        self.surroundings.close()
