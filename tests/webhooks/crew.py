"""A worker process for tests: `python crew.py URL` carries out deliveries to this machine."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile

from groundplane.app import open_services
from groundplane.config import Config, OutgoingConfig
from groundplane.jobs.worker import Worker

LEASE_S = 1.0


async def main(url: str) -> None:
    outgoing = OutgoingConfig(allow_http=True, allow_networks=["127.0.0.1"])
    with tempfile.TemporaryDirectory() as folder:
        async with open_services(Config(data_dir=folder, plugins_dir="", outgoing=outgoing), url) as services:
            worker = Worker(services.db, services.jobs, slots=8, lease_s=LEASE_S)
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
            await worker.run(grace_s=0.2)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
