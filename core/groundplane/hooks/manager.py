"""The plugins of one process: loaded, checked, started, and taken out when they fail to."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import pluggy

from groundplane.config import Config
from groundplane.hooks import OPTIONS, PROJECT, Options
from groundplane.hooks.calls import COLLECT_S, Collect, Hooks, Outcome
from groundplane.hooks.checks import SPEC_MODULES, BadPlugin, marked
from groundplane.hooks.events import HealthCheck
from groundplane.hooks.filters import function_problem
from groundplane.hooks.implementation import Implementation, PluginFailed
from groundplane.hooks.lines import NOTIFY_S
from groundplane.hooks.loading import Plugin, Source, Status, load
from groundplane.hooks.observers import Observer, spans
from groundplane.hooks.order import CircularOrder, in_order
from groundplane.hooks.routes import Route, route_problem
from groundplane.hooks.tables import migrate
from groundplane.hooks.watchdog import Watchdog
from groundplane.hooks.work import cron_problem, job_problem

if TYPE_CHECKING:
    from groundplane.db.engine import Database
    from groundplane.services import Services

log = logging.getLogger(__name__)


class PluginFinding(NamedTuple):
    """What a plugin says of its health: whether it is well, and a sentence."""

    plugin: str
    sound: bool
    text: str


class Plugins:
    """`hooks` is for those who call them, `all` for those who list the plugins, broken ones too."""

    def __init__(self, plugins: Sequence[Plugin] = ()) -> None:
        self.hooks = Hooks()
        self.all = list(plugins)
        self.watchdog: Watchdog | None = None
        self._spans: Observer | None = None
        self._pluggy = pluggy.PluginManager(PROJECT)
        for module in SPEC_MODULES:
            self._pluggy.add_hookspecs(module)
        for plugin in self.all:
            if plugin.status is Status.LOADED:
                self._register(plugin)
        self._arrange()
        for registration in REGISTRATIONS:
            self._collect(*registration)

    @classmethod
    def of(cls, config: Config) -> Plugins:
        """Load what the configuration and the installation have; never fails."""
        return cls(load(config))

    @property
    def loaded(self) -> list[Plugin]:
        return [plugin for plugin in self.all if plugin.status is Status.LOADED]

    @property
    def broken(self) -> list[Plugin]:
        return [plugin for plugin in self.all if plugin.status is Status.BROKEN]

    def get(self, name: str) -> Plugin | None:
        """A plugin that works; None for one that is broken, disabled or not there."""
        return next((plugin for plugin in self.loaded if plugin.name == name), None)

    def has_lost(self, hook: str) -> bool:
        """Whether a plugin that has a say by this hook is broken, so that nobody knows what it would say."""
        return any(
            name == hook
            for plugin in self.broken
            if plugin.module is not None
            for name, _, _ in marked(plugin.module)
        )

    def may_name_superusers(self, name: str) -> bool:
        """Whether the configuration lets a plugin say that a request is a superuser's."""
        plugin = self.get(name)
        return plugin is not None and plugin.superusers

    @property
    def missed(self) -> list[Plugin]:
        """Broken plugins without which the server must not start: their section says `required = true`."""
        return [plugin for plugin in self.broken if plugin.required]

    @property
    def implementations(self) -> Iterator[Implementation]:
        """All functions of plugins that somebody calls: of hooks, routes, jobs and cron jobs."""
        for hook in self.hooks.all.values():
            yield from hook.implementations
        for plugin in self.loaded:
            yield from (handler for _, handler in plugin.routes)
            yield from plugin.workers

    def figures(self) -> list[dict[str, Any]]:
        """What each implementation has done in this process, for metrics."""
        return [
            {"plugin": each.plugin, "hook": each.hook}
            | {name: getattr(each.counters, name) for name in each.counters.__struct_fields__}
            for each in self.implementations
        ]

    async def findings(self, limit_s: float = COLLECT_S) -> list[PluginFinding]:
        """What plugins find out about their own health; one that fails, or takes longer, is not well."""
        found: list[PluginFinding] = []
        for name, checks, error in await self.hooks.health_checks.gather(limit_s=limit_s):
            if error is not None:
                found.append(PluginFinding(name, False, str(error)))
            elif not isinstance(checks, list | tuple) or not all(
                isinstance(each, HealthCheck) for each in checks
            ):
                found.append(PluginFinding(name, False, "its health checks are no list of HealthCheck"))
            else:
                found += [PluginFinding(name, bool(check.sound), str(check.text)) for check in checks]
        return found

    # Loading

    def _register(self, plugin: Plugin) -> None:
        try:
            self._pluggy.register(plugin.module, plugin.name)
            self._pluggy.check_pending()
        except (pluggy.PluginValidationError, ValueError) as error:
            self._drop(plugin, str(error), error)

    def drop(self, name: str, reason: str) -> None:
        """Mark a plugin as broken and take it out of every hook."""
        self._drop(self._named(name), reason)
        self._arrange()

    def _drop(self, plugin: Plugin, reason: str, cause: BaseException | None = None) -> None:
        plugin.break_(reason, cause)
        if self._pluggy.has_plugin(plugin.name):
            self._pluggy.unregister(name=plugin.name)

    def _arrange(self) -> None:
        """Hand the implementations to the hooks, in order; those whose order is impossible are dropped."""
        ranks = {plugin.name: plugin.source is Source.BUNDLED for plugin in self.all}
        known = {
            (each.plugin, each.hook): each
            for hook in self.hooks.all.values()
            for each in hook.implementations
        }
        for name, hook in self.hooks.all.items():
            found: list[Implementation] = []
            # pluggy lists those registered first at the beginning, and calls from the end.
            for each in reversed(getattr(self._pluggy.hook, name).get_hookimpls()):
                fresh = Implementation(
                    each.plugin_name, name, each.function, each.argnames, getattr(each.function, OPTIONS)
                )
                # What was counted stays when another plugin is taken out.
                found.append(known.get((each.plugin_name, name), fresh))
            found.sort(key=lambda each: ranks[each.plugin])
            try:
                hook.implementations = in_order(found)
            except CircularOrder as error:
                for each in found:
                    if each.options.before or each.options.after:
                        self._drop(self._named(each.plugin), str(error))
                self._arrange()
                return

    def _named(self, name: str) -> Plugin:
        return next(plugin for plugin in self.all if plugin.name == name)

    def _collect(self, hook: str, attribute: str, problem_of: Callable[[object], str]) -> None:
        """Ask for what plugins register; one whose answer is not sound is dropped."""
        caller = self.hooks.all[hook]
        for outcome in caller.ask() if isinstance(caller, Collect) else ():
            plugin = self._named(outcome.plugin)
            problem = reason_of(outcome) or problem_among(hook, outcome.result, problem_of)
            if problem:
                self._drop(plugin, problem)
            elif hook == "register_routes":
                plugin.routes = tuple((route, handler_of(plugin.name, route)) for route in outcome.result)
            else:
                setattr(plugin, attribute, tuple(outcome.result))
        self._arrange()

    # Life

    async def start(self, services: Services, database: Database) -> None:
        """Bring the plugins' tables up to date and start them; what fails is broken and stays out."""
        self.hooks.surroundings.services = services
        if not self.loaded:
            return
        self.watchdog = Watchdog(
            {plugin.module.__name__: plugin.name for plugin in self.loaded if plugin.module is not None}
        )
        self.watchdog.start()
        if self._spans is None and (observer := spans()) is not None:
            self._spans = observer
            self.hooks.observers.append(observer)
        for plugin in self.loaded:
            await self._migrate(plugin, database)
        self._arrange()
        startup = self.hooks.startup
        # In the order in which they were loaded, so that bundled ones are there for the others.
        by_plugin = {each.plugin: each for each in startup.implementations}
        for plugin in self.loaded:
            implementation = by_plugin.get(plugin.name)
            if implementation is not None:
                given = {
                    "services": services,
                    "config": plugin.config,
                    "collections": plugin.collections,
                }
                outcome = await startup.one(implementation, given, COLLECT_S)
                if problem := reason_of(outcome):
                    self._drop(plugin, problem)
                    continue
            plugin.started = True
        self._arrange()

    def collect_event_sinks(self, register: Callable[[str, Any], None]) -> None:
        """Hand every started plugin's sinks to `register`, which raises ValueError for bad ones."""
        self._hand_over(self.hooks.register_event_sinks, register)

    def collect_oauth_providers(self, register: Callable[[str, Any], None]) -> None:
        """Hand every started plugin's sign-in providers to `register`, as with sinks."""
        self._hand_over(self.hooks.register_oauth_providers, register)

    def collect_auth_methods(self, register: Callable[[str, Any], None]) -> None:
        """Hand every started plugin's ways to sign in to `register`, as with sinks."""
        self._hand_over(self.hooks.register_auth_methods, register)

    def collect_mailers(self, register: Callable[[str, Any], None]) -> None:
        """Hand every started plugin's ways to send mails to `register`, as with sinks."""
        self._hand_over(self.hooks.register_mailers, register)

    def _hand_over(self, hook: Collect, register: Callable[[str, Any], None]) -> None:
        surroundings = self.hooks.surroundings
        # In the order in which they were loaded: where two want one name, it is the bundled plugin's.
        by_plugin = {each.plugin: each for each in hook.implementations}
        for plugin in self.loaded:
            each = by_plugin.get(plugin.name)
            if each is None:
                continue
            try:
                given = {"config": plugin.config, "services": surroundings.services}
                register(plugin.name, each.ask(surroundings, given))
            except PluginFailed as error:
                self._drop(plugin, error.reason)
            except ValueError as error:
                self._drop(plugin, str(error))
        self._arrange()

    async def _migrate(self, plugin: Plugin, database: Database) -> None:
        try:
            await migrate(database, plugin.name, plugin.module)
        except BadPlugin as error:
            self._drop(plugin, str(error))
        except Exception as error:  # noqa: BLE001  # its SQL may fail in any way
            reason = str(error.__cause__ or error)
            self._drop(plugin, f"its tables cannot be brought up to date: {reason}", error)

    async def stop(self) -> None:
        """Deliver what waits, then stop the plugins, the last one started first."""
        shutdown = self.hooks.shutdown
        by_plugin = {each.plugin: each for each in shutdown.implementations}
        await self.hooks.close()
        for plugin in reversed([each for each in self.loaded if each.started]):
            if (implementation := by_plugin.get(plugin.name)) is not None:
                given = {"services": self.hooks.surroundings.services}
                await shutdown.one(implementation, given, NOTIFY_S)
            plugin.started = False
        self.hooks.surroundings.close()
        if self.watchdog is not None:
            self.watchdog.stop()
            self.watchdog = None


