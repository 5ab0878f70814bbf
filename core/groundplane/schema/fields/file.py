"""Names of stored files; the bytes are kept elsewhere."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from groundplane.errors import REQUIRED, FieldError
from groundplane.schema.casting import NUL, NUL_VALUE, to_text_list
from groundplane.schema.fields.base import Field, Kind
from groundplane.schema.limits import BAD_FORMAT, RESERVED, between, only_errors

if TYPE_CHECKING:
    from groundplane.schema.cache import Schema
    from groundplane.schema.collection import Collection

DEFAULT_MAX_SIZE = 5 << 20  # bytes
THUMB = re.compile(r"[0-9]+x[0-9]+[tbf]?")
NO_SIZES = frozenset({"0x0", "0x0t", "0x0b", "0x0f"})


class FileField(Field, kw_only=True, rename="camel"):
    """`check` looks at presence and count of the resulting names; uploads are checked by the writer."""

    type_name: ClassVar[str] = "file"

    required: bool = False
    help: str = ""
    max_size: int = 0  # bytes per file
    max_select: int = 0
    mime_types: list[str] | None = None
    thumbs: list[str] | None = None
    protected: bool = False

    @property
    def kind(self) -> Kind:
        return Kind.MULTI if self.max_select > 1 else Kind.TEXT

    @property
    def is_multiple(self) -> bool:
        return self.max_select > 1

    @property
    def zero(self) -> str | list[str]:
        return [] if self.max_select > 1 else ""

    def is_zero(self, value: Any) -> bool:
        return not value

    @property
    def size_limit(self) -> int:
        """The largest allowed file in bytes."""
        return self.max_size or DEFAULT_MAX_SIZE

    def from_input(self, raw: Any) -> str | list[str]:
        items = to_text_list(raw)
        if self.max_select > 1:
            return items
        return items[-1] if items else ""

    def check(self, value: Any, *, before: Any = None) -> FieldError | None:
        if not value:
            return REQUIRED if self.required else None
        names = [value] if isinstance(value, str) else value
        limit = max(self.max_select, 1)
        if len(names) > limit:
            message = f"The maximum allowed files is {limit}."
            return FieldError("validation_too_many_files", message, {"maxSelect": limit})
        return NUL_VALUE if any(NUL in name for name in names) else None

    def option_errors(self, collection: Collection, schema: Schema) -> dict[str, Any]:
        errors: dict[str, Any] = dict(
            only_errors({"maxSize": between(self.max_size, 0), "maxSelect": between(self.max_select, 0)})
        )
        thumbs = {
            str(position): RESERVED if thumb in NO_SIZES else BAD_FORMAT
            for position, thumb in enumerate(self.thumbs or ())
            if thumb and (thumb in NO_SIZES or not THUMB.fullmatch(thumb))
        }
        if thumbs:
            errors["thumbs"] = thumbs
        return errors
