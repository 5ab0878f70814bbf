"""The plugins of one process: loaded, checked, started, and taken out when they fail to."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pluggy

from groundplane.config import Config
from groundplane.hooks import OPTIONS, PROJECT, Options, specs
from groundplane.hooks.calls import COLLECT_S, NOTIFY_S, Hooks, Implementation, Outcome, PluginFailed
from groundplane.hooks.checks import BadPlugin, marked
from groundplane.hooks.loading import Plugin, Source, Status, load, steps
from groundplane.hooks.order import CircularOrder, in_order
from groundplane.hooks.routes import Route, route_problem
from groundplane.hooks.tables import migrate
from groundplane.hooks.watchdog import Watchdog

if TYPE_CHECKING:
    from groundplane.db.engine import Database
    from groundplane.services import Services

log = logging.getLogger(__name__)


class Plugins:
    """`hooks` is for those who call them, `all` for those who list the plugins, broken ones too."""

    def __init__(self, plugins: Sequence[Plugin] = ()) -> None:
        self.hooks = Hooks()
        self.all = list(plugins)
        self.watchdog: Watchdog | None = None
        self._pluggy = pluggy.PluginManager(PROJECT)
        self._pluggy.add_hookspecs(specs)
        for plugin in self.all:
            if plugin.status is Status.LOADED:
                self._register(plugin)
        self._arrange()
        self._collect_routes()

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

    @property
    def has_lost_access_rules(self) -> bool:
        """Whether a plugin that has a say about access is broken, so that nobody knows what it would say."""
        return any(
            name == "access_rules"
            for plugin in self.broken
            if plugin.module is not None
            for name, _, _ in marked(plugin.module)
        )

    @property
    def missed(self) -> list[Plugin]:
        """Broken plugins without which the server must not start: their section says `required = true`."""
        return [plugin for plugin in self.broken if plugin.required]

    def figures(self) -> list[dict[str, Any]]:
        """What each implementation has done in this process, for metrics."""
        return [
            {"plugin": each.plugin, "hook": each.hook}
            | {name: getattr(each.counters, name) for name in each.counters.__struct_fields__}
            for hook in self.hooks.all.values()
            for each in hook.implementations
        ]

    # Loading

    def _register(self, plugin: Plugin) -> None:
        try:
            self._pluggy.register(plugin.module, plugin.name)
            self._pluggy.check_pending()
        except (pluggy.PluginValidationError, ValueError) as error:
            self._drop(plugin, str(error), error)

    def _drop(self, plugin: Plugin, reason: str, cause: BaseException | None = None) -> None:
        """Take a plugin out of every hook."""
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

    def _collect_routes(self) -> None:
        for outcome in self.hooks.register_routes.ask():
            plugin = self._named(outcome.plugin)
            problem = reason_of(outcome) or routes_problem(outcome.result)
            if problem:
                self._drop(plugin, problem)
            else:
                plugin.routes = tuple((route, handler_of(plugin.name, route)) for route in outcome.result)
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
        for plugin in self.loaded:
            await self._migrate(plugin, database)
        self._arrange()
        startup = self.hooks.startup
        # In the order in which they were loaded, so that bundled ones are there for the others.
        by_plugin = {each.plugin: each for each in startup.implementations}
        for plugin in self.loaded:
            implementation = by_plugin.get(plugin.name)
            if implementation is not None:
                given = {"services": services, "config": plugin.config}
                outcome = await startup.one(implementation, given, COLLECT_S)
                if problem := reason_of(outcome):
                    self._drop(plugin, problem)
                    continue
            plugin.started = True
        self._arrange()

    async def _migrate(self, plugin: Plugin, database: Database) -> None:
        try:
            if found := steps(plugin.module):
                await migrate(database, plugin.name, found)
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


def routes_problem(routes: Any) -> str:
    """Why this is no list of routes; "" when it is one."""
    if not isinstance(routes, list | tuple):
        return f"register_routes returned {type(routes).__name__}, not a list of routes"
    return next((problem for route in routes if (problem := route_problem(route))), "")
