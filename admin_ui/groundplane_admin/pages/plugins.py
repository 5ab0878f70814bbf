"""Plugins: which are there, how each is, what it takes part in, and why one stays out."""

from __future__ import annotations

from typing import NamedTuple

from litestar import Response, get
from litestar.params import FromPath

from groundplane.api.exchange import AnyRequest
from groundplane.errors import NotFound
from groundplane.hooks.checks import marked
from groundplane.hooks.loading import Plugin, Status
from groundplane_admin.registry import NavItem, Screen
from groundplane_admin.visits import Visit, visit_of

ORDER = {Status.BROKEN: 0, Status.LOADED: 1, Status.DISABLED: 2}


class Card(NamedTuple):
    """A plugin in words; `parts` are what it adds, as a name of the catalogue and what it is called."""

    name: str
    status: str
    source: str
    where: str
    reason: str
    required: bool
    hooks: list[str]
    parts: list[tuple[str, list[str]]]
    about: str


class PluginsPage(NamedTuple):
    cards: list[Card]
    broken: int


async def broken_plugins(visit: Visit) -> str:
    """How many plugins are broken, for the sidebar."""
    count = sum(each.status is Status.BROKEN for each in visit.services.plugins.all)
    return str(count) if count else ""


@get("/_/plugins")
async def plugins(request: AnyRequest) -> Response[bytes]:
    """All plugins, broken ones first."""
    visit = visit_of(request)
    found = sorted(visit.services.plugins.all, key=lambda each: (ORDER[each.status], each.name))
    cards = [card_of(each) for each in found]
    page = PluginsPage(cards, sum(each.status is Status.BROKEN for each in found))
    return visit.page("plugins/page.html", page)


@get("/_/plugins/{name:str}")
async def plugin(request: AnyRequest, name: FromPath[str]) -> Response[bytes]:
    """One plugin."""
    visit = visit_of(request)
    for each in visit.services.plugins.all:
        if each.name == name:
            return visit.page("plugins/plugin.html", card_of(each))
    raise NotFound()


def card_of(plugin: Plugin) -> Card:
    loaded = plugin.status is Status.LOADED
    parts = [
        ("routes", [f"{route.method} /api/x/{plugin.name}{route.path}" for route, _ in plugin.routes]),
        ("jobs", [f"{plugin.name}.{job.name}" for job in plugin.jobs]),
        ("crons", [f"{plugin.name}.{cron.name}  {cron.expression}" for cron in plugin.crons]),
        ("field_types", [kind.__name__ for kind in plugin.field_types]),
        ("functions", [function.name for function in plugin.filter_functions]),
    ]
    about = (getattr(plugin.module, "__doc__", None) or "").strip().partition("\n")[0]
    return Card(
        name=plugin.name,
        status=str(plugin.status),
        source=str(plugin.source),
        where=plugin.where,
        reason=plugin.reason,
        required=plugin.required,
        hooks=[hook for hook, _, _ in marked(plugin.module)] if loaded else [],
        parts=[(name, found) for name, found in parts if found],
        about=about,
    )


SCREEN = Screen(
    handlers=[plugins, plugin],
    nav=[NavItem("operate", "plugins.title", "/_/plugins", "plugin", order=60, badge=broken_plugins)],
)
