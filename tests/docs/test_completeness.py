"""Nothing that users can set, meet or call is missing from the guides."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from groundplane.api.routes import ROUTERS
from groundplane.config import Config

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CODE = re.compile(r'"((?:validation|batch)_[A-Za-z_]+)"')
# Answered in front of the router, which therefore does not know them.
RECORD_ROUTES = {
    "GET /api/collections/{collection}/records",
    "POST /api/collections/{collection}/records",
    "GET /api/collections/{collection}/records/{id}",
    "PATCH /api/collections/{collection}/records/{id}",
    "DELETE /api/collections/{collection}/records/{id}",
    "POST /api/batch",
    "GET /api/realtime",
    "GET /api/realtime/ws",
    "POST /api/files/uploads",
    "HEAD /api/files/uploads/{token}",
    "PATCH /api/files/uploads/{token}",
    "DELETE /api/files/uploads/{token}",
}


def settings(struct: type[msgspec.Struct] = Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every setting's dotted name with its default."""
    defaults = struct()
    for field in msgspec.structs.fields(struct):
        value = getattr(defaults, field.name)
        if isinstance(value, msgspec.Struct):
            yield from settings(type(value), f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, value


def toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{}" if not value else str(value)
    if isinstance(value, list):
        return f"[{', '.join(toml_value(item) for item in value)}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def test_every_setting_is_in_the_guide_with_its_default() -> None:
    text = (DOCS / "settings.md").read_text(encoding="utf-8")
    missing = [
        row for name, value in settings() if (row := f"| `{name}` | `{toml_value(value)}` |") not in text
    ]
    assert missing == []


def test_the_guide_names_no_setting_that_does_not_exist() -> None:
    text = (DOCS / "settings.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `([a-z_.]+)` \|", text, re.MULTILINE))
    assert named - {name for name, _ in settings()} == set()


def test_every_error_code_is_in_the_guide_and_no_other() -> None:
    source = "\n".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "core" / "groundplane").rglob("*.py")
    )
    in_code = set(CODE.findall(source))
    text = (DOCS / "http-errors.md").read_text(encoding="utf-8")
    in_guide = set(re.findall(r"^\| `((?:validation|batch)_[A-Za-z_]+)` \|", text, re.MULTILINE))
    assert sorted(in_code - in_guide) == []
    assert sorted(in_guide - in_code) == []


def routes() -> set[str]:
    """Return every route as `METHOD /path/{parameter}`."""
    found = set(RECORD_ROUTES)
    for router in ROUTERS:
        for route in router.routes:
            for handler in route.route_handlers:
                path = re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path)
                found |= {
                    f"{method} {path}" for method in handler.http_methods if method not in {"HEAD", "OPTIONS"}
                }
    return found


def test_every_route_is_in_one_of_the_http_guides() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in DOCS.glob("http-*.md"))
    named = {
        re.sub(r"\{\w+\}", "{}", route)
        for route in re.findall(r"^\| `([A-Z]+ /[^`]*)` \|", text, re.MULTILINE)
    }
    missing = [route for route in sorted(routes()) if re.sub(r"\{\w+\}", "{}", route) not in named]
    assert missing == []
    invented = named - {re.sub(r"\{\w+\}", "{}", route) for route in routes()}
    assert invented == set()
