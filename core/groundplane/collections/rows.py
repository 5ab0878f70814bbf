"""Collections as rows of `_collections`, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.schema.fields.registry import make_field
from groundplane.schema.options import AuthOptions
from groundplane.security.encryption import Vault


def vault_for(encryption_key: str) -> Vault:
    """What seals the client secrets of OAuth2 providers; without a key they are stored as they are."""
    return Vault(encryption_key, "secrets of OAuth2 providers")


def to_row(collection: Collection, vault: Vault) -> tuple[object, ...]:
    """The values in the order of `queries.COLUMNS`; options include the secrets, those of providers sealed."""
    options: object = {}
    if collection.options is not None:
        options = with_secrets(collection.options, vault.seal)
    elif collection.is_view:
        options = {"viewQuery": collection.view_query}
    return (
        collection.id,
        collection.system,
        collection.type,
        collection.name,
        _json([field.to_json() for field in collection.fields]),
        _json(collection.indexes),
        collection.list_rule,
        collection.view_rule,
        collection.create_rule,
        collection.update_rule,
        collection.delete_rule,
        _json(options),
        collection.created,
        collection.updated,
    )


def from_row(row: Mapping[str, Any], vault: Vault) -> Collection:
    """The collection of a row; raises BadKey when its secrets were sealed with another key."""
    options = row["options"]
    kind = row["type"]
    return Collection(
        id=row["id"],
        name=row["name"],
        type=kind,
        fields=[make_field(raw) for raw in msgspec.json.decode(row["fields"])],
        indexes=msgspec.json.decode(row["indexes"], type=list[str]),
        list_rule=row["listRule"],
        view_rule=row["viewRule"],
        create_rule=row["createRule"],
        update_rule=row["updateRule"],
        delete_rule=row["deleteRule"],
        system=row["system"],
        view_query=msgspec.json.decode(options).get("viewQuery", "") if kind == "view" else "",
        options=with_secrets(msgspec.json.decode(options, type=AuthOptions), vault.open)
        if kind == "auth"
        else None,
        created=row["created"],
        updated=row["updated"],
    )


def with_secrets(options: AuthOptions, change: Callable[[str], str]) -> AuthOptions:
    """The same options, with the client secrets of their providers as `change` makes them."""
    providers = [
        msgspec.structs.replace(each, clientSecret=change(each.clientSecret))
        for each in options.oauth2.providers
    ]
    return msgspec.structs.replace(
        options, oauth2=msgspec.structs.replace(options.oauth2, providers=providers)
    )


def to_schema(rows: Iterable[Mapping[str, Any]], vault: Vault) -> Schema:
    """The snapshot that `queries.LOAD` read; version 0 when nothing was ever saved."""
    rows = list(rows)
    version = int(rows[0]["version"] or 0) if rows else 0
    return Schema((from_row(row, vault) for row in rows), version)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
