"""What a plugin has set in motion: changes of records, jobs for later, and messages of webhooks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import json

from groundplane.jobs.job import Job
from groundplane.jobs.worker import Worker
from groundplane.webhooks.sender import Answer, Message, NotSent

if TYPE_CHECKING:
    from groundplane.events.changes import Change, ChangeAction
    from groundplane.schema.collection import Collection
    from groundplane.services import Services

MOST_JOBS = 10_000


class Ear:
    """A listener that keeps changes once they are committed."""

    def __init__(self, services: Services, collections: tuple[str, ...], kept: list[Change]) -> None:
        self._db = services.db
        self._collections = collections
        self._kept = kept

    def concerns(self, collection: Collection, action: ChangeAction) -> bool:
        if self._collections:
            return collection.name in self._collections
        return not collection.system

    async def changed(self, change: Change) -> None:
        await self._db.after_commit(partial(self._keep, change))

    async def _keep(self, change: Change) -> None:
        self._kept.append(change)


class CapturedChanges(list["Change"]):
    """The committed changes of records since it was made, in the order of their commits; it is a list.

    `collections` are names; none means all that are not the system's own.
    """

    def __init__(self, services: Services, collections: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._listeners = services.changes.listeners
        self._ear = Ear(services, collections, self)
        self._listeners.append(self._ear)

    def pairs(self) -> list[tuple[str, str]]:
        """(action, collection) of each, which is what most tests ask about."""
        return [(change.action, change.collection.name) for change in self]

    def stop(self) -> None:
        self._listeners.remove(self._ear)


class CapturedWebhooks(list[Message]):
    """The messages that webhooks would have sent, in their order; it is a list, and a sender.

    `status` is what the receivers answer from now on; 0 stands for nobody who answers.
    """

    def __init__(self, status: int = 200) -> None:
        super().__init__()
        self.status = status

    async def send(self, message: Message) -> Answer:
        self.append(message)
        if not self.status:
            raise NotSent("Nobody answers in this test.")
        return Answer(status=self.status)

    async def close(self) -> None:
        """Nothing is open."""

    def bodies(self) -> list[dict[str, Any]]:
        """What was sent, decoded."""
        return [json.decode(message.body) for message in self]


async def jobs_added(services: Services, kind: str = "") -> list[Job]:
    """The jobs that were added and committed, finished ones too, the oldest first."""
    page = await services.jobs.page(kind=kind, limit=MOST_JOBS, with_total=False)
    return page.items[::-1]


async def run_due(services: Services) -> list[Job]:
    """Run what is due, and what becomes due by it, until nothing is left; returns what ran, the oldest first."""
    before = {job.id: job.runs for job in await jobs_added(services)}
    await Worker(services.db, services.jobs, name="test").run_due()
    return [job for job in await jobs_added(services) if job.runs > before.get(job.id, 0)]
