"""The processes of one machine: PostgreSQL, the web workers, and what happens when one of them ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from groundplane import __version__
from groundplane.config import Config, ConfigError
from groundplane.config_sources import Origin
from groundplane.db.embedded import BUNDLED_VERSION, EmbeddedPostgres
from groundplane.db.unusable import DatabaseUnusable, without_password
from groundplane.nursery import Child, Nursery, NurseryGone

log = logging.getLogger(__name__)

BACKLOG = 2048
LOOK_S = 0.2  # between two looks at PostgreSQL
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
STEADY_S = 10.0  # a worker that ran this long starts again at once
START_ATTEMPTS = 3  # of a worker before the first is ready
OWN_CONNECTIONS = 10  # of each process beside its pool: lanes, listeners
SPARE_CONNECTIONS = 20  # for commands and for people
KILL_AFTER_S = 5.0  # beyond the grace of open requests


class CannotStart(Exception):
    """The server cannot start; the message is one sentence that says what to do."""


@asynccontextmanager
async def database_of(config: Config) -> AsyncIterator[tuple[str, EmbeddedPostgres | None]]:
    """Give the address of the configured database, with the embedded server's handle if it is that one.

    A running embedded server is shared, otherwise one runs for the time of the block.
    """
    if config.database.url:
        yield config.database.url, None
        return
    processes = config.worker_count + config.jobs.workers
    postgres = EmbeddedPostgres(
        config.data_folder / "postgres",
        connections=processes * (config.database.pool_max + OWN_CONNECTIONS) + SPARE_CONNECTIONS,
    )
    url = await asyncio.to_thread(postgres.start)
    try:
        yield url, postgres
    finally:
        await asyncio.to_thread(postgres.stop)


class Worker:
    """One process and its successors: a web worker on a listening socket that outlives them, or a job worker."""

    def __init__(self, number: int, listener: socket.socket | None) -> None:
        self.name = f"{'Job' if listener is None else 'Web'} worker {number}"
        self.listener = listener
        self.process: Child | None = None
        self.ready = asyncio.Event()

    async def launch(self, nursery: Nursery) -> Child:
        self.process = await nursery.launch("job" if self.listener is None else "web", self.listener)
        return self.process

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.signal(number)


class Supervisor:
    """Starts what is needed, keeps it running, and stops it in the right order.

    `nursery` makes the workers; it is closed at the end.
    `reload` reads the configuration again; with it, a change of `watched` restarts the workers.
    `origin` says where its values come from, for who shows them.
    `say` prints for the person at the terminal.
    """

    def __init__(
        self,
        config: Config,
        nursery: Nursery,
        *,
        say: Callable[[str], None],
        watched: Path | None = None,
        reload: Callable[[], Config] | None = None,
        origin: Callable[[], Origin] = Origin,
    ) -> None:
        self.config = config
        self._nursery = nursery
        self._say = say
        self._watched = watched
        # From now on: a change while the server starts must not be missed.
        self._seen = stamp(self._watched)
        self._reload = reload
        self._origin = origin
        self._stop = asyncio.Event()
        self._failed: CannotStart | None = None
        self._order = asyncio.Event()  # set when there is a database to work on
        self._database_url = ""
        self._workers: list[Worker] = []

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; raises CannotStart, DatabaseUnusable and what `prepare` raises."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop.set)
        try:
            listeners = listen(self.config)
        except CannotStart:
            await self._nursery.close()
            raise
        self._workers = [Worker(number, listener) for number, listener in enumerate(listeners, 1)]
        self._workers += [Worker(number, None) for number in range(1, self.config.jobs.workers + 1)]
        # The nursery imports what it is asked for; meanwhile the database starts.
        preparing = asyncio.create_task(self._nursery.launch("prepare"))
        await asyncio.sleep(0)  # it asks first
        keeping = [asyncio.create_task(self._keep(worker)) for worker in self._workers]
        watching: list[asyncio.Task[None]] = []
        try:
            async with database_of(self.config) as (url, postgres):
                try:
                    self._database_url = url
                    link = await self._prepare(self._address(listeners), await preparing)
                    self._order.set()
                    if postgres is not None:
                        watching.append(asyncio.create_task(self._keep_postgres(postgres)))
                    if await self._until_ready():
                        self._say(self._greeting(self._address(listeners), link))
                        if self._watched is not None and self._reload is not None:
                            watching.append(asyncio.create_task(self._watch_config()))
                        await self._stop.wait()
                finally:
                    self._stop.set()
                    for task in watching:
                        task.cancel()
                    await self._stop_workers(keeping)
                    await asyncio.gather(*watching, return_exceptions=True)
        finally:
            self._stop.set()
            await self._stop_workers(keeping)
            for child in await asyncio.gather(preparing, return_exceptions=True):
                if isinstance(child, Child):
                    child.writer.close()
            await self._nursery.close()
            for listener in listeners:
                listener.close()
        if self._failed is not None:
            raise self._failed

    async def _prepare(self, address: str, child: Child) -> str | None:
        """Bring the database up to date; return the set-up link if there is no superuser yet."""
        order = {
            "config": self.config,
            "database_url": self._database_url,
            "public_url": self.config.server.public_url or address,
        }
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            child.writer.write(msgspec.json.encode(order) + b"\n")
            await child.writer.drain()
        line = await child.reader.readline()
        await child.wait()
        if not line:
            raise CannotStart("The database could not be prepared; the lines above say why.")
        prepared = msgspec.json.decode(line)
        if prepared["error"]:
            raise CannotStart(prepared["error"])
        if prepared["left"]:
            self._say(
                "These differences between file and database were left, because they would destroy data; "
                f"`groundplane apply --allow-destructive` makes them:\n{prepared['left']}\n"
            )
        link: str | None = prepared["link"]
        return link

    async def _until_ready(self) -> bool:
        """Wait for every worker; False when the server is to stop instead."""
        stopping = asyncio.create_task(self._wait_for_stop())
        ready = asyncio.create_task(self._all_ready())
        await asyncio.wait([stopping, ready], return_when=asyncio.FIRST_COMPLETED)
        for task in (stopping, ready):
            task.cancel()
        await asyncio.gather(stopping, ready, return_exceptions=True)
        return not self._stop.is_set()

    async def _wait_for_stop(self) -> None:
        await self._stop.wait()

    async def _all_ready(self) -> None:
        for worker in self._workers:
            await worker.ready.wait()

    # Workers

    async def _keep(self, worker: Worker) -> None:
        """Run a worker, and another one when it ends, until the server stops."""
        pause_s, attempts = FIRST_PAUSE_S, 0
        was_ready = False
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                process = await worker.launch(self._nursery)
            except NurseryGone:
                self._failed = CannotStart(
                    "The process that makes workers has ended: start the server again."
                )
                self._stop.set()
                return
            await self._order.wait()
            if await self._instruct(process):
                worker.ready.set()
                was_ready, attempts = True, 0
            code = await process.wait()
            worker.ready.clear()
            if self._stop.is_set():
                return
            attempts += 1
            if not was_ready and attempts >= START_ATTEMPTS:
                self._failed = CannotStart("The workers do not start; the lines above say why.")
                self._stop.set()
                return
            log.warning("%s ended (%s) and is replaced", worker.name, ending(code))
            pause_s = (
                FIRST_PAUSE_S if time.monotonic() - started > STEADY_S else min(pause_s * 2, LONGEST_PAUSE_S)
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0 if was_ready and attempts == 1 else pause_s):
                    await self._stop.wait()

    async def _instruct(self, process: Child) -> bool:
        """Send the worker its orders; whether it became ready."""
        if self._stop.is_set():
            process.signal(signal.SIGTERM)
            return False
        order = {
            # What is declared was applied already; workers have no use for it.
            "config": msgspec.structs.replace(self.config, collections=[], settings={}),
            "database_url": self._database_url,
            "origin": self._origin(),
        }
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            process.writer.write(msgspec.json.encode(order) + b"\n")
            await process.writer.drain()
        with contextlib.suppress(ConnectionResetError):
            return await process.reader.readline() == b"ready\n"
        return False

    async def _stop_workers(self, keeping: Sequence[asyncio.Task[None]]) -> None:
        """Let open requests finish, then end every worker."""
        self._order.set()
        for worker in self._workers:
            worker.signal(signal.SIGTERM)
        _, late = await asyncio.wait(keeping, timeout=self.config.server.shutdown_grace_s + KILL_AFTER_S)
        if late:
            for worker in self._workers:
                worker.signal(signal.SIGKILL)
            await asyncio.wait(keeping)

    # PostgreSQL

    async def _keep_postgres(self, postgres: EmbeddedPostgres) -> None:
        """Start PostgreSQL again when it has ended; requests in between are answered 503."""
        pause_s = FIRST_PAUSE_S
        while not self._stop.is_set():
            await asyncio.sleep(LOOK_S)
            if postgres.is_running():
                pause_s = FIRST_PAUSE_S
                continue
            log.warning("PostgreSQL has ended and is started again")
            try:
                self._database_url = await asyncio.to_thread(postgres.start)
                log.info("PostgreSQL is back")
            except DatabaseUnusable as error:
                log.error("%s", error)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    # The configuration

    async def _watch_config(self) -> None:
        """Apply a changed configuration file: the schema's safe differences, then fresh workers."""
        while not self._stop.is_set():
            await asyncio.sleep(LOOK_S)
            now = stamp(self._watched)
            if now == self._seen or self._reload is None:
                continue
            self._seen = now
            try:
                fresh = self._reload()
                self.config = msgspec.structs.replace(
                    fresh,
                    data_dir=self.config.data_dir,
                    server=self.config.server,
                    database=self.config.database,
                )
                await self._prepare("", await self._nursery.launch("prepare"))
            except Exception as error:
                if not isinstance(error, CannotStart | ConfigError | DatabaseUnusable):
                    log.exception("The changed configuration was not applied")
                else:
                    self._say(f"The changed configuration was not applied: {error}")
                continue
            self._say("The configuration changed; the workers start anew.")
            for worker in self._workers:
                worker.signal(signal.SIGTERM)

    # What people read

    def _address(self, listeners: Sequence[socket.socket]) -> str:
        host, port = listeners[0].getsockname()[:2]
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # compared, not bound
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def _greeting(self, address: str, link: str | None) -> str:
        config = self.config
        database = (
            without_password(config.database.url)
            if config.database.url
            else f"embedded PostgreSQL {BUNDLED_VERSION} in {config.data_folder / 'postgres'}"
        )
        lines = [f"Groundplane {__version__} is ready.", ""]
        lines += [f"  Address   {address}", f"  Console   {address}/_/"]
        if link is not None:
            lines.append(f"  Set-up    {link}")
            lines.append("            (once, for 30 minutes; or: groundplane superuser upsert EMAIL)")
        return "\n".join([*lines, f"  Data      {config.data_folder}", f"  Database  {database}", ""])


