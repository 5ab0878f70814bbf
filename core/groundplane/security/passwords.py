"""Password hashes: argon2id for new ones, bcrypt read as well; never computed on the event loop."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

import argon2
import bcrypt
from argon2.exceptions import InvalidHashError, VerificationError

from groundplane.errors import Unavailable

T = TypeVar("T")

# As everywhere bcrypt was: only the first 72 bytes of a password count. Longer ones are refused when they
# are set (a check of the password field) and cut when they are compared, so both kinds of hash agree.
MAX_PASSWORD_BYTES = 72

# 19 MiB, 2 passes, 1 lane: 21 ms on the reference machine (DESIGN §3).
HASHER = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, hash_len=32, salt_len=16)
BCRYPT_FORMAT = re.compile(r"\$2[a-z]?\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")
MAX_BCRYPT_COST = 16  # higher ones (each step doubles: 16 is about 4 s) would let one sign-in block a thread

# A hash like those we make, of a random password that nobody knows.
DUMMY = HASHER.hash(bcrypt.gensalt())

# Two threads: hashing is processor time, and more threads would only take it from the requests beside it.
WORKERS = 2
# Who would have to wait behind this many hashes (about 3 s) is better told to come back.
MAX_WAITING = 256

# How much they give way to the threads that answer requests, of 19; of an idle processor they get all.
NICE = 15


def _give_way() -> None:
    """Lower this thread's priority; only Linux has priorities of threads."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


_executor = ThreadPoolExecutor(WORKERS, thread_name_prefix="passwords", initializer=_give_way)
_waiting = 0


async def _in_thread(work: Callable[[], T]) -> T:
    global _waiting
    if _waiting >= MAX_WAITING:
        raise Unavailable()
    _waiting += 1
    try:
        return await asyncio.get_running_loop().run_in_executor(_executor, work)
    finally:
        _waiting -= 1


def cut(plain: str) -> bytes:
    """Return the bytes of a password that count."""
    return plain.encode("utf-8", "replace")[:MAX_PASSWORD_BYTES]


def is_bcrypt(hashed: str) -> bool:
    return BCRYPT_FORMAT.fullmatch(hashed) is not None and int(hashed.split("$")[2]) <= MAX_BCRYPT_COST


def matches(plain: bytes, hashed: str) -> bool:
    """Compare in this thread; an empty or malformed hash never matches, but costs what a good one costs."""
    try:
        if hashed.startswith("$argon2"):
            return HASHER.verify(hashed, plain)
        if is_bcrypt(hashed):
            # bcrypt reads a password up to a NUL byte; the library refuses one outright.
            kind = hashed.split("$")[1]
            known = hashed if kind in {"2a", "2b", "2y"} else "$2b" + hashed[1 + len(kind) :]
            return bcrypt.checkpw(plain, known.encode())
    except VerificationError:
        return False
    except (InvalidHashError, ValueError):
        pass
    try:
        HASHER.verify(DUMMY, plain)
    except VerificationError:
        return False
    return False


async def hash_password(plain: str) -> str:
    """Return the argon2id hash of a password; of more than 72 bytes the first 72 count."""
    return await _in_thread(lambda: HASHER.hash(cut(plain)))


async def verify(plain: str, hashed: str) -> bool:
    """Say whether a password belongs to a stored hash of either kind; never raises for a bad hash."""
    return await _in_thread(lambda: matches(cut(plain), hashed))


async def waste(plain: str, like: str = "") -> None:
    """Do the work of one comparison for an account that does not exist.

    `like` is the hash of some existing account, so that the time taken is one that existing accounts show.
    """
    await verify(plain, like or DUMMY)


def needs_upgrade(hashed: str) -> bool:
    """Say whether a hash that just matched should be replaced by one of today's kind."""
    if not hashed.startswith("$argon2id$"):
        return True
    try:
        return HASHER.check_needs_rehash(hashed)
    except InvalidHashError:
        return True
