"""The start page: what needs attention, what is exposed, how it runs, what has changed."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import NamedTuple

from litestar import Response, get

from groundplane.api.exchange import AnyRequest
from groundplane.clock import now
from groundplane_admin.home.changes import Changed, recent_changes
from groundplane_admin.home.findings import (
    Exposed,
    Finding,
    Part,
    attention,
    exposed,
    parts,
    slow_findings,
)
from groundplane_admin.home.plots import DEFAULT_RANGE, RANGES, Numbers, numbers_of
from groundplane_admin.registry import Screen, home_cards
from groundplane_admin.visits import Visit, visit_of

NUMBERS, FINDINGS = "numbers", "findings"  # of the parameter `part`
FRESH = frozenset({"users"})  # what a new installation has


class Card(NamedTuple):
    """A card of another screen."""

    name: str
    template: str
    page: object


class HomePage(NamedTuple):
    findings: list[Finding]
    exposed: list[Exposed]
    numbers: Numbers
    parts: list[Part]
    changes: list[Changed]
    cards: list[Card]
    is_new: bool
    app_url: str


class FindingsPage(NamedTuple):
    findings: list[Finding]


@get("/_")
async def home(request: AnyRequest) -> Response[bytes]:
    """The start page; Litestar takes `/_` and `/_/` for one path, its own address ends with the slash."""
    visit = visit_of(request)
    if not visit.path.endswith("/"):
        return visit.go_to("/_/")
    part = visit.ask.query.get("part", "") if visit.is_fragment else ""
    if part == NUMBERS:
        return visit.fragment("home/_numbers.html", await home_numbers(visit))
    if part == FINDINGS:
        return visit.fragment("home/_findings.html", FindingsPage(await slow_findings(visit)))
    return visit.page("home/page.html", await home_page(visit))


async def home_numbers(visit: Visit) -> Numbers:
    name = visit.ask.query.get("range", DEFAULT_RANGE)
    if name not in RANGES:
        name = DEFAULT_RANGE
    minutes, count = RANGES[name]
    until = now()
    traffic = await visit.services.logs.traffic(until - timedelta(minutes=minutes), until, count)
    return numbers_of(traffic, name, until)


async def home_page(visit: Visit) -> HomePage:
    usage = await visit.services.files.usage.last()
    findings, public, numbers, shown, changes = await asyncio.gather(
        attention(visit), exposed(visit), home_numbers(visit), parts(visit, usage), recent_changes(visit)
    )
    cards = []
    for card in home_cards():
        if (drawn := await card.render(visit)) is not None:
            cards.append(Card(card.name, *drawn))
    names = {each.name for each in visit.services.schema.current if not each.system}
    return HomePage(
        findings=findings,
        exposed=public,
        numbers=numbers,
        parts=shown,
        changes=changes,
        cards=cards,
        is_new=names <= FRESH,
        app_url=visit.services.settings.current.meta.app_url.rstrip("/"),
    )


SCREEN = Screen(handlers=[home])
