"""What a run came to: medians, the JSON file, the tables, and whether the budgets hold."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from bench_load import Outcome

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "build" / "bench"
GUIDE = ROOT / "docs" / "performance.md"
MARKED = re.compile(r"(<!-- (results|budgets) -->\n).*?(<!-- end -->)", re.DOTALL)


class Measure(NamedTuple):
    """What is measured under which conditions."""

    case: str
    workers: int = 2
    connections: int = 64
    rows: int = 10_000
    lanes: bool = True


class Line(NamedTuple):
    """One measurement, or the median of several; times of CPU in microseconds per request."""

    measure: Measure
    title: str
    requests: int
    per_second: float
    cpu_us: float
    server_us: float
    postgres_us: float
    hello_us: float  # of the bare application, just before
    ratio: float
    p50_ms: float
    p99_ms: float
    load_share: float
    statuses: dict[int, int]


def line(measure: Measure, title: str, outcome: Outcome, hello_us: float) -> Line:
    each = 1e6 / max(outcome.requests, 1)
    total = (outcome.server_s + outcome.postgres_s) * each
    return Line(
        measure=measure,
        title=title,
        requests=outcome.requests,
        per_second=round(outcome.per_second, 1),
        cpu_us=round(total, 1),
        server_us=round(outcome.server_s * each, 1),
        postgres_us=round(outcome.postgres_s * each, 1),
        hello_us=round(hello_us, 1),
        ratio=round(total / hello_us, 2) if hello_us else 1.0,
        p50_ms=round(outcome.percentile_ms(0.5), 3),
        p99_ms=round(outcome.percentile_ms(0.99), 3),
        load_share=round(outcome.load_share, 2),
        statuses=outcome.statuses,
    )


def medians(lines: Iterable[Line]) -> list[Line]:
    """Fold the runs of each measurement into one line, in the order of the first run."""
    groups: dict[Measure, list[Line]] = {}
    for each in lines:
        groups.setdefault(each.measure, []).append(each)
    names = [name for name in Line._fields if name not in ("measure", "title", "requests", "statuses")]
    return [
        group[-1]._replace(
            **{name: round(median(getattr(item, name) for item in group), 3) for name in names},
            requests=sum(item.requests for item in group),
            statuses=dict(sum((Counter(item.statuses) for item in group), Counter())),
        )
        for group in groups.values()
    ]


def conditions(measure: Measure) -> str:
    rows = f"{measure.rows // 1_000_000} M" if measure.rows >= 1_000_000 else f"{measure.rows:,}"
    return f"{measure.workers} / {measure.connections} / {rows}" + ("" if measure.lanes else " no lanes")


HEAD = (
    "case",
    "workers / conn. / rows",
    "req/s",
    "CPU µs",
    "server",
    "PostgreSQL",
    "x hello",
    "p50 ms",
    "p99 ms",
)


def cells(item: Line) -> tuple[str, ...]:
    return (
        item.title,
        conditions(item.measure),
        f"{item.per_second:,.0f}",
        f"{item.cpu_us:,.0f}",
        f"{item.server_us:,.0f}",
        f"{item.postgres_us:,.0f}",
        f"{item.ratio:,.1f}",
        f"{item.p50_ms:.2f}",
        f"{item.p99_ms:.2f}",
    )


def show(rows: Sequence[Sequence[str]]) -> str:
    """Lay rows out for a terminal."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if column < 2 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *rest = rows
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rest])


# The file


