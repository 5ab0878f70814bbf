"""The system tables as Piccolo tables: what the migrations must have made, in one place to read."""

from __future__ import annotations

from piccolo.columns import (
    JSON,
    Array,
    BigInt,
    Boolean,
    Bytea,
    DoublePrecision,
    Integer,
    SmallInt,
    Text,
    Timestamptz,
)
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


class Webhooks(Table, tablename="_webhooks"):
    """Where changes of records are sent to; `suspended` says why the server itself has stopped doing so."""

    id = Text(primary_key=True)
    name = Text()
    url = Text()
    collections = Array(Text())
    actions = Array(Text())
    condition = Text()
    fields = Array(Text())
    headers = JSON()
    secrets = JSON()
    retries = Array(DoublePrecision())
    timeout_s = DoublePrecision()
    concurrency = Integer()
    enabled = Boolean()
    suspended = Text()
    created = Timestamptz()
    updated = Timestamptz()


class WebhookHealth(Table, tablename="_webhook_health"):
    """How sending to a webhook goes; apart from its definition, for it changes with every failure."""

    webhook = Text(primary_key=True)
    failures = Integer()
    failing_since = Timestamptz(null=True)
    open_until = Timestamptz(null=True)
    last_success = Timestamptz(null=True)
    last_failure = Timestamptz(null=True)
    error = Text()
    problem = Text()


class WebhookDeliveries(Table, tablename="_webhook_deliveries"):
    """One event for one webhook: the outbox, and the log of it for a while."""

    id = Text(primary_key=True)
    seq = BigInt()
    webhook = Text()
    event = Text()
    type = Text()
    collection = Text()
    record = Text()
    body = Text()
    state = Text()
    job = Text()
    attempts = Integer()
    tries = Integer()
    status = Integer(null=True)
    error = Text()
    queued = Timestamptz()
    next_attempt = Timestamptz(null=True)
    created = Timestamptz()
    finished = Timestamptz(null=True)


class WebhookAttempts(Table, tablename="_webhook_attempts"):
    """What was sent and what was answered, each time."""

    delivery = Text(primary_key=True)
    number = Integer()
    started = Timestamptz()
    duration_ms = Integer()
    url = Text()
    request_headers = JSON()
    status = Integer(null=True)
    answer_headers = JSON()
    answer = Text()
    error = Text()


class Logs(Table, tablename="_logs"):
    """What requests happened, and messages; partitioned by day, newest entries with the largest numbers."""

    id = BigInt(primary_key=True)
    created = Timestamptz()
    level = SmallInt()
    message = Text()
    data = Text()


class QueryShapes(Table, tablename="_query_shapes"):
    """Filters without their values, and sorts, that clients used; for `groundplane doctor --indexes`."""

    collection = Text(primary_key=True)
    filter = Text()
    sort = Text()
    counted = Boolean()
    used = BigInt()
    last_used = Timestamptz()


class Xid8(BigInt):
    """The number of a transaction."""

    @property
    def column_type(self) -> str:
        return "XID8"


class Events(Table, tablename="_events"):
    """Changes of the last minutes in collections to which somebody listens; `xid` is the writing transaction."""

    seq = BigInt(primary_key=True)
    xid = Xid8()
    at = Timestamptz()
    collection = Text()
    record = Text()
    action = Text()
    verdict = Text()
    row = JSON()


class EventInterest(Table, tablename="_event_interest"):
    """Until when changes of a collection are kept for listeners."""

    collection = Text(primary_key=True)
    until = Timestamptz()
    deep = Boolean()


class FileRemovals(Table, tablename="_file_removals"):
    """Files that no record names, or that none may come to name; `record` "" is a whole collection."""

    id = Text(primary_key=True)
    collection = Text()
    record = Text()
    names = Array(Text())
    is_upload = Boolean()
    due = Timestamptz()
    attempts = Integer()
    error = Text()
    created = Timestamptz()


class FileUsage(Table, tablename="_file_usage"):
    """How many files each collection has, as of the last count; the one without a name says how long it took."""

    collection = Text(primary_key=True)
    files = BigInt()
    bytes = BigInt()
    thumbs = BigInt()
    thumb_bytes = BigInt()
    measured = Timestamptz()
    took_s = DoublePrecision()


class Sessions(Table, tablename="_sessions"):
    """Who signed in, how and from where, until their tokens expire; `signed_by` names the key without being it."""

    id = Text(primary_key=True)
    collection = Text()
    record = Text()
    signed_by = Text()
    method = Text()
    ip = Text()
    agent = Text()
    created = Timestamptz()
    used = Timestamptz()
    expires = Timestamptz()
    ended = Timestamptz(null=True)


