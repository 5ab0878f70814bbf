"""A PostgreSQL and a server to test against, as pytest fixtures; load with `pytest_plugins`.

One PostgreSQL serves a whole run, all its xdist workers included: they find it by the folder named in
the environment. It starts with the first test that asks for a database and ends with the last worker.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from importlib.resources import files
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
import pytest

# The application itself is imported by what needs it: most tests are of one part, and start faster without.
from groundplane.config import Config
from groundplane.db.embedded import EmbeddedPostgres
from groundplane.db.engine import Database
from groundplane.db.migrate import migrate
from groundplane.db.sql import ident
from groundplane.testing.live import LiveServer

if TYPE_CHECKING:
    from groundplane.api.inside import Inside
    from groundplane.app import Application
    from groundplane.hooks.manager import Plugins
    from groundplane.schema.collection import Collection
    from groundplane.services import Services

FOLDER = "GROUNDPLANE_TEST_FOLDER"
TEMPLATE = "template_migrated"
INSTALLED = "template_installed"
PREFIX = "groundplane-tests-"
IN_MEMORY = Path("/dev/shm")  # noqa: S108  # a folder of the run's own is made in it
PLENTY = 4 << 30  # bytes
TEMPLATE_LOCK = 0x677074656D70  # "gptemp"

_numbers = count(1)
_insides: list[Inside] = []  # of servers that have ended


def pytest_configure(config: pytest.Config) -> None:
    """Name the run's folder, in the process that starts the xdist workers or is the only one."""
    if not hasattr(config, "workerinput"):
        remove_abandoned_folders()
        os.environ[FOLDER] = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=home())


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput") and (folder := os.environ.pop(FOLDER, None)):
        shutil.rmtree(folder, ignore_errors=True)


def home() -> Path:
    """Where the run's PostgreSQL lives: in memory if there is plenty, where copies of databases take a third."""
    disk = Path(tempfile.gettempdir())
    if not IN_MEMORY.is_dir() or not os.access(IN_MEMORY, os.W_OK):
        return disk
    pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return IN_MEMORY if min(pages, shutil.disk_usage(IN_MEMORY).free) >= PLENTY else disk


def remove_abandoned_folders() -> None:
    """Remove what killed runs have left; a folder's name holds the number of its process."""
    homes = {Path(tempfile.gettempdir()), IN_MEMORY}
    for folder in (found for each in homes for found in each.glob(f"{PREFIX}*")):
        pid = folder.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The address of the run's PostgreSQL; its own database is for creating others."""
    server = EmbeddedPostgres(
        Path(os.environ[FOLDER]) / "postgres",
        settings={"max_connections": "300", "shared_buffers": "64MB"},
        durable=False,
    )
    try:
        yield server.start()
    finally:
        server.stop()


def on_database(url: str, name: str) -> str:
    """Return the address of another database on the same server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


async def migrate_only(url: str) -> None:
    source = files("groundplane.query") / "functions.sql"
    functions = source.read_text(encoding="utf-8") if source.is_file() else ""
    database = await Database.connect(url)
    try:
        await migrate(database, functions)
    finally:
        await database.close()


async def install(url: str) -> None:
    from groundplane.app import open_services

    async with open_services(Config(), url, alone=True):
        pass


MAKERS: dict[str, Callable[[str], Awaitable[None]]] = {TEMPLATE: migrate_only, INSTALLED: install}


async def ensure_template(admin: asyncpg.Connection[asyncpg.Record], url: str, name: str) -> None:
    """Make a database that tests copy, once per run; the other workers wait for it."""
    await admin.execute("SELECT pg_advisory_lock($1)", TEMPLATE_LOCK)
    try:
        known = "SELECT 1 FROM pg_database WHERE datname = $1 AND datistemplate"
        if await admin.fetchval(known, name):
            return
        await admin.execute(f"DROP DATABASE IF EXISTS {ident(name)}")
        await admin.execute(f"CREATE DATABASE {ident(name)} STRATEGY = file_copy")
        await MAKERS[name](on_database(url, name))
        await admin.execute(f"ALTER DATABASE {ident(name)} IS_TEMPLATE true")
    finally:
        await admin.execute("SELECT pg_advisory_unlock($1)", TEMPLATE_LOCK)


@pytest.fixture
async def empty_database_url(postgres_url: str) -> AsyncIterator[str]:
    """A database of this test's own with nothing in it."""
    async for url in own_database(postgres_url, None):
        yield url


