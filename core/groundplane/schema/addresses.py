"""Which texts are e-mail addresses, URLs and domains (contract, collections §5.5)."""

from __future__ import annotations

from typing import Any

from groundplane.errors import FieldError
from groundplane.schema.patterns import compile_pattern

BLANK = FieldError("validation_empty", "Must be blank.")
NO_DOMAIN = FieldError("validation_is_domain", "Must be a valid domain.")

# RE2 rather than `re`: linear time on any input. Characters beyond ASCII count as letters throughout.
LETTER = "A-Za-z\u00a1-\ud7ff\uf900-\ufdcf\ufdf0-\uffef"
LOCAL_PART = rf"[{LETTER}0-9!#$%&'*+/=?^_{{|}}~`-]+"
MAIL_LABEL = rf"[{LETTER}0-9](?:[{LETTER}0-9._~-]*[{LETTER}0-9])?"
MAIL_END = rf"[{LETTER}](?:[{LETTER}0-9._~-]*[{LETTER}])?"
EMAIL = rf"^{LOCAL_PART}(?:\.{LOCAL_PART})*@(?:{MAIL_LABEL}\.)+{MAIL_END}\.?$"

HOST_LABEL = rf"[{LETTER}0-9](?:[{LETTER}0-9_-]*[{LETTER}0-9])?"
SEVERAL_LABELS = rf"(?:{HOST_LABEL}\.)+[{LETTER}]+"
OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
IPV4 = rf"{OCTET}(?:\.{OCTET}){{3}}"
IPV6 = r"\[[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\]"
SCHEME = r"(?:https?|ftp|tcp|udp|wss?)://"
USER = r"[^\s/?#]+@"
PORT = r":[0-9]{1,5}"
REST = r"[/?#]\S*"
URL = (
    rf"^(?:(?:{SCHEME})?(?:{USER})?(?:{SEVERAL_LABELS}|{IPV4}|{IPV6})\.?(?:{PORT})?"
    rf"|{SCHEME}(?:{USER})?{HOST_LABEL}\.?(?:{PORT})?"
    rf"|(?:{USER})?{HOST_LABEL}\.?{PORT})(?:{REST})?$"
)
SHORTEST_URL, LONGEST_URL = 4, 2082

DOMAIN_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
DOMAIN = rf"^(?:{DOMAIN_LABEL}\.)+[A-Za-z](?:[A-Za-z0-9-]{{0,61}}[A-Za-z0-9])?$"


def is_email(text: str) -> bool:
    """Whether the whole text is one plain address."""
    pattern = compile_pattern(EMAIL)
    return pattern is not None and pattern.search(text) is not None


def is_url(text: str) -> bool:
    """Whether the whole text is an absolute URL or a host."""
    if not SHORTEST_URL <= len(text) <= LONGEST_URL:
        return False
    pattern = compile_pattern(URL)
    return pattern is not None and pattern.search(text) is not None


def is_domain(text: str) -> bool:
    """Whether the text is a domain name with at least one dot, without wildcard and port."""
    pattern = compile_pattern(DOMAIN)
    return len(text) <= 255 and pattern is not None and pattern.search(text) is not None


def host_of(url: str) -> str:
    """Return `host[:port]` of a URL with a scheme, in its own case; "" for a bare host."""
    scheme, mark, rest = url.partition("://")
    if not mark or "/" in scheme or "?" in scheme or "#" in scheme:
        return ""
    for end in "/?#":
        rest = rest.partition(end)[0]
    return rest.rpartition("@")[2]


def domain_list_errors(except_domains: list[str] | None, only_domains: list[str] | None) -> dict[str, Any]:
    """Check the two domain lists of an e-mail or URL field, which exclude each other."""
    if except_domains and only_domains:
        return {"exceptDomains": BLANK, "onlyDomains": BLANK}
    errors: dict[str, Any] = {}
    for name, domains in (("exceptDomains", except_domains), ("onlyDomains", only_domains)):
        wrong = {
            str(position): NO_DOMAIN
            for position, domain in enumerate(domains or ())
            if domain and not is_domain(domain)
        }
        if wrong:
            errors[name] = wrong
    return errors
