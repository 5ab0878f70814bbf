"""A server with given plugins on a throw-away database, and what their tests ask of it.

`pytest_plugins = ["groundplane.testing.plugins"]` in a `conftest.py` gives the fixtures `app_with` and `clock`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias

import httpx
import pytest

from groundplane.clock import now
from groundplane.config import Config
from groundplane.context import RequestInfo
from groundplane.hooks import API_VERSION
from groundplane.hooks.loading import Found, Plugin, Source, examine
from groundplane.hooks.manager import Plugins
from groundplane.jobs.job import Job
from groundplane.records.values import Submitted
from groundplane.testing.access import Explanation, explain
from groundplane.testing.captured import CapturedChanges, CapturedWebhooks, jobs_added, run_due
from groundplane.testing.clock import FrozenClock, clock
from groundplane.testing.factories import PASSWORD, completed, for_number

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
    clock,
    database_url,
    db,
    postgres_url,
    pytest_configure,
    pytest_unconfigure,
    server,
    server_database_url,
)
__all__ = [
    "FOUND_BY_PYTEST",
    "GUEST",
    "PASSWORD",
    "AppWith",
    "CapturedChanges",
    "CapturedWebhooks",
    "FrozenClock",
    "PluginApp",
    "User",
    "app_with",
    "load_plugins",
    "make_plugin",
    "plugin_app",
]
METHODS = {"create": "POST", "update": "PATCH", "delete": "DELETE"}  # all others are GET
MOST_PER_PAGE = 1000
BAD_OUTCOMES = frozenset({"failed", "timed_out", "lost"})  # of a job's run
AppWith: TypeAlias = "Callable[..., Awaitable[PluginApp]]"


class User(NamedTuple):
    """Somebody to make requests as; a guest has an empty token, a superuser no id."""

    id: str = ""
    token: str = ""

    @property
    def name(self) -> str:
        if not self.token:
            return "a guest"
        return f"the account {self.id}" if self.id else "a superuser"


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
        """Make a record as a superuser would; returns it as the API shows it.

        What is required and not given is filled in, with the records that required relations point to.
        """
        found = self.services.schema.current.find(collection)
        body = await completed(found, values, self._make_related)
        answer = await self.send("POST", collection, user=await self.as_superuser(), json=body)
        assert answer.status_code == 200, answer.text
        record: dict[str, Any] = answer.json()
        return record

    async def _make_related(self, collection_id: str) -> str:
        return str((await self.make_record(self.services.schema.current.find(collection_id).name))["id"])

    async def make_records(self, collection: str, count: int, **values: Any) -> list[dict[str, Any]]:
        """Make many, without HTTP; a function among the values is called with the number of the record, from 0."""
        found = self.services.schema.current.find(collection)
        caller = await self.services.auth.callers.caller((await self.as_superuser()).token)
        info = RequestInfo(caller=caller, method="POST")
        made = []
        for number in range(count):
            given = {name: for_number(value, number) for name, value in values.items()}
            sent = Submitted(await completed(found, given, self._make_related))
            answer = await self.services.records.create(found.name, sent, {}, info)
            made.append(answer.record)
        return made

    async def make_user(self, collection: str = "users", **values: Any) -> dict[str, Any]:
        """Make an account, with an address and a password unless they are given."""
        return await self.make_record(collection, **values)

    async def as_user(
        self, who: str | Mapping[str, Any] = "user@example.com", collection: str = "users", **values: Any
    ) -> User:
        """Somebody signed in: the account with this address, made unless there is one, or a record of one."""
        if not isinstance(who, str):
            collection = who["collectionName"]
        found = self.services.schema.current.find(collection)
        column, value = ("email", who) if isinstance(who, str) else ("id", who["id"])
        record = await self.services.records.find_one(found, f'r."{column}" = $1', value)
        if record is None:
            record = await self.make_record(collection, email=who, **values)
        return User(record["id"], await self.server.token_of(found, record["id"]))

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
        return (await self._tried(user, action, collection, record, values or {}))[0]

    async def _tried(
        self, user: User, action: str, collection: str, record: str, values: Mapping[str, Any]
    ) -> tuple[bool, httpx.Response]:
        if action == "list":
            answer = await self.send("GET", collection, user=user, params={"perPage": MOST_PER_PAGE})
            listed = answer.status_code == 200
            if listed and record:
                listed = any(item["id"] == record for item in answer.json()["items"])
            return listed, answer
        method = METHODS.get(action, "GET")
        body = {"json": dict(values)} if method in ("POST", "PATCH") else {}
        answer = await self.send(method, collection, record, user=user, **body)
        assert answer.status_code < 500, answer.text
        return answer.status_code in (200, 204), answer

    async def assert_can(
        self, user: User, action: str, target: str | Mapping[str, Any], record: str = "", **values: Any
    ) -> None:
        """Fail unless somebody may `list`, `view`, `create`, `update` or `delete`, saying which rule decided.

        `target` is a record as the API shows it, or the name of a collection, with the id of a record behind
        it. It is really done, with these values.
        """
        await self._assert(True, user, action, target, record, values)

    async def assert_cannot(
        self, user: User, action: str, target: str | Mapping[str, Any], record: str = "", **values: Any
    ) -> None:
        """Fail if somebody may; otherwise as `assert_can`."""
        await self._assert(False, user, action, target, record, values)

    async def _assert(
        self,
        wanted: bool,
        user: User,
        action: str,
        target: str | Mapping[str, Any],
        record: str,
        values: Mapping[str, Any],
    ) -> None:
        if isinstance(target, str):
            collection = target
        else:
            collection, record = target["collectionName"], target["id"]
        # Before it is done: a deleted record has nothing left to explain.
        explanation = await self.explain(user, action, collection, record, **values)
        allowed, answer = await self._tried(user, action, collection, record, values)
        if allowed == wanted:
            return
        who = user.name
        what = f"{action} {collection}{f'/{record}' if record else ''}"
        lines = [f"{who} {'may' if allowed else 'may not'} {what}", str(explanation)]
        if not allowed:
            lines.insert(1, f"the answer was {answer.status_code} {answer.text.strip()[:500]}")
            if explanation.allows:
                lines.append("so a hook of a plugin or a check of the record's fields refused it")
        raise AssertionError("\n".join(lines))

    async def explain(
        self, user: User, action: str, collection: str, record: str = "", **values: Any
    ) -> Explanation:
        """What every rule and every plugin says about somebody's action; nothing is done."""
        services = self.services
        caller = await services.auth.callers.caller(user.token)
        info = RequestInfo(caller=caller, method=METHODS.get(action, "GET"), body=dict(values))
        found = services.schema.current.find(collection)
        return await explain(services, info, action, found, record, values)  # type: ignore[arg-type]  # one of five

    def captured_changes(self, *collections: str) -> CapturedChanges:
        """A list that gets every committed change of records from now on, of these collections or of all."""
        return CapturedChanges(self.services, collections)

    def captured_webhooks(self, status: int = 200) -> CapturedWebhooks:
        """A list that gets what webhooks would send from now on; receivers answer with `status`.

        Deliveries are jobs: `run_jobs` sends them.
        """
        captured = CapturedWebhooks(status)
        self.services.webhooks.sender = captured
        return captured

    async def captured_jobs(self, kind: str = "") -> list[Job]:
        """The jobs that were added and committed, whatever became of them, the oldest first."""
        return await jobs_added(self.services, kind)

    async def run_jobs(self, *, may_fail: bool = False) -> list[Job]:
        """Run the jobs that are due, and those that they add, until none is; returns those that ran.

        A run that fails fails the test, unless it may.
        """
        ran = await run_due(self.services)
        if not may_fail:
            bad = [
                f"{job.kind} {job.payload}: {job.error}"
                for job in ran
                if (await self.services.jobs.runs(job.id))[0].outcome in BAD_OUTCOMES
            ]
            assert not bad, "jobs failed: " + "; ".join(bad)
        return ran

    async def fire_crons(self) -> list[str]:
        """Add the jobs of every cron expression that matches this minute; returns their ids."""
        return await self.services.crons.fire(now())

    async def settled(self) -> None:
        """Return when every plugin has got the events of what happened so far."""
        await self.plugins.hooks.finished()

    async def assert_called(self, *hooks: str | tuple[str, str]) -> None:
        """Compare with the hooks called since the last time: names, or pairs of hook and plugin, in order."""
        await self.settled()
        pairs = any(isinstance(hook, tuple) for hook in hooks)
        called: list[Any] = list(self.calls) if pairs else [hook for hook, _ in self.calls]
        self.calls.clear()
        assert called == list(hooks), f"called were {called}, not {list(hooks)}"

    def assert_order(self, hook: str, *plugins: str) -> None:
        """Compare with the plugins that implement a hook, in the order in which they are called."""
        found = [each.plugin for each in self.plugins.hooks.all[hook].implementations]
        assert found == list(plugins), f"{hook} is called in {found}, not {list(plugins)}"


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