class SessionTokens(Table, tablename="_session_tokens"):
    """The tokens of a session: the sign-in's and those of its refreshes; `mark` names one without being it."""

    mark = Text(primary_key=True)
    session = Text()
    expires = Timestamptz()


class RefusedTokens(Table, tablename="_refused_tokens"):
    """Tokens of sessions that somebody has ended: those of this mark that expire up to `until` (Unix seconds)."""

    mark = Text(primary_key=True)
    until = DoublePrecision()
    expires = Timestamptz()


class Totp(Table, tablename="_totp"):
    """The secrets that records share with code generators; one that is not confirmed does not count yet."""

    collection = Text(primary_key=True)
    record = Text()
    secret = Text()
    confirmed = Timestamptz(null=True)
    last_step = BigInt()
    created = Timestamptz()


class RecoveryCodes(Table, tablename="_recovery_codes"):
    """What replaces a lost code generator, once each."""

    collection = Text(primary_key=True)
    record = Text()
    hash = Text()
    created = Timestamptz()


class FactorAttempts(Table, tablename="_factor_attempts"):
    """How often codes were tried for a record in the current window."""

    collection = Text(primary_key=True)
    record = Text()
    started = Timestamptz()
    used = Integer()


class Passkeys(Table, tablename="_passkeys"):
    """The public halves of passkeys."""

    id = Text(primary_key=True)
    collection = Text()
    record = Text()
    credential = Text()
    public_key = Bytea()
    sign_count = BigInt()
    name = Text()
    model = Text()
    transports = Array(Text())
    synced = Boolean()
    created = Timestamptz()
    used = Timestamptz(null=True)


class PasskeyChallenges(Table, tablename="_passkey_challenges"):
    """What an authenticator is to sign, once, within minutes."""

    id = Text(primary_key=True)
    purpose = Text()
    collection = Text()
    record = Text()
    challenge = Bytea()
    expires = Timestamptz()


class MagicLinks(Table, tablename="_magic_links"):
    """Mailed links that sign in, once; `browser` is the hash of what only the asking browser knows, or ""."""

    hash = Text(primary_key=True)
    collection = Text()
    record = Text()
    signed_by = Text()
    email = Text()
    browser = Text()
    created = Timestamptz()
    expires = Timestamptz()


class ServiceKeys(Table, tablename="_service_keys"):
    """Keys of programs; `hash` is of the key, `hint` is how it begins, `previous` one that was just replaced."""

    id = Text(primary_key=True)
    name = Text()
    hash = Text()
    hint = Text()
    collection = Text()
    record = Text()
    access = Text()
    scopes = JSON()
    previous = Text()
    previous_until = Timestamptz(null=True)
    expires = Timestamptz(null=True)
    used = Timestamptz(null=True)
    created = Timestamptz()
    updated = Timestamptz()


class Uploads(Table, tablename="_uploads"):
    """Files on their way in pieces; `holder` writes to one until `held_until`, by the database's clock."""

    id = Text(primary_key=True)
    secret = Bytea()
    owner = Text()
    payer = Text()
    collection = Text()
    field = Text()
    filename = Text()
    filetype = Text()
    metadata = Text()
    length = BigInt()
    offset = BigInt()
    store = Text()
    segments = Array(Text())
    holder = Text()
    held_until = Timestamptz()
    contested = Timestamptz()
    created = Timestamptz()
    expires = Timestamptz()


class SignInCounters(Table, tablename="_sign_in_counters"):
    """How often something was tried or mailed since `expires` minus its window."""

    key = Text(primary_key=True)
    times = Integer()
    expires = Timestamptz()


class OAuthNames(Table, tablename="_oauth_names"):
    """Names that a provider tells once, beside a code; `code` is its hash."""

    code = Text(primary_key=True)
    name = Text()
    expires = Timestamptz()


class ConsolePreferences(Table, tablename="_console_preferences"):
    """What the console remembers for one superuser, or for all (`owner` "")."""

    owner = Text(primary_key=True)
    name = Text()
    value = Text()
    updated = Timestamptz()


TABLES: tuple[type[Table], ...] = (
    Collections,
    ConsolePreferences,
    CronSlots,
    EventInterest,
    Events,
    FactorAttempts,
    FileRemovals,
    FileUsage,
    Idempotency,
    JobRuns,
    Jobs,
    Logs,
    MagicLinks,
    Messages,
    Migrations,
    OAuthNames,
    Params,
    PasskeyChallenges,
    Passkeys,
    QueryShapes,
    RateLimits,
    RecoveryCodes,
    RefusedTokens,
    ServiceKeys,
    SessionTokens,
    Sessions,
    SignInCounters,
    Totp,
    Uploads,
    WebhookAttempts,
    WebhookDeliveries,
    WebhookHealth,
    Webhooks,
)
