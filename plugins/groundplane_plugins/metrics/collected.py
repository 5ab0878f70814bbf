"""What is looked at now and then, because nobody tells: processes, connections, the queue of jobs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from groundplane.db.sql import load_queries
from groundplane.errors import GroundplaneError
from groundplane.services import Services
from groundplane_plugins.metrics import names
from groundplane_plugins.metrics.series import Key, Store

if sys.platform != "win32":
    import resource

QUERIES = load_queries("groundplane_plugins.metrics")
OPEN_FILES = Path("/proc/self/fd")
STATM = Path("/proc/self/statm")


def look_at_process(store: Store, role: str, services: Services) -> None:
    """Write down what this process uses, and what its plugins have done."""
    times = os.times()
    store.advance(names.CPU, (role,), times.user + times.system)
    store.show(names.PROCESSES, (role,), 1)
    store.show(names.STREAMS, (), len(services.realtime.clients))
    store.show(names.MEMORY, (role,), resident_bytes())
    if OPEN_FILES.is_dir():
        store.show(names.FILES, (role,), len(os.listdir(OPEN_FILES)))
    pool = services.db.pool
    store.show(names.CONNECTIONS, ("idle",), pool.get_idle_size())
    store.show(names.CONNECTIONS, ("busy",), pool.get_size() - pool.get_idle_size())
    for name, lane in (
        ("rows", services.db.rows),
        ("pages", services.db.pages),
        ("writes", services.db.writes),
    ):
        store.show(names.WAITING, (name,), lane.waiting)
    for figure in services.plugins.figures():
        labels = (figure["plugin"], figure["hook"])
        for name, total in (
            (names.CALLS, figure["calls"]),
            (names.FAILURES, figure["failures"]),
            (names.TIMEOUTS, figure["timeouts"]),
            (names.DROPPED, figure["dropped"]),
            (names.SECONDS, figure["total_s"]),
        ):
            if total:
                store.advance(name, labels, total)


def resident_bytes() -> int:
    """What the process has in memory now; where the system does not say so, the most that it has had, or 0."""
    if sys.platform == "win32":
        return 0
    try:
        return int(STATM.read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


async def look_at_database(services: Services) -> dict[Key, tuple[float, ...]]:
    """What the database says for all processes together; only that it does not answer, when it does not."""
    try:
        rows = await services.db.fetch(QUERIES["jobs"])
        oldest = await services.db.fetchval(QUERIES["oldest_due"])
        deliveries = await services.db.fetch(QUERIES["deliveries"])
    except GroundplaneError:
        return {Key(names.DATABASE_UP, ()): (0.0,)}
    found: dict[Key, tuple[float, ...]] = {
        Key(names.DATABASE_UP, ()): (1.0,),
        Key(names.OLDEST_JOB, ()): (float(oldest or 0.0),),
    }
    for row in rows:
        found[Key(names.JOBS, (row["kind"], row["state"]))] = (float(row["count"]),)
    for row in deliveries:
        found[Key(names.DELIVERIES, (row["state"],))] = (float(row["count"]),)
    return found
