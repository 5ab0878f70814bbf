"""Has ClamAV look at every upload before it is stored, and refuses what it finds something in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

import msgspec

from groundplane.clock import now
from groundplane.errors import Unavailable
from groundplane.hooks import hookimpl
from groundplane.hooks.events import HealthCheck
from groundplane.hooks.events_files import FileRefused, FileUpload
from groundplane_plugins.clamav.clamd import Clamd, NotScanned, TooLarge, scanned

API_VERSION = 1

Verdict: TypeAlias = Literal["refuse", "accept"]

log = logging.getLogger(__name__)

INFECTED, UNCHECKED = "validation_infected_file", "validation_unchecked_file"
AWAY = "Files cannot be checked for viruses just now. Try again later."
RETRY_S = 0.2
LONGEST_S = 3600.0  # the limits that count are the plugin's own
STALE = timedelta(days=7)  # of ClamAV's signatures, which change every day


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The section `[plugins.clamav]`.

    `address`            clamd's: tcp://host:port, or unix:///path/of/the/socket
    `collections`        whose uploads are looked at; "*" is all
    `on_failure`         what becomes of uploads while clamd does not answer
    `max_bytes`          larger files are not sent to clamd; not above its StreamMaxLength
    `too_large`          what becomes of those
    `connect_timeout_s`  seconds for a connection
    `scan_timeout_s`     seconds for a file, from its first byte to the verdict
    `attempts`           how often a file is tried when clamd cannot be reached, or hangs up
    `at_once`            files that one process has looked at at a time; others wait
    """

    address: str = "unix:///run/clamav/clamd.ctl"
    collections: tuple[str, ...] = ("*",)
    on_failure: Verdict = "refuse"
    max_bytes: int = 25 * 1024 * 1024
    too_large: Verdict = "refuse"
    connect_timeout_s: float = 3.0
    scan_timeout_s: float = 60.0
    attempts: int = 3
    at_once: int = 4


class Scanner:
    """What `startup` has made of the configuration."""

    def __init__(self, config: Config) -> None:
        numbers = (config.max_bytes, config.attempts, config.at_once)
        if min(*numbers, config.connect_timeout_s, config.scan_timeout_s) <= 0:
            raise ValueError("max_bytes, attempts, at_once and the timeouts must be above 0")
        self.config = config
        self.clamd = Clamd(
            config.address,
            connect_timeout_s=config.connect_timeout_s,
            scan_timeout_s=config.scan_timeout_s,
        )
        self._turns = asyncio.Semaphore(config.at_once)

    def concerns(self, name: str) -> bool:
        return "*" in self.config.collections or name in self.config.collections

    async def check(self, event: FileUpload) -> None:
        """Raise FileRefused for what must not be stored, and Unavailable while nobody can tell."""
        what = f"{event.name} of {event.collection.name}"
        try:
            if event.size > self.config.max_bytes:
                raise TooLarge
            async with self._turns:
                found = await scanned(self.clamd, event.chunks, attempts=self.config.attempts, wait_s=RETRY_S)
        except TooLarge:
            if self.config.too_large == "refuse":
                raise FileRefused(
                    UNCHECKED,
                    f"Failed to upload {event.client_name} - it is too large to be checked for viruses.",
                    file=event.client_name,
                    maxSize=self.config.max_bytes,
                ) from None
            log.warning("The upload %s was stored unchecked: it is too large", what)
            return
        except NotScanned as problem:
            if self.config.on_failure == "refuse":
                log.error("The upload %s was refused unchecked: %s", what, problem)
                raise Unavailable(AWAY) from problem
            log.warning("The upload %s was stored unchecked: %s", what, problem)
            return
        if found:
            log.warning("The upload %s was refused: %s found, sent from %s", what, found, event.info.ip)
            message = f"Failed to upload {event.client_name} - a virus was found in it."
            raise FileRefused(INFECTED, message, file=event.client_name)


# Made once per process by `startup`, before the first request.
_scanner: Scanner | None = None


@hookimpl
async def startup(config: Config) -> None:
    global _scanner
    _scanner = Scanner(config)


# After all others: it looks at what is stored, whatever they make of the name.
@hookimpl(after=["*"], deadline_s=LONGEST_S)
async def file_upload(event: FileUpload) -> AsyncIterator[None]:
    if _scanner is not None and _scanner.concerns(event.collection.name):
        await _scanner.check(event)
    yield


@hookimpl
async def health_checks() -> list[HealthCheck]:
    if _scanner is None:
        return []
    try:
        version = await _scanner.clamd.version()
    except NotScanned as problem:
        return [HealthCheck(False, f"uploads are {fate(_scanner.config)}: {problem}")]
    made = signatures_of(version)
    if made is not None and now() - made > STALE:
        return [HealthCheck(False, f"the signatures are of {made:%Y-%m-%d}: is freshclam running? {version}")]
    return [HealthCheck(True, f"uploads are checked by {version}")]


def fate(config: Config) -> str:
    return "refused" if config.on_failure == "refuse" else "stored unchecked"


def signatures_of(version: str) -> datetime | None:
    """When the signatures were made, as clamd's version says; None when it does not."""
    try:
        return datetime.strptime(version.rpartition("/")[2], "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC)
    except ValueError:
        return None
