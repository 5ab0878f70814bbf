"""A provider of the tests' own, over real sockets, and a server whose collections let people in through it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote_plus

import httpx

from groundplane.config import Config, OutgoingConfig
from groundplane.hooks.manager import Plugins
from groundplane.testing.server import Server, running

CLIENT_ID, CLIENT_SECRET = "the client", "s3cret/+&"
PASSWORD = "correct horse"


class Asked(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))

    @property
    def basic(self) -> tuple[str, str] | None:
        """The client that the Authorization header names."""
        kind, _, value = self.headers.get("authorization", "").partition(" ")
        if kind != "Basic":
            return None
        id, _, secret = base64.b64decode(value).decode().partition(":")
        return unquote_plus(id), unquote_plus(secret)


class Told(NamedTuple):
    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)


def told(value: Any, status: int = 200) -> Told:
    return Told(status, json.dumps(value).encode())


Answerer = Callable[[Asked], Awaitable[Told] | Told]


class Web:
    """A small HTTP server; `answers` says by path what is answered, `asked` what was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Answerer] = {}
        self.asked: list[Asked] = []
        self.url = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            method, target, _ = first.split(" ")
            pairs = (line.partition(":") for line in lines if line)
            headers = {name.lower(): value.strip() for name, _, value in pairs}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            asked = Asked(method, target, headers, body)
            self.asked.append(asked)
            answerer = self.answers.get(target.partition("?")[0])
            answer = answerer(asked) if answerer is not None else told({"error": "not_found"}, 404)
            if not isinstance(answer, Told):
                answer = await answer
            extra = "".join(f"{name}: {value}\r\n" for name, value in answer.headers)
            size = f"Content-Length: {len(answer.body)}\r\nConnection: close\r\n\r\n"
            writer.write(f"HTTP/1.1 {answer.status} Told\r\n{extra}{size}".encode() + answer.body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


class Provider(Web):
    """Gives tokens for codes made with `code_for`, each once, and profiles for tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = count(1)
        self.codes: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
        self.profiles: dict[str, dict[str, Any]] = {}
        self.takes_basic = True
        self.answers = {"/token": self._token, "/userinfo": self._user_info}

    def code_for(self, sub: str = "", tokens: dict[str, Any] | None = None, **profile: Any) -> str:
        """A code for a person with this profile."""
        number = next(self.numbers)
        code = f"code-{number}"
        self.codes[code] = (
            {"access_token": f"token-{number}", "token_type": "Bearer", "expires_in": 3600, **(tokens or {})},
            {"sub": sub or f"sub-{number}", **profile},
        )
        return code

    def _token(self, asked: Asked) -> Told:
        form = asked.form
        given = asked.basic if self.takes_basic else (form.get("client_id"), form.get("client_secret"))
        if given != (CLIENT_ID, CLIENT_SECRET):
            return told({"error": "invalid_client"}, 401)
        if form["code"] not in self.codes:
            return told({"error": "invalid_grant"}, 400)
        tokens, profile = self.codes.pop(form["code"])
        self.profiles[tokens["access_token"]] = profile
        return told(tokens)

    def _user_info(self, asked: Asked) -> Told:
        profile = self.profiles.get(asked.headers.get("authorization", "").removeprefix("Bearer "))
        return told(profile) if profile is not None else told({"error": "invalid_token"}, 401)


class OAuthSite:
    """A server and a provider; each test makes collections of its own."""

    def __init__(self, server: Server, provider: Provider) -> None:
        self.server = server
        self.services = server.services
        self.client = server.client
        self.provider = provider
        self.numbers = count(1)
        self.named: dict[str, str] = {}  # collections that tests share

    def configured(self, name: str, **more: Any) -> dict[str, Any]:
        """A provider of a collection that leads to ours."""
        return {
            "name": name,
            "clientId": CLIENT_ID,
            "clientSecret": CLIENT_SECRET,
            "authURL": f"{self.provider.url}/authorize",
            "tokenURL": f"{self.provider.url}/token",
            "userInfoURL": f"{self.provider.url}/userinfo",
        } | more

    async def collection(
        self, providers: list[dict[str, Any]] | None = None, mapped: dict[str, str] | None = None, **more: Any
    ) -> str:
        """Make an auth collection with providers and return its name."""
        if providers is None:
            providers = [self.configured("oidc"), self.configured("oidc2")]
        name = f"people{next(self.numbers)}"
        raw = {
            "name": name,
            "type": "auth",
            "createRule": "",
            "listRule": "",
            "viewRule": "",
            "updateRule": "id = @request.auth.id",
            "fields": [{"name": "name", "type": "text"}],
            "oauth2": {"enabled": True, "providers": providers, "mappedFields": mapped or {}},
            **more,
        }
        await self.services.collections.create(raw)
        return name

    async def sign_in(
        self, collection: str, code: str, provider: str = "oidc", *, token: str = "", **body: Any
    ) -> httpx.Response:
        sent = {
            "provider": provider,
            "code": code,
            "codeVerifier": "v",
            "redirectURL": "https://app.example/",
        }
        return await self.client.post(
            f"/api/collections/{collection}/auth-with-oauth2",
            json=sent | body,
            headers={"Authorization": token} if token else {},
        )

    async def signed_in(self, collection: str, code: str, provider: str = "oidc", **more: Any) -> Any:
        """Sign in and return the answer, which must be one."""
        answer = await self.sign_in(collection, code, provider, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def sign_up(self, collection: str, email: str, password: str = PASSWORD, **values: Any) -> Any:
        """Make an account with a password, as anybody may."""
        body = {"email": email, "password": password, "passwordConfirm": password, **values}
        answer = await self.client.post(f"/api/collections/{collection}/records", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def with_password(self, collection: str, email: str, password: str = PASSWORD) -> httpx.Response:
        body = {"identity": email, "password": password}
        return await self.client.post(f"/api/collections/{collection}/auth-with-password", json=body)

    async def refresh(self, collection: str, token: str) -> int:
        """The status of a refresh: 200 while the token is good."""
        path = f"/api/collections/{collection}/auth-refresh"
        return (await self.client.post(path, headers={"Authorization": token})).status_code

    async def stored(self, collection: str, id: str) -> dict[str, Any]:
        found = self.services.schema.current.find(collection)
        record = await self.services.auth.callers.record(found, id)
        assert record is not None
        return record

    async def verify(self, collection: str, id: str) -> None:
        found = self.services.schema.current.find(collection)
        await self.services.records.save_fields(found, id, {"verified": True})

    async def links(self, collection: str, id: str) -> list[tuple[str, str]]:
        """The links of an account: provider and the id there."""
        rows = await self.services.db.fetch(
            'SELECT "provider", "providerId" FROM "_externalAuths" '
            'WHERE "collectionRef" = $1 AND "recordRef" = $2 ORDER BY "provider", "providerId"',
            self.services.schema.current.find(collection).id,
            id,
        )
        return [(row["provider"], row["providerId"]) for row in rows]


@asynccontextmanager
async def open_site(
    folder: str, database_url: str, plugins: Plugins | None = None
) -> AsyncIterator[OAuthSite]:
    """A server that may reach this machine, and a provider on it."""
    outgoing = OutgoingConfig(allow_http=True, allow_networks=["127.0.0.1"])
    provider = Provider()
    async with (
        provider.open(),
        running(Config(data_dir=folder, outgoing=outgoing), database_url, plugins) as server,
    ):
        yield OAuthSite(server, provider)
