"""The order of a hook's implementations: as pluggy has it, then as plugins declare `before` and `after`."""

from __future__ import annotations

from collections.abc import Sequence

from groundplane.hooks.implementation import Implementation

OTHERS = "*"


class CircularOrder(Exception):
    """Plugins want to be before each other; the message names them."""


def in_order(found: Sequence[Implementation]) -> tuple[Implementation, ...]:
    """Sort so that every declaration holds, keeping the given order otherwise; raises CircularOrder.

    A declaration for all others (`*`) yields to one that names a plugin.
    """
    follows: dict[str, set[str]] = {each.plugin: set() for each in found}
    for each in found:
        for other in each.options.before:
            if other in follows:
                follows[other].add(each.plugin)
        follows[each.plugin] |= set(each.options.after) & follows.keys()
    follows = {plugin: others - {plugin} for plugin, others in follows.items()}
    waiting = sorted(found, key=eagerness)
    done: list[Implementation] = []
    while waiting:
        placed = {each.plugin for each in done}
        following = next((each for each in waiting if follows[each.plugin] <= placed), None)
        if following is None:
            names = ", ".join(sorted(each.plugin for each in waiting))
            raise CircularOrder(f"{waiting[0].hook}: the order that {names} declare has no beginning")
        waiting.remove(following)
        done.append(following)
    return tuple(done)


def eagerness(implementation: Implementation) -> int:
    options = implementation.options
    return (OTHERS in options.after) - (OTHERS in options.before)
