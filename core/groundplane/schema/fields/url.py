"""Web addresses, absolute or a bare host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from groundplane.errors import REQUIRED, FieldError
from groundplane.schema.addresses import domain_list_errors, host_of, is_url
from groundplane.schema.casting import NUL, NUL_VALUE, to_text
from groundplane.schema.fields.base import Field, Kind

if TYPE_CHECKING:
    from groundplane.schema.cache import Schema
    from groundplane.schema.collection import Collection

NO_URL = FieldError("validation_invalid_url", "Must be a valid url.")
DOMAIN_REFUSED = FieldError("validation_url_domain_not_allowed", "Url domain is not allowed.")


class UrlField(Field, kw_only=True, rename="camel"):
    type_name: ClassVar[str] = "url"

    required: bool = False
    help: str = ""
    except_domains: list[str] | None = None
    only_domains: list[str] | None = None

    @property
    def kind(self) -> Kind:
        return Kind.TEXT

    @property
    def zero(self) -> str:
        return ""

    def is_zero(self, value: Any) -> bool:
        return not value

    def from_input(self, raw: Any) -> str:
        return to_text(raw)

    def check(self, value: Any, *, before: Any = None) -> FieldError | None:
        if not value:
            return REQUIRED if self.required else None
        if not is_url(value):
            return NO_URL
        if self.only_domains or self.except_domains:
            host = host_of(value)
            if self.only_domains and host not in self.only_domains:
                return DOMAIN_REFUSED
            if self.except_domains and host in self.except_domains:
                return DOMAIN_REFUSED
        return NUL_VALUE if NUL in value else None

    def option_errors(self, collection: Collection, schema: Schema) -> dict[str, Any]:
        return domain_list_errors(self.except_domains, self.only_domains)
