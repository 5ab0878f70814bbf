"""Which texts are hosts, URLs, e-mail addresses and schedules, for the settings that hold them."""

from __future__ import annotations

import ipaddress
import re

# Each is applied to one label at a time, so none can backtrack far. Letters beyond ASCII are letters.
DNS_LABEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}")
URL_LABEL = re.compile(r"[^\W_](?:[\w-]*[^\W_])?")
TOP_LABEL = re.compile(r"[^\W\d_]+")
LOCAL_LABEL = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+")
SCHEMES = frozenset({"ftp", "http", "https", "tcp", "udp", "ws", "wss"})


def is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_host(text: str) -> bool:
    """Whether the text is an IP address or a DNS name (a single label will do)."""
    if is_ip(text):
        return True
    labels = text.removesuffix(".").split(".")
    return len(text) - text.count(".") <= 255 and all(DNS_LABEL.fullmatch(label) for label in labels)


def is_email(text: str) -> bool:
    """Whether the text is one plain address: a local part and a domain with at least one dot."""
    local, at, domain = text.rpartition("@")
    labels = domain.removesuffix(".").split(".")
    return (
        at == "@"
        and all(LOCAL_LABEL.fullmatch(part) for part in local.split("."))
        and len(labels) > 1
        and all(URL_LABEL.fullmatch(label) for label in labels)
        and TOP_LABEL.fullmatch(labels[-1]) is not None
    )


def is_url(text: str) -> bool:
    """Whether the text is a URL; the scheme may be missing when a dot or a port shows that a host stands first."""
    if not 3 < len(text) < 2083 or re.search(r"\s", text):
        return False
    scheme, mark, rest = text.partition("://")
    if not mark:
        rest = text
    elif scheme not in SCHEMES:
        return False
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
    host, port = authority, ""
    if (with_port := re.fullmatch(r"(.*):([0-9]{1,5})", authority)) is not None:
        host, port = with_port.groups()
    if host.startswith("[") and host.endswith("]"):
        return ":" in host and is_ip(host[1:-1])
    if is_ip(host):
        return ":" not in host
    labels = host.removesuffix(".").split(".")
    if not all(URL_LABEL.fullmatch(label) for label in labels):
        return False
    if len(labels) == 1:
        return bool(mark or port)
    return TOP_LABEL.fullmatch(labels[-1]) is not None


CRON_MACROS = frozenset({"@annually", "@daily", "@hourly", "@midnight", "@monthly", "@weekly", "@yearly"})
CRON_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 6))
CRON_PART = re.compile(r"(?P<first>\*|[0-9]{1,2})(?:-(?P<last>[0-9]{1,2}))?(?:/(?P<step>[0-9]{1,2}))?")


def cron_error(expression: str) -> str | None:
    """Say what is wrong with a cron expression of five fields or a macro (contract, admin-api §6)."""
    if expression in CRON_MACROS:
        return None
    fields = expression.split(" ")
    if len(fields) != len(CRON_FIELDS):
        return (
            "Invalid cron expression - must be a valid macro or have 5 segments separated by a single space."
        )
    for text, (name, low, high) in zip(fields, CRON_FIELDS, strict=True):
        for part in text.split(","):
            if (reason := cron_part_error(part, low, high)) is not None:
                return f"Invalid cron expression - {name} segment {reason}."
    return None


def cron_part_error(part: str, low: int, high: int) -> str | None:
    match = CRON_PART.fullmatch(part)
    if match is None:
        return "is not properly formatted"
    first, last, step = match["first"], match["last"], match["step"]
    if first == "*" and last is not None:
        return "is not properly formatted"
    if step is not None and first != "*" and last is None:
        return "may have a step only after * or a range"
    if step is not None and not 1 <= int(step) <= high:
        return f"must have a step between 1 and {high}"
    numbers = [int(each) for each in (first, last) if each is not None and each != "*"]
    if any(not low <= number <= high for number in numbers):
        return f"must be between {low} and {high}"
    if len(numbers) == 2 and numbers[0] > numbers[1]:
        return "must have a range in ascending order"
    return None
