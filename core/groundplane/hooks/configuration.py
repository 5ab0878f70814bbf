"""A plugin's section of the configuration as instances of its own classes."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import msgspec

from groundplane.hooks.checks import BadPlugin

OURS = ("enabled", "required", "superusers")  # keys of a plugin's section; the rest is its own
COLLECTIONS = "collections"


def configured(module: ModuleType, section: Any) -> tuple[Any, dict[str, Any]]:
    """The plugin's settings, and those for single collections by their names; raises BadPlugin.

    `Config` is the type of `[plugins.<name>]`, `CollectionConfig` that of each
    `[plugins.<name>.collections.<collection>]`. Without a class there is None, and nothing may be set.
    """
    if not isinstance(section, dict):
        raise BadPlugin("its configuration must be a table")
    raw = {key: value for key, value in section.items() if key not in OURS}
    single = struct_of(module, "CollectionConfig")
    collections: dict[str, Any] = {}
    if single is not None:
        given = raw.pop(COLLECTIONS, {})
        if not isinstance(given, dict) or not all(isinstance(each, dict) for each in given.values()):
            raise BadPlugin(f"its {COLLECTIONS} must be tables: [plugins.<name>.{COLLECTIONS}.<collection>]")
        collections = {
            name: converted(each, single, f"its configuration for {name}") for name, each in given.items()
        }
    whole = struct_of(module, "Config")
    if whole is None:
        if raw:
            raise BadPlugin(f"it has no settings, and the configuration sets {', '.join(sorted(raw))}")
        return None, collections
    return converted(raw, whole, "its configuration"), collections


def struct_of(module: ModuleType, name: str) -> type[msgspec.Struct] | None:
    struct = getattr(module, name, None)
    if struct is None or (isinstance(struct, type) and issubclass(struct, msgspec.Struct)):
        return struct
    raise BadPlugin(f"its {name} must be a msgspec.Struct")


def converted(raw: Mapping[str, Any], struct: type[msgspec.Struct], what: str) -> Any:
    known = {field.encode_name for field in msgspec.structs.fields(struct)}
    if unknown := sorted(raw.keys() - known):
        where = "" if what == "its configuration" else f" ({what})"
        raise BadPlugin(
            f"it has no setting {unknown[0]}: known are {', '.join(sorted(known)) or 'none'}{where}"
        )
    try:
        # Not strict: what comes from the environment is text.
        return msgspec.convert(raw, struct, strict=False)
    except msgspec.ValidationError as error:
        raise BadPlugin(f"{what} is wrong: {error}") from error