def handler_of(plugin: str, route: Route) -> Implementation:
    """A route's handler, to be called like the implementation of a hook."""

    async def handle(request: Any, services: Any) -> Any:
        return await route.handler(request, services)

    name = f"{route.method} /api/x/{plugin}{route.path}"
    return Implementation(plugin, name, handle, ("request", "services"), Options())


def reason_of(outcome: Outcome) -> str:
    error = outcome.error
    if error is None:
        return ""
    reason = error.reason if isinstance(error, PluginFailed) else error.message
    return reason


def problem_among(hook: str, answer: Any, problem_of: Callable[[object], str]) -> str:
    """What is wrong with the answer of a registering hook; "" when it is a list of sound items."""
    if not isinstance(answer, list | tuple):
        return f"{hook} returned {type(answer).__name__}, not a list"
    return next((f"{hook}: {problem}" for each in answer if (problem := problem_of(each))), "")


def field_type_problem(found: object) -> str:
    """Why this cannot be a field type, as far as it is known here; the registry of types looks closer."""
    return "" if isinstance(found, type) else f"it is {type(found).__name__}, not a class"


# What plugins are asked for when they are loaded: the hook, where its answer is kept, what is wrong with an item.
REGISTRATIONS: tuple[tuple[str, str, Callable[[object], str]], ...] = (
    ("register_field_types", "field_types", field_type_problem),
    ("register_filter_functions", "filter_functions", function_problem),
    ("register_jobs", "jobs", job_problem),
    ("register_cron", "crons", cron_problem),
    ("register_routes", "routes", route_problem),
)
