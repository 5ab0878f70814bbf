"""Characters of a filter text to tokens (contract, filters §1)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

from groundplane.query.errors import QueryError

SIGNS = frozenset({"=", "!=", ">", ">=", "<", "<=", "~", "!~"})

BLANKS = re.compile(r"[ \t\r\n]+")
TOKEN = re.compile(
    r"""(?P<name>[A-Za-z_@#][A-Za-z0-9_.:]*)
      | (?P<number>-[0-9.]*|[0-9][0-9.]*)
      | (?P<text>'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*")
      | (?P<sign>[=?!><~]+)
      | (?P<join>[&|]+)
      | (?P<open>\()
      | (?P<close>\))
      | (?P<comma>,)""",
    re.VERBOSE | re.DOTALL,
)
NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?|-\.[0-9]+")
ESCAPE = re.compile(r"""\\(?:u([0-9A-Fa-f]{4})(?:\\u([dD][c-fC-F][0-9A-Fa-f]{2}))?|(.))""", re.DOTALL)
SIMPLE_ESCAPES = {"\\": "\\", "n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
COMMENT_STOP = re.compile(r"[\n()]")


class Token(NamedTuple):
    """`kind` is a group name of TOKEN, or `call` for a name directly followed by `(`."""

    kind: str
    text: str
    position: int


def tokens(source: str) -> Iterator[Token]:
    """Yield the tokens; raises QueryError at the first character that starts none."""
    position, end, depth = 0, len(source), 0
    while position < end:
        blanks = BLANKS.match(source, position)
        if blanks is not None:
            position = blanks.end()
            continue
        if source.startswith("//", position):
            position = comment_end(source, position, inside_group=depth > 0)
            continue
        match = TOKEN.match(source, position)
        if match is None or match.lastgroup is None:
            raise QueryError("unexpected character", position)
        kind, text = match.lastgroup, match[0]
        following = match.end()
        match kind:
            case "name":
                if text[-1] in ".:" or text in ("_", "@", "#"):
                    raise QueryError("incomplete identifier", position)
                if source.startswith("(", following):
                    kind = "call"
            case "number":
                if NUMBER.fullmatch(text) is None or math.isinf(float(text)):
                    raise QueryError("malformed number", position)
            case "sign":
                if text.removeprefix("?") not in SIGNS:
                    raise QueryError("unknown operator", position)
            case "join":
                if text not in ("&&", "||"):
                    raise QueryError("unknown join", position)
            case "open":
                depth += 1
            case "close":
                depth -= 1
        yield Token(kind, text, position)
        position = following


def comment_end(source: str, start: int, *, inside_group: bool) -> int:
    """Return where reading goes on after the comment at `start`.

    The end of a group is looked for without regard to comments (contract §1), so a closing parenthesis
    ends a comment inside a group, and those opened in the comment must be closed in it.
    """
    if not inside_group:
        line_end = source.find("\n", start)
        return len(source) if line_end < 0 else line_end
    opened = 0
    for stop in COMMENT_STOP.finditer(source, start):
        if stop[0] == "(":
            opened += 1
        elif stop[0] == ")" and opened:
            opened -= 1
        elif opened:
            break
        else:
            return stop.start()
    raise QueryError("group is not closed", start)


def decode(quoted: str) -> str:
    """Return the value of a quoted text; unknown escapes stay as they are written.

    Half a surrogate pair is no character and becomes U+FFFD, as JSON decoders do.
    """
    body = quoted[1:-1]
    if "\\" not in body:
        return body
    quote = quoted[0]

    def character(match: re.Match[str]) -> str:
        code, low, plain = match.groups()
        if code is None:
            if plain == quote:
                return quote
            return SIMPLE_ESCAPES.get(plain, match[0])
        value = int(code, 16)
        rest = "" if low is None else "\ufffd"
        if 0xD800 <= value < 0xDC00 and low is not None:
            return chr(0x10000 + ((value - 0xD800) << 10) + (int(low, 16) - 0xDC00))
        return ("\ufffd" if 0xD800 <= value < 0xE000 else chr(value)) + rest

    return ESCAPE.sub(character, body)
