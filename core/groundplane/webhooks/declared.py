"""Webhooks in the configuration file: compared with the stored ones, and carried out.

An entry has the keys of the API, and `renamed_from`. What is absent has its default. A secret or the value of a
header may be `env:NAME`: it is taken from the environment of whoever applies the file. Without `secrets` a new
webhook gets one that nobody has seen; `POST /api/webhooks/{id}/rotate` gives one to show.

    [[webhooks]]
    name = "orders to the shop"
    url = "https://shop.example.com/hooks"
    collections = ["orders"]
    actions = ["create", "update"]              # default: all three
    condition = "total > 100"
    fields = ["id", "total"]                    # default: all that are not hidden
    headers = {Authorization = "env:SHOP_TOKEN"}
    secrets = ["env:SHOP_SECRET"]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from groundplane.collections.file import BadFile, from_environment
from groundplane.collections.steps import Step
from groundplane.schema.cache import Schema
from groundplane.webhooks.checks import KEYS, read_definition, secrets_error
from groundplane.webhooks.service import GRACE_S, Selection, Webhooks
from groundplane.webhooks.signing import new_secret
from groundplane.webhooks.webhook import REDACTED, Definition, Webhook, definition_to_json


class Wanted:
    """An entry of the file beside the webhook that it is about, None when that is to be made."""

    def __init__(
        self, definition: Definition, secrets: list[str] | None, stored: Webhook | None, changes: list[str]
    ) -> None:
        self.definition = definition
        self.secrets = secrets
        self.stored = stored
        self.changes = changes


class DeclaredWebhooks:
    """Compares the entries of the file with what is stored, for `collections.plan.Planner`."""

    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks

    async def steps(
        self, entries: Sequence[Mapping[str, Any]], schema: Schema, *, exclusive: bool
    ) -> list[Step]:
        """What `carry_out` would do, for a plan; raises BadFile."""
        wanted, gone = await self._compare(entries, schema, exclusive=exclusive)
        steps: list[Step] = []
        for each in wanted:
            name = each.definition.name
            if each.stored is None:
                where = ", ".join(definition_to_json(each.definition, names_of(schema))["collections"])
                steps.append(Step("create_webhook", "", f"Create webhook {name} for {where}."))
            elif each.changes:
                steps.append(Step("change_webhook", "", f"Change webhook {name}: {', '.join(each.changes)}."))
        for webhook in gone:
            page = await self._webhooks.deliveries(webhook.id, Selection(), limit=0, offset=0)
            sentence = f"Delete webhook {webhook.definition.name}, which is not in the file."
            steps.append(
                Step("delete_webhook", "", sentence, (), page.total, True, "the log of its deliveries")
            )
        return steps

    async def carry_out(
        self, entries: Sequence[Mapping[str, Any]], schema: Schema, *, exclusive: bool
    ) -> None:
        """Make the stored webhooks as the entries say; part of the open transaction."""
        wanted, gone = await self._compare(entries, schema, exclusive=exclusive)
        for webhook in gone:
            await self._webhooks.delete(webhook.id)
        for each in wanted:
            if each.stored is None:
                await self._webhooks.add(each.definition, each.secrets or [new_secret()])
                continue
            if "secrets" in each.changes:
                await self._webhooks.replace_secrets(each.stored.id, each.secrets or [], grace_s=GRACE_S)
            if each.changes and each.changes != ["secrets"]:
                await self._webhooks.store(each.stored, each.definition, resumes="enabled" in each.changes)

    async def _compare(
        self, entries: Sequence[Mapping[str, Any]], schema: Schema, *, exclusive: bool
    ) -> tuple[list[Wanted], list[Webhook]]:
        stored = {each.definition.name.lower(): each for each in await self._webhooks.all()}
        left = {each.id: each for each in stored.values()}
        wanted: list[Wanted] = []
        for entry in entries:
            former = str(entry.get("renamed_from", "")).lower()
            webhook = stored.get(str(entry["name"]).lower()) or stored.get(former)
            if webhook is not None and left.pop(webhook.id, None) is None:
                webhook = None
            wanted.append(self._read(entry, webhook, schema))
        return wanted, list(left.values()) if exclusive else []

    def _read(self, entry: Mapping[str, Any], stored: Webhook | None, schema: Schema) -> Wanted:
        where = f"Webhook {entry['name']}"
        opened = self._webhooks.opened(stored) if stored is not None else None
        raw = {key: value for key, value in entry.items() if key in KEYS}
        headers = raw.get("headers")
        if isinstance(headers, Mapping):
            kept = {name.lower(): value for name, value in (opened.headers if opened else {}).items()}
            raw["headers"] = {
                # What `pull` has written for a value that it does not show.
                name: kept.get(name.lower(), value) if value == REDACTED else from_environment(value, where)
                for name, value in headers.items()
            }
        definition, errors = read_definition(raw, None, schema, self._webhooks.reach)
        secrets = entry.get("secrets")
        if secrets is not None:
            if isinstance(secrets, list):
                secrets = [from_environment(each, where) for each in secrets]
            if error := secrets_error(secrets):
                errors["secrets"] = error
        if errors:
            key = min(errors)
            raise BadFile(f"{where}, {key}: {errors[key].message}")
        changes: list[str] = []
        if stored is not None and opened is not None:
            before, after = (definition_to_json(each, names_of(schema)) for each in (opened, definition))
            changes = [key for key in KEYS if before[key] != after[key]]
            if secrets is not None and sorted(secrets) != sorted(self._webhooks.lasting_secrets(stored)):
                changes.append("secrets")
        return Wanted(definition, secrets, stored, changes)


def names_of(schema: Schema) -> dict[str, str]:
    return {collection.id: collection.name for collection in schema}
