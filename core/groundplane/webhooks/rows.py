"""Webhooks as they are stored: rows to structs and back, with what is secret sealed."""

from __future__ import annotations

from datetime import datetime, timedelta

import asyncpg
import msgspec

from groundplane.security.encryption import Vault
from groundplane.webhooks.webhook import Attempt, Definition, Delivery, Health, Secret, Webhook


class WebhookVault(Vault):
    """Seals and opens the secrets of webhooks: their headers and what signs."""

    def __init__(self, encryption_key: str) -> None:
        super().__init__(encryption_key, "webhooks")

    def opened_headers(self, definition: Definition) -> Definition:
        """The definition with readable headers."""
        headers = {name: self.open(value) for name, value in definition.headers.items()}
        return msgspec.structs.replace(definition, headers=headers)

    def sealed_headers(self, definition: Definition) -> Definition:
        headers = {name: self.seal(value) for name, value in definition.headers.items()}
        return msgspec.structs.replace(definition, headers=headers)

    def signing(self, webhook: Webhook, moment: datetime) -> list[str]:
        """The secrets that sign now, the newest first."""
        return [
            self.open(each.value)
            for each in reversed(webhook.secrets)
            if each.expires is None or each.expires > moment
        ]

    def new_secrets(
        self, values: list[str], before: tuple[Secret, ...], moment: datetime, grace_s: float
    ) -> tuple[Secret, ...]:
        """Put `values` in place of the secrets that were there; those sign on for `grace_s` seconds."""
        until = moment + timedelta(seconds=grace_s)
        kept = tuple(
            msgspec.structs.replace(each, expires=until if each.expires is None else min(each.expires, until))
            for each in before
            if grace_s > 0 and (each.expires is None or each.expires > moment)
        )
        return (*kept, *(Secret(value=self.seal(value), created=moment) for value in values))


def as_webhook(row: asyncpg.Record) -> Webhook:
    definition = Definition(
        name=row["name"],
        url=row["url"],
        collections=tuple(row["collections"]),
        actions=tuple(row["actions"]),
        condition=row["condition"],
        fields=tuple(row["fields"]),
        headers=msgspec.json.decode(row["headers"], type=dict[str, str]),
        enabled=row["enabled"],
        timeout_s=row["timeout_s"],
        retries=tuple(row["retries"]),
        concurrency=row["concurrency"],
    )
    health = row["health"]
    return Webhook(
        id=row["id"],
        definition=definition,
        secrets=msgspec.json.decode(row["secrets"], type=tuple[Secret, ...]),
        suspended=row["suspended"],
        created=row["created"],
        updated=row["updated"],
        health=Health() if health is None else msgspec.json.decode(health, type=Health),
    )


def definition_args(definition: Definition) -> tuple[object, ...]:
    """The values of a definition in the order of the statements `add` and `change`."""
    return (
        definition.name,
        definition.url,
        list(definition.collections),
        list(definition.actions),
        definition.condition,
        list(definition.fields),
        msgspec.json.encode(definition.headers).decode(),
        list(definition.retries),
        definition.timeout_s,
        definition.concurrency,
        definition.enabled,
    )


def secrets_text(secrets: tuple[Secret, ...]) -> str:
    return msgspec.json.encode(secrets).decode()


def as_delivery(row: asyncpg.Record) -> Delivery:
    return msgspec.convert(dict(row), Delivery)


def as_attempt(row: asyncpg.Record) -> Attempt:
    values = dict(row)
    values["request_headers"] = msgspec.json.decode(values["request_headers"])
    values["answer_headers"] = msgspec.json.decode(values["answer_headers"])
    return msgspec.convert(values, Attempt)
