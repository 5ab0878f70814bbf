"""The plots of the start page: bars that the template draws as SVG, each with its number and its link."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from groundplane.clock import wire_date
from groundplane.logs.traffic import Point, Traffic
from groundplane_admin.catalogue import say
from groundplane_admin.formats import about, duration, number
from groundplane_admin.visits import with_query

RANGES = {"1h": (60, 60), "24h": (1440, 48), "7d": (10080, 56)}
"""How long in minutes, and in how many parts."""
DEFAULT_RANGE = "24h"
HEIGHT = 40.0
LOWEST = 1.2  # of a bar that is not nothing
FAILED = "data.status >= 500"


class PlotBar(NamedTuple):
    x: float
    height: float
    label: str
    href: str


class Plot(NamedTuple):
    """`name` is of the catalogue; `href` leads to what the number counts."""

    name: str
    value: str
    detail: str
    href: str
    bars: list[PlotBar]
    kind: str
    most: str


class Line(NamedTuple):
    """One stretch as numbers, for those who do not look at plots."""

    since: datetime
    requests: str
    errors: str
    p95: str


class Numbers(NamedTuple):
    range: str
    ranges: list[tuple[str, str]]
    plots: list[Plot]
    lines: list[Line]
    since: datetime
    until: datetime
    parts: int
    is_exact: bool


def numbers_of(traffic: Traffic, name: str, until: datetime) -> Numbers:
    """The three plots and the same as a table."""
    minutes, parts = RANGES[name]
    length = timedelta(minutes=minutes) / parts
    total, points = traffic.total, traffic.points
    count = number if traffic.is_exact else about
    rate = total.requests / minutes
    share = 100 * total.errors / total.requests if total.requests else 0.0
    whole = with_query("/_/logs", range=name)
    slow = with_query("/_/logs", range=name, filter=f"data.execTime >= {total.p95_ms or 0:.0f}")
    plots = [
        Plot(
            "requests",
            count(total.requests),
            f"{rate:.1f}" if rate < 100 else number(round(rate)),
            whole,
            bars_of(points, [float(each.requests) for each in points], length, count, ""),
            "f1",
            count(max((each.requests for each in points), default=0)),
        ),
        Plot(
            "errors",
            f"{share:.1f} %",
            count(total.errors),
            with_query("/_/logs", range=name, filter=FAILED),
            bars_of(points, [float(each.errors) for each in points], length, count, FAILED),
            "fbad",
            count(max((each.errors for each in points), default=0)),
        ),
        Plot(
            "p95",
            duration(total.p95_ms) if total.p95_ms is not None else say("home.nothing"),
            "",
            slow,
            bars_of(points, [each.p95_ms or 0.0 for each in points], length, duration, ""),
            "f1",
            duration(max((each.p95_ms or 0.0 for each in points), default=0)),
        ),
    ]
    lines = [
        Line(
            each.since,
            count(each.requests),
            count(each.errors),
            duration(each.p95_ms) if each.p95_ms is not None else "",
        )
        for each in points
        if each.requests
    ]
    ranges = [(each, with_query("/_/", range=each)) for each in RANGES]
    return Numbers(name, ranges, plots, lines, points[0].since, until, parts, traffic.is_exact)


def bars_of(
    points: list[Point], values: list[float], length: timedelta, said: Callable[..., str], filter: str
) -> list[PlotBar]:
    """Bars for what is not zero, as high as their share of the highest."""
    most = max(values, default=0.0)
    if most <= 0:
        return []
    bars = []
    for place, (point, value) in enumerate(zip(points, values, strict=True)):
        if value <= 0:
            continue
        address = with_query(
            "/_/logs",
            filter=filter,
            **{"from": wire_date(point.since), "to": wire_date(point.since + length)},
        )
        label = f"{point.since.astimezone(UTC):%Y-%m-%d %H:%M} UTC: {said(int(value) if value % 1 == 0 else value)}"
        bars.append(PlotBar(place, max(LOWEST, round(HEIGHT * value / most, 2)), label, address))
    return bars
