"""Messages between processes on one database, by LISTEN and NOTIFY.

Each process listens on one connection whose `application_name` is `groundplane:<process>`, so a sender
that wants to wait can ask PostgreSQL who is alive. What a notification says, separated by spaces:

    to everyone      <sender> <number> <"+" if it wants answers, else "-"> <form> <channel> <payload>
    to one sender    <who answers> <number>

`form` is `t` for text as it is, `b` for base64, `r` for the number of a row in `_messages`, which
holds what is too long for a notification.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import random
import secrets
from typing import Any

import asyncpg

from groundplane.broker.broker import Catcher, Handler
from groundplane.broker.channels import Channels
from groundplane.broker.waiting import Waiting
from groundplane.db.engine import Database
from groundplane.db.failures import translated
from groundplane.errors import Unavailable

log = logging.getLogger(__name__)

EVERYONE = "groundplane"
LIMIT_BYTES = 7900  # of a notification; PostgreSQL takes less than 8000
KEPT_S = 300  # how long a long message can still be fetched
HEARTBEAT_S = 10.0
CONNECT_TIMEOUT_S = 10.0
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 5.0

LISTENING = """
SELECT split_part(application_name, ':', 2) AS process FROM pg_stat_activity
 WHERE datname = current_database() AND application_name LIKE 'groundplane:%'
"""
KEEP = """
WITH old AS (DELETE FROM "_messages" WHERE "created" < now() - make_interval(secs => $2))
INSERT INTO "_messages" ("payload") VALUES ($1) RETURNING "id"
"""


class PostgresBroker:
    """For several workers on one database; `url` is for the listening connection, `database` sends."""

    def __init__(self, database: Database, url: str) -> None:
        self.process = secrets.token_hex(6)
        self._db = database
        self._url = url
        self._channels = Channels()
        self._catchers: list[Catcher] = []
        self._waiting: dict[int, Waiting] = {}
        self._number = 0
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._lost = asyncio.Event()
        self._trusted = False
        self._keeping: asyncio.Task[None] | None = None

    @property
    def trusted(self) -> bool:
        return self._trusted and not self._lost.is_set()

    def subscribe(self, channel: str, handler: Handler) -> None:
        if not channel.isascii() or " " in channel or not channel:
            raise ValueError("a channel's name is a short ASCII word")
        self._channels.subscribe(channel, handler)

    def on_reconnect(self, catch_up: Catcher) -> None:
        self._catchers.append(catch_up)

    async def start(self) -> None:
        try:
            await self._connect()
        except Exception as error:
            raise translated(error) or error from error
        self._trusted = True
        self._keeping = asyncio.create_task(self._keep_connected(), name="broker")

    async def close(self) -> None:
        self._trusted = False
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        if self._connection is not None:
            self._connection.terminate()
        await self._channels.close()

    # Sending

    async def publish(self, channel: str, payload: bytes = b"") -> None:
        await self._notify(channel, payload, "-", self._next_number())

    async def publish_and_wait(self, channel: str, payload: bytes = b"", timeout_s: float = 10) -> None:
        if self._db.in_transaction:
            raise RuntimeError("a message sent in a transaction leaves with its commit: nobody would answer")
        number = self._next_number()
        waiting = self._waiting[number] = Waiting(await self.processes())
        try:
            await self._notify(channel, payload, "+", number)
            await waiting.finished(channel, self.processes, timeout_s)
        finally:
            del self._waiting[number]

    async def processes(self) -> set[str]:
        return {row["process"] for row in await self._db.fetch(LISTENING)}

    def _next_number(self) -> int:
        self._number += 1
        return self._number

    async def _notify(self, channel: str, payload: bytes, answers: str, number: int) -> None:
        head = f"{self.process} {number} {answers}"
        form, text = as_text(payload)
        if len(head) + len(channel) + len(text.encode()) + 4 > LIMIT_BYTES:
            form, text = "r", str(await self._db.fetchval(KEEP, payload, KEPT_S))
        await self._db.execute("SELECT pg_notify($1, $2)", EVERYONE, f"{head} {form} {channel} {text}")

    # Listening

    async def _connect(self) -> None:
        # An event of this connection's own: the end of an earlier one is told late and means nothing.
        lost = asyncio.Event()
        connection: Any = await asyncpg.connect(
            self._url,
            timeout=CONNECT_TIMEOUT_S,
            statement_cache_size=0,
            server_settings={"application_name": f"groundplane:{self.process}"},
        )
        try:
            connection.add_termination_listener(lambda _: lost.set())
            await connection.add_listener(EVERYONE, self._on_message)
            await connection.add_listener(answers_of(self.process), self._on_answer)
        except BaseException:
            connection.terminate()
            raise
        self._connection, self._lost = connection, lost

    async def _keep_connected(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            if self._connection is not None:
                await self._until_lost(self._connection)
                log.warning("The broker's connection was lost; caches are not trusted until it is back")
                self._trusted = False
                self._connection.terminate()
                self._connection = None
            try:
                await self._connect()
                # Messages that come from now on wait in their queues or find the newer state: both are fine.
                for catch_up in self._catchers:
                    await catch_up()
                self._trusted = True
                pause_s = FIRST_PAUSE_S
                log.info("The broker's connection is back")
            except Exception as error:  # noqa: BLE001  # whatever it is, only trying again helps
                log.info("The broker cannot connect yet: %s", type(error).__name__)
                if self._connection is not None:
                    self._connection.terminate()
                    self._connection = None
                await asyncio.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311  # spreads the workers
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _until_lost(self, connection: Any) -> None:
        """Return when the connection is gone; a silent one is asked now and then."""
        while not self._lost.is_set():
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._lost.wait()
            except TimeoutError:
                try:
                    await connection.execute("SELECT 1", timeout=HEARTBEAT_S)
                except Exception:  # noqa: BLE001  # whatever it is, the connection is of no use
                    return

    def _on_message(self, connection: Any, pid: int, name: str, text: object) -> None:
        sender, number, answers, form, channel, body = str(text).split(" ", 5)

        async def load() -> bytes:
            return await self._payload(form, body)

        async def done(failure: BaseException | None) -> None:
            if isinstance(failure, Unavailable | OSError):
                # It could not read what is new. Start over as after a lost connection, which reads all.
                self._lost.set()
            if answers == "+":
                await self._answer(sender, int(number))

        self._channels.put(channel, load, done)

    async def _payload(self, form: str, body: str) -> bytes:
        if form == "t":
            return body.encode()
        if form == "b":
            return base64.b64decode(body)
        payload = await self._db.fetchval('SELECT "payload" FROM "_messages" WHERE "id" = $1', int(body))
        if payload is None:
            raise Unavailable
        return bytes(payload)

    async def _answer(self, sender: str, number: int) -> None:
        if sender == self.process:
            self._answered(self.process, number)
        else:
            await self._db.execute("SELECT pg_notify($1, $2)", answers_of(sender), f"{self.process} {number}")

    def _on_answer(self, connection: Any, pid: int, name: str, text: object) -> None:
        process, _, number = str(text).partition(" ")
        self._answered(process, int(number))

    def _answered(self, process: str, number: int) -> None:
        if waiting := self._waiting.get(number):
            waiting.remove({process})


def answers_of(process: str) -> str:
    return f"{EVERYONE}_{process}"


def as_text(payload: bytes) -> tuple[str, str]:
    """Return the form and text of a payload; a notification cannot hold NUL or what is not UTF-8."""
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        text = "\x00"
    return ("t", text) if "\x00" not in text else ("b", base64.b64encode(payload).decode())
