"""Reads a PocketBase folder without changing anything in it: collections, records, settings."""

from __future__ import annotations

import math
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from groundplane.db.sql import ident
from groundplane.imports.report import ImportFailed
from groundplane.schema import defaults
from groundplane.schema.collection import RULES, Collection, CollectionType
from groundplane.schema.dates import to_date
from groundplane.schema.errors import BadShape
from groundplane.schema.fields.base import Field, Kind
from groundplane.schema.fields.registry import make_field
from groundplane.schema.json_text import INVALID
from groundplane.schema.options import AuthOptions, TokenOptions
from groundplane.schema.wire import OPTION_KEYS, RULE_ATTRIBUTES, options_from_json
from groundplane.security.encryption import BadKey, Seal
from groundplane.security.ids import secret

DATABASE = "data.db"
# Leftovers of a PocketBase that did not stop cleanly; SQLite must read them together with the database.
LEFTOVERS = ("-wal", "-journal")
FETCH_ROWS = 500
NEWEST_UNSUPPORTED = (
    "This folder was written by PocketBase before version 0.23: start it once with a newer PocketBase, "
    "which upgrades it, and import it then."
)


class Source:
    """An open PocketBase database; made by `open_source`.

    `warnings` grows while reading: values and collections that could not be kept as they were.
    """

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        self.folder = folder
        self._connection = connection
        self.warnings: list[str] = []

    @property
    def storage(self) -> Path:
        return self.folder / "storage"

    def collections(self) -> list[Collection]:
        """Every collection in the order of its creation, exactly as it is stored."""
        columns = {row[1] for row in self._connection.execute('PRAGMA table_info("_collections")')}
        if not columns:
            raise ImportFailed(f"{self.folder / DATABASE} is not a database of PocketBase.")
        if "fields" not in columns:
            raise ImportFailed(NEWEST_UNSUPPORTED)
        wanted = (
            "id",
            "system",
            "type",
            "name",
            "fields",
            "indexes",
            "options",
            "created",
            "updated",
            *RULES,
        )
        query = f"SELECT {', '.join(map(ident, wanted))} FROM _collections ORDER BY _rowid_"  # noqa: S608  # names
        rows = self._connection.execute(query).fetchall()
        return [self._collection(dict(zip(wanted, row, strict=True))) for row in rows]

    def _collection(self, row: dict[str, Any]) -> Collection:
        name = str(row["name"])
        try:
            raw_fields = msgspec.json.decode(row["fields"] or "[]", type=list[dict[str, Any]])
            indexes = msgspec.json.decode(row["indexes"] or "[]", type=list[str])
            options = msgspec.json.decode(row["options"] or "{}", type=dict[str, Any])
        except (msgspec.DecodeError, msgspec.ValidationError, TypeError):
            raise ImportFailed(f"The definition of the collection {name} in {DATABASE} is damaged.") from None
        fields: list[Field] = []
        for raw in raw_fields:
            try:
                fields.append(make_field(raw))
            except BadShape as error:
                self.warnings.append(f"A field of {name} was left out: {error}")
        kinds: dict[str, CollectionType] = {"auth": "auth", "view": "view"}
        type = kinds.get(row["type"], "base")
        return Collection(
            id=str(row["id"]),
            name=name,
            type=type,
            fields=fields,
            indexes=indexes,
            system=bool(row["system"]),
            view_query=str(options.get("viewQuery") or "") if type == "view" else "",
            options=self._options(name, options) if type == "auth" else None,
            created=to_date(row["created"]),
            updated=to_date(row["updated"]),
            **{attribute: row[rule] for rule, attribute in RULE_ATTRIBUTES.items()},
        )

    def _options(self, name: str, raw: dict[str, Any]) -> AuthOptions:
        start = Collection(id="", name="", type="auth", options=defaults.auth_options())
        known = {key: raw[key] for key in OPTION_KEYS if key in raw}
        try:
            options = options_from_json(known, start, "auth")
        except BadShape as error:
            raise ImportFailed(f"The options of the collection {name} are damaged: {error}") from None
        if options is None:
            raise ImportFailed(f"The options of the collection {name} are damaged.")
        for key in AuthOptions.__struct_fields__:
            token = getattr(options, key)
            if isinstance(token, TokenOptions) and not token.secret:
                # Everyone could sign tokens with an empty secret.
                token.secret = secret()
                self.warnings.append(
                    f"{name} had no secret for {key}; it has a new one, and its old tokens end."
                )
        return options

    def count(self, collection: Collection) -> int:
        """The number of records."""
        if collection.is_view or not self._columns(collection):
            return 0
        query = f"SELECT count(*) FROM {ident(collection.name)}"  # noqa: S608  # a quoted name
        return int(self._connection.execute(query).fetchone()[0])

    def records(self, collection: Collection) -> Iterator[tuple[Any, ...]]:
        """The records in the order of their insertion, as stored values in the order of `collection.fields`.

        Values are normalised like input but not checked, as SQLite keeps whatever it was given
        (contract, collections §10).
        """
        present = self._columns(collection)
        if not present:
            self.warnings.append(f"The collection {collection.name} has no table; it comes in empty.")
            return
        missing = [field.name for field in collection.fields if field.name.lower() not in present]
        if missing:
            self.warnings.append(
                f"The table of {collection.name} lacks {', '.join(missing)}; these stay unset."
            )
        columns = [
            ident(present[field.name.lower()]) if field.name.lower() in present else "NULL"
            for field in collection.fields
        ]
        readers = [_reader(field) for field in collection.fields]
        id_at = next(at for at, field in enumerate(collection.fields) if field.name == "id")
        replaced = 0
        without_id = 0
        query = f"SELECT {', '.join(columns)} FROM {ident(collection.name)} ORDER BY _rowid_"  # noqa: S608  # names
        cursor = self._connection.execute(query)
        while batch := cursor.fetchmany(FETCH_ROWS):
            for row in batch:
                values = []
                for reader, raw in zip(readers, row, strict=True):
                    if isinstance(raw, str) and "\x00" in raw:
                        raw = raw.replace("\x00", "")
                        replaced += 1
                    values.append(reader(raw))
                if not values[id_at]:
                    without_id += 1
                    continue
                yield tuple(values)
        if replaced:
            self.warnings.append(
                f"{replaced} value(s) of {collection.name} contained NUL characters, which were removed."
            )
        if without_id:
            self.warnings.append(f"{without_id} record(s) of {collection.name} have no id and were left out.")

    def _columns(self, collection: Collection) -> dict[str, str]:
        """The columns of the collection's table by lower-case name."""
        rows = self._connection.execute(f"PRAGMA table_info({ident(collection.name)})")
        return {str(row[1]).lower(): str(row[1]) for row in rows}

    def settings(self, encryption_key: str = "") -> dict[str, Any] | None:
        """The settings with their secrets; None when there are none. Raises ImportFailed without the right key."""
        try:
            row = self._connection.execute("SELECT value FROM _params WHERE id = 'settings'").fetchone()
        except sqlite3.OperationalError:
            return None
        if row is None or not row[0]:
            return None
        document = _decoded(row[0])
        if document is None:
            if not encryption_key:
                raise ImportFailed(
                    "The settings in this folder are encrypted: give the key that PocketBase was started with."
                )
            text = str(row[0]).strip().strip('"')
            with suppress(BadKey):
                document = _decoded(Seal(encryption_key).decrypt(text))
            if document is None:
                raise ImportFailed("The settings in this folder cannot be read with this encryption key.")
        return document


