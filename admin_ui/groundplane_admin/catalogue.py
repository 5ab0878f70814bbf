"""The console's words: one catalogue, by names such as `records.delete.confirm`, a file per family of screens."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from markupsafe import Markup, escape

CODE = re.compile(r"`([^`]*)`")
PLACE = re.compile(r"\{(\w+)\}")


@cache
def catalogue() -> dict[str, str]:
    """Every string by its full name; a name that is there twice is a mistake of ours."""
    found: dict[str, str] = {}
    for path in sorted((files("groundplane_admin") / "strings" / "en").iterdir(), key=lambda each: each.name):
        if not path.name.endswith(".toml"):
            continue
        for name, text in flattened(tomllib.loads(path.read_text(encoding="utf-8"))):
            if name in found:
                raise LookupError(f"{path.name} has {name} again")
            found[name] = text
    return found


def flattened(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        name = f"{before}.{key}" if before else key
        if isinstance(value, Mapping):
            yield from flattened(value, name)
        else:
            yield name, str(value)


def has(name: str) -> bool:
    """Whether there is such a string."""
    return name in catalogue()


def say(name: str, /, **values: object) -> str:
    """The string with its `{places}` filled in; raises LookupError for a name that is not in the catalogue.

    With `n`, `<name>.one` is taken for 1 and `<name>.other` for every other number, where there are such.
    """
    text = catalogue()
    if "n" in values and name not in text:
        name += ".one" if values["n"] in (1, "1") else ".other"
    if name not in text:
        raise LookupError(f"the catalogue has no {name}")
    return PLACE.sub(lambda place: str(values.get(place[1], place[0])), text[name])


def say_marked(name: str, /, **values: object) -> Markup:
    """As `say`, for HTML: what stands between backticks is code; values are escaped, and never read as marks."""
    text = catalogue()
    if "n" in values and name not in text:
        name += ".one" if values["n"] in (1, "1") else ".other"
    if name not in text:
        raise LookupError(f"the catalogue has no {name}")
    marked = CODE.sub(r"<code>\1</code>", str(escape(text[name])))
    return Markup(PLACE.sub(lambda place: str(escape(values.get(place[1], place[0]))), marked))  # noqa: S704
