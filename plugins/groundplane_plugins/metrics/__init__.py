"""Numbers for Prometheus, of all processes of a server together: requests, records, plugins, jobs, the database."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from groundplane import __version__
from groundplane.errors import Unauthorized, Unavailable
from groundplane.hooks import hookimpl
from groundplane.hooks.events import JobRun, RequestFinished
from groundplane.hooks.routes import PluginAnswer, PluginRequest, Route
from groundplane.security.addresses import covers, parse_network
from groundplane.services import Services
from groundplane_plugins.metrics import names
from groundplane_plugins.metrics.collected import look_at_database, look_at_process
from groundplane_plugins.metrics.series import OTHER, Key, Store, added, read_all

if TYPE_CHECKING:
    from groundplane.events.changes import Change, ChangeAction
    from groundplane.schema.collection import Collection
    from groundplane_plugins.metrics.exposition import Text

TextOf: TypeAlias = "Callable[[Mapping[Key, tuple[float, ...]], str], Text]"

log = logging.getLogger(__name__)

API_VERSION = 1
EVERY_S = 5.0  # between two looks at the process, and as long the answer of the database is good for
SHORTEST_TOKEN = 16
METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
STREAM = "/api/realtime"
RECORDS = "/api/collections/{collection}/records"
ACTIONS = {
    ("GET", RECORDS): "list",
    ("HEAD", RECORDS): "list",
    ("POST", RECORDS): "create",
    ("GET", RECORDS + "/{id}"): "view",
    ("HEAD", RECORDS + "/{id}"): "view",
    ("PATCH", RECORDS + "/{id}"): "update",
    ("DELETE", RECORDS + "/{id}"): "delete",
}

RECORD_ROUTES = frozenset(route for _, route in ACTIONS)


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Who may read besides superusers, and whether each change of a record is counted.

    `token`        whoever sends it as `Authorization: Bearer …`; at least 16 characters
    `allowed_ips`  addresses and networks of whoever needs no token
    `changes`      costs a transaction for each create that could do without
    """

    token: str = ""
    allowed_ips: tuple[str, ...] = ()
    changes: bool = False

    def __post_init__(self) -> None:
        if self.token and len(self.token) < SHORTEST_TOKEN:
            raise ValueError(f"token has fewer than {SHORTEST_TOKEN} characters")
        if wrong := [entry for entry in self.allowed_ips if parse_network(entry) is None]:
            raise ValueError(f"{wrong[0]} in allowed_ips is no address and no network")

    def __repr__(self) -> str:
        return f"Config(allowed_ips={self.allowed_ips!r}, changes={self.changes!r})"

    def lets_in(self, request: PluginRequest) -> bool:
        info = request.info
        if info.is_superuser or covers(self.allowed_ips, info.ip):
            return True
        given = info.headers.get("authorization", "").removeprefix("Bearer ")
        return bool(self.token) and hmac.compare_digest(given.encode(), self.token.encode())