def _decoded(text: str | bytes) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None


def _reader(field: Field) -> Callable[[Any], Any]:
    """The conversion of one SQLite value to the field's stored form."""
    convert = field.from_input
    if field.kind is Kind.NUMBER:

        def read_number(raw: Any) -> float:
            value = float(convert(raw))
            return value if math.isfinite(value) else 0.0

        return read_number
    if field.kind is Kind.JSON:

        def read_json(raw: Any) -> str | None:
            text: str | None = convert(raw)
            return None if text == INVALID else text

        return read_json
    return convert


@contextmanager
def open_source(folder: Path) -> Iterator[Source]:
    """Open a PocketBase folder for reading; raises ImportFailed.

    Nothing is written into it, not even the side files that SQLite would like to make: the database is opened
    as immutable, or from a copy when it has leftovers of an unclean stop. It must not be in use meanwhile.
    """
    path = folder / DATABASE
    if not path.is_file():
        hint = f" ({DATABASE} is missing)" if folder.is_dir() else ""
        raise ImportFailed(f"{folder} is not a PocketBase data folder{hint}.")
    with tempfile.TemporaryDirectory(prefix="groundplane-import-") as scratch:
        leftovers = [side for suffix in LEFTOVERS if _has_content(side := folder / f"{DATABASE}{suffix}")]
        try:
            if leftovers:
                copy = Path(scratch, DATABASE)
                shutil.copyfile(path, copy)
                for side in leftovers:
                    shutil.copyfile(side, Path(scratch, side.name))
                connection = sqlite3.connect(copy)
            else:
                connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        except (OSError, sqlite3.Error) as error:
            raise ImportFailed(f"{path} cannot be read: {error}") from error
        try:
            # Bad bytes must not stop an import; blobs are texts to PocketBase as well.
            connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
            yield Source(folder, connection)
        except sqlite3.DatabaseError as error:
            raise ImportFailed(f"{path} cannot be read: {error}") from error
        finally:
            connection.close()


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False
