"""Field types of plugins: a column of one of five kinds, with the plugin's own reading, checking and showing."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import msgspec

from groundplane.clock import wire_date
from groundplane.errors import REQUIRED, FieldError
from groundplane.hooks.implementation import FAULTS, PluginFailed, described
from groundplane.schema.casting import NUL, NUL_VALUE, to_bool, to_float, to_text
from groundplane.schema.dates import to_date
from groundplane.schema.fields.base import Field, Kind
from groundplane.schema.json_text import INVALID, json_text

if TYPE_CHECKING:
    from groundplane.schema.cache import Schema
    from groundplane.schema.collection import Collection

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_CHARS = 5000  # of a text, as in a text field that says nothing else
NOT_STORABLE = FieldError("validation_invalid_value", "Invalid value.")
TOO_LONG = FieldError(
    "validation_max_text_constraint", f"Must be no more than {MAX_CHARS} character(s).", {"max": MAX_CHARS}
)
UNKNOWN_TYPE = FieldError("validation_unknown_field_type", "The plugin of this field type is missing.")
PLUGIN_MISSING = FieldError(
    "validation_missing_plugin", "The plugin of this field is missing, so that it cannot be changed."
)

ZEROS: dict[Kind, Any] = {
    Kind.TEXT: "",
    Kind.NUMBER: 0.0,
    Kind.BOOL: False,
    Kind.DATE: None,
    Kind.JSON: None,
}
CASTS: dict[Kind, Callable[[Any], Any]] = {
    Kind.TEXT: to_text,
    Kind.NUMBER: to_float,
    Kind.BOOL: to_bool,
    Kind.DATE: to_date,
    Kind.JSON: json_text,
}
SCHEMAS: dict[Kind, dict[str, Any]] = {
    Kind.TEXT: {"type": "string"},
    Kind.NUMBER: {"type": "number"},
    Kind.BOOL: {"type": "boolean"},
    Kind.DATE: {"type": "string"},
    Kind.JSON: {},
}


class PluginField(Field, kw_only=True, rename="camel"):
    """The base of a plugin's field types. A subclass sets `type_name` and `storage`, and overrides what it needs.

    Its struct fields, all with defaults, are the options of the type, as JSON in camelCase. `storage` decides
    the column, how the value compares in filters and sorts, and the stored form: text str, number float, bool
    bool, date aware UTC datetime or None, json compact JSON text or None.

    `read`           what a client sent, of any type, as the stored form; never raises
    `problem`        what is wrong with a value that is not blank, None when nothing is
    `show`           the stored form as JSON shows it; without an override PostgreSQL writes it, which is faster
    `wrong_options`  what is wrong with the options themselves, by their wire names
    `json_schema`    the value in the OpenAPI document
    """

    storage: ClassVar[Kind] = Kind.TEXT
    plugin: ClassVar[str] = ""  # set when the type is registered

    required: bool = False
    help: str = ""

    # For the plugin

    def read(self, raw: Any) -> Any:
        return CASTS[self.storage](raw)

    def problem(self, value: Any) -> FieldError | None:
        return None

    def show(self, value: Any) -> Any:
        return shown(self.storage, value)

    def wrong_options(self) -> Mapping[str, FieldError]:
        return {}

    def json_schema(self) -> Mapping[str, Any]:
        return SCHEMAS[self.storage]

    # For the server; a failure names the plugin

    @property
    def kind(self) -> Kind:
        return self.storage

    @property
    def zero(self) -> Any:
        return ZEROS[self.storage]

    @property
    def has_own_wire(self) -> bool:
        return type(self).show is not PluginField.show

    def from_input(self, raw: Any) -> Any:
        value = self._asked("read", lambda: self.read(raw))
        if not is_stored(self.storage, value):
            raise self._failed("read", f"it returned {type(value).__name__} for a {self.storage.value}")
        return value

    def check(self, value: Any, *, before: Any = None) -> FieldError | None:
        if self.is_zero(value):
            return REQUIRED if self.required else None
        if (error := storage_error(self.storage, value)) is not None:
            return error
        error = self._asked("problem", lambda: self.problem(value))
        if error is not None and not isinstance(error, FieldError):
            raise self._failed("problem", f"it returned {type(error).__name__}, not a FieldError")
        return error

    def to_wire(self, value: Any) -> Any:
        if not self.has_own_wire:
            return shown(self.storage, value)

        def bytes_of() -> bytes:
            # Encoded here: what is no JSON must be this plugin's failure, not the answer's.
            return msgspec.json.encode(self.show(value))

        return msgspec.Raw(self._asked("show", bytes_of))

    def option_errors(self, collection: Collection, schema: Schema) -> dict[str, Any]:
        found = self._asked("wrong_options", self.wrong_options)
        if not isinstance(found, Mapping) or not all(isinstance(each, FieldError) for each in found.values()):
            raise self._failed("wrong_options", "it must return FieldErrors by option")
        return dict(found)

    def to_json(self) -> dict[str, Any]:
        # With it the value can still be read when the plugin is gone.
        return dict(sorted({**super().to_json(), "storage": self.storage.value}.items()))

    def _asked(self, method: str, act: Callable[[], T]) -> T:
        try:
            return act()
        except FAULTS as error:
            raise self._failed(method, described(error), error) from error

    def _failed(self, method: str, reason: str, cause: BaseException | None = None) -> PluginFailed:
        where = f"field type {self.type_name} ({method})"
        log.error("Plugin %s failed in %s: %s", self.plugin, where, reason, exc_info=cause)
        return PluginFailed(self.plugin, where, reason)


class MissingField(Field, kw_only=True, rename="camel"):
    """A field of a type whose plugin is gone: its column stays, it is read as what is stored, and never written."""

    type: str = ""
    stored_as: Kind = Kind.TEXT
    options: dict[str, Any] = msgspec.field(default_factory=dict)  # as the type had them
    required: bool = False
    help: str = ""

    @property
    def type_name(self) -> str:  # type: ignore[override]  # here it is the instance's
        return self.type

    @property
    def kind(self) -> Kind:
        return self.stored_as

    @property
    def zero(self) -> Any:
        return ZEROS[self.stored_as]

    def from_input(self, raw: Any) -> Any:
        return CASTS[self.stored_as](raw)

    def to_wire(self, value: Any) -> Any:
        return shown(self.stored_as, value)

    def check(self, value: Any, *, before: Any = None) -> FieldError | None:
        # `required` cannot be met by a new record, and must not keep others from being made.
        known = self.zero if before is None else before
        return None if value == known else PLUGIN_MISSING

    def option_errors(self, collection: Collection, schema: Schema) -> dict[str, Any]:
        """Such a field can be kept, renamed or removed, and not be made."""
        old = schema.by_id.get(collection.id)
        stored = old.by_field_id.get(self.id) if old is not None else None
        same = isinstance(stored, MissingField) and stored.stored_as is self.stored_as
        return {} if same else {"type": UNKNOWN_TYPE}

    def to_json(self) -> dict[str, Any]:
        own = {
            "id": self.id,
            "name": self.name,
            "system": self.system,
            "hidden": self.hidden,
            "presentable": self.presentable,
            "required": self.required,
            "help": self.help,
            "type": self.type,
            "storage": self.stored_as.value,
        }
        return dict(sorted((self.options | own).items()))

    def json_schema(self) -> Mapping[str, Any]:
        return SCHEMAS[self.stored_as]


def missing_field(raw: Mapping[str, Any]) -> MissingField | None:
    """The field of an unknown type that says how it is stored; None when it does not say so."""
    values = {key.lower(): value for key, value in raw.items()}
    try:
        kind = Kind(values.get("storage"))
    except ValueError:
        return None
    if kind not in ZEROS:
        return None
    own = {"id", "name", "system", "hidden", "presentable", "required", "help", "type"}
    known = {key: values[key] for key in own & values.keys() if values[key] is not None}
    options = {key: value for key, value in raw.items() if key.lower() not in own | {"storage"}}
    try:
        return msgspec.convert({**known, "storedAs": kind, "options": options}, MissingField)
    except msgspec.ValidationError:
        return None


def shown(kind: Kind, value: Any) -> Any:
    match kind:
        case Kind.DATE:
            return wire_date(value)
        case Kind.JSON:
            return None if value is None else msgspec.Raw(value.encode())
    return value


def is_stored(kind: Kind, value: Any) -> bool:
    """Whether a value has the stored form of a kind."""
    match kind:
        case Kind.TEXT:
            return isinstance(value, str)
        case Kind.NUMBER:
            return type(value) is float
        case Kind.BOOL:
            return type(value) is bool
        case Kind.DATE:
            return value is None or (isinstance(value, datetime) and value.tzinfo is not None)
    return value is None or isinstance(value, str)


def storage_error(kind: Kind, value: Any) -> FieldError | None:
    """Why PostgreSQL could not keep a value, or should not."""
    match kind:
        case Kind.TEXT if NUL in value:
            return NUL_VALUE
        case Kind.TEXT if len(value) > MAX_CHARS:
            return TOO_LONG
        case Kind.NUMBER if not math.isfinite(value):
            return NOT_STORABLE
        case Kind.JSON if value == INVALID or json_text(value) != value:
            return NOT_STORABLE
    return None
