"""The connection to PostgreSQL: one asyncpg pool shared with Piccolo, and one transaction for both."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, NamedTuple, TypeAlias, TypeVar

import asyncpg
from piccolo.engine.postgres import PostgresEngine, PostgresTransaction

from groundplane.db.failures import translated
from groundplane.db.kept import Connect
from groundplane.db.lanes import Lane
from groundplane.db.unusable import DatabaseUnusable, without_password
from groundplane.db.write_lanes import WriteLane
from groundplane.errors import Unavailable

log = logging.getLogger(__name__)

Connection: TypeAlias = (
    "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
)
OwnConnection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
ConnectAs: TypeAlias = Callable[[str, str, Mapping[str, str]], Awaitable[OwnConnection]]
AfterCommit: TypeAlias = Callable[[], Awaitable[None]]
Answer = TypeVar("Answer")

DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, ConnectionError)
OLDEST_VERSION = 15  # of PostgreSQL
# Nothing that outlives a transaction: no prepared statements.
UNPREPARED: Mapping[str, Any] = {"statement_cache_size": 0}
LANE_TIMEOUT_S = 2  # a statement that takes longer leaves the lane to the others


class LaneSizes(NamedTuple):
    """Connections of each lane in one process, opened when they are first used."""

    rows: int = 2
    pages: int = 2
    writes: int = 2


class PooledEngine(PostgresEngine):
    """Piccolo's engine without the look at the server's version, for which it connects in a thread."""

    async def check_version(self) -> None:
        pass

    async def prep_database(self) -> None:
        pass


class OpenTransaction(PostgresTransaction):
    """A transaction as Piccolo's queries look for it: they use `connection` and nothing else."""

    def __init__(self, engine: PostgresEngine, connection: Connection) -> None:
        super().__init__(engine)
        self.connection = connection
        self.task = asyncio.current_task()
        self.after_commit: list[AfterCommit] = []


