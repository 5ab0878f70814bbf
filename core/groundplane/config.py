"""What is decided before the server starts: a TOML file, then the environment, then flags."""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

PREFIX = "GROUNDPLANE_"
DEFAULT_FILE = Path("groundplane.toml")
CHANNEL = re.compile(r"(?=.{1,100}\Z)[A-Za-z0-9_.:-]*\*?[A-Za-z0-9_.:-]*", re.ASCII)


class ConfigError(Exception):
    """The configuration cannot be used; the message is one sentence that says what to do."""


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where and how requests are answered.

    `host`                    address to listen on; "0.0.0.0" or "::" opens it to other machines
    `port`                    TCP port; 0 takes a free one
    `workers`                 number of web processes; 0 means one per processor, at most 4
    `public_url`              address that people use, for links in mails; "" takes the settings' appURL
    `shutdown_grace_s`        seconds that open requests get to finish when the server stops
    `keep_alive_s`            seconds after which an idle connection is closed
    `max_connections`         open connections per worker; streams of realtime count for themselves
    `max_body_bytes`          limit of a request's body where an endpoint has none of its own
    `allowed_origins`         sites whose pages may call us: "*", "https://app.example.com",
                              "https://*.example.com" for every host below, or patterns with * and ?
    """

    host: str = "127.0.0.1"
    port: int = 8090
    workers: int = 0
    public_url: str = ""
    shutdown_grace_s: float = 10.0
    keep_alive_s: float = 75.0
    max_connections: int = 2000
    max_body_bytes: int = 33_554_432
    allowed_origins: list[str] = msgspec.field(default_factory=lambda: ["*"])


class DatabaseConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which PostgreSQL, and how much of it one worker takes.

    `url`                     postgresql://user:password@host:5432/name; "" is the embedded one in `data_dir`
    `pool_min`, `pool_max`    connections that each worker keeps, and the most that it opens
    `acquire_timeout_s`       seconds a request waits for a free connection before it is answered 503
    `statement_timeout_s`     seconds after which a statement is stopped
    `read_lanes`, `list_lanes`, `write_lanes`   connections, beside the pool, that answer waiting requests
                              together: for single records, for lists, for creates, updates and deletes
    `pooled`                  `url` is a pooler that lends a session for one transaction, as PgBouncer does
    `direct_url`              the same database past the pooler, for what needs a session of its own
    """

    url: str = ""
    pool_min: int = 1
    pool_max: int = 10
    acquire_timeout_s: float = 10.0
    statement_timeout_s: float = 30.0
    read_lanes: int = 2
    list_lanes: int = 2
    write_lanes: int = 2
    pooled: bool = False
    direct_url: str = ""

    def __repr__(self) -> str:
        # The address holds a password.
        return f"DatabaseConfig(url={'…' if self.url else ''!r}, pool_max={self.pool_max})"


class SecurityConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys of this installation.

    `encryption_key`          32 characters; secrets that are stored are encrypted with it ("" = plain)
    """

    encryption_key: str = ""

    def __repr__(self) -> str:
        return "SecurityConfig(…)"


class JobsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who runs the jobs: webhooks, clean-up, whatever is done later or by the clock.

    `workers`                 number of job processes that `serve` starts; 0 leaves them to `groundplane worker`
    `slots`                   jobs that one process runs at a time
    `lease_s`                 seconds after which a job of a lost process is taken over by another one
    """

    workers: int = 1
    slots: int = 8
    lease_s: float = 30.0


class BrokerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What carries messages between the workers of all nodes.

    `url`                     Valkey or Redis: `valkey://[user:password@]host:6379/0`, `valkeys://` with TLS,
                              `unix:///path`; "" is PostgreSQL itself
    `prefix`                  keeps installations apart that share a server
    """

    url: str = ""
    prefix: str = "groundplane"

    def __repr__(self) -> str:
        return f"BrokerConfig(prefix={self.prefix!r}, …)"  # the address may hold a password


class ChannelConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Channels on which clients send each other messages and see who is there.

    A rule is a condition in the filter language; "" lets everyone, and one that is absent nobody but superusers.

    `join`                    who may be in such a channel, and so hears what is sent in it
    `send`                    who may send
    `presence`                who sees who else is there, and is seen
    `max_present`             members of one channel that can be seen; who comes later is refused
    `max_message_bytes`       size of one message's data, as JSON
    `messages_per_s`          of one client, in all of its channels of this kind
    """

    join: str | None = None
    send: str | None = None
    presence: str | None = None
    max_present: int = 500
    max_message_bytes: int = 16_384
    messages_per_s: float = 20.0


class RealtimeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Streams of changes.

    `replay_s`                seconds for which a client that was away can ask for what it missed
    `replay`                  the same for single collections, by name: `{ posts = 3600, logs = 0 }`
    `max_clients`             open streams of one worker; more are answered 503
    `channels`                a table for each channel's name, or for all that a * in it stands for
    """

    replay_s: float = 600.0
    replay: dict[str, float] = msgspec.field(default_factory=dict)
    max_clients: int = 10_000
    channels: dict[str, ChannelConfig] = msgspec.field(default_factory=dict)


class FilesConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the files of records are kept while the settings do not name an object store, and their thumbs.

    `folder`                  "" is the folder `storage` in `data_dir`
    `store`                   the plugin whose store all files are in, instead of folder and object store
    `s3_downloads`            "stream" passes files of the object store on; "redirect" sends clients there
    `s3_link_s`               seconds for which such an address holds, at most
    `thumb_workers`           thumbs that each web process makes at a time; 0 makes none
    `thumb_wait_s`            seconds that a request waits for its turn before it gets the whole picture
    `thumb_max_pixels`        larger pictures get no thumb; one needs up to 16 bytes of memory per pixel
    """

    folder: str = ""
    store: str = ""
    s3_downloads: Literal["stream", "redirect"] = "stream"
    s3_link_s: float = 60.0
    thumb_workers: int = 2
    thumb_wait_s: float = 60.0
    thumb_max_pixels: int = 50_000_000


class UploadsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Uploads that may be interrupted, until a record takes them.

    `max_bytes`               the largest one
    `expire_s`                seconds after which one that nothing is added to is removed
    `guests`                  whether guests may upload for collections whose rules could let them in
    `caller_count`, `caller_bytes`   of one account, or of one network of guests, at a time
    `total_bytes`             of all together
    """

    max_bytes: int = 5_368_709_120
    expire_s: float = 86_400.0
    guests: bool = True
    caller_count: int = 100
    caller_bytes: int = 10_737_418_240
    total_bytes: int = 107_374_182_400


class MailConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How mails are sent; the SMTP server itself is one of the settings that admins see.

    `mailer`                  "smtp", "outbox" (a folder of files), or the name of a plugin's; "" is smtp where
                              the settings enable it, else outbox
    `outbox`                  "" is the folder `outbox` in `data_dir`
    `timeout_s`               seconds that sending one mail may take
    `ca_file`                 certificates, as PEM, that SMTP servers may show beside those the system trusts
    """

    mailer: str = ""
    outbox: str = ""
    timeout_s: float = 20.0
    ca_file: str = ""


class OutgoingConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where webhooks may be sent to and sign-in providers may be, and what is kept of webhooks.

    `allow_http`              true: also to addresses that begin with http://
    `allow_private`           true: also to this machine and private networks
    `allow_networks`          addresses and networks, as "10.1.0.0/16", that are allowed beside the public ones
    `keep_days`               days after which finished deliveries are forgotten, and waiting ones given up
    `suspend_after_days`      days of nothing but failures after which a webhook is suspended
    """

    allow_http: bool = False
    allow_private: bool = False
    allow_networks: list[str] = msgspec.field(default_factory=list)
    keep_days: float = 14.0
    suspend_after_days: float = 5.0


class LogConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the processes write to standard error.

    `level`                   the least important kind that is written
    `format`                  "text" for people, "json" for programs, "auto" is text on a terminal
    """

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "text", "json"] = "auto"


class SchemaConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the collections below are meant.

    `exclusive`               true: `plan` and `apply` delete collections that are not in the file
    """

    exclusive: bool = False


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that the server is told at start.

    `data_dir`                folder of the embedded database and of files
    `plugins_dir`             folder whose `*.py` files are plugins of this project; "" is none
    `plugins`                 a table for each plugin; `enabled` switches it on or off, the rest is its own
    `settings`                wanted values of the settings that admins see, in the shape of the settings API
    `collections`             wanted collections, in the shape of the collections API
    `webhooks`                wanted webhooks, in the shape of the webhooks API
    """

    data_dir: str = "gp_data"
    plugins_dir: str = "plugins"
    server: ServerConfig = msgspec.field(default_factory=ServerConfig)
    database: DatabaseConfig = msgspec.field(default_factory=DatabaseConfig)
    security: SecurityConfig = msgspec.field(default_factory=SecurityConfig)
    files: FilesConfig = msgspec.field(default_factory=FilesConfig)
    jobs: JobsConfig = msgspec.field(default_factory=JobsConfig)
    broker: BrokerConfig = msgspec.field(default_factory=BrokerConfig)
    realtime: RealtimeConfig = msgspec.field(default_factory=RealtimeConfig)
    uploads: UploadsConfig = msgspec.field(default_factory=UploadsConfig)
    mail: MailConfig = msgspec.field(default_factory=MailConfig)
    outgoing: OutgoingConfig = msgspec.field(default_factory=OutgoingConfig)
    log: LogConfig = msgspec.field(default_factory=LogConfig)
    schema: SchemaConfig = msgspec.field(default_factory=SchemaConfig)
    plugins: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)
    settings: dict[str, Any] = msgspec.field(default_factory=dict)
    collections: list[dict[str, Any]] = msgspec.field(default_factory=list)
    webhooks: list[dict[str, Any]] = msgspec.field(default_factory=list)

    @property
    def data_folder(self) -> Path:
        return Path(os.path.abspath(self.data_dir))

    @property
    def files_folder(self) -> Path:
        return Path(os.path.abspath(self.files.folder)) if self.files.folder else self.data_folder / "storage"

    @property
    def outbox_folder(self) -> Path:
        return Path(os.path.abspath(self.mail.outbox)) if self.mail.outbox else self.data_folder / "outbox"

    @property
    def declared(self) -> dict[str, Any]:
        """The parts that `plan` compares with the database, as they stand in the file."""
        parts: dict[str, Any] = {
            "collections": self.collections,
            "schema": {"exclusive": self.schema.exclusive},
        }
        if self.webhooks:
            parts["webhooks"] = self.webhooks
        return parts | ({"settings": self.settings} if self.settings else {})

    @property
    def worker_count(self) -> int:
        return self.server.workers or min(4, os.cpu_count() or 1)

    def __repr__(self) -> str:
        # The settings hold the passwords of mail and object stores.
        return f"Config(data_dir={self.data_dir!r}, server={self.server!r}, database={self.database!r}, …)"


def load_config(
    file: Path | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Config:
    """Read the configuration; raises ConfigError.

    `file` None takes `groundplane.toml` when there is one. `environment` (default: the process's) may hold
    `GROUNDPLANE_SECTION__KEY`; `flags` maps dotted names (`server.port`) to values, None meaning not given.
    Relative folders in the file are relative to the working directory.
    """
    raw = read_file(file)
    for name, value in environment_values(os.environ if environment is None else environment):
        put(raw, name, value)
    for name, value in (flags or {}).items():
        if value is not None:
            put(raw, name, value)
    refuse_unknown(raw, Config, "")
    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(explained(error)) from error
    check_ranges(config)
    return config


def read_file(file: Path | None) -> dict[str, Any]:
    path = file or DEFAULT_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        if file is None:
            return {}
        raise ConfigError(f"There is no file {path}: correct --config.") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"{path} cannot be read: {reason}.") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from error


