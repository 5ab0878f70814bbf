"""Finds plugins: bundled with the server, installed beside it, or files of the project."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import re
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import msgspec

from groundplane.config import Config
from groundplane.hooks import PROJECT
from groundplane.hooks.checks import BadPlugin, check_functions, check_version
from groundplane.hooks.configuration import configured
from groundplane.hooks.filters import FilterFunction
from groundplane.hooks.implementation import Implementation
from groundplane.hooks.routes import Route
from groundplane.hooks.tables import steps
from groundplane.hooks.work import CronJob, JobKind

log = logging.getLogger(__name__)

# Named here and not as entry points: those are read from installed metadata, so that a new one would
# need a new installation of a checked-out copy.
BUNDLED = (
    "clamav",
    "history",
    "kafka",
    "metrics",
    "nats",
    "oauth2_providers",
    "rabbitmq",
)
# Bundled ones that are on without a section: what people expect of the server itself.
ALWAYS_ON = frozenset({"oauth2_providers"})
BUNDLED_PACKAGE = "groundplane_plugins"
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
FILE_MODULE = "groundplane_project_plugins"  # prefix of the names that project files have as modules


class Source(StrEnum):
    BUNDLED = "bundled"
    INSTALLED = "installed"
    FILE = "file"


class Status(StrEnum):
    LOADED = "loaded"
    DISABLED = "disabled"
    BROKEN = "broken"


class Found(NamedTuple):
    """A plugin that is there; `load` imports it."""

    name: str
    source: Source
    where: str
    load: Callable[[], ModuleType]


class Plugin(msgspec.Struct):
    """One plugin and how it is.

    `reason`       why it is broken
    `collections`  its configuration for single collections, by their names
    `workers`      the handlers of its jobs and cron jobs, once they are registered
    `superusers`   whether it may say that a request is a superuser's
    """

    name: str
    source: Source
    where: str
    status: Status = Status.LOADED
    reason: str = ""
    module: Any = None
    config: Any = None
    collections: dict[str, Any] = {}
    required: bool = False
    superusers: bool = False
    started: bool = False
    field_types: tuple[type, ...] = ()
    filter_functions: tuple[FilterFunction, ...] = ()
    jobs: tuple[JobKind, ...] = ()
    crons: tuple[CronJob, ...] = ()
    routes: tuple[tuple[Route, Implementation], ...] = ()
    workers: list[Implementation] = []

    def break_(self, reason: str, cause: BaseException | None = None) -> None:
        """Mark as broken; the first reason is the one to tell."""
        if self.status is not Status.BROKEN:
            self.status, self.reason = Status.BROKEN, reason
            log.error("Plugin %s is broken and stays out: %s", self.name, reason, exc_info=cause)


def find(config: Config) -> Iterator[Found]:
    """Yield what is there, bundled ones first; nothing is imported yet."""
    for name in BUNDLED:
        module = f"{BUNDLED_PACKAGE}.{name}"
        yield Found(name, Source.BUNDLED, module, partial(importlib.import_module, module))
    for entry in sorted(entry_points(group=PROJECT), key=lambda entry: entry.name):
        yield Found(entry.name, Source.INSTALLED, entry.value, entry.load)
    folder = Path(config.plugins_dir)
    if config.plugins_dir and folder.is_dir():
        for file in sorted(folder.glob("*.py")):
            yield Found(file.stem, Source.FILE, str(file), partial(load_file, file))


def load_file(file: Path) -> ModuleType:
    """Import a project's file under a name that no package has."""
    name = f"{FILE_MODULE}.{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise BadPlugin("it is no Python file")
    module = importlib.util.module_from_spec(spec)
    # Before it runs: what it defines looks its module up there.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def load(config: Config) -> list[Plugin]:
    """Import and check what is enabled; a plugin that cannot be used is broken, with the reason."""
    plugins: dict[str, Plugin] = {}
    for found in find(config):
        plugin = Plugin(
            name=found.name,
            source=found.source,
            where=found.where,
            required=is_required(config.plugins.get(found.name)),
        )
        if found.name in plugins:
            taken = plugins[found.name].where
            plugin.name = f"{found.name} ({found.where})"
            plugin.break_(f"another plugin has its name: {taken}")
        elif not is_enabled(found, config):
            plugin.status = Status.DISABLED
        else:
            examine(plugin, found, config)
        plugins[plugin.name] = plugin
    for name in config.plugins.keys() - plugins.keys():
        if is_on(config.plugins[name]):
            missing = Plugin(
                name=name,
                source=Source.INSTALLED,
                where=f"[plugins.{name}]",
                required=is_required(config.plugins[name]),
            )
            missing.break_("the configuration names it, and it is not installed")
            plugins[name] = missing
    return list(plugins.values())


def is_on(section: Any) -> bool:
    return not isinstance(section, dict) or bool(section.get("enabled", True))


def is_required(section: Any) -> bool:
    return isinstance(section, dict) and bool(section.get("required", False))


def is_enabled(found: Found, config: Config) -> bool:
    """Bundled plugins wait for their section in the configuration; others are on unless it says no."""
    section = config.plugins.get(found.name)
    if section is None:
        return found.source is not Source.BUNDLED or found.name in ALWAYS_ON
    return is_on(section)


def examine(plugin: Plugin, found: Found, config: Config) -> None:
    """Import one plugin and check it; marks it as broken when something is wrong."""
    try:
        if not NAME.fullmatch(plugin.name):
            raise BadPlugin("its name must be small letters, digits and _, at most 40")
        module = found.load()
        if not isinstance(module, ModuleType):
            raise BadPlugin(f"its entry point is a {type(module).__name__}; name a module")
        check_version(module)
        check_functions(module)
        plugin.module = module
        section = config.plugins.get(plugin.name, {})
        plugin.config, plugin.collections = configured(module, section)
        plugin.superusers = bool(section.get("superusers", False))
        steps(module)
    except BadPlugin as error:
        plugin.break_(str(error))
    except Exception as error:  # noqa: BLE001  # an import may raise whatever it likes
        plugin.break_(f"it cannot be imported: {type(error).__name__}: {error}", error)
    except SystemExit:
        plugin.break_("it ends the process when it is imported")