@pytest.fixture
async def database_url(postgres_url: str) -> AsyncIterator[str]:
    """A database of this test's own with the system tables and functions."""
    async for url in own_database(postgres_url, TEMPLATE):
        yield url


async def own_database(postgres_url: str, template: str | None) -> AsyncIterator[str]:
    name = f"test_{os.getpid()}_{next(_numbers)}"
    admin = await asyncpg.connect(postgres_url)
    try:
        if template is not None:
            await ensure_template(admin, postgres_url, template)
        source = "" if template is None else f"TEMPLATE {ident(template)}"
        await admin.execute(f"CREATE DATABASE {ident(name)} {source} STRATEGY = file_copy")
        yield on_database(postgres_url, name)
        await admin.execute(f"DROP DATABASE {ident(name)} WITH (FORCE)")
    finally:
        await admin.close()


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """A connected Database on `database_url`."""
    database = await Database.connect(database_url, max_size=8)
    yield database
    await database.close()


class Server:
    """A whole server in this process, without sockets; `client` speaks HTTP to it.

    `services` are its parts, for arranging and for looking behind the answers.
    """

    def __init__(self, application: Application, services: Services, client: httpx.AsyncClient) -> None:
        self.application = application
        self.services = services
        self.client = client

    async def superuser_token(self, email: str = "admin@example.com", password: str = "1234567890") -> str:  # noqa: S107
        """Make the superuser if need be and return a token for it."""
        await self.services.superusers.upsert(email, password)
        return await self.token("_superusers", email)

    async def token(self, collection: str, email: str) -> str:
        """Return an auth token for the record with this address."""
        found = self.services.schema.current.find(collection)
        record = await self.services.records.find_one(found, 'r."email" = $1', email)
        if record is None:
            raise LookupError(f"no record of {collection} has the address {email}")
        return await self.token_of(found, record["id"])

    async def token_of(self, collection: Collection, record_id: str) -> str:
        """Return an auth token for a record of an auth collection."""
        from groundplane.auth.callers import issue

        record = await self.services.records.find_one(collection, 'r."id" = $1', record_id)
        if record is None:
            raise LookupError(f"{collection.name} has no record {record_id}")
        return issue(collection, record)


@asynccontextmanager
async def running(config: Config, database_url: str, plugins: Plugins | None = None) -> AsyncIterator[Server]:
    """Run the application in this process, through its ASGI lifespan."""
    from groundplane.app import build, make_http

    # To put the routes together takes longer than most tests, and they are the same for every server.
    inside = _insides.pop() if _insides else make_http()
    application = build(config, database_url, alone=True, plugins=plugins, inside=inside)
    to_app: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    from_app: asyncio.Queue[Any] = asyncio.Queue()
    scope: Any = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    life = asyncio.create_task(application(scope, to_app.get, from_app.put))  # type: ignore[arg-type]
    await to_app.put({"type": "lifespan.startup"})
    started = await from_app.get()
    if started["type"] != "lifespan.startup.complete" or application.services is None:
        await life
        raise RuntimeError(f"the application did not start: {started}")
    transport = httpx.ASGITransport(application)  # type: ignore[arg-type]  # Litestar's names for the same
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://server.test") as client:
            yield Server(application, application.services, client)
    finally:
        await to_app.put({"type": "lifespan.shutdown"})
        await from_app.get()
        await life
        _insides.append(inside)


@pytest.fixture
async def server_database_url(postgres_url: str) -> AsyncIterator[str]:
    """A database of this test's own as it is after a first start: with the system collections."""
    async for url in own_database(postgres_url, INSTALLED):
        yield url


@pytest.fixture
async def server(server_database_url: str, tmp_path: Path) -> AsyncIterator[Server]:
    """A running server with an empty data folder."""
    async with running(Config(data_dir=str(tmp_path / "data")), server_database_url) as started:
        yield started


@pytest.fixture
async def live_server(server_database_url: str, tmp_path: Path) -> AsyncIterator[LiveServer]:
    """A real server with two workers on a database of its own."""
    async with LiveServer(tmp_path / "live", server_database_url) as started:
        yield started
