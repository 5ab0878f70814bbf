"""Everybody asks `groundplane.clock` for the time, so that tests can move it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
READS = re.compile(r"\btime\.time(_ns)?\(|\bdatetime\.(now|utcnow|today)\(|\bdate\.today\(")
# Real time whatever tests say: names of files, spans of a trace, the age of what goes over a wire.
ALLOWED = {
    "core/groundplane/clock.py",
    "core/groundplane/hooks/implementation.py",
    "core/groundplane/realtime/log.py",
    "plugins/groundplane_plugins/metrics/series.py",
}


def test_nobody_reads_the_time_but_the_clock() -> None:
    found = {
        str(path.relative_to(ROOT))
        for folder in ("core", "plugins", "admin_ui")
        for path in (ROOT / folder).rglob("*.py")
        if READS.search(path.read_text(encoding="utf-8"))
    }
    assert found - ALLOWED == set()
