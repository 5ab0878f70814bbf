"""A server with given plugins on a throw-away database; load with `pytest_plugins`, then ask for `app_with`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias

import httpx
import pytest

from groundplane.config import Config
from groundplane.hooks import API_VERSION
from groundplane.hooks.loading import Found, Plugin, Source, examine
from groundplane.hooks.manager import Plugins

# Also what pytest is to find here: the fixtures below, and what makes and removes the run's folder.
from groundplane.testing.server import (
    Server,
    database_url,
    db,
    postgres_url,
    pytest_configure,
    pytest_unconfigure,
    running,
    server,
    server_database_url,
)

FOUND_BY_PYTEST = (
    database_url,
    db,
    postgres_url,
    pytest_configure,
    pytest_unconfigure,
    server,
    server_database_url,
)
PASSWORD = "1234567890"  # noqa: S105  # of everybody that tests make
AppWith: TypeAlias = "Callable[..., Awaitable[PluginApp]]"


class User(NamedTuple):
    """Somebody to make requests as; a guest has an empty token."""

    id: str = ""
    token: str = ""


GUEST = User()


class PluginApp:
    """A running server for the tests of a plugin; `server` has everything else."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.services = server.services
        self.plugins = server.services.plugins
        self.calls: list[tuple[str, str]] = []
        self.plugins.hooks.surroundings.trace = self.calls

    async def make_collection(self, name: str, fields: Iterable[Mapping[str, Any]] = (), **more: Any) -> Any:
        """Make a collection that everybody may read and change, unless `more` says otherwise."""
        rules = dict.fromkeys(("listRule", "viewRule", "createRule", "updateRule", "deleteRule"), "")
        raw = {"name": name, "type": "base", "fields": [dict(field) for field in fields], **rules, **more}
        return await self.services.collections.create(raw)

    async def make_record(self, collection: str, **values: Any) -> dict[str, Any]:
        """Make a record as a superuser would; returns it as the API shows it."""
        answer = await self.send("POST", collection, user=await self.as_superuser(), json=values)
        assert answer.status_code == 200, answer.text
        record: dict[str, Any] = answer.json()
        return record

    async def as_user(
        self, email: str = "user@example.com", collection: str = "users", **values: Any
    ) -> User:
        """Make an account unless there is one with this address, and return it signed in."""
        found = self.services.schema.current.find(collection)
        record = await self.services.records.find_one(found, 'r."email" = $1', email)
        if record is None:
            passwords = {"password": PASSWORD, "passwordConfirm": PASSWORD}
            record = await self.make_record(collection, email=email, **passwords, **values)
        return User(record["id"], await self.server.token(collection, email))

    async def as_superuser(self) -> User:
        return User("", await self.server.superuser_token())

    async def send(
        self, method: str, collection: str, record: str = "", *, user: User = GUEST, **more: Any
    ) -> httpx.Response:
        """Send a request to a collection's records."""
        path = f"/api/collections/{collection}/records{f'/{record}' if record else ''}"
        return await self.ask(method, path, user=user, **more)

    async def ask(self, method: str, path: str, *, user: User = GUEST, **more: Any) -> httpx.Response:
        """Send any request as somebody."""
        headers = {"Authorization": user.token} if user.token else {}
        return await self.server.client.request(method, path, headers=headers, **more)

    async def may(
        self,
        user: User,
        action: str,
        collection: str,
        record: str = "",
        values: Mapping[str, Any] | None = None,
    ) -> bool:
        """Whether somebody may do an action; it is really done. Listing means that the record is found."""
        method = {"create": "POST", "update": "PATCH", "delete": "DELETE"}.get(action, "GET")
        if action == "list":
            answer = await self.send("GET", collection, user=user)
            if answer.status_code != 200:
                return False
            return not record or any(item["id"] == record for item in answer.json()["items"])
        body = {"json": dict(values or {})} if method in ("POST", "PATCH") else {}
        answer = await self.send(method, collection, record, user=user, **body)
        assert answer.status_code < 500, answer.text
        return answer.status_code in (200, 204)

    async def assert_can(
        self, user: User, action: str, collection: str, record: str = "", **values: Any
    ) -> None:
        assert await self.may(user, action, collection, record, values), f"may not {action} {collection}"

    async def assert_cannot(
        self, user: User, action: str, collection: str, record: str = "", **values: Any
    ) -> None:
        assert not await self.may(user, action, collection, record, values), f"may {action} {collection}"

    async def settled(self) -> None:
        """Return when every plugin has got the events of what happened so far."""
        await self.plugins.hooks.finished()

    async def assert_called(self, *hooks: str | tuple[str, str]) -> None:
        """Compare with the hooks called since the last time: names, or pairs of hook and plugin, in order."""
        await self.settled()
        pairs = any(isinstance(hook, tuple) for hook in hooks)
        called: list[Any] = list(self.calls) if pairs else [hook for hook, _ in self.calls]
        self.calls.clear()
        assert called == list(hooks)


def make_plugin(name: str, *functions: Callable[..., Any], **attributes: Any) -> ModuleType:
    """A plugin made of marked functions, for tests that need one of a few lines."""
    module = ModuleType(name)
    for function in functions:
        setattr(module, function.__name__, function)
    for attribute, value in {"API_VERSION": API_VERSION, **attributes}.items():
        setattr(module, attribute, value)
    return module


def itself(module: ModuleType) -> ModuleType:
    return module


def load_plugins(modules: Iterable[ModuleType], sections: Mapping[str, Mapping[str, Any]]) -> Plugins:
    """Check and register modules as if they were installed; a package's name is its last part."""
    config = Config(plugins={name: dict(section) for name, section in sections.items()})
    plugins: list[Plugin] = []
    for module in modules:
        name = module.__name__.rpartition(".")[2].removeprefix("groundplane_")
        plugin = Plugin(name=name, source=Source.INSTALLED, where=module.__name__)
        examine(plugin, Found(name, Source.INSTALLED, module.__name__, partial(itself, module)), config)
        plugins.append(plugin)
    return Plugins(plugins)


@asynccontextmanager
async def plugin_app(
    url: str,
    folder: Path,
    modules: Iterable[ModuleType],
    sections: Mapping[str, Mapping[str, Any]] | None = None,
) -> AsyncIterator[PluginApp]:
    config = Config(data_dir=str(folder), plugins_dir="")
    async with running(config, url, load_plugins(modules, sections or {})) as server:
        yield PluginApp(server)


@pytest.fixture
async def app_with(server_database_url: str, tmp_path: Path) -> AsyncIterator[AppWith]:
    """`await app_with(module, …, config={"name": {…}})` runs a server with these plugins until the test ends."""
    async with AsyncExitStack() as stack:

        async def start(
            *modules: ModuleType, config: Mapping[str, Mapping[str, Any]] | None = None
        ) -> PluginApp:
            opened = plugin_app(server_database_url, tmp_path / "data", modules, config)
            return await stack.enter_async_context(opened)

        yield start
