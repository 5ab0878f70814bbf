"""Stored names of uploaded files: readable, safe in any path, unguessable (contract, files §2.2)."""

from __future__ import annotations

import re

from groundplane.security.ids import LOWER_ALPHANUMERIC, random_text

MAX_CLIENT_NAME_BYTES = 300
MAX_EXTENSION = 20
MAX_BASE = 100
MIN_BASE = 3
RANDOM_LENGTH = 10

NOT_IN_EXTENSION = re.compile(r"[^A-Za-z0-9_.*\-+=#]")
NOT_ALPHANUMERIC = re.compile(r"[^A-Za-z0-9]+")
CASE_BOUNDARY = re.compile(r"(?<=[^A-Z])(?=[A-Z])")


def stored_name(client_name: str, detected_extension: str = "") -> str:
    """Return a new name for an upload; `detected_extension` (with its dot) is used when the name has none."""
    cut = client_name.encode("utf-8", "replace")[-MAX_CLIENT_NAME_BYTES:].decode("utf-8", "replace")
    original_extension = extension_of(cut)
    base = snake_case(cut[: len(cut) - len(original_extension)].strip("."))
    if len(base) < MIN_BASE:
        base += random_part()
    elif len(base) > MAX_BASE:
        base = base[:MAX_BASE]
    return f"{base}_{random_part()}{clean_extension(original_extension) or detected_extension}"


def random_part() -> str:
    return random_text(RANDOM_LENGTH, LOWER_ALPHANUMERIC)


def extension_of(name: str) -> str:
    """Return the end from the last dot, or from the one before it if there are two."""
    last = name.rfind(".")
    if last < 0:
        return ""
    before = name.rfind(".", 0, last)
    return name[before if before >= 0 else last :]


def clean_extension(extension: str) -> str:
    clean = NOT_IN_EXTENSION.sub("", extension).strip(".")
    if not clean:
        return ""
    if len(clean) + 1 > MAX_EXTENSION:
        clean = clean[-MAX_EXTENSION:].strip(".")
    return "." + clean


def snake_case(text: str) -> str:
    parts = []
    for part in NOT_ALPHANUMERIC.split(text):
        if part:
            parts.append("_".join(piece for piece in CASE_BOUNDARY.split(part) if piece))
    return "_".join(parts).lower()
