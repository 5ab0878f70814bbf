"""CPU time of whole process trees, from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def stat_fields(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the state on; None when the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name stands in parentheses and may itself contain spaces and parentheses.
    return text[text.rindex(")") + 2 :].split()


def tree(roots: Iterable[int]) -> set[int]:
    """Return the pids of the processes below `roots`, themselves included."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := stat_fields(int(entry.name))) is not None:
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children.get(pid, [])
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU time that the processes have used, in seconds.

    Includes what children used that have ended and been waited for, so a worker that is replaced in the
    middle of a run still counts.
    """
    ticks = 0
    for pid in pids:
        fields = stat_fields(pid)
        if fields is not None:
            ticks += sum(int(fields[position]) for position in (11, 12, 13, 14))
    return ticks / TICKS_PER_SECOND


def postgres_pids(data_dir: Path) -> list[int]:
    """Return the pids of the PostgreSQL servers whose data lies below `data_dir`."""
    return [
        int(path.read_text(encoding="utf-8").split("\n", 1)[0]) for path in data_dir.rglob("postmaster.pid")
    ]
