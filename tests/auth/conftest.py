"""A server with what signing in needs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from tests.auth.oauth_site import OAuthSite, open_site

from groundplane.auth.callers import issue
from groundplane.security.passwords import hash_password
from groundplane.testing.server import INSTALLED, Server, own_database

PASSWORD = "1234567890"


class Site:
    """A running server and short ways to arrange accounts in it."""

    def __init__(self, server: Server) -> None:
        self.client = server.client
        self.services = server.services
        self.db = server.services.db
        self.schema = server.services.schema
        self.settings = server.services.settings
        self.collections = server.services.collections
        self.application: Any = server.application

    def client_from(self, ip: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.application, client=(ip, 5000))
        return httpx.AsyncClient(transport=transport, base_url="http://server.test")

    async def user(self, email: str, password: str = PASSWORD, **values: Any) -> dict[str, Any]:
        """Store a record of `users` with this password and return it in stored form."""
        return await self.record("users", email=email, password=password, **values)

    async def record(self, collection: str, **values: Any) -> dict[str, Any]:
        """Store a record; a password that is no hash yet is hashed."""
        if not values.get("password", "$").startswith("$") and values["password"]:
            values["password"] = await hash_password(values["password"])
        return await self.services.records.create_internal(self.schema.current.find(collection), values)

    def token(self, collection: str, record: dict[str, Any], **claims: Any) -> dict[str, str]:
        """The header of a request by this record."""
        return {"Authorization": issue(self.schema.current.find(collection), record, **claims)}

    async def superuser(self, email: str = "root@example.com") -> dict[str, str]:
        """Make a superuser and return the header of its requests."""
        await self.services.superusers.upsert(email, PASSWORD)
        found = self.schema.current.find("_superusers")
        record = await self.services.records.find_one(found, 'r."email" = $1', email)
        return self.token("_superusers", record or {})

    async def allow(self, collection: str = "users", **options: Any) -> None:
        """Switch methods of a collection on, as its options are written."""
        await self.collections.update(collection, options)

    async def sign_in(self, identity: str, password: str = PASSWORD, **more: Any) -> httpx.Response:
        body = {"identity": identity, "password": password} | more
        return await self.client.post("/api/collections/users/auth-with-password", json=body)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def oauth_site(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OAuthSite]:
    """One server and one provider for all tests of a module, whose tests make collections of their own."""
    async for url in own_database(postgres_url, INSTALLED):
        async with open_site(str(tmp_path_factory.mktemp("oauth")), url) as opened:
            yield opened


@pytest.fixture(scope="session")
def site_type() -> type[Site]:
    """For a server that a module starts in its own way."""
    return Site


@pytest.fixture
def site(server: Server) -> Site:
    return Site(server)
