"""Rich text: HTML that is kept as it came, limited by its size in bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from groundplane.errors import REQUIRED, FieldError
from groundplane.schema.casting import NUL, NUL_VALUE, to_text
from groundplane.schema.fields.base import Field, Kind
from groundplane.schema.limits import between, only_errors

if TYPE_CHECKING:
    from groundplane.schema.cache import Schema
    from groundplane.schema.collection import Collection

DEFAULT_MAX_SIZE = 5 << 20  # bytes


class EditorField(Field, kw_only=True, rename="camel"):
    type_name: ClassVar[str] = "editor"

    required: bool = False
    help: str = ""
    max_size: int = 0  # bytes
    convert_urls: bool = msgspec.field(default=False, name="convertURLs")

    @property
    def kind(self) -> Kind:
        return Kind.TEXT

    @property
    def zero(self) -> str:
        return ""

    def is_zero(self, value: Any) -> bool:
        return not value

    @property
    def size_limit(self) -> int:
        """The largest allowed value in bytes."""
        return self.max_size or DEFAULT_MAX_SIZE

    def from_input(self, raw: Any) -> str:
        return to_text(raw)

    def check(self, value: Any, *, before: Any = None) -> FieldError | None:
        if not value:
            return REQUIRED if self.required else None
        limit = self.max_size or DEFAULT_MAX_SIZE
        # A character has at most four bytes, so most values need no encoding to be known as small.
        if len(value) * 4 > limit and len(value.encode()) > limit:
            message = f"The maximum allowed content size is {limit} bytes."
            return FieldError("validation_content_size_limit", message, {"maxSize": limit})
        return NUL_VALUE if NUL in value else None

    def option_errors(self, collection: Collection, schema: Schema) -> dict[str, Any]:
        return only_errors({"maxSize": between(self.max_size, 0)})
