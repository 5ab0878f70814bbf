"""Shows where the time of a web worker goes: `python tests/bench/flame.py get`; see docs/performance.md."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from bench_cases import BY_KEY
from bench_cpu import cpu_seconds, tree
from bench_load import drive
from bench_results import KEPT, show
from bench_server import Installation, Setup

SAMPLES_PER_SECOND = 250
WEB_WORKER = "groundplane-web\n"  # the name of the process
# Threads that wait for work, or look after the supervisor; they are not always known to be asleep.
IDLE = re.compile(r"(_end_after|_worker) \([^;]*$")
LINE = re.compile(r":\d+\)$")
PACKAGES = re.compile(r"\(.*/(?:site-packages|core|plugins|lib/python3\.\d+)/")


class Share(NamedTuple):
    """Of one function, in percent of the samples: by itself, and with what it calls."""

    function: str
    own: float
    whole: float


def shares(stacks: str) -> list[Share]:
    """Add up py-spy's raw form (`outer;inner count` in each line), the greatest own share first."""
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    total = 0
    for text in stacks.splitlines():
        frames, _, count = text.rpartition(" ")
        if IDLE.search(frames):
            continue
        names = [LINE.sub(")", PACKAGES.sub("(", frame)) for frame in frames.split(";")]
        total += int(count)
        own[names[-1]] += int(count)
        for name in set(names):
            whole[name] += int(count)
    percent = 100 / max(total, 1)
    found = [Share(name, own[name] * percent, whole[name] * percent) for name in whole]
    return sorted(found, key=lambda share: (-share.own, -share.whole))


def table(found: list[Share], count: int = 40) -> str:
    """The functions with the greatest own shares, and those with the greatest whole ones behind them."""
    rows = [("function", "", "own %", "whole %")]
    rows += [(share.function, "", f"{share.own:.1f}", f"{share.whole:.1f}") for share in found[:count]]
    rows.append(("", "", "", ""))
    by_whole = sorted(found, key=lambda share: -share.whole)
    rows += [(share.function, "", f"{share.own:.1f}", f"{share.whole:.1f}") for share in by_whole[:count]]
    return show(rows)


def busiest_worker(roots: list[int]) -> int:
    """The web process below `roots` that has worked most."""
    workers = [pid for pid in tree(roots) if Path(f"/proc/{pid}/comm").read_text() == WEB_WORKER]
    return max(workers, key=lambda pid: cpu_seconds([pid]))


def record(pid: int, seconds: float, form: str, path: Path) -> None:
    """Have py-spy look at a process; raises RuntimeError with its words."""
    found = shutil.which("py-spy", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin")
    if found is None:
        raise RuntimeError("py-spy is not there: install the group dev.")
    command = [found, "record", "--pid", str(pid), "--duration", str(max(1, round(seconds)))]
    command += ["--rate", str(SAMPLES_PER_SECOND), "--format", form, "--output", str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if not path.exists():
        raise RuntimeError(
            f"py-spy did not record (root may, and who owns the process where ptrace is allowed):\n{done.stderr}"
        )


def flame(case_key: str, *, seconds: float, workers: int, connections: int, rows: int, folder: Path) -> str:
    """Load a server with a case, record it twice, and return the text; the picture is in `folder`."""
    case = BY_KEY[case_key]
    folder.mkdir(parents=True, exist_ok=True)
    picture, stacks, text = (folder / f"{case_key}.{end}" for end in ("svg", "stacks", "txt"))
    for path in (picture, stacks):
        path.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="gpbench") as home, ExitStack() as stack:
        Path(home).chmod(0o755)
        installation = Installation(Path(home), stack, rows=rows)
        target = installation.server(Setup(workers, case.hooks))
        case.prepare(installation, seconds * 2 + 3)
        make = case.make(installation.data)
        load = threading.Thread(
            target=lambda: drive(
                target, make, connections=connections, seconds=seconds * 2 + 3, expect=case.expect
            )
        )
        drive(target, make, connections=connections, seconds=1, expect=case.expect)
        pid = busiest_worker(target.roots)
        load.start()
        try:
            record(pid, seconds, "raw", stacks)
            record(pid, seconds, "flamegraph", picture)
        finally:
            load.join()
        case.clean(installation)
    said = table(shares(stacks.read_text(encoding="utf-8")))
    text.write_text(said + "\n", encoding="utf-8")
    return f"{said}\n\n{picture}\n{text}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Record where the time of a web worker goes under load.")
    parser.add_argument("case", choices=sorted(BY_KEY))
    parser.add_argument("--seconds", type=float, default=6.0, help="of each of two recordings (6)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--rows", type=int, default=10_000)
    given = parser.parse_args()
    sys.stdout.write(
        flame(
            given.case,
            seconds=given.seconds,
            workers=given.workers,
            connections=given.connections,
            rows=given.rows,
            folder=KEPT / "flame",
        )
    )


if __name__ == "__main__":
    main()
