"""Random ids and secrets, and comparison that takes the same time whatever it compares."""

from __future__ import annotations

import hmac
import os
import random
from functools import lru_cache

LOWER_ALPHANUMERIC = "abcdefghijklmnopqrstuvwxyz0123456789"
ALPHANUMERIC = "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + LOWER_ALPHANUMERIC
DIGITS = "0123456789"

RECORD_ID_LENGTH = 15
SECRET_LENGTH = 50  # characters of a tokenKey and of a token secret: 297 bits


@lru_cache(maxsize=64)
def byte_table(alphabet: str) -> tuple[bytes, bytes]:
    """Return a byte to character table and the bytes to throw away so that every character is equally likely."""
    if not alphabet.isascii() or not 2 <= len(alphabet) <= 256:
        raise ValueError("an alphabet has 2 to 256 ASCII characters")
    letters = alphabet.encode()
    usable = 256 - 256 % len(letters)
    table = bytes(letters[value % len(letters)] for value in range(256))
    return table, bytes(range(usable, 256))


def random_text(length: int, alphabet: str = ALPHANUMERIC) -> str:
    """Return `length` independent random characters of the alphabet, from the system's generator."""
    table, unusable = byte_table(alphabet)
    text = b""
    while len(text) < length:
        # Half as much again makes a second round rare even for alphabets that throw many bytes away.
        text += os.urandom((length - len(text)) * 3 // 2 + 8).translate(table, unusable)
    return text[:length].decode()


def record_id() -> str:
    """Return a new id as records have it by default: 15 of `a-z0-9`."""
    return random_text(RECORD_ID_LENGTH, LOWER_ALPHANUMERIC)


def request_id() -> str:
    """Return a short name for one request, for logs and for people who report a problem."""
    # Needs to be different, not secret: the operating system's randomness costs a call into it.
    return f"{random.getrandbits(64):016x}"


def secret(length: int = SECRET_LENGTH) -> str:
    """Return a random text of letters and digits, for keys and passwords nobody has to type."""
    return random_text(length, ALPHANUMERIC)


def equal(a: str, b: str) -> bool:
    """Compare two texts in a time that tells nothing about where they differ."""
    return hmac.compare_digest(a.encode("utf-8", "surrogatepass"), b.encode("utf-8", "surrogatepass"))
