"""How a hook is called: six kinds, and one caller of a kind for every hook."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from groundplane.context import REQUEST_ID
from groundplane.errors import GroundplaneError
from groundplane.hooks.implementation import (
    FAULTS,
    Implementation,
    PluginFailed,
    Surroundings,
    described,
    is_cancelled,
)
from groundplane.hooks.lines import Line
from groundplane.hooks.observers import Observer

if TYPE_CHECKING:
    from groundplane.schema.collection import Collection

log = logging.getLogger(__name__)

BEFORE_S = 5.0  # a request and perhaps a database connection wait for it
COLLECT_S = 30.0
DRAIN_S = 5.0  # for events that still wait when the process ends
ONLY_EVENT = ("event",)
MAX_TOLD = 10  # failures of an observer that the log gets


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
            try:
                outcomes.append(Outcome(each.plugin, each.ask(self._surroundings, given)))
            except PluginFailed as error:
                outcomes.append(Outcome(each.plugin, None, error))
        return outcomes

    async def gather(self, *, limit_s: float = COLLECT_S, **arguments: Any) -> list[Outcome]:
        """Ask the implementations of an async function, all at the same time."""
        given = self._given(arguments)
        return await asyncio.gather(*(self.one(each, given, limit_s) for each in self.implementations))

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

    def wants(self, headers: Container[Any]) -> bool:
        """Whether any implementation wants calls about a request with these headers (lower-case names)."""
        return any(each.reads(headers) for each in self.implementations)

    async def ask(
        self,
        headers: Container[Any] | None = None,
        *,
        about: Collection | None = None,
        **arguments: Any,
    ) -> tuple[Implementation, Any] | None:
        """The first answer and whose it is; None when nobody has one."""
        given = self._given(arguments)
        for each in self.implementations:
            if (headers is None or each.reads(headers)) and each.concerns(about):
                answer = await each.answer(self._surroundings, given, BEFORE_S)
                if answer is not None:
                    return each, answer
        return None

    async def __call__(self, **arguments: Any) -> Any:
        found = await self.ask(**arguments)
        return found[1] if found is not None else None


class Before(Hook):
    """One after another, in the caller's task and transaction; the first that raises ends it."""

    kind = "before"

    async def __call__(
        self,
        about: Collection | None = None,
        *,
        check: Callable[[], object] | None = None,
        **arguments: Any,
    ) -> None:
        """Ask everybody; `check` looks at what each one has left, and its exception is that plugin's failure."""
        given = self._given(arguments)
        for each in self.implementations:
            if each.concerns(about):
                result = await each.answer(self._surroundings, given, BEFORE_S)
                if result is not None:
                    raise each.failed(f"it returned {type(result).__name__} where nothing is expected")
                if check is not None:
                    try:
                        check()
                    except Exception as error:
                        raise each.failed(f"it left something impossible: {described(error)}") from error


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
                    await stack.enter_async_context(Embrace(each, self._surroundings, given))
            yield


class Embrace:
    """One implementation of an around hook as an async context manager."""

    def __init__(
        self, implementation: Implementation, surroundings: Surroundings, given: Mapping[str, Any]
    ) -> None:
        self._of = implementation
        self._surroundings = surroundings
        self._generator = implementation.call(given)
        self._took_s = 0.0

    async def __aenter__(self) -> None:
        try:
            if not await self._step(self._generator.__anext__):
                raise self._of.failed("it ended without a yield")
        except BaseException as error:
            self._concluded(error)
            raise

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        own: BaseException | None = None
        try:
            if error is None:
                more = await self._step(self._generator.__anext__)
            else:
                more = await self._step(partial(self._generator.athrow, error), error)
            if more:
                await self._generator.aclose()
                raise self._of.failed("it has more than one yield")
        except BaseException as raised:
            # The exception of what it surrounds is not its own.
            own = raised if raised is not error else None
            raise
        finally:
            self._concluded(own)
        return False

    def _concluded(self, error: BaseException | None) -> None:
        self._of.concluded(self._surroundings, self._took_s, error)

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
                raise self._of.took_too_long(limit_s) from None
            raise self._of.failed(described(error), error) from error
        except FAULTS as error:
            if error is inner:
                # Passed on; the context manager above raises it again by itself.
                return False
            raise self._of.failed(described(error), error) from error
        except asyncio.CancelledError as error:
            if error is inner or is_cancelled():
                raise
            raise self._of.failed("it was cancelled by itself", error) from error
        finally:
            self._took_s += perf_counter() - started


class Notify(Hook):
    """Tells everybody, each plugin in a line of its own: nobody waits for it, no failure reaches anybody."""

    kind = "notify"

    def __init__(self, name: str, surroundings: Surroundings) -> None:
        super().__init__(name, surroundings)
        self._lines: dict[Implementation, Line] = {}

    def __call__(self, about: Collection | None = None, **arguments: Any) -> None:
        """Queue the event for every implementation; call it after the commit."""
        request_id = REQUEST_ID.get()
        for each in self.implementations:
            if each.concerns(about):
                line = self._lines.get(each)
                if line is None:
                    line = self._lines[each] = Line(each, self._surroundings)
                line.put(self._given(arguments), request_id)

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


