"""Brings the database up to date before workers open it, in a process of its own that ends with the answer.

So the supervisor, which stays for long, need not import any of this. It reads one JSON line from its socket
(config, address of the database, public address) and answers with one.
"""

from __future__ import annotations

import asyncio
import sys

import msgspec

from groundplane.app import open_services, prepare
from groundplane.collections.file import BadFile
from groundplane.collections.plan import NotApplied
from groundplane.config import Config, ConfigError
from groundplane.db.unusable import DatabaseUnusable
from groundplane.errors import GroundplaneError, explained
from groundplane.log import set_up_logging
from groundplane.parent import follow_parent

FOR_PEOPLE = (BadFile, ConfigError, DatabaseUnusable, GroundplaneError, NotApplied)
GRACE_S = 5.0


class Order(msgspec.Struct):
    """What the supervisor sends."""

    config: Config
    database_url: str
    public_url: str


class Prepared(msgspec.Struct):
    """`left` are differences that were not made, "" for none; `link` is for the first superuser, if there is none.

    `error` is a sentence when nothing could be done.
    """

    left: str = ""
    link: str | None = None
    error: str = ""


async def prepared(order: Order) -> Prepared:
    try:
        async with open_services(order.config, order.database_url, small=True) as services:
            left = await prepare(services)
            link = await services.superusers.setup_link(order.public_url)
            return Prepared(left.render() if left.steps else "", link)
    except FOR_PEOPLE as error:
        return Prepared(error=explained(error))


def main() -> int:
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as orders:
        line = orders.readline()
    if not line:
        return 0
    order = msgspec.json.decode(line, type=Order)
    follow_parent(GRACE_S)
    set_up_logging(order.config.log)
    answer = asyncio.run(prepared(order))
    with open(sys.stdin.fileno(), "wb", buffering=0, closefd=False) as answers:
        answers.write(msgspec.json.encode(answer) + b"\n")
    return 0
