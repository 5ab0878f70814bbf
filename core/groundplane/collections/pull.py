"""The database's state written into the configuration file; what says the same already stays as it is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import tomlkit
from tomlkit.container import Container
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT, Comment, InlineTable, Item, Key, Table, Whitespace

from groundplane.collections.file import (
    AUTH_KEYS,
    COLLECTION_KEYS,
    FROM_ENVIRONMENT,
    BadFile,
    Declared,
    declaration,
    read,
    read_document,
)
from groundplane.collections.targets import find_targets
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection

MULTILINE_FROM = 100  # characters; a longer text with line breaks is written over several lines


def pulled(text: str, schema: Schema, settings: Mapping[str, Any] | None = None) -> str:
    """Return the file's text with the collections as they are; comments and other parts stay.

    Written are all collections but system ones, which are only kept up to date when the file has them.
    Of `settings`, shaped like the API, only the keys that the file has are brought up to date. Raises BadFile.
    """
    declared = read(text)
    try:
        document = tomlkit.parse(text)
    except TOMLKitError as error:
        raise BadFile(f"The file is not valid TOML: {error}.") from None
    entries = document.get("collections")
    if entries is None:
        entries = tomlkit.aot()
        document.append("collections", entries)
    if not isinstance(entries, AoT):
        # Written as a list of inline tables, which cannot be changed piece by piece.
        entries = tomlkit.aot()
        document["collections"] = entries
        declared = Declared(exclusive=declared.exclusive, settings=declared.settings)
    bring_up_to_date(entries, declared, schema)
    table = document.get("settings")
    if settings is not None and isinstance(table, Table):
        update_settings(table, settings)
    return tomlkit.dumps(document)


def rendered(collection: Collection, schema: Schema) -> str:
    """One collection as it is written into a new file."""
    document = tomlkit.document()
    entries = tomlkit.aot()
    document.append("collections", entries)
    entries.append(new_entry(declaration(collection, schema)))
    return tomlkit.dumps(document)


def bring_up_to_date(entries: AoT, declared: Declared, schema: Schema) -> None:
    known: set[str] = set()
    gone: list[int] = []
    for position, each in enumerate(declared.collections):
        stored = schema.by_lower_name.get(each.name.lower())
        if stored is None and each.renamed_from:
            stored = schema.by_lower_name.get(each.renamed_from.lower())
        if stored is None or stored.type != each.type or stored.id in known:
            gone.append(position)
            continue
        known.add(stored.id)
        update_entry(entries[position], declaration(stored, schema), meaning(entries[position], schema))
    for position in reversed(gone):
        del entries[position]
    for collection in schema:
        if collection.id not in known and not collection.system:
            entries.append(new_entry(declaration(collection, schema)))


def meaning(entry: Table, schema: Schema) -> dict[str, Any]:
    """What an entry of the file amounts to; {} when it could not be applied, so that all of it is rewritten."""
    raw: dict[str, Any] = entry.unwrap()
    leave_environment(raw)
    try:
        declared = read_document({"collections": [raw]})
        targets = find_targets(declared, schema)
    except BadFile:
        return {}
    final = Schema(
        [*(each for each in schema if each.id != targets[0].new.id), targets[0].new], schema.version
    )
    return declaration(targets[0].new, final)


def leave_environment(raw: Mapping[str, Any]) -> None:
    """Put words in place of secrets that the environment holds: who pulls need not have them."""
    oauth2 = raw.get("oauth2")
    providers = oauth2.get("providers") if isinstance(oauth2, dict) else None
    for each in providers if isinstance(providers, list) else ():
        if isinstance(each, dict) and str(each.get("clientSecret", "")).startswith(FROM_ENVIRONMENT):
            each["clientSecret"] = "in the environment"


def update_entry(entry: Table, wanted: Mapping[str, Any], present: Mapping[str, Any]) -> None:
    """Bring one [[collections]] table up to date; `present` is what it amounts to as it is written."""
    for key in (*COLLECTION_KEYS, *AUTH_KEYS):
        if key in ("fields", "renamed_from"):
            continue
        if key not in wanted:
            # A key with the default value may stand; one that says something else may not.
            if key in entry and present.get(key) is not None:
                entry.remove(key)
        elif wanted[key] != present.get(key) or key not in entry:
            replace(entry, key, to_item(wanted[key], inline=isinstance(entry.get(key), InlineTable)))
    if wanted.get("name") != entry.get("name"):
        entry["name"] = wanted["name"]
    update_fields(entry, wanted.get("fields", {}), present.get("fields", {}))


def update_fields(
    entry: Table, wanted: Mapping[str, Mapping[str, Any]], present: Mapping[str, Mapping[str, Any]]
) -> None:
    fields = entry.get("fields")
    if fields is None:
        if wanted:
            entry.append("fields", fields_table(wanted))
        return
    if not isinstance(fields, Table):
        if fields.unwrap() != wanted:
            entry["fields"] = fields_table(wanted)
        return
    for name in list(fields):
        # A field that every collection of the type has may stand although it says nothing.
        if name not in wanted and (name in present or name not in ("id", *AUTH_FIELDS)):
            fields.remove(name)
    for name, options in wanted.items():
        if name not in fields:
            fields.append(name, inline(options))
        elif options != present.get(name):
            replace(fields, name, inline(options))
    order = [name for name in fields if name in wanted]
    if order != list(wanted):
        put_in_order(fields, list(wanted))


AUTH_FIELDS = ("password", "tokenKey", "email", "emailVisibility", "verified")


def put_in_order(fields: Table, names: Iterable[str]) -> None:
    """Put the fields into the given order, each with the comment lines above it."""
    groups: dict[str, list[tuple[Key | None, Item]]] = {}
    waiting: list[tuple[Key | None, Item]] = []
    for key, item in fields.value.body:
        if key is None and isinstance(item, (Comment, Whitespace)):
            waiting.append((key, item))
        elif key is not None:
            groups[key.key] = [*waiting, (key, item)]
            waiting = []
    ordered = [name for name in groups if name not in set(names)]
    ordered += [name for name in names if name in groups]
    body = Container()
    for name in ordered:
        for key, item in groups[name]:
            if key is None:
                body.add(item)
            else:
                body.append(key, item)
    for _, item in waiting:
        body.add(item)
    fields.value.clear()
    fields.value.body.clear()
    for key, item in body.body:
        if key is None:
            fields.value.add(item)
        else:
            fields.append(key, item)


def replace(table: Table | InlineTable, key: str, item: Item) -> None:
    """Set a value; the comment behind the old one stays."""
    old = table.get(key)
    if isinstance(old, Item) and isinstance(item, (Table, InlineTable)) == isinstance(
        old, (Table, InlineTable)
    ):
        item.trivia.comment, item.trivia.comment_ws = old.trivia.comment, old.trivia.comment_ws
    table[key] = item


def new_entry(wanted: Mapping[str, Any]) -> Table:
    entry = tomlkit.table()
    tables: dict[str, Item] = {}
    for key, value in wanted.items():
        if key == "fields":
            tables[key] = fields_table(value)
        elif isinstance(value, Mapping):
            tables[key] = to_item(value)
        else:
            entry.append(key, to_item(value))
    for key, item in tables.items():
        entry.append(key, item)
    entry.append(None, tomlkit.nl())
    return entry


def fields_table(wanted: Mapping[str, Mapping[str, Any]]) -> Table:
    table = tomlkit.table()
    for name, options in wanted.items():
        table.append(name, inline(options))
    return table


def inline(options: Mapping[str, Any]) -> InlineTable:
    table = tomlkit.inline_table()
    for key, value in options.items():
        if value is not None:
            table.append(key, to_item(value, inline=True))
    return table


def to_item(value: Any, *, inline: bool = False) -> Item:
    """A plain value as TOML; null, which TOML has not, is left out of tables."""
    if isinstance(value, Mapping):
        table: Any = tomlkit.inline_table() if inline else tomlkit.table()
        for key, part in value.items():
            if part is not None:
                table.append(key, to_item(part, inline=inline))
        return table  # type: ignore[no-any-return]  # one of two kinds of table
    if isinstance(value, (list, tuple)):
        array = tomlkit.array()
        for part in value:
            array.append(to_item(part, inline=True))
        has_long = any(isinstance(part, str) and len(part) > 40 for part in value)
        return array.multiline(has_long and not inline)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return tomlkit.item(int(value))
    if isinstance(value, str) and not inline and len(value) > MULTILINE_FROM and reads_well(value):
        return tomlkit.string(value, multiline=True)
    item: Item = tomlkit.item(value)
    return item


def reads_well(text: str) -> bool:
    """Whether a text over several lines comes back from the file just as it is, without anything escaped."""
    is_plain = all(character == "\n" or character.isprintable() for character in text)
    odd = "\\" in text or '"""' in text or text.startswith("\n") or text.endswith('"')
    return "\n" in text and is_plain and not odd


def update_settings(table: Table | InlineTable, settings: Mapping[str, Any]) -> None:
    """Bring those keys up to date that the file has; a secret is not shown, so it stays."""
    for key in list(table):
        if key not in settings:
            continue
        value, present = settings[key], table[key]
        if isinstance(value, Mapping) and isinstance(present, (Table, InlineTable)):
            update_settings(present, value)
        elif plain(present) != value:
            replace(table, key, to_item(value, inline=True))


def plain(value: Any) -> Any:
    return value.unwrap() if isinstance(value, Item) else value
