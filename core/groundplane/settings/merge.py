"""A partial change over the settings there are: absent keys stay, arrays merge by position."""

from __future__ import annotations

from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

import msgspec

StructT = TypeVar("StructT", bound=msgspec.Struct)


class BadType(Exception):
    """The change has a value of another JSON type than the setting."""


def merged(current: StructT, raw: object) -> StructT:
    """Return a copy of `current` with the change `raw` (decoded JSON) in it; raises BadType.

    As PocketBase decodes into what is there: keys match in any case, unknown ones are ignored, null leaves
    a value as it is (and empties a list), element i of a list starts from the old element i.
    """
    return cast(StructT, merged_value(type(current), current, raw))


def merged_value(kind: Any, current: Any, raw: object) -> Any:
    if get_origin(kind) is list:
        return merged_list(get_args(kind)[0], current, raw)
    if raw is None:
        return current
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        if not isinstance(raw, dict):
            raise BadType
        hints = get_type_hints(kind)
        fields = {
            field.encode_name.lower(): (field.name, hints[field.name])
            for field in msgspec.structs.fields(kind)
        }
        values = {name: getattr(current, name) for name, _ in fields.values()}
        for key, value in raw.items():
            if (field := fields.get(str(key).lower())) is not None:
                name, hint = field
                values[name] = merged_value(hint, values[name], value)
        return kind(**values)
    # A bool is an int in Python, but not in JSON.
    if not isinstance(raw, kind) or (kind is int and isinstance(raw, bool)):
        raise BadType
    return raw


def merged_list(kind: Any, current: list[Any], raw: object) -> list[Any]:
    if raw is None:
        return []
    if not isinstance(raw, list):
        raise BadType
    return [
        merged_value(kind, current[position] if position < len(current) else kind(), element)
        for position, element in enumerate(raw)
    ]
