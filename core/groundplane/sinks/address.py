"""Addresses of brokers that hold a password, for people and for what must not be shown."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit, urlunsplit


def without_password(url: str) -> str:
    """The address with its password as dots, without its query; "…" when it cannot be read."""
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError:
        return "…"
    netloc = parts.netloc
    if password is not None:
        user, _, host = netloc.rpartition("@")
        netloc = f"{user.partition(':')[0]}:…@{host}"
    return urlunsplit((parts.scheme, netloc, parts.path, "", ""))


def secrets_of(url: str) -> tuple[str, ...]:
    """The texts that show an address's password: itself, and how it is written in the address."""
    try:
        password = urlsplit(url).password
    except ValueError:
        return (url,)
    return tuple({url, password, unquote(password)}) if password else ()
