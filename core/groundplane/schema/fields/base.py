"""The shape that every field type has: options, column, and the way of a value in and out.

A value has three forms, and each field type converts between them:

- *input*: what a client sent, decoded JSON or form text, of any type;
- *stored*: what records, rules and hooks handle in Python (table below); `from_input` makes it;
- *wire*: what a response shows; `to_wire` makes it.

| field | stored form | column |
|---|---|---|
| text editor email url password, single select/relation/file | str, unset is `""` | `text COLLATE "C" NOT NULL DEFAULT ''` |
| number | float | `double precision NOT NULL DEFAULT 0` |
| bool | bool | `boolean NOT NULL DEFAULT false` |
| date autodate | aware UTC datetime cut to milliseconds, unset is None | `timestamptz(3)` |
| multiple select/relation/file | list[str] | `text[] NOT NULL DEFAULT '{}'` |
| json | compact JSON text (str), JSON null and unset are None | `json` |
| geoPoint | (lon, lat) tuple of floats | `point NOT NULL DEFAULT '(0,0)'` |

asyncpg takes and gives the stored form directly, except that it gives `point` as its own tuple type.
"""

from __future__ import annotations

import enum
import zlib
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from groundplane.db.sql import ident
from groundplane.errors import FieldError

if TYPE_CHECKING:
    from groundplane.schema.cache import Schema
    from groundplane.schema.collection import Collection


class Kind(enum.Enum):
    """How a column compares in filters: the compiler's operand classes (contract, filters §6)."""

    TEXT = "text"
    DATE = "date"
    NUMBER = "number"
    BOOL = "bool"
    MULTI = "multi"
    JSON = "json"
    GEO = "geo"


# Names that PostgreSQL gives to columns of its own, and ours for the insertion order.
TAKEN_COLUMNS = frozenset({"_row", "cmax", "cmin", "ctid", "tableoid", "xmax", "xmin"})
MAX_IDENTIFIER_BYTES = 63


def physical_name(name: str) -> str:
    """Return the name a table or column has in PostgreSQL: mostly `name` itself.

    PostgreSQL cuts identifiers at 63 bytes without a word, so longer ones end in a checksum of the whole.
    Its own tables are found before ours, and they all begin with `pg_`.
    """
    if name in TAKEN_COLUMNS or name.startswith("pg_"):
        name += "$"
    raw = name.encode()
    if len(raw) <= MAX_IDENTIFIER_BYTES:
        return name
    return f"{raw[:52].decode(errors='ignore')}${zlib.crc32(raw):010d}"


class Field(msgspec.Struct, kw_only=True, rename="camel"):
    """Options common to every field type; treat an instance as immutable once it is in a Schema.

    Subclasses add their options as struct fields (camelCase on the wire) and set the class variables.
    """

    type_name: ClassVar[str] = ""
    has_help: ClassVar[bool] = True  # autodate has neither `help` nor `required`

    id: str = ""
    name: str = ""
    system: bool = False
    hidden: bool = False
    presentable: bool = False

    # What the field is to the database and the compiler

    @property
    def kind(self) -> Kind:
        """The operand class of the column."""
        raise NotImplementedError

    @property
    def is_multiple(self) -> bool:
        """Whether the value is a list (select, relation and file with maxSelect above 1)."""
        return False

    @property
    def has_own_wire(self) -> bool:
        """Whether only `to_wire` knows how a value is shown, and PostgreSQL does not."""
        return False

    @property
    def column(self) -> str:
        """The column's name, not quoted."""
        return physical_name(self.name)

    @property
    def column_type(self) -> str:
        """The column's SQL type without default, e.g. `double precision`."""
        return {
            Kind.TEXT: 'text COLLATE "C"',
            Kind.DATE: "timestamptz(3)",
            Kind.NUMBER: "double precision",
            Kind.BOOL: "boolean",
            Kind.MULTI: 'text[] COLLATE "C"',
            Kind.JSON: "json",
            Kind.GEO: "point",
        }[self.kind]

    @property
    def column_default(self) -> str | None:
        """The SQL default of a NOT NULL column; None for columns that may be NULL (dates and json)."""
        return {
            Kind.TEXT: "''",
            Kind.DATE: None,
            Kind.NUMBER: "0",
            Kind.BOOL: "false",
            Kind.MULTI: "'{}'",
            Kind.JSON: None,
            Kind.GEO: "'(0,0)'",
        }[self.kind]

    @property
    def column_definition(self) -> str:
        """The column as it stands in CREATE TABLE and ADD COLUMN."""
        default = self.column_default
        constraint = "" if default is None else f" NOT NULL DEFAULT {default}"
        return f"{ident(self.column)} {self.column_type}{constraint}"

    # Values

    @property
    def zero(self) -> Any:
        """The stored form of an unset value; a fresh object each time."""
        raise NotImplementedError

    def is_zero(self, value: Any) -> bool:
        """Whether a stored value counts as blank for `required`."""
        return bool(value == self.zero)

    def from_input(self, raw: Any) -> Any:
        """Cast whatever a client sent to the stored form; never raises (contract, collections §5)."""
        raise NotImplementedError

    def from_column(self, value: Any) -> Any:
        """Turn what asyncpg read into the stored form."""
        return value

    def to_wire(self, value: Any) -> Any:
        """Turn a stored value into what the response's JSON encoder takes (msgspec.Raw for json)."""
        return value

    def check(self, value: Any, *, before: Any = None) -> FieldError | None:
        """Check a stored value without touching the database; the first failing check is the answer.

        `before` is the stored value that the record has now, None when it is new.
        """
        return None

    # Options

    def option_errors(self, collection: Collection, schema: Schema) -> dict[str, Any]:
        """Check this field's own options; keys are option names as on the wire (contract, collections §5).

        `schema` is the state before the change, `collection` the new one that holds this field.
        """
        return {}

    def to_json(self) -> dict[str, Any]:
        """The field as the collections API shows it: every option and `type`, keys sorted."""
        options: dict[str, Any] = msgspec.to_builtins(self)
        options["type"] = self.type_name
        return dict(sorted(options.items()))
