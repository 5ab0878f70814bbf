"""What a plugin imports: the marker for its functions, and the version of the contract that it declares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar, overload

import pluggy

API_VERSION = 1
"""A plugin says `API_VERSION = 1`; one that says another number, or none, is not loaded."""

PROJECT = "groundplane"
OPTIONS = "groundplane_options"  # the attribute of a marked function

Function = TypeVar("Function", bound=Callable[..., Any])


class Options(NamedTuple):
    """How one implementation wants to be called; see `hookimpl`."""

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    collections: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    threaded: bool = False
    deadline_s: float | None = None


_mark = pluggy.HookimplMarker(PROJECT)
_plain_hookspec = pluggy.HookspecMarker(PROJECT)


def hookspec(kind: str) -> Callable[[Function], Function]:
    """Mark a function of `specs.py` as a hook of this kind."""

    def mark(function: Function) -> Function:
        function.kind = kind  # type: ignore[attr-defined]  # read by the manager and the documentation
        return _plain_hookspec(function)

    return mark


@overload
def hookimpl(function: Function, /) -> Function: ...


@overload
def hookimpl(
    *,
    before: Sequence[str] = (),
    after: Sequence[str] = (),
    collections: Sequence[str] = (),
    tags: Sequence[str] = (),
    headers: Sequence[str] = (),
    threaded: bool = False,
    deadline_s: float | None = None,
) -> Callable[[Function], Function]: ...


def hookimpl(
    function: Callable[..., Any] | None = None,
    /,
    *,
    before: Sequence[str] = (),
    after: Sequence[str] = (),
    collections: Sequence[str] = (),
    tags: Sequence[str] = (),
    headers: Sequence[str] = (),
    threaded: bool = False,
    deadline_s: float | None = None,
) -> Any:
    """Mark a function of a plugin as its implementation of the hook of the same name.

    `before`, `after`   names of plugins whose implementation this one precedes or follows; `*` is all others
    `collections`       names or ids; called for these only (hooks about a collection)
    `tags`              called only for collections that are all of these: base, auth, view, system
    `headers`           called only for requests that have one of these headers (`resolve_actor`)
    `threaded`          a plain function that takes its time: it runs in the bounded pool of threads
    `deadline_s`        seconds that a call may take, instead of the hook's own limit
    """
    options = Options(
        _names(before),
        _names(after),
        _names(collections),
        _names(tags),
        tuple(name.lower() for name in _names(headers)),
        bool(threaded),
        deadline_s,
    )

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        setattr(function, OPTIONS, options)
        return _mark(function)

    return mark if function is None else mark(function)


def _names(given: Sequence[str]) -> tuple[str, ...]:
    # One name is often written without the brackets, and would be taken for its letters.
    return (given,) if isinstance(given, str) else tuple(given)
