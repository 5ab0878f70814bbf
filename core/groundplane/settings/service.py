"""The settings: read by every request from this process's copy, changed in the database, announced to all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import msgspec

from groundplane.db.engine import Database
from groundplane.db.sql import load_queries
from groundplane.errors import Invalid
from groundplane.hooks.calls import Hooks
from groundplane.hooks.events import SettingsSaved, SettingsSaving
from groundplane.security.encryption import BadKey, Seal
from groundplane.settings.checks import settings_errors
from groundplane.settings.merge import BadType, merged
from groundplane.settings.values import SECRETS, SettingsValues, to_json

QUERIES = load_queries("groundplane.settings")

NOT_LOADED = "An error occurred while loading the submitted data."
NOT_SAVED = "An error occurred while saving the new settings."

Announce = Callable[[int], Awaitable[None]]


class Settings:
    """`current` is this process's copy; `version` grows with every save (0: nothing loaded yet).

    `announce(version)` is called after a commit and returns when every process has called
    `load` again; without one there is only this process.
    """

    def __init__(
        self,
        db: Database,
        *,
        encryption_key: str = "",
        announce: Announce | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        self._db = db
        self._hooks = hooks or Hooks()
        self._seal = Seal(encryption_key) if encryption_key else None
        self._announce = announce
        self.current = SettingsValues()
        self.version = 0

    async def load(self, version: int = 0) -> SettingsValues:
        """Read the stored settings, storing the defaults when there are none.

        Nothing is read when this process has `version` or a newer one already.
        """
        if version and self.version >= version:
            return self.current
        row = await self._db.fetchrow(QUERIES["read"])
        if row is None:
            await self._db.execute(QUERIES["add_defaults"], self._to_text(SettingsValues()))
            row = await self._db.fetchrow(QUERIES["read"])
        if row is not None:
            self._take(self._from_text(row["value"]), version_of(row["updated"]))
        return self.current

    async def change(self, raw: object) -> SettingsValues:
        """Merge a partial change (decoded JSON) into the stored settings and check the whole.

        Raises Invalid. Returns when every process has the new settings.
        """
        async with self._db.transaction():
            row = await self._db.fetchrow(QUERIES["read_locked"])
            stored = self._from_text(row["value"]) if row is not None else SettingsValues()
            try:
                values = merged(stored, raw)
            except BadType:
                raise Invalid(NOT_LOADED) from None
            if self._hooks.settings_saving:
                event = SettingsSaving(stored, values)
                await self._hooks.settings_saving(event=event)
                values = event.after
            await self.store(values)
        return values

    async def store(self, values: SettingsValues) -> None:
        """Check and store whole settings; part of the open transaction, if there is one. Raises Invalid."""
        if errors := settings_errors(values):
            raise Invalid(NOT_SAVED, errors)
        text = self._to_text(values)
        if "\\u0000" in text:
            raise Invalid(NOT_SAVED)  # PostgreSQL's texts hold no NUL
        async with self._db.transaction():
            version = version_of(await self._db.fetchval(QUERIES["store"], text))

            async def publish() -> None:
                self._take(values, version)
                if self._announce is not None:
                    await self._announce(version)
                if self._hooks.settings_saved:
                    self._hooks.settings_saved(event=SettingsSaved(values))

            await self._db.after_commit(publish)

    async def rename_collection(self, old: str, new: str) -> None:
        """Let the rate limits of a renamed collection follow; joins the transaction of the rename."""
        async with self._db.transaction():
            row = await self._db.fetchrow(QUERIES["read_locked"])
            if row is None:
                return
            values = self._from_text(row["value"])
            rules = [rule for rule in values.rate_limits.rules if rule.label.startswith(f"{old}:")]
            for rule in rules:
                rule.label = new + rule.label[len(old) :]
            if rules:
                await self.store(values)

    def _take(self, values: SettingsValues, version: int) -> None:
        # A message may come late; what is newer stays.
        if version >= self.version:
            self.current, self.version = values, version

    def _to_text(self, values: SettingsValues) -> str:
        document = to_json(values, secrets=True)
        if self._seal is not None:
            for *path, name in SECRETS:
                place = at(document, path)
                place[name] = self._seal.seal(place[name])
        return msgspec.json.encode(document).decode()

    def _from_text(self, text: str) -> SettingsValues:
        """Read a stored row: ours, PocketBase's plain one, or PocketBase's encrypted as a whole."""
        try:
            document = msgspec.json.decode(text)
        except msgspec.DecodeError:
            document = text
        if isinstance(document, str):
            document = msgspec.json.decode(self._opened().decrypt(document))
        if not isinstance(document, dict):
            raise BadKey("The stored settings are damaged.")
        for *path, name in SECRETS:
            place = at(document, path)
            if isinstance(value := place.get(name), str) and value.startswith("gp1:"):
                place[name] = self._opened().open(value)
        try:
            return merged(SettingsValues(), document)
        except BadType:
            raise BadKey("The stored settings are damaged.") from None

    def _opened(self) -> Seal:
        if self._seal is None:
            raise BadKey(
                "The stored settings are encrypted: set security.encryption_key to the key used before."
            )
        return self._seal


def at(document: dict[str, Any], path: list[str]) -> dict[str, Any]:
    """The object at a path of names; an empty one where nothing is."""
    place: Any = document
    for step in path:
        place = place.get(step) if isinstance(place, dict) else None
    return place if isinstance(place, dict) else {}


def version_of(updated: datetime) -> int:
    """Milliseconds since 1970 of the last save."""
    return round(updated.timestamp() * 1000)
