"""What is wrong with a plugin's functions, found when it is loaded and said in a sentence."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from groundplane.hooks import (
    API_VERSION,
    OPTIONS,
    Options,
    specs,
    specs_files,
    specs_mail,
    specs_oauth,
    specs_sessions,
)

Spec = Callable[..., Any]

SPEC_MODULES: tuple[ModuleType, ...] = (specs, specs_mail, specs_oauth, specs_files, specs_sessions)
SPECS: dict[str, Spec] = {
    name: value for module in SPEC_MODULES for name, value in vars(module).items() if hasattr(value, "kind")
}
"""The hooks by name, in the order of the modules."""


class BadPlugin(Exception):
    """A plugin cannot be used; the message says what its author or administrator has to change."""


def marked(module: ModuleType) -> Iterator[tuple[str, Callable[..., Any], Options]]:
    """Yield the functions of a plugin that are marked as implementations."""
    for name, value in vars(module).items():
        options = getattr(value, OPTIONS, None)
        if isinstance(options, Options):
            yield name, value, options


def arguments_of(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


def signature(name: str) -> str:
    """A hook as the documentation heads it: `record_saving(event, services)`."""
    return f"{name}({', '.join(arguments_of(SPECS[name]))})"


def shape(function: Callable[..., Any]) -> str:
    if inspect.isasyncgenfunction(function):
        return "async def with a yield"
    return "async def" if inspect.iscoroutinefunction(function) else "def"


def wanted_shape(spec: Spec) -> str:
    # A specification of an around hook has no body, so it is written as a function that returns an iterator.
    return "async def with a yield" if spec.kind == "around" else shape(spec)  # type: ignore[attr-defined]


def check_version(module: ModuleType) -> None:
    """Refuse a plugin for another version of the contract; raises BadPlugin."""
    declared = getattr(module, "API_VERSION", None)
    if declared is None:
        raise BadPlugin(f"it does not say which API it was written for: write API_VERSION = {API_VERSION}")
    if declared != API_VERSION:
        raise BadPlugin(f"it was written for API version {declared}, and this server has {API_VERSION}")


def check_functions(module: ModuleType) -> None:
    """Refuse functions that would never be called, or not as their author thinks; raises BadPlugin."""
    for name, function, options in marked(module):
        spec = SPECS.get(name)
        if spec is None:
            raise BadPlugin(f"there is no hook {name}{meant(name, SPECS)}")
        for argument in arguments_of(function):
            if argument not in arguments_of(spec):
                advice = meant(argument, arguments_of(spec))
                raise BadPlugin(f"{signature(name)} has no argument {argument}{advice}")
        has, wanted = shape(function), wanted_shape(spec)
        if options.threaded:
            if has != "def" or wanted != "async def":
                raise BadPlugin(f"{name}: only a plain def for a hook that is async can be threaded")
        elif has != wanted:
            advice = ", or say threaded=True if it waits" if (has, wanted) == ("def", "async def") else ""
            raise BadPlugin(f"{name} must be `{wanted}`, and it is `{has}`{advice}")
        if options.deadline_s is not None and options.deadline_s <= 0:
            raise BadPlugin(f"{name}: deadline_s must be above 0")


def meant(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f": did you mean {near[0]}?" if near else ""
