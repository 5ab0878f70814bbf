"""Behind a real PgBouncer that lends a session for one transaction, everything works as without it."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit

import asyncpg
import pytest

from groundplane.app import open_services
from groundplane.config import Config, DatabaseConfig
from groundplane.context import RequestInfo
from groundplane.db.embedded import EmbeddedPostgres
from groundplane.db.engine import Database
from groundplane.db.lanes import Shape
from groundplane.db.unusable import DatabaseUnusable
from groundplane.records.values import Submitted

SESSIONS = 2  # of the server, for all of our connections


@pytest.fixture(scope="module")
def server_url() -> Iterator[str]:
    """A PostgreSQL whose folder others may enter: PgBouncer refuses to be root."""
    folder = Path(tempfile.mkdtemp(prefix="groundplane-pooled-"))
    folder.chmod(0o755)
    server = EmbeddedPostgres(folder / "postgres", durable=False)
    try:
        yield server.start()
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def direct_url(server_url: str) -> AsyncIterator[str]:
    """An empty database."""
    admin = await asyncpg.connect(server_url)
    await admin.execute("CREATE DATABASE pooled")
    yield urlunsplit(urlsplit(server_url)._replace(path="/pooled"))
    await admin.execute("DROP DATABASE pooled WITH (FORCE)")
    await admin.close()


@pytest.fixture
async def pooler(direct_url: str) -> AsyncIterator[str]:
    """The address of a PgBouncer in transaction mode in front of the database."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("needs the Debian package pgbouncer")
    parts = urlsplit(direct_url)
    run = Path(parse_qs(parts.query)["host"][0])
    folder = Path(tempfile.mkdtemp(prefix="groundplane-pooler-"))
    (folder / "users.txt").write_text(f'"{parts.username}" ""\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\npooled = host={run} user={parts.username} password={parts.password}\n"
        f"[pgbouncer]\nlisten_addr =\nunix_socket_dir = {folder}\nlisten_port = 6432\nauth_type = trust\n"
        f"auth_file = {folder}/users.txt\npool_mode = transaction\ndefault_pool_size = {SESSIONS}\n"
        "max_client_conn = 100\n"
    )
    owner = (run / ".s.PGSQL.5432").stat()
    for path in (folder, *folder.iterdir()):
        os.chown(path, owner.st_uid, owner.st_gid)
    as_owner: dict[str, int] = {"user": owner.st_uid, "group": owner.st_gid} if os.geteuid() == 0 else {}
    log = folder / "log"
    with log.open("wb") as output:
        command = [program, str(folder / "pgbouncer.ini")]
        process = subprocess.Popen(command, stdout=output, stderr=output, **as_owner)  # type: ignore[call-overload]  # noqa: ASYNC220
    try:
        while not (folder / ".s.PGSQL.6432").exists():
            assert process.poll() is None, log.read_text()
            await asyncio.sleep(0.02)
        yield f"postgresql://{parts.username}@/pooled?host={folder}&port=6432"
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def pooled(pooler: str, direct_url: str) -> AsyncIterator[Database]:
    database = await Database.connect(pooler, pooled=True, direct_url=direct_url)
    yield database
    await database.close()


async def test_statements_of_many_share_few_sessions(pooled: Database) -> None:
    await pooled.execute("CREATE TABLE things (id text PRIMARY KEY, n integer)")
    shape = Shape("SELECT $1::text || pg_backend_pid()", 1)

    async def work(number: int) -> set[int]:
        row = await pooled.rows.row(shape, (f"{number}:",))
        assert row is not None
        assert row[0].startswith(f"{number}:")
        async with pooled.transaction():
            first = await pooled.fetchval("SELECT pg_backend_pid()")
            await pooled.execute("INSERT INTO things VALUES ($1, $2)", str(number), number)
            assert await pooled.fetchval("SELECT n FROM things WHERE id = $1", str(number)) == number
            assert await pooled.fetchval("SELECT pg_backend_pid()") == first
        return {first, int(row[0].partition(":")[2])}

    used = await asyncio.gather(*(work(number) for number in range(60)))
    assert len(set().union(*used)) <= SESSIONS
    assert await pooled.fetchval("SELECT count(*) FROM things") == 60


async def test_our_settings_hold_in_every_transaction(pooled: Database) -> None:
    shown = "SELECT current_setting('statement_timeout') || current_setting('jit')"
    assert await pooled.fetchval(shown) == "30soff"
    async with pooled.transaction():
        assert await pooled.fetchval(shown) == "30soff"
    row = await pooled.rows.row(Shape(shown, 0), ())
    assert row is not None
    assert row[0] == "2soff"


async def test_a_failed_statement_leaves_no_transaction_open(pooled: Database, direct_url: str) -> None:
    for _ in range(5):
        with pytest.raises(Exception, match="went wrong"):
            await pooled.fetchval("SELECT 1 / 0")
    direct = await asyncpg.connect(direct_url)
    try:
        open_ones = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
        assert await direct.fetchval(open_ones) == 0
    finally:
        await direct.close()


async def test_a_whole_server_works_and_hears_of_changes(pooler: str, direct_url: str) -> None:
    config = Config(database=DatabaseConfig(pooled=True, direct_url=direct_url))
    async with open_services(config, pooler) as one, open_services(config, pooler) as other:
        public = dict.fromkeys(("listRule", "viewRule", "createRule", "updateRule", "deleteRule"), "")
        fields = [{"name": "title", "type": "text"}, {"name": "n", "type": "number"}]
        await one.collections.create({"name": "notes", "type": "base", "fields": fields, **public})
        # The other process has heard of it when `create` returns.
        assert other.schema.current.get("notes") is not None
        info = RequestInfo()
        ids = [
            (await services.records.create("notes", Submitted({"title": "x"}), {}, info)).record["id"]
            for services in (one, other)
            for _ in range(5)
        ]
        for id in ids:
            await one.records.update("notes", id, Submitted({"n+": 2}), {}, info)
        page = await other.records.page("notes", {}, info)
        assert [item["n"] for item in page["items"]] == [2] * 10
        for id in ids[:5]:
            await other.records.delete("notes", id, info)
        assert (await one.records.page("notes", {}, info))["totalItems"] == 5


async def test_without_a_way_past_the_pooler_there_is_no_start(direct_url: str) -> None:
    with pytest.raises(DatabaseUnusable, match=r"database\.direct_url"):
        await Database.connect(direct_url, pooled=True)