class Database:
    """Runs statements, inside the open transaction of this task if there is one, else on a pooled connection.

    Piccolo queries join the same transaction. Errors of the driver pass through `db.failures`.
    A task that was started inside a transaction is another task: its statements run on their own.
    """

    def __init__(
        self,
        engine: PostgresEngine,
        connect_lane: Connect,
        *,
        acquire_timeout_s: float = 10,
        lanes: LaneSizes = LaneSizes(),  # noqa: B008  # immutable
        own_settings: str = "",
        lane_settings: str = "",
        connect_directly: Connect | None = None,
        connect_as: ConnectAs | None = None,
    ) -> None:
        """With a pooler, `own_settings` and `lane_settings` are the statements that set ours in a transaction."""
        self.engine = engine
        self._acquire_timeout_s = acquire_timeout_s
        self._own_settings = own_settings
        self._connect_directly = connect_directly
        self._connect_as = connect_as
        opening = f"BEGIN; {lane_settings}" if lane_settings else ""
        # Reads outside of transactions. Pages have a lane of their own: they take much longer than one row.
        self.rows = Lane(connect_lane, self._alone, size=lanes.rows, opening=opening)
        self.pages = Lane(connect_lane, self._alone, size=lanes.pages, opening=opening)
        # Writes that need nothing but their own statement.
        self.writes = WriteLane(connect_lane, size=lanes.writes, opening=opening)

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        min_size: int = 1,
        max_size: int = 10,
        statement_timeout_s: float = 30,
        acquire_timeout_s: float = 10,
        application_name: str = "groundplane",
        lanes: LaneSizes = LaneSizes(),  # noqa: B008  # immutable
        pooled: bool = False,
        direct_url: str = "",
    ) -> Database:
        """Open the pool; raises DatabaseUnusable when nobody answers, or it is older than PostgreSQL 15.

        `min_size` connections are opened now, up to `max_size` when needed. With `pooled` the address is that
        of a pooler which lends a session for one transaction: everything that we do there is in a transaction,
        nothing is prepared, and whoever has to hear notifications connects to `direct_url`.
        """
        if pooled and not direct_url:
            raise DatabaseUnusable(
                "database.pooled needs database.direct_url: the address of PostgreSQL itself, past the pooler."
            )
        if min(lanes) < 1:
            raise DatabaseUnusable("database.read_lanes, list_lanes and write_lanes must be 1 or more.")
        engine = PooledEngine(config={"dsn": url})
        # What every pooler passes on; the rest is set in each transaction there.
        names = {"application_name": application_name, "timezone": "UTC"}
        settings = {
            "statement_timeout": str(int(statement_timeout_s * 1000)),
            # A transaction is never left open on purpose, so one that is was forgotten by a dead client.
            "idle_in_transaction_session_timeout": "60s",
            # Our statements are short and many; compiling a plan costs more than it saves.
            "jit": "off",
        }
        try:
            engine.pool = await asyncpg.create_pool(
                url,
                min_size=min_size,
                max_size=max_size,
                server_settings=names if pooled else names | settings,
                timeout=10,
                reset=rollback_if_open,
                **UNPREPARED if pooled else {},
            )
        except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise DatabaseUnusable(why_unreachable(url, error)) from error
        lane_settings = settings | {
            "statement_timeout": str(LANE_TIMEOUT_S * 1000),
            "extra_float_digits": "1",  # the shortest text that reads back the same
            # A lane's statements come again and again with other values; planning costs more than running.
            "plan_cache_mode": "force_generic_plan",
        }

        async def connect_lane() -> asyncpg.Connection[asyncpg.Record]:
            with ours(connecting=True):
                if pooled:
                    return await asyncpg.connect(url, server_settings=names, timeout=10, **UNPREPARED)
                return await asyncpg.connect(url, server_settings=names | lane_settings, timeout=10)

        async def connect_directly() -> asyncpg.Connection[asyncpg.Record]:
            with ours(connecting=True):
                return await asyncpg.connect(direct_url, server_settings=names | settings, timeout=10)

        async def connect_as(user: str, password: str, settings: Mapping[str, str]) -> OwnConnection:
            return await asyncpg.connect(
                direct_url or url,
                user=user,
                password=password,
                server_settings=names | dict(settings),
                timeout=10,
                **UNPREPARED,
            )

        database = cls(
            engine,
            connect_lane,
            acquire_timeout_s=acquire_timeout_s,
            lanes=lanes,
            own_settings=local(settings) if pooled else "",
            lane_settings=local(lane_settings) if pooled else "",
            connect_directly=connect_directly if pooled else None,
            connect_as=connect_as,
        )
        version = int(await database.fetchval("SELECT current_setting('server_version_num')")) // 10000
        if version < OLDEST_VERSION:
            await database.close()
            raise DatabaseUnusable(
                f"The database at {without_password(url)} is PostgreSQL {version}; version {OLDEST_VERSION} "
                "or newer is needed: upgrade it, or leave database.url empty to use the embedded one."
            )
        return database

    async def close(self, timeout_s: float = 5) -> None:
        """Close the pool; connections still busy after `timeout_s` are cut."""
        for lane in (self.rows, self.pages, self.writes):
            await lane.close()
        pool, self.engine.pool = self.engine.pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await pool.close()
        except TimeoutError:
            pool.terminate()

    @property
    def pool(self) -> asyncpg.Pool[asyncpg.Record]:
        pool = self.engine.pool
        if pool is None:
            raise Unavailable
        return pool

    @property
    def in_transaction(self) -> bool:
        """Whether this task has a transaction open."""
        return self._open() is not None

    def _open(self) -> OpenTransaction | None:
        current = self.engine.current_transaction.get()
        if isinstance(current, OpenTransaction) and current.task is asyncio.current_task():
            return current
        return None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Give the open transaction's connection, else one from the pool; driver errors come out as ours."""
        current = self._open()
        if current is not None:
            with ours():
                yield current.connection
            return
        async with self._acquired() as connection:
            if not self._own_settings:
                yield connection
                return
            # A pooler may give each statement another session, unless they are of one transaction.
            async with connection.transaction():
                await connection.execute(self._own_settings)
                yield connection

    @asynccontextmanager
    async def _acquired(self) -> AsyncIterator[Connection]:
        with ours(connecting=True):
            connection = await self.pool.acquire(timeout=self._acquire_timeout_s)
        try:
            with ours():
                yield connection
        finally:
            await self.pool.release(connection)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Connection]:
        """Give a connection whose session is ours alone, for who listens to notifications."""
        if self._connect_directly is None:
            async with self._acquired() as connection:
                yield connection
            return
        own = await self._connect_directly()
        try:
            with ours():
                yield own
        finally:
            own.terminate()

    async def connect_as(self, user: str, password: str, settings: Mapping[str, str]) -> OwnConnection:
        """Open a connection beside the pool for another role of the server; the driver's errors come out as they are.

        Whoever asks closes it. `settings` are those of the session.
        """
        if self._connect_as is None:
            raise Unavailable
        return await self._connect_as(user, password, settings)

    async def fetch(self, sql: str, *args: object) -> list[asyncpg.Record]:
        async with self.connection() as connection:
            return await connection.fetch(sql, *args)

    async def fetchrow(self, sql: str, *args: object) -> asyncpg.Record | None:
        """Return the first row, None when there is none."""
        async with self.connection() as connection:
            return await connection.fetchrow(sql, *args)

    async def _alone(self, sql: str, args: tuple[Any, ...]) -> asyncpg.Record | None:
        return await self.fetchrow(sql, *args)

    async def fetchval(self, sql: str, *args: object) -> Any:
        """Return the first column of the first row, None when there is no row."""
        async with self.connection() as connection:
            return await connection.fetchval(sql, *args)

    async def execute(self, sql: str, *args: object) -> str:
        """Run one statement (several, without `args`) and return the command's tag, e.g. `DELETE 3`."""
        async with self.connection() as connection:
            return await connection.execute(sql, *args)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Open a transaction, or join the one that this task has open (its outcome is then the outer one's)."""
        current = self._open()
        if current is not None:
            yield current.connection
            return
        cancelled: asyncio.CancelledError | None = None
        async with self._acquired() as connection:
            opened = OpenTransaction(self.engine, connection)
            transaction = connection.transaction()
            await transaction.start()
            token = self.engine.current_transaction.set(opened)
            try:
                if self._own_settings:
                    await connection.execute(self._own_settings)
                yield connection
            except BaseException:
                # A lost connection has rolled back by itself; the first error is the one to tell.
                if not connection.is_closed():
                    await uninterrupted(transaction.rollback())
                raise
            else:
                # A cancelled request must not leave "committed, and nobody was told" behind.
                try:
                    await (
                        uninterrupted(transaction.commit()) if opened.after_commit else transaction.commit()
                    )
                except asyncio.CancelledError as error:
                    if not opened.after_commit:
                        raise
                    cancelled = error
            finally:
                self.engine.current_transaction.reset(token)
        if opened.after_commit:
            # The connection is back in the pool: what follows may open a transaction of its own.
            await uninterrupted(run_all(opened.after_commit))
        if cancelled is not None:
            raise cancelled

    async def after_commit(self, act: AfterCommit) -> None:
        """Run `act` once the outermost transaction has committed, at once when there is none.

        A rolled-back transaction forgets it. A failure of `act` is logged and hides no answer.
        """
        current = self._open()
        if current is None:
            await run_all([act])
        else:
            current.after_commit.append(act)


def local(settings: Mapping[str, str]) -> str:
    """The statements that set these for one transaction; the values are our own, not a client's."""
    return "; ".join(f"SET LOCAL {name} = '{value}'" for name, value in settings.items())


async def run_all(acts: list[AfterCommit]) -> None:
    for act in acts:
        try:
            await act()
        except Exception:
            log.exception("What follows a commit failed: %s", getattr(act, "__qualname__", act))


async def uninterrupted(work: Awaitable[Answer]) -> Answer:
    """Await `work` to its end even when this task is cancelled; the cancellation is raised afterwards."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        task.result()  # a failure is the better answer
        raise


async def rollback_if_open(connection: Connection) -> None:
    """Take a connection back without asyncpg's reset statement, which costs a round trip per request.

    Nothing of ours changes a session outside of a transaction (SET LOCAL, transaction-level locks).
    """
    if connection.is_in_transaction():
        await connection.execute("ROLLBACK")


@contextmanager
def ours(*, connecting: bool = False) -> Iterator[None]:
    """Translate the driver's errors; OSError and TimeoutError count as such only while connecting.

    A body may raise those for reasons of its own.
    """
    try:
        yield
    except Exception as error:
        if not connecting and not isinstance(error, DRIVER_ERRORS):
            raise
        known = translated(error)
        if known is None:
            raise
        raise (Unavailable() if connecting else known) from error


def why_unreachable(url: str, error: Exception) -> str:
    """Return one sentence on why there is no connection, and what to do."""
    where = without_password(url)
    match error:
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            return f"The database at {where} refused the user or password: correct database.url."
        case asyncpg.InvalidCatalogNameError():
            return f"The database at {where} does not exist: create it, or correct database.url."
        case asyncpg.TooManyConnectionsError():
            return f"The database at {where} has no free connection: lower database.pool_max, or raise its limit."
        case ValueError() | asyncpg.InterfaceError():
            return (
                "database.url is not a PostgreSQL address: write postgresql://user:password@host:5432/name."
            )
        case _:
            return (
                f"The database at {where} cannot be reached ({type(error).__name__}): "
                "check that it runs and that database.url is right."
            )
