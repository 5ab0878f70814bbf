"""A request's body, resolved against the stored record: modifiers applied, values in stored form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple, Protocol

from groundplane.files.mime import detect
from groundplane.files.names import stored_name
from groundplane.files.uploads import StagedFile
from groundplane.schema.casting import to_float, to_text, to_text_list
from groundplane.schema.collection import Collection
from groundplane.schema.fields.base import Field, Kind
from groundplane.schema.fields.text import TextField
from groundplane.schema.json_text import INVALID

LISTS = frozenset({"select", "relation", "file"})
AUTOGENERATE = ":autogenerate"


class UploadedFile(Protocol):
    """A file as the edge hands it over; `file` can be read several times after a seek."""

    @property
    def filename(self) -> str: ...
    @property
    def content_type(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def file(self) -> BinaryIO: ...


class Submitted(NamedTuple):
    """What a client sent: decoded values by key, and files with the keys of their parts."""

    values: Mapping[str, Any]
    uploads: Sequence[tuple[str, UploadedFile | NewFile]] = ()


class NewFile(str):
    """The stored name of an upload; being text, it can stand wherever a file's name does."""

    __slots__ = ("client_name", "content_type", "upload")
    client_name: str
    content_type: str
    upload: UploadedFile

    @classmethod
    def of(cls, upload: UploadedFile) -> NewFile:
        """Name an upload by its content and the name the client gave."""
        kind = upload.kind if isinstance(upload, StagedFile) else detect(upload.file)
        return cls._made(stored_name(upload.filename, kind.extension), upload, upload.filename, kind.name)

    @classmethod
    def _made(cls, name: str, upload: UploadedFile, client_name: str, content_type: str) -> NewFile:
        new = cls(name)
        new.upload, new.client_name, new.content_type = upload, client_name, content_type
        return new

    def renamed(self, name: str, client_name: str, content_type: str) -> NewFile:
        """The same upload, to be stored under these."""
        return self._made(name, self.upload, client_name, content_type)


class Resolved(NamedTuple):
    """`record` is the whole new record in stored form (file fields may hold NewFile names).

    `passwords` are newly set plain texts, whose hashes are not in the record yet. `body` is what rules see
    as `@request.body`.
    """

    record: dict[str, Any]
    passwords: dict[str, str]
    body: dict[str, Any]


def empty_record(collection: Collection) -> dict[str, Any]:
    """The stored form of a record of which nothing was submitted."""
    return {field.name: field.zero for field in collection.fields}


def resolve(
    collection: Collection, sent: Submitted, current: Mapping[str, Any], *, see_hidden: bool
) -> Resolved:
    """Apply a body to the current record (the empty one on create) by increasing length of its keys.

    Without `see_hidden`, keys of hidden fields are dropped from the record and from what rules see, except
    an auth record's password.
    """
    record = {name: list(value) if isinstance(value, list) else value for name, value in current.items()}
    passwords: dict[str, str] = {}
    body: dict[str, Any] = {}
    values = with_uploads(collection, sent)
    touched: dict[str, Field] = {}
    for key in sorted(values, key=len):
        target = target_of(collection, key)
        if target is None:
            body[key] = values[key]
            continue
        field, modifier = target
        if field.hidden and not see_hidden and not (collection.is_auth and field.name == "password"):
            continue
        touched[field.name] = field
        apply(field, modifier, values[key], record, passwords)
    for name, field in touched.items():
        body[name] = passwords[name] if name in passwords else body_value(field, record[name])
    return Resolved(record, passwords, body)


def target_of(collection: Collection, key: str) -> tuple[Field, str] | None:
    """Read a body key as a field and its modifier (one of `""`, `+`, `-`, `prepend`, `autogenerate`)."""
    field = collection.by_name.get(key)
    if field is not None:
        return field, ""
    if key.endswith(AUTOGENERATE):
        field = collection.by_name.get(key.removesuffix(AUTOGENERATE))
        return (field, "autogenerate") if isinstance(field, TextField) else None
    if key.startswith("+"):
        field = collection.by_name.get(key[1:])
        return (field, "prepend") if field is not None and field.type_name in LISTS else None
    if key.endswith(("+", "-")):
        field = collection.by_name.get(key[:-1])
        if field is not None and (field.type_name in LISTS or field.type_name == "number"):
            return field, key[-1]
    return None


def apply(field: Field, modifier: str, raw: Any, record: dict[str, Any], passwords: dict[str, str]) -> None:
    """Set one field of the record from one key of the body."""
    name = field.name
    match field.type_name:
        case "autodate":
            return
        case "password":
            plain = to_text(raw)
            passwords.pop(name, None)
            if plain:
                passwords[name] = plain
            else:
                record[name] = ""
            return
        case "number" if modifier:
            amount = to_float(raw)
            record[name] = record[name] + amount if modifier == "+" else record[name] - amount
            return
        case "text" if modifier and isinstance(field, TextField):
            record[name] = to_text(raw) + field.generate()
            return
    if field.type_name not in LISTS:
        record[name] = field.from_input(raw)
        return
    given = list_items(raw)
    stored = record[name] if field.is_multiple else [record[name]] if record[name] else []
    match modifier:
        case "":
            items = given
        case "+":
            items = [*stored, *given]
        case "prepend":
            items = [*given, *stored]
        case _:
            removed = frozenset(given)
            items = [item for item in stored if item not in removed]
    items = list(dict.fromkeys(items))
    record[name] = items if field.is_multiple else items[-1] if items else ""


def list_items(raw: Any) -> list[str]:
    """Cast to distinct non-empty texts, keeping uploads what they are."""
    if isinstance(raw, list) and any(isinstance(item, NewFile) for item in raw):
        kept = (item if isinstance(item, NewFile) else to_text(item) for item in raw)
        return [item for item in dict.fromkeys(kept) if item]
    return to_text_list(raw)


def with_uploads(collection: Collection, sent: Submitted) -> dict[str, Any]:
    """Put uploads under their keys: after the names to keep for a plain key, instead of text otherwise."""
    values = dict(sent.values)
    found: dict[str, list[NewFile]] = {}
    for key, upload in sent.uploads:
        field = collection.by_name.get(key.strip("+")) if key.count("+") <= 1 else None
        if field is not None and field.type_name == "file":
            new = upload if isinstance(upload, NewFile) else NewFile.of(upload)
            found.setdefault(key, []).append(new)
    for key, files in found.items():
        kept = to_text_list(values[key]) if key in values and "+" not in key else []
        values[key] = [*kept, *files]
    return values


def body_value(field: Field, value: Any) -> Any:
    """The resolved value as rules see it: JSON-like, an upload as an object that tells of it."""
    match field.kind:
        case Kind.JSON:
            return None if value is None or value == INVALID else json.loads(value)
        case Kind.DATE | Kind.GEO:
            return field.to_wire(value)
    if field.type_name == "file":
        if isinstance(value, list):
            return [file_value(item) for item in value]
        return file_value(value)
    return value


def file_value(name: str) -> Any:
    if isinstance(name, NewFile):
        return {"name": str(name), "originalName": name.upload.filename, "size": name.upload.size}
    return name