def environment_values(environment: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """Yield dotted names and typed values of our variables; lists and tables are written as JSON."""
    for variable, text in sorted(environment.items()):
        if not variable.startswith(PREFIX):
            continue
        name = variable.removeprefix(PREFIX).lower().replace("__", ".")
        if name.startswith("test_"):
            continue  # for our own tests, not a setting
        wanted = type_of(name)
        yield name, text if wanted is str or wanted is None else from_text(variable, text, wanted)


def type_of(name: str) -> Any:
    """Return the type of a dotted name; None when there is no such setting (refused later, by its name)."""
    struct: Any = Config
    for part in name.split("."):
        hints = (
            get_type_hints(struct) if isinstance(struct, type) and issubclass(struct, msgspec.Struct) else {}
        )
        if part not in hints:
            return None
        struct = hints[part]
    return struct


def from_text(variable: str, text: str, wanted: Any) -> Any:
    if get_origin(wanted) is Literal:
        return text
    if get_origin(wanted) in (dict, list):
        try:
            return msgspec.json.decode(text.encode())
        except msgspec.DecodeError as error:
            raise ConfigError(f"{variable} is not valid JSON: {error}.") from error
    try:
        return msgspec.convert(text, wanted, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{variable} must be {described(wanted)}.") from error


def put(raw: dict[str, Any], name: str, value: Any) -> None:
    *sections, key = name.split(".")
    for section in sections:
        inner = raw.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{section} must be a table, because {name} is set as well.")
        raw = inner
    raw[key] = value


def refuse_unknown(raw: Mapping[str, Any], struct: type[msgspec.Struct], where: str) -> None:
    """Refuse a key that no setting has, and name the one that was probably meant."""
    hints = get_type_hints(struct)
    for key, value in raw.items():
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1, cutoff=0.5)
            advice = f"did you mean {where}{near[0]}?" if near else f"known are {', '.join(sorted(hints))}."
            raise ConfigError(f"There is no setting {where}{key}: {advice}")
        inner = hints[key]
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct) and isinstance(value, Mapping):
            refuse_unknown(value, inner, f"{where}{key}.")


def described(wanted: Any) -> str:
    if get_origin(wanted) is Literal:
        return "one of " + ", ".join(get_args(wanted))
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return names.get(wanted, "a table" if get_origin(wanted) is dict else "a list")


def explained(error: msgspec.ValidationError) -> str:
    """Turn msgspec's "Expected `int`, got `str` - at `$.server.port`" into a sentence about a setting."""
    problem, _, place = str(error).partition(" - at `$")
    name = place.rstrip("`").lstrip(".").partition("[")[0]
    wanted = type_of(name) if name else None
    if wanted is None:
        return f"The configuration is wrong: {problem}."
    if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
        return f"{name} must be a table: write [{name}] above its settings."
    return f"{name} must be {described(wanted)}."