def is_for_people(error: Exception) -> bool:
    """Whether the error's message is a sentence that stands for itself."""
    from groundplane.collections.file import BadFile
    from groundplane.collections.plan import NotApplied
    from groundplane.errors import GroundplaneError

    return isinstance(error, ConfigError | DatabaseUnusable | BadFile | NotApplied | GroundplaneError)


def ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def stamp(path: Path | None) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        if path is not None:
            found = path.stat()
            return found.st_mtime_ns, found.st_size
    return None


def listen(config: Config) -> list[socket.socket]:
    """Open a listening socket for each worker; raises CannotStart.

    Each worker has its own (SO_REUSEPORT), so the kernel spreads connections evenly, and the supervisor keeps
    all of them open, so no connection is refused while a worker is being replaced. Where the kernel does not
    spread, they share one.
    """
    server = config.server
    try:
        found = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        probe = bound(family, address, reuse_port=False)
    except socket.gaierror as error:
        raise CannotStart(
            f"server.host {server.host!r} is not an address of this machine: correct it."
        ) from error
    except OSError as error:
        raise CannotStart(why_not_bound(server.host, server.port, error)) from error
    spreads = sys.platform == "linux" and config.worker_count > 1
    if not spreads:
        probe.listen(BACKLOG)
        return [probe] + [probe.dup() for _ in range(config.worker_count - 1)]
    # Bound without sharing first: with SO_REUSEPORT a second server on the same port would not be noticed.
    address = probe.getsockname()
    probe.close()
    listeners: list[socket.socket] = []
    try:
        for _ in range(config.worker_count):
            listeners.append(bound(family, address, reuse_port=True))
    except OSError as error:
        for listener in listeners:
            listener.close()
        raise CannotStart(why_not_bound(server.host, server.port, error)) from error
    for listener in listeners:
        listener.listen(BACKLOG)
    return listeners


def bound(family: int, address: object, *, reuse_port: bool) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)  # type: ignore[arg-type]  # as getaddrinfo gave it
    except BaseException:
        listener.close()
        raise
    return listener


def why_not_bound(host: str, port: int, error: OSError) -> str:
    if isinstance(error, PermissionError):
        return f"Port {port} is for root only: choose one from 1024 upwards with --port."
    if error.errno == 98 or "in use" in os.strerror(error.errno or 0):
        return f"Port {port} is in use by another program: stop it, or choose another one with --port."
    return f"The address {host} cannot be listened on ({os.strerror(error.errno or 0)}): correct --host."
