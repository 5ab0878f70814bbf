"""How long a start takes on an existing data folder, and what the idle installation takes of memory.

    python tests/bench/bench_start.py [--runs 7] [--workers 1]

Prints JSON: seconds of each start until the server says that it is ready, their median, CPU seconds of the
fastest, and MiB (shared pages counted once) per process two seconds after the last.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from groundplane.config import Config
from groundplane.process_memory import shares

SETTLED_S = 2.0


def start(folder: Path, workers: int) -> tuple[subprocess.Popen[bytes], float]:
    """Start the server and wait until it is ready; returns it and the seconds."""
    command = [sys.executable, "-m", "groundplane", "serve", "--port", "0", "--workers", str(workers)]
    began = time.perf_counter()
    server = subprocess.Popen(
        [*command, "--data-dir", str(folder)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    if server.stdout is None:
        raise RuntimeError("no output to wait for")
    for line in server.stdout:
        if b"is ready" in line:
            return server, time.perf_counter() - began
    raise RuntimeError("the server did not start")


def stop(server: subprocess.Popen[bytes]) -> None:
    server.send_signal(signal.SIGTERM)
    server.communicate()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--workers", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "data"
        stop(start(folder, asked.workers)[0])  # makes the folder
        seconds: list[float] = []
        cpu: list[float] = []
        memory: list[tuple[str, float]] = []
        for run in range(asked.runs):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            server, took = start(folder, asked.workers)
            seconds.append(round(took, 3))
            if run == asked.runs - 1:
                time.sleep(SETTLED_S)
                found = shares(Config(data_dir=str(folder)))
                memory = [(each.name, round(each.pss_bytes / 2**20, 1)) for each in found]
            stop(server)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    result = {
        "seconds": seconds,
        "median_seconds": statistics.median(seconds),
        "least_cpu_seconds": round(min(cpu), 2),
        "memory_mib": round(sum(size for _, size in memory), 1),
        "processes": memory,
        "load": os.getloadavg()[0],
    }
    sys.stdout.write(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
