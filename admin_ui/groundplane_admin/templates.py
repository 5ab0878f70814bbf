"""The pages' templates, and what they may call: words, icons, addresses of assets, times and numbers."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from markupsafe import Markup

from groundplane_admin import formats
from groundplane_admin.assets import asset_url
from groundplane_admin.catalogue import has, say, say_marked

if TYPE_CHECKING:
    from jinja2 import Environment


@cache
def environment() -> Environment:
    """The template engine; it is loaded with the first page. Everything is escaped, unknown names are errors."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("groundplane_admin"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.do"],
    )
    made.globals |= {"t": say, "tm": say_marked, "has_words": has, "asset": asset_url, "icon": icon}
    made.filters |= {
        "number": formats.number,
        "about": formats.about,
        "size": formats.size,
        "duration": formats.duration,
        "ago": formats.ago,
        "path": path_part,
        "as_json": as_json,
    }
    return made


def icon(name: str, label: str = "") -> Markup:
    """A picture of the sprite; with a label it is read out, else it is decoration."""
    address = f"{asset_url('icons.svg')}#{name}"
    if label:
        return Markup('<svg class="icon" role="img" aria-label="{}"><use href="{}"></use></svg>').format(
            label, address
        )
    return Markup('<svg class="icon" aria-hidden="true"><use href="{}"></use></svg>').format(address)


def path_part(text: object) -> str:
    """One part of a path, whatever is in it."""
    return quote(str(text), safe="")


def as_json(value: Any) -> str:
    """JSON for a `data-` attribute; it is escaped there as any text."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def render(template: str, **values: Any) -> str:
    """One template with what it gets."""
    return environment().get_template(template).render(**values)
