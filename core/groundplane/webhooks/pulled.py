"""The stored webhooks written into the configuration file; what says the same already stays as it is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tomlkit
from tomlkit.items import AoT, InlineTable, Table

from groundplane.collections.pull import new_entry, replace, to_item
from groundplane.schema.cache import Schema
from groundplane.webhooks.checks import KEYS
from groundplane.webhooks.declared import names_of
from groundplane.webhooks.webhook import REDACTED, Definition, Webhook, definition_to_json

BLANK = Definition(name="", url="", collections=())


def pulled_webhooks(text: str, webhooks: Sequence[Webhook], schema: Schema) -> str:
    """Return the file's text with the webhooks as they are; comments and other parts stay.

    Secrets are not written, and of headers only the names; what the file says of those stays.
    """
    document = tomlkit.parse(text)
    entries = document.get("webhooks")
    if not isinstance(entries, AoT):
        if not webhooks and not entries:
            return text
        if entries is not None:
            del document["webhooks"]  # a list of inline tables, which cannot be changed piece by piece
        entries = tomlkit.aot()
        document.append("webhooks", entries)
    by_name = {each.definition.name.lower(): each for each in webhooks}
    gone = []
    for position, entry in enumerate(entries):
        stored = by_name.pop(str(entry.get("name", "")).lower(), None) or by_name.pop(
            str(entry.get("renamed_from", "")).lower(), None
        )
        if stored is None:
            gone.append(position)
        else:
            update_entry(entry, definition_to_json(stored.definition, names_of(schema)))
    for position in reversed(gone):
        del entries[position]
    for webhook in reversed(by_name.values()):
        entries.append(new_entry(declaration(webhook, schema)))
    return tomlkit.dumps(document)


def declaration(webhook: Webhook, schema: Schema) -> dict[str, Any]:
    """A webhook as its entry in the file, without what is default or secret."""
    shown, blank = definition_to_json(webhook.definition, names_of(schema)), definition_to_json(BLANK, {})
    shown["headers"] = dict.fromkeys(shown["headers"], REDACTED)
    return {key: value for key, value in shown.items() if value != blank[key]}


def update_entry(entry: Table, wanted: Mapping[str, Any]) -> None:
    """Bring one [[webhooks]] table up to date."""
    blank = definition_to_json(BLANK, {})
    for key in KEYS:
        if key == "headers":
            update_headers(entry, wanted["headers"])
            continue
        present = entry.get(key)
        if present is not None and present.unwrap() == wanted[key]:
            continue
        if present is None and wanted[key] == blank[key]:
            continue
        if wanted[key] == blank[key] and present is not None:
            entry.remove(key)
        else:
            replace(entry, key, to_item(wanted[key]))


def update_headers(entry: Table, wanted: Mapping[str, str]) -> None:
    present = entry.get("headers")
    if not isinstance(present, (Table, InlineTable)):
        if wanted:
            entry["headers"] = to_item(dict.fromkeys(wanted, REDACTED), inline=True)
        return
    known = {name.lower() for name in wanted}
    for name in list(present):
        if name.lower() not in known:
            present.remove(name)
    written = {name.lower() for name in present}
    for name in wanted:
        if name.lower() not in written:
            present[name] = REDACTED
