"""A worker process for tests: `python crew.py URL` runs jobs that leave a line in the table `effects`."""

from __future__ import annotations

import asyncio
import signal
import sys

from groundplane.db.engine import Database
from groundplane.jobs.job import Job
from groundplane.jobs.queue import Jobs
from groundplane.jobs.worker import Worker

LEASE_S = 1.0


def registered(db: Database) -> Jobs:
    """Return a queue that knows the kinds of these tests."""
    jobs = Jobs(db)

    async def effect(job: Job) -> None:
        await db.execute(
            "INSERT INTO effects (job, key, n) VALUES ($1, $2, $3)", job.id, job.order_key, job.payload["n"]
        )

    async def endless(job: Job) -> None:
        await effect(job)
        await asyncio.Event().wait()

    async def stuck_at_first(job: Job) -> None:
        await (endless(job) if job.runs == 1 else effect(job))

    jobs.register("effect", effect, max_attempts=100)
    jobs.register("endless", endless, max_attempts=100)
    jobs.register("stuck_at_first", stuck_at_first)
    return jobs


async def main(url: str) -> None:
    db = await Database.connect(url, max_size=6)
    worker = Worker(db, registered(db), slots=4, lease_s=LEASE_S)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    await worker.run(grace_s=0.2)
    await db.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