def is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def check_ranges(config: Config) -> None:
    server, database, jobs = config.server, config.database, config.jobs
    wrong = {
        "server.port must be between 0 and 65535.": not 0 <= server.port <= 65535,
        "server.workers must be between 0 and 256.": not 0 <= server.workers <= 256,
        "server.shutdown_grace_s must be 0 or more.": server.shutdown_grace_s < 0,
        "server.keep_alive_s must be above 0.": server.keep_alive_s <= 0,
        "server.max_connections must be 1 or more.": server.max_connections < 1,
        "server.max_body_bytes must be 1 or more.": server.max_body_bytes < 1,
        "database.pool_max must be 2 or more.": database.pool_max < 2,
        "database.pool_min must be between 0 and database.pool_max.": not 0
        <= database.pool_min
        <= database.pool_max,
        "database.acquire_timeout_s must be above 0.": database.acquire_timeout_s <= 0,
        "database.statement_timeout_s must be above 0.": database.statement_timeout_s <= 0,
        "security.encryption_key must have 32 characters, or be empty.": len(
            config.security.encryption_key.encode()
        )
        not in (0, 32),
        "jobs.workers must be between 0 and 64.": not 0 <= jobs.workers <= 64,
        "files.s3_link_s must be between 2 and 604800.": not 2 <= config.files.s3_link_s <= 604_800,
        "files.thumb_workers must be between 0 and 64.": not 0 <= config.files.thumb_workers <= 64,
        "files.thumb_wait_s must be above 0.": config.files.thumb_wait_s <= 0,
        "files.thumb_max_pixels must be between 1 and 1000000000.": not 1
        <= config.files.thumb_max_pixels
        <= 1_000_000_000,
        "jobs.slots must be between 1 and 1000.": not 1 <= jobs.slots <= 1000,
        "jobs.lease_s must be between 5 and 3600.": not 5 <= jobs.lease_s <= 3600,
        "broker.url must begin with valkey://, valkeys://, redis://, rediss:// or unix://, or be empty.": (
            bool(config.broker.url)
            and not config.broker.url.startswith(
                ("valkey://", "valkeys://", "redis://", "rediss://", "unix://")
            )
        ),
        "broker.prefix must be 1 to 50 letters, digits and - _ .": not re.fullmatch(
            r"[A-Za-z0-9_.-]{1,50}", config.broker.prefix, re.ASCII
        ),
        "realtime.replay_s must be between 0 and 604800.": not 0 <= config.realtime.replay_s <= 604_800,
        "realtime.replay must name seconds between 0 and 604800.": not all(
            0 <= seconds <= 604_800 for seconds in config.realtime.replay.values()
        ),
        "realtime.max_clients must be 1 or more.": config.realtime.max_clients < 1,
        "realtime.channels must be named by 1 to 100 letters, digits and - _ . : with at most one *.": not all(
            CHANNEL.fullmatch(name) for name in config.realtime.channels
        ),
        "realtime.channels: max_present must be between 1 and 10000.": not all(
            1 <= each.max_present <= 10_000 for each in config.realtime.channels.values()
        ),
        "realtime.channels: max_message_bytes must be between 1 and 262144.": not all(
            1 <= each.max_message_bytes <= 262_144 for each in config.realtime.channels.values()
        ),
        "realtime.channels: messages_per_s must be between 0.01 and 1000.": not all(
            0.01 <= each.messages_per_s <= 1000 for each in config.realtime.channels.values()
        ),
        "uploads.max_bytes must be between 1 and 5000000000000.": not 1
        <= config.uploads.max_bytes
        <= 5_000_000_000_000,
        "uploads.expire_s must be between 60 and 31536000.": not 60 <= config.uploads.expire_s <= 31_536_000,
        "uploads.caller_count must be between 1 and 100000.": not 1 <= config.uploads.caller_count <= 100_000,
        "uploads.caller_bytes and uploads.total_bytes must be 1 or more.": min(
            config.uploads.caller_bytes, config.uploads.total_bytes
        )
        < 1,
        "outgoing.allow_networks must list addresses and networks like 10.1.0.0/16.": any(
            not is_network(entry) for entry in config.outgoing.allow_networks
        ),
        "outgoing.keep_days must be between 1 and 365.": not 1 <= config.outgoing.keep_days <= 365,
        "outgoing.suspend_after_days must be between 0.01 and 365.": not 0.01
        <= config.outgoing.suspend_after_days
        <= 365,
        "data_dir must not be empty.": not config.data_dir,
    }
    for message, is_wrong in wrong.items():
        if is_wrong:
            raise ConfigError(message)