class Observe(Hook):
    """Calls everybody at once, where something has just happened: a plain function that must not take long.

    Nobody waits for more than the calls, and no failure reaches anybody.
    """

    kind = "observe"

    def __call__(self, event: Any) -> None:
        services = self._surroundings.services
        for each in self.implementations:
            started = perf_counter()
            try:
                # On the path of every request, so the usual arguments are not looked up by their names.
                if each.arguments == ONLY_EVENT:
                    result = each.function(event)
                else:
                    result = each.call({"event": event, "services": services})
                if result is not None:
                    close_coroutine(result)
                    self._failed(each, f"it returned {type(result).__name__} where nothing is expected")
            except FAULTS as error:
                self._failed(each, described(error), error)
            finally:
                each.counters.add(perf_counter() - started)

    def _failed(
        self, implementation: Implementation, reason: str, error: BaseException | None = None
    ) -> None:
        if implementation.counters.failures < MAX_TOLD:
            implementation.failed(reason, error)
        else:
            # Each request would add a line to the log, and the first ones say it all.
            implementation.counters.failures += 1


def close_coroutine(result: object) -> None:
    if inspect.iscoroutine(result):
        result.close()


KINDS: dict[str, type[Hook]] = {each.kind: each for each in (Collect, First, Before, Around, Notify, Observe)}


class Hooks:
    """One attribute per hook of `specs.py`, for those who call them. Nobody implements one at first."""

    def __init__(self) -> None:
        self.surroundings = surroundings = Surroundings()
        self.register_field_types = Collect("register_field_types", surroundings)
        self.register_filter_functions = Collect("register_filter_functions", surroundings)
        self.register_jobs = Collect("register_jobs", surroundings)
        self.register_cron = Collect("register_cron", surroundings)
        self.register_routes = Collect("register_routes", surroundings)
        self.register_commands = Collect("register_commands", surroundings)
        self.register_event_sinks = Collect("register_event_sinks", surroundings)
        self.startup = Collect("startup", surroundings)
        self.ready = Notify("ready", surroundings)
        self.shutdown = Collect("shutdown", surroundings)
        self.health_checks = Collect("health_checks", surroundings)
        self.collection_saving = Before("collection_saving", surroundings)
        self.plan_check = Before("plan_check", surroundings)
        self.schema_applied = Notify("schema_applied", surroundings)
        self.resolve_actor = First("resolve_actor", surroundings)
        self.access_rules = Collect("access_rules", surroundings)
        self.field_visibility = Collect("field_visibility", surroundings)
        self.record_request = Around("record_request", surroundings)
        self.list_query = Before("list_query", surroundings)
        self.record_enrich = Before("record_enrich", surroundings)
        self.password_check = Before("password_check", surroundings)
        self.record_saving = Before("record_saving", surroundings)
        self.record_deleting = Before("record_deleting", surroundings)
        self.record_saved = Notify("record_saved", surroundings)
        self.record_deleted = Notify("record_deleted", surroundings)
        self.record_write_failed = Notify("record_write_failed", surroundings)
        self.mail_compose = Before("mail_compose", surroundings)
        self.mail_send = Around("mail_send", surroundings)
        self.auth_attempt = Around("auth_attempt", surroundings)
        self.auth_succeeded = Notify("auth_succeeded", surroundings)
        self.request_finished = Observe("request_finished", surroundings)
        self.event_publishing = Before("event_publishing", surroundings)
        self.realtime_connect = Before("realtime_connect", surroundings)
        self.realtime_subscribe = Around("realtime_subscribe", surroundings)
        self.realtime_message = Before("realtime_message", surroundings)
        self.job_run = Around("job_run", surroundings)
        self.job_failed = Notify("job_failed", surroundings)
        self.job_dead = Notify("job_dead", surroundings)
        self.settings_saving = Before("settings_saving", surroundings)
        self.settings_saved = Notify("settings_saved", surroundings)
        self.register_auth_methods = Collect("register_auth_methods", surroundings)
        self.register_mailers = Collect("register_mailers", surroundings)
        self.register_oauth_providers = Collect("register_oauth_providers", surroundings)
        self.oauth_profile = Before("oauth_profile", surroundings)
        self.oauth_link = Before("oauth_link", surroundings)
        self.register_storage = Collect("register_storage", surroundings)
        self.file_upload = Around("file_upload", surroundings)
        self.file_download = Before("file_download", surroundings)
        self.file_token = Before("file_token", surroundings)
        self.thumb_generate = First("thumb_generate", surroundings)
        self.file_deleted = Notify("file_deleted", surroundings)
        self.session_created = Notify("session_created", surroundings)
        self.session_revoked = Notify("session_revoked", surroundings)

    @property
    def all(self) -> dict[str, Hook]:
        """The hooks by name, in the order of `specs.py`."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Hook)}

    @property
    def observers(self) -> list[Observer]:
        """Who is told of every call; append to it."""
        return self.surroundings.observers

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
