"""IP addresses of clients: one way of writing them, and lists of addresses and networks."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from typing import TypeAlias

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


@lru_cache(maxsize=4096)
def parse_ip(text: str) -> str | None:
    """Return an address as we compare and store it (IPv6 written out in full); None for anything else."""
    try:
        return ipaddress.ip_address(text.strip()).exploded
    except ValueError:
        return None


@lru_cache(maxsize=1024)
def parse_network(text: str) -> Network | None:
    """Return what a list entry covers: one address, or a network like `10.0.0.0/8`; None for anything else."""
    address, slash, prefix = text.partition("/")
    if slash and not prefix.isdigit():  # the library would take a netmask too
        return None
    try:
        return ipaddress.ip_network(text, strict=False) if address.strip() == address else None
    except ValueError:
        return None


def covers(entries: Iterable[str], ip: str) -> bool:
    """Say whether one of the entries is this address or a network that holds it."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return False
    for entry in entries:
        network = parse_network(entry)
        if network is not None and address in network:
            return True
    return False


def client_ip(remote: str, lists: Iterable[str | None], *, leftmost: bool) -> str:
    """Return the client's address behind trusted proxies.

    `lists` are the values of the trusted headers in order of preference, None where one is absent; in each
    the addresses stand from the client to the nearest proxy. The right-most one is the one our own proxy
    wrote; `leftmost` takes the client's word for it. Without any readable one the peer's address counts.
    """
    for value in lists:
        if value is None:
            continue
        parts = value.split(",")
        for part in parts if leftmost else reversed(parts):
            if (ip := parse_ip(part)) is not None:
                return ip
    return parse_ip(remote) or remote
