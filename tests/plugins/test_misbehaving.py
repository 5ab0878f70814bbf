"""Plugins that raise, hang, exit, return rubbish or leak coroutines, in every hook: the server goes on."""

from __future__ import annotations

import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from tests.auth.oauth_site import CLIENT_ID, CLIENT_SECRET, Provider

from groundplane.collections.file import read_document
from groundplane.config import Config, OutgoingConfig
from groundplane.doctor import examine_services
from groundplane.errors import GroundplaneError
from groundplane.hooks.checks import SPECS, wanted_shape
from groundplane.hooks.events import RealtimeConnect
from groundplane.hooks.loading import Status
from groundplane.testing.plugins import GUEST, PASSWORD, AppWith, PluginApp, User, load_plugins
from groundplane.testing.server import Server, running
from groundplane_plugins import oauth2_providers

log = logging.getLogger(__name__)

# A plugin named `bad` with every hook that is called while a server runs. `state.hook` misbehaves as
# `state.fault` says, all others do nothing.
PLUGIN = """
import asyncio

from groundplane.hooks import hookimpl

API_VERSION = 1


class State:
    hook = fault = ""


state = State()


async def leaked():
    pass


def begin(hook):
    if state.hook != hook:
        return None
    match state.fault:
        case "raises":
            raise RuntimeError("boom")
        case "exits":
            raise SystemExit(1)
        case "cancels":
            raise asyncio.CancelledError
        case "returns rubbish":
            return object()
        case "leaks a coroutine":
            return leaked()


async def wait(hook):
    if state.hook == hook and state.fault == "hangs":
        await asyncio.Event().wait()
"""
FUNCTIONS = {
    "def": """
@hookimpl
def {hook}():
    return begin("{hook}")
""",
    "async def": """
@hookimpl(deadline_s=0.1 if DEADLINE else None)
async def {hook}():
    await wait("{hook}")
    return begin("{hook}")
""",
    "async def with a yield": """
@hookimpl(deadline_s=0.1 if DEADLINE else None)
async def {hook}():
    await wait("{hook}")
    begin("{hook}")
    yield
    if state.hook == "{hook}" and state.fault == "raises afterwards":
        raise RuntimeError("boom")
    if state.hook == "{hook}" and state.fault == "yields again":
        yield
""",
}
REGISTERING = [name for name in SPECS if name.startswith("register_")]
AT_START = [*REGISTERING, "startup"]
AT_ENDS = {"ready", "shutdown"}
# Asked by the command line only; and only of the plugin that the configuration names, see tests/files.
ASKED_FOR = {"register_commands", "register_storage"}
RUNNING = [name for name in SPECS if name not in {*AT_START, *AT_ENDS}]


def shape_of(hook: str) -> str:
    return wanted_shape(SPECS[hook])


def bad_plugin(hooks: list[str], *, deadline: bool) -> Any:
    module = ModuleType("bad")
    text = PLUGIN + "".join(FUNCTIONS[shape_of(hook)].format(hook=hook) for hook in hooks)
    exec(compile(text, "bad.py", "exec"), vars(module) | {"DEADLINE": deadline}, vars(module))
    # The functions see what the module has.
    for name in hooks:
        function = vars(module)[name]
        function.__globals__.update(vars(module))
    return module


class FaultyApp(PluginApp):
    """A server with a faulty plugin, and a provider of the test's own that lets people in."""

    def __init__(self, server: Server, provider: Provider) -> None:
        super().__init__(server)
        self.provider = provider


@asynccontextmanager
async def faulty(database_url: str, folder: Path, plugin: ModuleType) -> AsyncIterator[FaultyApp]:
    """A server with the plugin, with all that the triggers need, and with a provider that it may reach."""
    outgoing = OutgoingConfig(allow_http=True, allow_networks=["127.0.0.1"])
    config = Config(data_dir=str(folder), plugins_dir="", outgoing=outgoing)
    provider = Provider()
    plugins = load_plugins([plugin, oauth2_providers], {})
    async with provider.open(), running(config, database_url, plugins) as server:
        app = FaultyApp(server, provider)
        await app.services.settings.change({"batch": {"enabled": True}})
        await app.make_collection("notes", [{"name": "title", "type": "text", "max": 10}])
        await app.make_collection("papers", [{"name": "paper", "type": "file"}])
        oidc = {
            "name": "oidc",
            "clientId": CLIENT_ID,
            "clientSecret": CLIENT_SECRET,
            "authURL": f"{provider.url}/authorize",
            "tokenURL": f"{provider.url}/token",
            "userInfoURL": f"{provider.url}/userinfo",
        }
        await app.services.collections.update("users", {"oauth2": {"enabled": True, "providers": [oidc]}})
        await app.as_user()
        app.services.jobs.register("works", succeed)
        app.services.jobs.register("fails", fail, backoff=lambda _: 3600.0)
        yield app


