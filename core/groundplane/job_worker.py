"""One process that runs jobs and fires the cron jobs.

Under `serve` it is forked like a web process: it reads one JSON line from standard input, a socket (config,
address of the database), answers `ready`, and stops when it is told to or when the socket ends.
`groundplane worker` is the same on a machine of its own.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable

import msgspec

from groundplane.app import open_services
from groundplane.config import Config
from groundplane.db.unusable import DatabaseUnusable
from groundplane.jobs.schedule import Scheduler
from groundplane.jobs.worker import Worker
from groundplane.log import set_up_logging
from groundplane.parent import follow_parent

UNUSABLE = 3  # exit code: the database cannot be used, as was said on standard error


class Order(msgspec.Struct):
    """What the supervisor sends."""

    config: Config
    database_url: str


async def work(config: Config, database_url: str, *, ready: Callable[[], None], by_orders: bool) -> None:
    """Run jobs until SIGTERM, SIGINT, or, `by_orders`, the end of standard input; raises DatabaseUnusable."""
    async with open_services(config, database_url) as services:
        worker = Worker(services.db, services.jobs, slots=config.jobs.slots, lease_s=config.jobs.lease_s)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, worker.stop)
        if by_orders:
            loop.add_reader(sys.stdin.fileno(), on_input, loop, worker)
        firing = asyncio.create_task(Scheduler(services.crons).run(), name="crons")
        try:
            services.plugins.hooks.ready(role="jobs")
            ready()
            await worker.run(config.server.shutdown_grace_s)
        finally:
            firing.cancel()
            await asyncio.gather(firing, return_exceptions=True)


def on_input(loop: asyncio.AbstractEventLoop, worker: Worker) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        loop.remove_reader(sys.stdin.fileno())
        worker.stop()


def tell_ready() -> None:
    os.write(sys.stdin.fileno(), b"ready\n")


def main() -> int:
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as orders:
        line = orders.readline()  # unbuffered: what follows stays in the pipe
    if not line:
        return 0
    order = msgspec.json.decode(line, type=Order)
    follow_parent(order.config.server.shutdown_grace_s + 5)
    set_up_logging(order.config.log)
    try:
        asyncio.run(work(order.config, order.database_url, ready=tell_ready, by_orders=True))
    except DatabaseUnusable as error:
        sys.stderr.write(f"{error}\n")
        return UNUSABLE
    return 0
