"""Which addresses the server may connect to: nothing on this machine or in private networks, unless allowed.

Whoever may set an address (of a webhook, of a sign-in provider) could otherwise have the server speak to what only the server can reach
(the metadata service of a cloud, a database without a password). A name is therefore resolved once, every
address it gives is looked at here, and the connection goes to an address that passed, never to the name.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import TypeAlias
from urllib.parse import SplitResult, urlsplit

import msgspec

from groundplane.errors import FieldError
from groundplane.security.addresses import covers

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_URL_CHARS = 2048

# IANA's special-purpose registry for IPv4, written out so that it does not depend on the version of Python.
SPECIAL_V4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")  # everything else is not assigned, or special
SPECIAL_V6 = tuple(
    ipaddress.IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2620:4f:8000::/48", "3fff::/20")
)
# Addresses that carry one of IPv4, and the position of its first bit.
MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
SIX_TO_FOUR = ipaddress.IPv6Network("2002::/16")


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration allows: `networks` are addresses and networks besides the public ones."""

    allow_http: bool = False
    allow_private: bool = False
    networks: tuple[str, ...] = ()

    def permits(self, text: str) -> bool:
        """Whether one may connect to this numeric address."""
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        if self.allow_private:
            return True
        inner = carried(address)
        return (
            covers(self.networks, str(address))
            or is_public(address)
            or (inner is not None and covers(self.networks, str(inner)))
        )


def carried(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a mapped, translated (NAT64) or 6to4 address leads to."""
    if not isinstance(address, ipaddress.IPv6Address):
        return None
    if address in MAPPED or address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address in SIX_TO_FOUR:
        return ipaddress.IPv4Address(int(address) >> 80 & 0xFFFFFFFF)
    return None


def is_public(address: Address) -> bool:
    """Whether an address is one of the open internet; what is carried in it must be too."""
    inner = carried(address)
    if inner is not None:
        return is_public(inner)
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in SPECIAL_V4)
    return address in GLOBAL_V6 and not any(address in network for network in SPECIAL_V6)


def url_error(text: str, reach: Reach) -> FieldError | None:
    """What is wrong with a webhook's URL, as far as the text tells."""

    def wrong(message: str) -> FieldError:
        return FieldError("validation_invalid_url", message)

    if not text:
        return FieldError("validation_required", "Cannot be blank.")
    if len(text) > MAX_URL_CHARS:
        return wrong(f"Must be no more than {MAX_URL_CHARS} characters.")
    parts = split(text)
    if parts is None or parts.scheme not in ("http", "https"):
        return wrong("Must be an address like https://example.com/hooks.")
    if parts.scheme == "http" and not reach.allow_http:
        return wrong("Must begin with https://; outgoing.allow_http allows http://.")
    if parts.username is not None or parts.password is not None:
        return wrong("Must hold no user or password; use a header.")
    if parts.fragment:
        return wrong("Must have no part behind #.")
    host = parts.hostname or ""
    if is_numeric(host) and not reach.permits(host):
        return wrong("Must not be a private or local address; outgoing.allow_networks allows some.")
    return None


def split(text: str) -> SplitResult | None:
    """The parts of a URL that has a host, a readable port, and nothing that could end a line of the request."""
    if not text.isascii() or any(character <= " " or character in '\x7f"<>\\^`{|}' for character in text):
        return None
    try:
        parts = urlsplit(text)
        if not parts.hostname or parts.port == 0:
            return None
        return parts
    except ValueError:
        return None


def is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def permitted(addresses: Sequence[str], reach: Reach) -> list[str]:
    """Those of a name's addresses that one may connect to, in their order, each once."""
    return [address for address in dict.fromkeys(addresses) if reach.permits(address)]
