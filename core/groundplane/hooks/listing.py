"""What the command line says about plugins and hooks."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from groundplane.hooks.checks import SPECS, marked, signature
from groundplane.hooks.loading import Plugin, Status


def plugin_lines(plugins: list[Plugin]) -> Iterator[str]:
    """One line per plugin: name, state, source, and the reason or the hooks."""
    width = max((len(plugin.name) for plugin in plugins), default=0)
    for plugin in plugins:
        more = plugin.reason
        if plugin.status is Status.LOADED:
            more = ", ".join(name for name, _, _ in marked(plugin.module))
        yield f"{plugin.name:{width}}  {plugin.status:8}  {plugin.source:9}  {more}".rstrip()


def hook_lines() -> Iterator[str]:
    """Every hook: kind, signature, and the first sentence of what it is."""
    width = max(len(signature(name)) for name in SPECS)
    for name, spec in SPECS.items():
        kind: str = spec.kind  # type: ignore[attr-defined]
        first = (inspect.getdoc(spec) or "").partition("\n")[0]
        yield f"{kind:8}  {signature(name):{width}}  {first}"