def result(lines: Sequence[Line], settings: dict[str, Any], at: datetime | None = None) -> dict[str, Any]:
    """What is kept of a run."""
    return {
        "at": (at or datetime.now(UTC)).isoformat(timespec="seconds"),
        "commit": commit(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "settings": settings,
        "lines": [
            {
                **item.measure._asdict(),
                **{key: value for key, value in item._asdict().items() if key != "measure"},
            }
            for item in lines
        ],
    }


def keep(kept: dict[str, Any], folder: Path = KEPT) -> Path:
    """Write a result as JSON, under its time and as `latest.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(kept, indent=2) + "\n"
    (folder / "latest.json").write_text(text, encoding="utf-8")
    path = folder / f"{datetime.fromisoformat(kept['at']):%Y%m%dT%H%M%SZ}.json"
    path.write_text(text, encoding="utf-8")
    return path


def read(path: Path) -> tuple[dict[str, Any], list[Line]]:
    """Read what `keep` wrote."""
    kept = json.loads(path.read_text(encoding="utf-8"))
    return kept, [
        Line(
            measure=Measure(**{name: item[name] for name in Measure._fields}),
            **{name: item[name] for name in Line._fields if name not in ("measure", "statuses")},
            statuses={int(status): count for status, count in item["statuses"].items()},
        )
        for item in kept["lines"]
    ]


def commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    return done.stdout.strip()


def render(kept: dict[str, Any], lines: Sequence[Line], guide: Path = GUIDE) -> None:
    """Write a result's tables into the guide, between its marks."""
    settings = kept["settings"]
    said = (
        f"{kept['at'][:10]}, {kept['cores']} processors, Python {kept['python']}, "
        f"medians of {settings['runs']} runs of {settings['seconds']:g} s:"
    )
    budgets = [("wanted", "at most", "measured", "holds")]
    budgets += [
        (item.wanted, item.limit, item.measured, "yes" if item.holds else "no") for item in check(lines)
    ]
    blocks = {"results": markdown([HEAD, *map(cells, lines)]), "budgets": markdown(budgets)}
    text = guide.read_text(encoding="utf-8")
    text = MARKED.sub(lambda found: f"{found[1]}\n{said}\n\n{blocks[found[2]]}\n\n{found[3]}", text)
    guide.write_text(text, encoding="utf-8")


# The budgets


class Verdict(NamedTuple):
    wanted: str
    limit: str
    measured: str
    holds: bool


BUDGETS_US = {"get": 45, "list": 140, "list_total": 800, "create": 90, "mixed": 75}
# Two measurements of the same thing in one run differ by up to this much.
NOISE = 1.05


def check(lines: Sequence[Line]) -> list[Verdict]:
    """Compare with what the hot path promises; what was not measured is left out."""
    by_measure = {item.measure: item for item in lines}

    def at(case: str, **conditions: Any) -> Line | None:
        return by_measure.get(Measure(case, **conditions))

    found: list[Verdict] = []

    def compare(wanted: str, item: Line | None, limit: float, value: float, unit: str = " µs") -> None:
        if item is not None:
            digits = 2 if unit != " µs" else 0
            found.append(
                Verdict(wanted, f"{limit:,.{digits}f}{unit}", f"{value:,.{digits}f}{unit}", value <= limit)
            )

    for case, limit in BUDGETS_US.items():
        if (item := at(case)) is not None:
            compare(f"CPU of {item.title}", item, limit, item.cpu_us)
    if (item := at("sign_in")) is not None and (hashing := at("hash")) is not None:
        compare("CPU of sign-in, the hash + 5 %", item, hashing.cpu_us * 1.05, item.cpu_us)
    if (item := at("get")) is not None:
        compare("get by id, beside hello", item, 2.5, item.ratio, " x")

    def beside(wanted: str, item: Line | None, base: Line | None, limit: float) -> None:
        if item is not None and base is not None:
            compare(wanted, item, limit, item.cpu_us / base.cpu_us, " x")

    beside("request log, CPU of a get with it beside without", at("get"), at("get_no_log"), 1.05)
    beside("2 % duplicates, CPU beside none", at("create_duplicates"), at("create_unique"), 1.5)
    beside("get of 1 M rows beside 10,000", at("get", rows=1_000_000), at("get"), 1.10)
    beside("list of 1 M rows beside 10,000", at("list", rows=1_000_000), at("list"), 1.25)
    for item in lines:
        if not item.measure.lanes:
            with_lanes = by_measure.get(item.measure._replace(lanes=True))
            if with_lanes is not None:
                compare(
                    f"{item.title} on {item.measure.connections} connection, p50 beside no lanes",
                    item,
                    NOISE,
                    with_lanes.p50_ms / item.p50_ms,
                    " x",
                )
    return found
