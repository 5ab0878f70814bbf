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


TABLES: tuple[type[Table], ...] = (Collections, Idempotency, Messages, Migrations, Params, RateLimits)
