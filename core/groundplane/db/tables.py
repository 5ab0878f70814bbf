"""The system tables as Piccolo tables: what the migrations must have made, in one place to read."""

from __future__ import annotations

from piccolo.columns import JSON, BigInt, Boolean, Bytea, Integer, Text, Timestamptz
from piccolo.table import Table

# PostgreSQL's own names of the columns are kept where they differ from what Python allows or likes.


class Migrations(Table, tablename="_migrations"):
    """Which steps this database has behind it."""

    id = Text(primary_key=True)
    applied = Timestamptz()


class Collections(Table, tablename="_collections"):
    """One row per collection; `row` is the order in which they were made."""

    row = BigInt(db_column_name="_row")
    id = Text(primary_key=True)
    system = Boolean()
    type = Text()
    name = Text()
    fields = JSON()
    index_texts = JSON(db_column_name="indexes")
    list_rule = Text(null=True, db_column_name="listRule")
    view_rule = Text(null=True, db_column_name="viewRule")
    create_rule = Text(null=True, db_column_name="createRule")
    update_rule = Text(null=True, db_column_name="updateRule")
    delete_rule = Text(null=True, db_column_name="deleteRule")
    options = JSON()
    created = Timestamptz()
    updated = Timestamptz()


class Params(Table, tablename="_params"):
    """Single values: the settings, the schema's version, the checksum of the SQL functions."""

    id = Text(primary_key=True)
    value = JSON(null=True)
    updated = Timestamptz()


class Idempotency(Table, tablename="_idempotency"):
    """The first answer to a request with an `Idempotency-Key`; the key is of key, caller and collection."""

    key = Text(primary_key=True)
    caller = Text()
    collection = Text()
    body_hash = Bytea()
    status = Integer()
    response = Bytea()
    created = Timestamptz()


class Messages(Table, tablename="_messages"):
    """What is too long for a notification, for some minutes."""

    id = BigInt(primary_key=True)
    payload = Bytea()
    created = Timestamptz()


class RateLimits(Table, tablename="_rate_limits"):
    """Requests counted in the current window of each rule and address."""

    version = BigInt(primary_key=True)
    bucket = Text()
    ip = Text()
    started = BigInt()
    used = Integer()
    max_requests = Integer()
    duration_s = Integer()


class Jobs(Table, tablename="_jobs"):
    """Work for later, kept for a while when it is finished; `jobs/queries.sql` says how a job moves on."""

    id = Text(primary_key=True)
    seq = BigInt()
    kind = Text()
    payload = JSON()
    state = Text()
    priority = Integer()
    order_key = Text()
    unique_key = Text()
    run_at = Timestamptz()
    attempts = Integer()
    max_attempts = Integer()
    runs = Integer()
    worker = Text()
    lease_until = Timestamptz(null=True)
    cancel_asked = Boolean()
    error = Text()
    created = Timestamptz()
    started = Timestamptz(null=True)
    finished = Timestamptz(null=True)


class JobRuns(Table, tablename="_job_runs"):
    """What came of each run of a job."""

    job = Text(primary_key=True)
    number = Integer()
    worker = Text()
    outcome = Text()
    error = Text()
    started = Timestamptz()
    finished = Timestamptz()


class CronSlots(Table, tablename="_cron_slots"):
    """Which minutes of a cron job were fired, and the job that came of each."""

    cron = Text(primary_key=True)
    slot = Timestamptz()
    job = Text()


TABLES: tuple[type[Table], ...] = (
    Collections,
    CronSlots,
    Idempotency,
    JobRuns,
    Jobs,
    Messages,
    Migrations,
    Params,
    RateLimits,
)