# What calls each hook; returns the status of an answer, or None where there is none.


async def created(app: PluginApp) -> int:
    return (await app.send("POST", "notes", json={"title": "a"})).status_code


async def refused(app: PluginApp) -> int | None:
    assert (await app.send("POST", "notes", json={"title": "longer than ten"})).status_code == 400
    return None


async def deleted(app: PluginApp) -> int:
    notes = app.services.schema.current.find("notes")
    row = await app.services.db.fetchrow('SELECT "id" FROM "notes" LIMIT 1')
    if row is None:
        with_id = await app.services.records.create_internal(notes, {"title": "a"})
        row = {"id": with_id["id"]}
    return (await app.send("DELETE", "notes", row["id"])).status_code


async def listed(app: PluginApp) -> int:
    return (await app.send("GET", "notes")).status_code


async def enriched(app: PluginApp) -> int:
    notes = app.services.schema.current.find("notes")
    row = await app.services.records.find_one(notes, "true")
    if row is None:
        row = await app.services.records.create_internal(notes, {"title": "a"})
    return (await app.send("GET", "notes", row["id"])).status_code


async def signed_in(app: PluginApp) -> int:
    form = {"identity": "user@example.com", "password": PASSWORD}
    return (await app.ask("POST", "/api/collections/users/auth-with-password", json=form)).status_code


async def somebody(app: PluginApp) -> User:
    """Somebody with a session of their own; `as_user` gives one token for all of a second, ended ones too."""
    form = {"identity": "user@example.com", "password": PASSWORD}
    answer = await app.ask("POST", "/api/collections/users/auth-with-password", json=form)
    return User(token=answer.json()["token"])


async def signed_out(app: PluginApp) -> int:
    user = await somebody(app)
    return (await app.ask("DELETE", "/api/collections/users/sessions/current", user=user)).status_code


async def signed_up_elsewhere(app: FaultyApp) -> int:
    email = f"o{len(app.provider.asked)}@example.com"
    code = app.provider.code_for(email=email, email_verified=True)
    body = {"provider": "oidc", "code": code, "redirectURL": "https://app.example/"}
    return (await app.ask("POST", "/api/collections/users/auth-with-oauth2", json=body)).status_code


async def uploaded(app: PluginApp) -> int:
    return (await upload(app)).status_code


async def upload(app: PluginApp) -> httpx.Response:
    return await app.send("POST", "papers", files={"paper": ("a.txt", b"text")})


async def downloaded(app: PluginApp, query: str = "") -> int:
    record = (await upload(app)).json()
    path = f"/api/files/papers/{record['id']}/{record['paper']}{query}"
    return (await app.ask("GET", path)).status_code


async def thumb_asked_for(app: PluginApp) -> int:
    return await downloaded(app, "?thumb=100x100")


async def file_removed(app: PluginApp) -> int:
    record = (await upload(app)).json()
    return (await app.send("DELETE", "papers", record["id"])).status_code


async def token_asked_for(app: PluginApp) -> int:
    return (await app.ask("POST", "/api/files/token", user=await somebody(app))).status_code


async def mailed(app: PluginApp) -> int:
    """A mail for which its request waits."""
    body = {"template": "verification", "email": "user@example.com", "collection": "users"}
    admin = await app.as_superuser()
    return (await app.ask("POST", "/api/settings/test/email", user=admin, json=body)).status_code


async def account_made(app: PluginApp) -> int:
    numbers = await app.services.db.fetchval('SELECT count(*) FROM "users"')
    form = {"email": f"u{numbers}@example.com", "password": PASSWORD, "passwordConfirm": PASSWORD}
    return (await app.send("POST", "users", user=await app.as_superuser(), json=form)).status_code


async def asked_as_nobody(app: PluginApp) -> int:
    return (await app.ask("GET", "/api/collections/notes/records")).status_code


async def schema_changed(app: PluginApp) -> int:
    admin = await app.as_superuser()
    return (await app.ask("PATCH", "/api/collections/notes", user=admin, json={})).status_code


async def settings_changed(app: PluginApp) -> int:
    admin = await app.as_superuser()
    body = {"meta": {"appName": "x"}}
    return (await app.ask("PATCH", "/api/settings", user=admin, json=body)).status_code


