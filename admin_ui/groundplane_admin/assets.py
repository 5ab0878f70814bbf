"""Styles, scripts, fonts and icons: at addresses that change with their content, so browsers keep them for good."""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

STATIC = Path(str(files("groundplane_admin") / "static"))
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
}
ALREADY_SMALL = frozenset({".woff2"})
# One sheet of all: a page that arrives as a fragment may need a style that its first page did not.
SHEET = "console.css"
FOREVER = "public, max-age=31536000, immutable"


class Asset(NamedTuple):
    """A file as it is sent; `zipped` is empty where compressing it does not pay."""

    body: bytes
    zipped: bytes
    content_type: str


def sources() -> dict[str, list[Path]]:
    """The files behind each asset's name; every asset but the sheet is one file."""
    found = {
        path.relative_to(STATIC).as_posix(): [path]
        for path in sorted(STATIC.rglob("*"))
        if path.suffix in TYPES and path.parent != STATIC / "css"
    }
    found[SHEET] = [STATIC / "tokens.css", *sorted((STATIC / "css").glob("*.css"))]
    return found


@cache
def assets() -> dict[str, Asset]:
    """Every asset by its name, read once per process."""
    found: dict[str, Asset] = {}
    for name, paths in sources().items():
        body = b"\n".join(path.read_bytes() for path in paths)
        suffix = Path(name).suffix
        zipped = b"" if suffix in ALREADY_SMALL else gzip.compress(body, 9, mtime=0)
        found[name] = Asset(body, zipped if len(zipped) < len(body) else b"", TYPES[suffix])
    return found


@cache
def version() -> str:
    """A name for the whole of the assets; scripts import each other by relative addresses, so they share it."""
    digest = hashlib.sha256()
    for name, asset in sorted(assets().items()):
        digest.update(name.encode() + b"\0" + hashlib.sha256(asset.body).digest())
    return digest.hexdigest()[:12]


def asset_url(name: str) -> str:
    """The address of an asset; raises LookupError for one that does not exist, as a template would name it."""
    if name not in assets():
        raise LookupError(f"there is no asset {name}")
    return f"/_/static/{version()}/{name}"
