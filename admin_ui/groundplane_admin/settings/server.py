"""The configuration that the server was started with, with the source of each value; secrets stay behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from groundplane.config import Config
from groundplane.config_sources import is_secret, known_origin
from groundplane_admin.settings.forms import said

# Tables of their own, whose values are what people declare: a count says enough, and gives nothing away.
DECLARED = ("collections", "plugins", "settings", "webhooks")
MASK = "••••••"


class Line(NamedTuple):
    """A key with its value as TOML would have it; `kind` and `source` say where it comes from."""

    name: str
    value: str
    kind: str
    source: str
    is_secret: bool


class Table(NamedTuple):
    name: str
    lines: list[Line]


def tables_of(config: Config) -> list[Table]:
    """Every table of the configuration, the keys at the top first."""
    tops = [
        line_of(name, value)
        for name, value in fields_of(config)
        if not isinstance(value, msgspec.Struct) and name not in DECLARED
    ]
    tables = [Table("", tops)]
    for name, value in fields_of(config):
        if isinstance(value, msgspec.Struct):
            tables.append(Table(name, [line_of(f"{name}.{key}", inner) for key, inner in fields_of(value)]))
    return tables


def fields_of(struct: msgspec.Struct) -> Iterator[tuple[str, Any]]:
    for field in msgspec.structs.fields(struct):
        yield field.name, getattr(struct, field.name)


def line_of(name: str, value: Any) -> Line:
    source = known_origin().of(name)
    if source.kind == "default":
        # A table in the file has its keys there, not itself.
        below = [each for key, each in known_origin().sources.items() if key.startswith(f"{name}.")]
        source = below[0] if below else source
    hidden = is_secret(name) and bool(value)
    return Line(name, MASK if hidden else as_toml(value), source.kind, said(source), hidden)


def as_toml(value: Any) -> str:
    plain = msgspec.to_builtins(value)
    return json.dumps(plain, ensure_ascii=False)