async def planned(app: PluginApp) -> int | None:
    declared = read_document({"collections": [{"name": "planned", "type": "base", "fields": {}}]})
    await app.services.planner.plan(declared)
    return None


async def examined(app: PluginApp) -> int | None:
    async for _, text in examine_services(app.services):
        log.info(text)
    return None


async def ran(app: PluginApp) -> int | None:
    await app.services.jobs.add("works")
    await app.run_jobs(may_fail=True)
    return None


async def worked(app: PluginApp) -> int | None:
    """Two jobs: one that is tried again, and one that is not; both fail."""
    for attempts in (2, 1):
        await app.services.jobs.add("fails", max_attempts=attempts)
    await app.run_jobs(may_fail=True)
    return None


async def streamed(app: PluginApp) -> int:
    """Open a stream and subscribe; streams have no end for which a request could wait."""
    realtime = app.services.realtime
    try:
        await realtime.admit(RealtimeConnect("sse", "127.0.0.1", {}, {}, None))
        client = await realtime.open("127.0.0.1", "127.0.0.1")
        try:
            await app.services.streams.subscribe(client.id, "127.0.0.1", None, ["notes/*"])
        finally:
            realtime.clients.close(client)
    except GroundplaneError as error:
        log.info("%s", error)
        return error.status
    return 204


TRIGGERS: dict[str, Callable[[FaultyApp], Awaitable[int | None]]] = {
    "health_checks": examined,
    "collection_saving": schema_changed,
    "plan_check": planned,
    "schema_applied": schema_changed,
    "resolve_actor": asked_as_nobody,
    "access_rules": schema_changed,
    "field_visibility": schema_changed,
    "record_request": listed,
    "list_query": listed,
    "record_enrich": enriched,
    "password_check": account_made,
    "record_saving": created,
    "record_deleting": deleted,
    "record_saved": created,
    "record_deleted": deleted,
    "record_write_failed": refused,
    "mail_compose": mailed,
    "mail_send": mailed,
    "auth_attempt": signed_in,
    "auth_succeeded": signed_in,
    "session_created": signed_in,
    "session_revoked": signed_out,
    "oauth_profile": signed_up_elsewhere,
    "oauth_link": signed_up_elsewhere,
    "file_upload": uploaded,
    "file_download": downloaded,
    "file_token": token_asked_for,
    "thumb_generate": thumb_asked_for,
    "file_deleted": file_removed,
    "request_finished": listed,
    "realtime_connect": streamed,
    "realtime_subscribe": streamed,
    "job_run": ran,
    "job_failed": worked,
    "job_dead": worked,
    "settings_saving": settings_changed,
    "settings_saved": settings_changed,
}
# Called only where a message leaves the server; see tests/sinks, tests/webhooks and tests/realtime.
ELSEWHERE = {"event_publishing", "realtime_message"}
# Of these the fault is a part of the answer, and no answer fails.
ASKED_ABOUT_THE_SCHEMA = {"access_rules", "field_visibility"}
# The client is told in other ways: its mail was not sent, and it gets the file itself.
ANSWERS = {"mail_send": 400, "thumb_generate": 200}
TOLERATED = {"health_checks", "plan_check", "access_rules", "field_visibility", "job_run"}


def test_every_hook_of_a_running_server_is_tried() -> None:
    assert set(RUNNING) - TRIGGERS.keys() - ELSEWHERE == set()


def can(hook: str, fault: str) -> bool:
    """Whether a function of this hook's shape can misbehave so."""
    shape = shape_of(hook)
    match fault:
        case "hangs":
            return shape != "def"
        case "cancels":
            return shape != "def"
        case "raises afterwards" | "yields again":
            return shape == "async def with a yield"
        case "returns rubbish" | "leaks a coroutine":
            return shape != "async def with a yield"
    return True


