"""The built-in cron jobs: what expired is removed, and the planner's statistics are kept fresh."""

from __future__ import annotations

from datetime import timedelta

from groundplane.clock import now
from groundplane.db.engine import Database
from groundplane.db.failures import SchemaChanged
from groundplane.db.sql import ident, load_queries
from groundplane.records.idempotency import LIFETIME
from groundplane.schema.options import AuthOptions
from groundplane.services import Services

QUERIES = load_queries("groundplane", "housekeeping.sql")
AT_ONCE = 5000  # rows in one statement, as in housekeeping.sql


def register_housekeeping(services: Services) -> None:
    """Add the built-in cron jobs; the ids that begin with `__pb` and their times are PocketBase's."""
    db, crons = services.db, services.crons

    async def forget_mfas() -> None:
        await remove_expired(services, "mfas")

    async def forget_otps() -> None:
        await remove_expired(services, "otps")
        await services.counters.forget_old()

    async def forget_limits() -> None:
        await db.execute(QUERIES["old_limits"], services.settings.version)

    async def has_limited() -> bool:
        return bool(await db.fetchval(QUERIES["has_limited"], services.settings.version))

    async def forget_keys() -> None:
        while await db.fetchval(QUERIES["old_idempotency_keys"], now() - LIFETIME) == AT_ONCE:
            pass

    async def forget_jobs() -> None:
        await services.jobs.forget_old()
        await crons.forget_old_slots()

    async def forget_logs() -> None:
        await services.logs.trim()

    async def forget_deliveries() -> None:
        await services.webhooks.clean_up()

    async def remove_files() -> None:
        await services.files.removals.sweep()

    async def forget_uploads() -> None:
        if services.files.uploads is not None:
            await services.files.uploads.clean_up()

    async def forget_sessions() -> None:
        await services.sessions.forget_old()
        await services.own_methods.attempts.forget_old()

    async def count_files() -> None:
        await services.files.usage.count_if_due()

    async def analyze() -> None:
        await analyze_tables(db)

    crons.add("__gpFilesCleanup__", "* * * * *", remove_files, present=services.files.removals.outbox.is_due)
    crons.add("__gpFilesCount__", "7 * * * *", count_files, timeout_s=3600, max_attempts=1)
    crons.add("__gpIdempotencyCleanup__", "17 * * * *", forget_keys)
    crons.add("__gpJobsCleanup__", "27 * * * *", forget_jobs)
    crons.add("__gpUploadsCleanup__", "57 * * * *", forget_uploads)
    crons.add("__gpSessionsCleanup__", "47 * * * *", forget_sessions)
    crons.add("__gpWebhooksCleanup__", "37 * * * *", forget_deliveries)
    crons.add("__pbDBOptimize__", "0 0 * * *", analyze, timeout_s=3600, max_attempts=1)
    crons.add("__pbLogsCleanup__", "0 */6 * * *", forget_logs)
    crons.add("__pbMFACleanup__", "0 * * * *", forget_mfas)
    crons.add("__pbOTPCleanup__", "0 * * * *", forget_otps)
    crons.add("__pbRateLimitersCleanup__", "2 * * * *", forget_limits, present=has_limited)


async def remove_expired(services: Services, table: str) -> None:
    """Remove the rows of `mfas` or `otps` that are older than their collection allows, also when it is off now.

    A sign-in looks at the age itself: this is for tidiness.
    """
    moment = now()
    known = []
    for collection in services.schema.current:
        if not isinstance(collection.options, AuthOptions):
            continue
        known.append(collection.id)
        part = collection.options.mfa if table == "mfas" else collection.options.otp
        oldest = moment - timedelta(seconds=part.duration)
        await services.db.execute(QUERIES[f"expired_{table}"], collection.id, oldest)
    await services.db.execute(QUERIES[f"orphaned_{table}"], known)


async def analyze_tables(db: Database) -> None:
    """Refresh the planner's statistics table by table, so that no lock is held for long."""
    for row in await db.fetch(QUERIES["tables"]):
        try:
            async with db.transaction():
                await db.execute("SET LOCAL statement_timeout = 0")
                await db.execute(f"ANALYZE {ident(row['name'])}")
        except SchemaChanged:
            continue  # the collection was deleted meanwhile
