"""Where each value of the configuration comes from: a default, a line of the file, a variable, a flag."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from groundplane.config import DEFAULT_FILE, PREFIX

Kind = Literal["default", "file", "environment", "flag"]
# A key at the beginning of a line, and the head of a table; what else TOML allows is found without its line.
KEY = re.compile(r"""\s*((?:[\w-]+|"[^"\\]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"\\]*"|'[^']*'))*)\s*=""")
HEAD = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?")
PART = re.compile(r"""[\w-]+|"[^"\\]*"|'[^']*'""")
QUOTES = ('"""', "'''")
SECRET_NAMES = re.compile(r"(password|secret|token|key|url)$", re.IGNORECASE)
# Keys whose names end so and that are none; an address of a database may have a password in it.
NO_SECRETS = frozenset({"server.public_url"})


class Source(NamedTuple):
    """Where a value stands: `where` is the file's path, the variable or the flag; `line` is 0 where unknown."""

    kind: Kind
    where: str = ""
    line: int = 0


DEFAULT = Source("default")


class Origin(msgspec.Struct, frozen=True):
    """The file that was read ("" when there is none), and the source of each name that was given, with dots."""

    file: str = ""
    sources: dict[str, Source] = {}

    def of(self, name: str) -> Source:
        """The source of a name, or of what it is a part of; names match in any case, as in the settings."""
        parts = name.lower().split(".")
        while parts:
            if (found := self.sources.get(".".join(parts))) is not None:
                return found
            parts.pop()
        return DEFAULT


_known = [Origin()]


def remember(origin: Origin) -> None:
    """Keep what this process was started with."""
    _known[0] = origin


def known_origin() -> Origin:
    """What this process was started with; nothing where nobody has said."""
    return _known[0]


def origin_of(
    file: Path | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Origin:
    """Find the source of everything that `config.load_config` takes from the same arguments.

    A file that cannot be read has no lines: that it is wrong is said elsewhere.
    """
    path = file or DEFAULT_FILE
    found: dict[str, Source] = {}
    try:
        text = path.read_text(encoding="utf-8")
        raw = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        text, raw = "", {}
    lines = dict(lines_of(text))
    shown = str(path.absolute())
    for name in names_in(raw):
        found[name.lower()] = Source("file", shown, lines.get(name.lower(), 0))
    for variable in os.environ if environment is None else environment:
        name = variable.removeprefix(PREFIX).lower().replace("__", ".")
        if variable.startswith(PREFIX) and not name.startswith("test_"):
            replace(found, name, Source("environment", variable))
    for name, value in (flags or {}).items():
        if value is not None:
            replace(found, name, Source("flag", f"--{name.rpartition('.')[2].replace('_', '-')}"))
    return Origin(shown if raw else "", found)


def replace(found: dict[str, Source], name: str, source: Source) -> None:
    """Take a stronger source for a name and for all below it."""
    for each in [each for each in found if each.startswith(f"{name}.")]:
        del found[each]
    found[name] = source


def names_in(table: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """The names of all values in a table, with dots; a list is one value."""
    for key, value in table.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping) and value:
            yield from names_in(value, f"{name}.")
        else:
            yield name


def lines_of(text: str) -> Iterator[tuple[str, int]]:
    """The names that begin a line of a TOML text, in small letters, each with the number of its line.

    What stands in texts and lists of several lines is passed over. Of `[[tables]]`, the first one has it.
    """
    table = ""
    waiting_for = ""
    depth = 0
    seen: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        if waiting_for:
            _, found, line = line.partition(waiting_for)
            if not found:
                continue
            waiting_for = ""
        elif depth == 0:
            name = ""
            if (head := HEAD.fullmatch(line)) is not None:
                name = table = joined(head[2])
            elif (key := KEY.match(line)) is not None:
                name = f"{table}.{joined(key[1])}" if table else joined(key[1])
            if name and name not in seen:
                seen.add(name)
                yield name, number
            if head is not None:
                continue
        bare, waiting_for = without_texts(line)
        depth = max(
            0, depth + sum(bare.count(each) for each in "[{") - sum(bare.count(each) for each in "]}")
        )


def joined(key: str) -> str:
    return ".".join(part.strip("\"'") for part in PART.findall(key)).lower()


def without_texts(line: str) -> tuple[str, str]:
    """A line without its texts and its comment, and the quotes that end a text which goes on."""
    bare, at = "", 0
    while at < len(line):
        quotes = next((each for each in (*QUOTES, '"', "'") if line.startswith(each, at)), "")
        if line[at] == "#":
            break
        if not quotes:
            bare += line[at]
            at += 1
            continue
        at += len(quotes)
        while at < len(line) and not line.startswith(quotes, at):
            at += 2 if line[at] == "\\" and quotes[0] == '"' else 1
        if at >= len(line):
            return bare, quotes if len(quotes) == 3 else ""
        at += len(quotes)
    return bare, ""


def is_secret(name: str) -> bool:
    """Whether the value of a name, with dots, is to be shown to nobody."""
    return name not in NO_SECRETS and SECRET_NAMES.search(name) is not None
