"""What the processes of a running installation take of the machine's memory, as Linux counts it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from groundplane.config import Config
from groundplane.nursery import NURSERY, TITLE

PROC = Path("/proc")
LOCKS = ("users.lock", "server.lock")  # whoever has one of them open uses or runs the embedded PostgreSQL


class Share(NamedTuple):
    """One process; `pss_bytes` counts a page that several have in common in equal parts."""

    pid: int
    name: str
    pss_bytes: int


def shares(config: Config) -> list[Share]:
    """The processes of the installation on this machine, its embedded PostgreSQL included."""
    children: dict[int, list[int]] = {}
    names: dict[int, str] = {}
    for entry in PROC.iterdir() if PROC.is_dir() else ():
        if entry.name.isdigit():
            with suppress(OSError):
                pid, rest = int(entry.name), (entry / "stat").read_text()
                names[pid] = rest.partition("(")[2].rpartition(")")[0]
                children.setdefault(int(rest.rpartition(")")[2].split()[1]), []).append(pid)
    waiting = sorted(roots(config, children, names))
    found: list[Share] = []
    while waiting:
        pid = waiting.pop()
        if pid == os.getpid() or any(share.pid == pid for share in found):
            continue
        waiting += children.get(pid, [])
        with suppress(OSError):
            found.append(Share(pid, shown_name(pid, names.get(pid, "")), pss_bytes(pid)))
    return sorted(found, key=lambda share: -share.pss_bytes)


def roots(config: Config, children: dict[int, list[int]], names: dict[int, str]) -> set[int]:
    """The processes that the others descend from."""
    if config.database.url:
        # Supervisors are the parents of what they named; which installation is theirs is not to be seen.
        return {pid for pid, theirs in children.items() if any(names[each] == NURSERY for each in theirs)}
    locks = {str(config.data_folder / "postgres" / name) for name in LOCKS}
    found = set()
    for pid in names:
        with suppress(OSError):
            if any(link_of(descriptor) in locks for descriptor in (PROC / str(pid) / "fd").iterdir()):
                found.add(pid)
    return found


def link_of(descriptor: Path) -> str:
    try:
        return os.readlink(descriptor)
    except OSError:
        return ""


def shown_name(pid: int, name: str) -> str:
    """The process's own title: PostgreSQL writes what it does into its command line."""
    command = (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    if command.startswith("postgres: "):
        return command
    if name.startswith(TITLE):
        return name
    if "keeper.py" in command:
        return "keeper of PostgreSQL"
    return "postgres" if name == "postgres" else "groundplane serve" if " serve" in command else name


def pss_bytes(pid: int) -> int:
    for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def memory_lines(config: Config) -> Iterator[str]:
    """Yield a line per process, the largest first, and their sum."""
    found = shares(config)
    if not found:
        yield "No process of this installation runs on this machine."
        return
    for share in found:
        yield f"{share.pss_bytes / 2**20:7.1f} MiB  {share.name} ({share.pid})"
    yield f"{sum(share.pss_bytes for share in found) / 2**20:7.1f} MiB in all"
