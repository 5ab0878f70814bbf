"""What a flood of sign-ins takes from record reads: more than its own CPU time would be a fault.

    python tests/bench/bench_flood.py [--seconds 6] [--rounds 3] [--sign-ins 16]

Reads at 64 connections, alone and beside sign-ins at some more connections, in turns. Prints JSON; per round
reads and sign-ins per second, the CPU of all processors that the sign-ins took (their number times a hash
alone), and what is left of the reads. `loss` should not exceed `share`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench_cases import sign_in, view
from bench_load import drive
from bench_server import Installation, Setup
from run import hashing

WARM_S = 0.5


def measure(options: argparse.Namespace) -> dict[str, Any]:
    with ExitStack() as stack, ThreadPoolExecutor(2) as threads:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        installation = Installation(folder, stack, rows=10_000)
        target = installation.server(Setup(2))
        hashes = hashing(1, 2.0)
        hash_s = hashes.elapsed_s / hashes.requests
        rounds: list[dict[str, float]] = []
        for _ in range(options.rounds):
            case: dict[str, Any] = {"seconds": options.seconds, "warm_s": WARM_S}
            alone = drive(target, view(installation.data), connections=64, **case)
            flood = threads.submit(
                drive, target, sign_in(installation.data), connections=options.sign_ins, **case
            )
            beside = drive(target, view(installation.data), connections=64, **case)
            signed_in = flood.result()
            rounds.append(
                {
                    "reads_alone": alone.per_second,
                    "reads_beside": beside.per_second,
                    "p99_alone_ms": alone.percentile_ms(0.99),
                    "p99_beside_ms": beside.percentile_ms(0.99),
                    "sign_ins": signed_in.per_second,
                    "share": signed_in.per_second * hash_s / (os.cpu_count() or 1),
                    "loss": 1 - beside.per_second / alone.per_second,
                }
            )
        middle = {key: round(statistics.median(each[key] for each in rounds), 3) for key in rounds[0]}
        return {"hash_ms": round(hash_s * 1000, 2), "median": middle, "rounds": rounds}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sign-ins", type=int, default=16)
    sys.stdout.write(json.dumps(measure(parser.parse_args()), indent=1) + "\n")


if __name__ == "__main__":
    main()