FAULTS = [
    "raises",
    "exits",
    "cancels",
    "hangs",
    "returns rubbish",
    "leaks a coroutine",
    "raises afterwards",
    "yields again",
]


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_server_answers_and_the_log_names_the_plugin(
    server_database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    caplog.set_level(logging.INFO)
    hooks = [hook for hook in TRIGGERS if can(hook, fault)]
    plugin = bad_plugin(hooks, deadline=True)
    async with faulty(server_database_url, tmp_path, plugin) as app:
        assert app.plugins.all[0].status is Status.LOADED, app.plugins.all[0].reason
        for hook in hooks:
            await misbehave(app, plugin, hook, fault, caplog)
    # A coroutine that nobody has closed would warn now, and a warning is an error.
    gc.collect()


async def misbehave(
    app: FaultyApp, plugin: Any, hook: str, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Have one function of the plugin fail once, and see what becomes of the server."""
    good = await TRIGGERS[hook](app)
    assert good is None or good < 400, f"{hook} without a fault"
    await app.settled()
    caplog.clear()
    plugin.state.hook, plugin.state.fault = hook, fault
    status = await TRIGGERS[hook](app)
    await app.settled()
    plugin.state.hook = plugin.state.fault = ""
    said = f"{hook} {fault}: {status}\n{caplog.text}"
    assert "bad" in names_told(caplog), said
    if hook not in TOLERATED:
        assert hook in caplog.text, said
    kind = SPECS[hook].kind  # type: ignore[attr-defined]
    if kind in ("notify", "observe") or hook in TOLERATED:
        assert status is None or status < 400, said
    else:
        assert status == ANSWERS.get(hook, 500), said
    assert (await app.ask("GET", "/api/health")).status_code == 200, said
    if hook in ASKED_ABOUT_THE_SCHEMA:
        # Asked again, it answers: what the fault has shut is open.
        assert await schema_changed(app) == 200
        assert await app.may(GUEST, "list", "notes"), said


async def fail(job: Any) -> None:
    raise ValueError("this job always fails")


async def succeed(job: Any) -> None: ...


def names_told(caplog: pytest.LogCaptureFixture) -> set[str]:
    """The plugins that the log speaks of."""
    found = set()
    for record in caplog.records:
        words = record.getMessage().lower().replace(":", " ").replace(",", " ").split()
        found |= {after for before, after in pairwise(words) if before == "plugin"}
    return found


@pytest.mark.parametrize("fault", ["raises", "exits", "returns rubbish", "leaks a coroutine"])
@pytest.mark.parametrize("hook", ["access_rules", "field_visibility"])
async def test_who_fails_when_asked_about_access_opens_nothing(
    app_with: AppWith, hook: str, fault: str
) -> None:
    plugin = bad_plugin([hook], deadline=False)
    app = await app_with(plugin)
    await app.make_collection("notes", [{"name": "title", "type": "text"}])
    await app.make_collection("shut", [{"name": "title", "type": "text"}], listRule=None)
    await app.make_record("notes", title="a")
    plugin.state.hook, plugin.state.fault = hook, fault
    assert await schema_changed(app) == 200
    await app.assert_cannot(GUEST, "list", "shut")
    if hook == "access_rules":
        await app.assert_cannot(GUEST, "list", "notes")
    else:
        item = (await app.send("GET", "notes")).json()["items"][0]
        assert "title" not in item
    seen = (await app.send("GET", "notes", user=await app.as_superuser())).json()["items"]
    assert [each["title"] for each in seen] == ["a"]


@pytest.mark.parametrize("hook", [hook for hook in AT_START if hook not in ASKED_FOR])
async def test_a_plugin_that_is_faulty_when_it_is_loaded_or_started_stays_out(
    app_with: AppWith, hook: str
) -> None:
    for fault in FAULTS:
        if not can(hook, fault):
            continue
        if hook == "startup" and fault == "returns rubbish":
            continue  # nobody looks at what it returns
        plugin = bad_plugin([hook], deadline=True)
        plugin.state.hook, plugin.state.fault = hook, fault
        app = await app_with(plugin)
        (found,) = app.plugins.all
        assert found.status is Status.BROKEN, fault
        told = [text async for sound, text in examine_services(app.services) if not sound]
        assert any(text.startswith("plugin bad: broken: ") for text in told), (fault, told)
        assert (await app.ask("GET", "/api/health")).status_code == 200
        gc.collect()


@pytest.mark.parametrize("hook", sorted(AT_ENDS))
async def test_a_plugin_that_is_faulty_at_the_ends_of_a_process_is_named(
    app_with: AppWith, caplog: pytest.LogCaptureFixture, hook: str
) -> None:
    for fault in ("raises", "exits", "hangs", "leaks a coroutine"):
        plugin = bad_plugin([hook], deadline=True)
        plugin.state.hook, plugin.state.fault = hook, fault
        caplog.clear()
        app = await app_with(plugin)
        await app.settled()
        assert (await app.ask("GET", "/api/health")).status_code == 200
        await app.plugins.stop()
        assert "bad" in names_told(caplog), fault
        gc.collect()