class Counting:
    """What one process counts; made when it has something to do, so that commands leave no files."""

    def __init__(self, services: Services, config: Config, text_of: TextOf) -> None:
        self.services = services
        self.config = config
        self.text_of = text_of
        self.folder = Path(services.config.data_dir) / "metrics"
        self.role = ""
        self._store: Store | None = None
        self._places: dict[tuple[str, str, int], int] = {}
        self._schema: object = None
        self._of_records: dict[tuple[tuple[str, str, int], str], int] = {}
        self._looking: asyncio.Task[None] | None = None
        self._database: dict[Key, tuple[float, ...]] = {}
        self._database_until = 0.0

    def store(self, role: str) -> Store:
        if self._store is None:
            self.role = role
            self._store = Store(self.folder, role)
        return self._store

    def request(self, event: RequestFinished) -> None:
        """Count a request; it is the only thing here that every request waits for."""
        if event.route == STREAM and event.method == "GET":
            return  # how long somebody listened says nothing about the server
        store = self._store or self.store("web")
        key = event.method, event.route, event.status // 100
        place = self._places.get(key)
        if place is None:
            place = self._place_of(store, *key)
        values = store.values
        values[place + bisect_left(names.BUCKETS, event.duration_s)] += 1.0
        values[place + names.SUM] += event.duration_s
        if event.route in RECORD_ROUTES:
            schema = self.services.schema.current
            if schema is not self._schema:
                # A name may stand for another collection now.
                self._schema, self._of_records = schema, {}
            word = event.path.split("/", 4)[3]
            place = self._of_records.get((key, word))
            if place is None:
                place = self._place_of_record(store, key, word)
            if place >= 0:
                values[place] += 1.0

    def _place_of(self, store: Store, method: str, route: str, hundreds: int) -> int:
        labels = method if method in METHODS else OTHER, route or OTHER, f"{hundreds}xx"
        place = store.place(names.REQUESTS, labels, names.WIDTH)
        if method in METHODS:  # what clients invent is not remembered
            self._places[method, route, hundreds] = place
        return place

    def _place_of_record(self, store: Store, key: tuple[str, str, int], word: str) -> int:
        """Where requests for a collection's records are counted; negative when there is none of this name."""
        method, route, hundreds = key
        action = ACTIONS.get((method, route))
        collection = self.services.schema.current.get(word)
        if action is None or collection is None:
            return -1
        place = store.place(names.RECORD_REQUESTS, (collection.name, action, f"{hundreds}xx"))
        self._of_records[key, word] = place
        return place

    def job(self, kind: str, outcome: str, took_s: float) -> None:
        store = self.store("jobs")
        place = store.place(names.JOB_RUNS, (kind, outcome), names.WIDTH)
        store.values[place + bisect_left(names.BUCKETS, took_s)] += 1.0
        store.values[place + names.SUM] += took_s

    # Changes of records, as a listener

    def concerns(self, collection: Collection, action: ChangeAction) -> bool:
        return not collection.system

    async def changed(self, change: Change) -> None:
        await self.services.db.after_commit(partial(self._count_change, change))

    async def _count_change(self, change: Change) -> None:
        store = self._store or self.store("web")
        store.add(names.RECORD_CHANGES, (change.collection.name, change.action))

    # What is looked at

    def begin_to_look(self, role: str) -> None:
        self.store(role)
        self._looking = asyncio.create_task(self._look(), name="metrics")

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            wanted = loop.time() + EVERY_S
            await asyncio.sleep(EVERY_S)
            store = self.store(self.role)
            store.show(names.LAG, (self.role,), max(loop.time() - wanted, 0.0))
            self.look()

    def look(self) -> None:
        try:
            look_at_process(self.store(self.role), self.role, self.services)
        except Exception as error:  # noqa: BLE001  # numbers that are missing are no reason to stop
            log.warning("The process could not be looked at: %s: %s", type(error).__name__, error)

    async def total(self) -> dict[Key, tuple[float, ...]]:
        """All numbers of all processes, and what the database says."""
        self.store("web")
        self.look()
        reads = await asyncio.to_thread(read_all, self.folder)
        if time.monotonic() >= self._database_until:
            self._database = await look_at_database(self.services)
            self._database_until = time.monotonic() + EVERY_S
        return added(reads, names.LARGEST) | self._database | {Key(names.INFO, (__version__,)): (1.0,)}

    async def stop(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        if self._store is not None:
            self.look()
            self._store.close()
            self._store = None


# Made by `startup`, once per process.
_counting: Counting | None = None


@hookimpl
async def startup(config: Config, services: Services) -> None:
    global _counting
    if _counting is not None:
        await _counting.stop()  # another server of the same process, as tests have them
    try:
        from groundplane_plugins.metrics.exposition import text_of
    except ImportError:
        raise Unavailable("It needs a package more: pip install 'groundplane[metrics]'") from None
    _counting = Counting(services, config, text_of)
    if config.changes:
        services.changes.listeners.append(_counting)


@hookimpl
async def ready(role: str) -> None:
    if _counting is not None:
        _counting.begin_to_look(role)


@hookimpl
async def shutdown() -> None:
    global _counting
    if _counting is not None:
        counting, _counting = _counting, None
        await counting.stop()


@hookimpl
def request_finished(event: RequestFinished) -> None:
    if _counting is not None:
        _counting.request(event)


@hookimpl
async def job_run(event: JobRun) -> AsyncIterator[None]:
    started, outcome = time.perf_counter(), "failed"
    try:
        yield
        outcome = "done"
    finally:
        if _counting is not None:
            with contextlib.suppress(OSError):
                _counting.job(event.job.kind, outcome, time.perf_counter() - started)


@hookimpl
def register_routes() -> list[Route]:
    return [Route("GET", "/", metrics, access="everyone")]


async def metrics(request: PluginRequest, services: Services) -> PluginAnswer:
    """GET /api/x/metrics/: all numbers in the text format of Prometheus."""
    if _counting is None:
        raise Unavailable()
    if not _counting.config.lets_in(request):
        raise Unauthorized()
    text = _counting.text_of(await _counting.total(), request.info.headers.get("accept", ""))
    return PluginAnswer(text.body, content_type=text.content_type)
