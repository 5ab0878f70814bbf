"""A server whose mails arrive at a real SMTP server, and short ways through the flows."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
from tests.mail.postbox import Postbox, text_of

from groundplane.auth.callers import issue
from groundplane.config import Config, MailConfig
from groundplane.jobs.job import Job
from groundplane.security.passwords import hash_password
from groundplane.testing.captured import run_due
from groundplane.testing.plugins import load_plugins
from groundplane.testing.server import Server, running

PASSWORD = "correct horse"
TABLES = ("users", "_superusers", "_mfas", "_otps", "_authOrigins", "_sign_in_counters", "_jobs", "_sessions")
SETTINGS: dict[str, Any] = {
    "meta": {
        "appURL": "https://app.example.com",
        "appName": "Club",
        "senderName": "Support",
        "senderAddress": "support@example.com",
    },
    "superuserIPs": [],
}
# What tests change of `users`, as it is in a new installation.
AS_NEW: dict[str, Any] = {
    "authRule": "",
    "manageRule": None,
    "passwordAuth": {"enabled": True, "identityFields": ["email"]},
    "mfa": {"enabled": False, "duration": 600, "rule": ""},
    "otp": {"enabled": False, "duration": 180, "length": 8},
    "authAlert": {"enabled": True},
}


class MailSite:
    """`client` asks as anybody; `box` is where mails arrive."""

    def __init__(self, server: Server, box: Postbox) -> None:
        self.box = box
        self.client = server.client
        self.services = server.services
        self.db = server.services.db
        self.application = server.application
        self.ids: dict[str, str] = {}  # of one-time passwords, by address
        self._hash = ""  # of PASSWORD, made once
        self._schema = self.services.schema.current
        self._settings_version = self.services.settings.version

    async def reset(self) -> None:
        """Make everything as it was, for the next test."""
        self.box.mails.clear()
        self.box.envelopes.clear()
        self.box.answer = ""
        for table in TABLES:
            await self.db.execute(f'DELETE FROM "{table}"')
        if self.services.schema.current is not self._schema:
            for collection in list(self.services.schema.current):
                if collection.name not in {each.name for each in self._schema}:
                    await self.services.collections.delete(collection.name)
            await self.options(**AS_NEW)
            superusers = self.services.schema.current.find("_superusers").options
            if superusers is not None and (superusers.mfa.enabled or superusers.otp.enabled):
                await self.options("_superusers", mfa={"enabled": False}, otp={"enabled": False})
            self._schema = self.services.schema.current
        if self.services.settings.version != self._settings_version:
            await self.services.settings.change(SETTINGS | {"smtp": self.box.settings})
            self._settings_version = self.services.settings.version

    async def user(self, email: str, **values: Any) -> dict[str, Any]:
        return await self.record("users", email=email, **values)

    async def record(self, collection: str, **values: Any) -> dict[str, Any]:
        if "password" not in values and not self._hash:
            self._hash = await hash_password(PASSWORD)
        values.setdefault("password", self._hash)
        return await self.services.records.create_internal(
            self.services.schema.current.find(collection), values
        )

    async def stored(self, record: dict[str, Any], collection: str = "users") -> dict[str, Any]:
        found = await self.services.auth.callers.record(
            self.services.schema.current.find(collection), record["id"]
        )
        assert found is not None
        return found

    def header(self, record: dict[str, Any], collection: str = "users") -> dict[str, str]:
        return {"Authorization": issue(self.services.schema.current.find(collection), record)}

    async def superuser(self) -> dict[str, str]:
        await self.services.superusers.upsert("root@example.com", PASSWORD)
        found = self.services.schema.current.find("_superusers")
        record = await self.services.records.find_one(found, 'r."email" = $1', "root@example.com")
        return self.header(record or {}, "_superusers")

    async def options(self, name: str = "users", **options: Any) -> None:
        await self.services.collections.update(name, options)

    async def post(self, action: str, body: dict[str, Any], **more: Any) -> httpx.Response:
        collection = more.pop("collection", "users")
        return await self.client.post(f"/api/collections/{collection}/{action}", json=body, **more)

    async def sign_in(self, email: str, password: str = PASSWORD, **more: Any) -> httpx.Response:
        body = {"identity": email, "password": password}
        headers = more.pop("headers", None)
        return await self.post("auth-with-password", body | more, headers=headers)

    async def run_jobs(self) -> list[Job]:
        return [job for job in await run_due(self.services) if job.kind == "mail"]

    async def token_for(self, action: str, email: str) -> str:
        """Ask for a mail and return the token in it."""
        before = len(self.box.mails)
        assert (await self.post(action, {"email": email})).status_code == 204
        await self.run_jobs()
        assert len(self.box.mails) == before + 1
        return token_in(text_of(self.box.mails[-1]))

    async def code_for(self, email: str) -> tuple[str, str]:
        """Ask for a one-time password; returns its id and the code in the mail."""
        before = len(self.box.mails)
        response = await self.post("request-otp", {"email": email})
        assert response.status_code == 200
        await self.run_jobs()
        assert len(self.box.mails) == before + 1
        found = re.search(r"\b\d{4,}\b", text_of(self.box.mails[-1]))
        assert found is not None
        return response.json()["otpId"], found[0]


def token_in(text: str) -> str:
    found = re.search(r"/_/#/auth/[a-z-]+/([\w.-]+)", text)
    assert found is not None
    return found[1]


@asynccontextmanager
async def mail_site(
    url: str, folder: Path, plugins: Sequence[ModuleType] = (), *, mail: MailConfig | None = None
) -> AsyncIterator[MailSite]:
    """Open a server on this database, with an SMTP server beside it."""
    config = Config(data_dir=str(folder), mail=mail or MailConfig(timeout_s=10.0))
    box = await Postbox().start()
    loaded = load_plugins(plugins, {}) if plugins else None
    try:
        async with running(config, url, loaded) as server:
            await server.services.settings.change(SETTINGS | {"smtp": box.settings})
            yield MailSite(server, box)
    finally:
        await box.stop()
