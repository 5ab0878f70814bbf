"""Which plugins are loaded, in which order they are called, and what happens to those that are wrong."""

from __future__ import annotations

import asyncio
import textwrap
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from groundplane.config import Config
from groundplane.errors import Unavailable
from groundplane.hooks import Options, hookimpl, specs
from groundplane.hooks.calls import KINDS, First, Hooks
from groundplane.hooks.checks import SPECS, signature
from groundplane.hooks.events import HealthCheck, RecordSaving
from groundplane.hooks.implementation import Implementation, Surroundings
from groundplane.hooks.loading import ALWAYS_ON, BUNDLED, Source, Status
from groundplane.hooks.manager import Plugins
from groundplane.hooks.routes import PluginRequest, Route
from groundplane.services import Services
from groundplane.testing.plugins import GUEST, AppWith, load_plugins, make_plugin
from groundplane.testing.server import running


def status_of(module: ModuleType, **section: Any) -> tuple[Status, str]:
    plugins = load_plugins([module], {module.__name__: section} if section else {})
    return plugins.all[0].status, plugins.all[0].reason


def reason_of(module: ModuleType, **section: Any) -> str:
    status, reason = status_of(module, **section)
    assert status is Status.BROKEN
    return reason


def test_every_hook_has_a_caller_of_its_kind() -> None:
    kinds = {name: hook.kind for name, hook in Hooks().all.items()}
    assert kinds == {name: spec.kind for name, spec in SPECS.items()}  # type: ignore[attr-defined]
    assert set(kinds.values()) <= set(KINDS)


def test_every_specification_says_what_it_is_and_who_calls_it() -> None:
    root = Path(specs.__file__).parents[2]
    for name, spec in SPECS.items():
        text = spec.__doc__ or ""
        _, called_by, where = text.partition("Called by: ")
        assert called_by, name
        source = (root / where.strip()).read_text(encoding="utf-8")
        assert f".{name}" in source or f'"{name}"' in source, f"{where.strip()} does not call {name}"


def test_a_plugin_that_declares_no_or_another_version_stays_out() -> None:
    assert "API_VERSION = 1" in reason_of(make_plugin("one", API_VERSION=None))
    assert "API version 2" in reason_of(make_plugin("one", API_VERSION=2))


def test_a_misspelt_hook_stays_out_with_the_name_that_was_meant() -> None:
    @hookimpl
    async def record_saveing(event: RecordSaving) -> None: ...

    assert reason_of(make_plugin("one", record_saveing)).startswith(
        "there is no hook record_saveing: did you mean record_sav"
    )


def test_a_misspelt_argument_stays_out_with_the_signature() -> None:
    @hookimpl
    async def record_saving(evnt: RecordSaving) -> None: ...

    reason = reason_of(make_plugin("one", record_saving))
    assert reason == "record_saving(event, services) has no argument evnt: did you mean event?"


def test_plain_functions_for_async_hooks_and_the_reverse_stay_out() -> None:
    def record_saving(event: RecordSaving) -> None: ...

    async def access_rules() -> None: ...

    async def record_request() -> None: ...

    for function in (record_saving, access_rules, record_request):
        assert f"{function.__name__} must be" in reason_of(make_plugin("one", hookimpl(function)))
    assert status_of(make_plugin("one", hookimpl(threaded=True)(record_saving)))[0] is Status.LOADED
    assert "threaded" in reason_of(make_plugin("one", hookimpl(threaded=True)(access_rules)))


class Settings(msgspec.Struct, frozen=True):
    size: int
    names: tuple[str, ...] = ()


def test_a_configuration_is_typed_and_its_faults_are_told() -> None:
    plugins = load_plugins([make_plugin("one", Config=Settings)], {"one": {"size": 3, "names": ["a"]}})
    assert plugins.all[0].config == Settings(3, ("a",))
    module = make_plugin("one", Config=Settings)
    assert "missing required field `size`" in reason_of(module)
    assert "Expected `int`" in reason_of(module, size="big")
    assert "it has no setting colour: known are names, size" in reason_of(module, size=1, colour=2)
    assert "the configuration sets size" in reason_of(make_plugin("one"), size=1)


def write(folder: Path, name: str, source: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(textwrap.dedent(source), encoding="utf-8")


GOOD = """
    from groundplane.hooks import hookimpl
    API_VERSION = 1

    @hookimpl
    async def record_saving(event):
        event.record["title"] += "!"
"""


async def test_a_file_of_the_project_is_a_plugin_and_a_broken_one_beside_it_stays_out(
    server_database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "plugins"
    write(folder, "good", GOOD)
    write(folder, "broken", "import no_such_module")
    write(folder, "ends", "raise SystemExit")
    write(folder, "Bad-Name", GOOD)
    config = Config(data_dir=str(tmp_path / "data"), plugins_dir=str(folder))
    async with running(config, server_database_url) as server:
        found = {plugin.name: (plugin.source, plugin.status) for plugin in server.services.plugins.all}
        assert found["good"] == (Source.FILE, Status.LOADED)
        assert {found[name][1] for name in ("broken", "ends", "Bad-Name")} == {Status.BROKEN}
        assert (
            "Plugin broken is broken and stays out: it cannot be imported: ModuleNotFoundError" in caplog.text
        )
        fields = [{"name": "title", "type": "text"}]
        await server.services.collections.create({"name": "notes", "fields": fields, "createRule": ""})
        answer = await server.client.post("/api/collections/notes/records", json={"title": "a"})
        assert answer.json()["title"] == "a!"


def test_the_configuration_switches_plugins_off_and_bundled_ones_on(tmp_path: Path) -> None:
    folder = tmp_path / "plugins"
    write(folder, "good", GOOD)
    off: dict[str, dict[str, Any]] = {"good": {"enabled": False}}
    on: dict[str, dict[str, Any]] = {"history": {}}

    def statuses(plugins: dict[str, dict[str, Any]]) -> dict[str, Status]:
        config = Config(plugins_dir=str(folder), plugins=plugins)
        return {plugin.name: plugin.status for plugin in Plugins.of(config).all}

    bundled = dict.fromkeys(BUNDLED, Status.DISABLED) | dict.fromkeys(ALWAYS_ON, Status.LOADED)
    assert statuses({}) == bundled | {"good": Status.LOADED}
    assert statuses(off) == bundled | {"good": Status.DISABLED}
    assert statuses(on)["history"] is Status.LOADED
    assert statuses({"missing": {}})["missing"] is Status.BROKEN


async def test_a_required_plugin_that_is_broken_keeps_the_server_from_starting(
    server_database_url: str, tmp_path: Path
) -> None:
    config = Config(data_dir=str(tmp_path), plugins_dir="", plugins={"missing": {"required": True}})
    from groundplane.app import open_services

    with pytest.raises(Unavailable, match="Plugin missing is required and broken"):
        async with open_services(config, server_database_url, alone=True):
            pass


def saving(**options: Any) -> Any:
    @hookimpl(**options)
    async def record_saving(event: RecordSaving) -> None: ...

    return record_saving


def order(*modules: ModuleType) -> list[str]:
    return [each.plugin for each in load_plugins(modules, {}).hooks.record_saving.implementations]


def test_the_last_registered_comes_first_unless_plugins_say_otherwise() -> None:
    def one(name: str, **options: Any) -> ModuleType:
        return make_plugin(name, saving(**options))

    assert order(one("a"), one("b"), one("c")) == ["c", "b", "a"]
    assert order(one("a", before=["c"]), one("b"), one("c")) == ["b", "a", "c"]
    assert order(one("a"), one("b"), one("c", after="a")) == ["b", "a", "c"]
    assert order(one("a"), one("b"), one("c", after="*")) == ["b", "a", "c"]
    assert order(one("a", before="*"), one("b"), one("c")) == ["a", "c", "b"]
    assert order(one("a", after="nobody"), one("b")) == ["b", "a"]


def test_plugins_whose_order_has_no_beginning_stay_out() -> None:
    plugins = load_plugins(
        [
            make_plugin("a", saving(before=["b"])),
            make_plugin("b", saving(before=["a"])),
            make_plugin("c", saving()),
        ],
        {},
    )
    assert [plugin.name for plugin in plugins.broken] == ["a", "b"]
    assert "has no beginning" in plugins.broken[0].reason
    assert [each.plugin for each in plugins.hooks.record_saving.implementations] == ["c"]


async def test_of_a_first_hook_the_first_answer_that_is_not_none_counts() -> None:
    asked: list[str] = []

    def answering(name: str, answer: str | None) -> Implementation:
        async def function() -> str | None:
            asked.append(name)
            return answer

        return Implementation(name, "resolve", function, (), Options())

    hook = First("resolve", Surroundings())
    hook.implementations = (answering("a", None), answering("b", "B"), answering("c", "C"))
    assert await hook() == "B"
    assert asked == ["a", "b"]


async def test_the_life_of_a_plugin_has_its_order_and_a_failure_takes_only_that_one_out(
    app_with: AppWith,
) -> None:
    lived: list[str] = []

    def living(name: str) -> ModuleType:
        @hookimpl
        async def startup(config: object, services: Services) -> None:
            lived.append(f"{name} up, {await services.db.fetchval('SELECT 1')}")
            if name == "bad":
                raise RuntimeError("no")

        @hookimpl
        async def ready() -> None:
            lived.append(f"{name} ready")

        @hookimpl
        async def shutdown(services: Services) -> None:
            lived.append(f"{name} down")

        return make_plugin(name, startup, ready, shutdown, saving())

    app = await app_with(living("first"), living("bad"), living("second"))
    await app.settled()
    assert lived == ["first up, 1", "bad up, 1", "second up, 1", "second ready", "first ready"]
    assert [plugin.reason for plugin in app.plugins.broken] == ["RuntimeError: no"]
    assert [each.plugin for each in app.plugins.hooks.record_saving.implementations] == ["second", "first"]
    await app.plugins.stop()
    assert lived[5:] == ["second down", "first down"]


async def test_declared_plain_code_runs_in_a_thread_and_the_loop_goes_on(app_with: AppWith) -> None:
    turns = 0

    @hookimpl(threaded=True)
    def record_saving(event: RecordSaving) -> None:
        until = turns + 3
        limit = time.monotonic() + 5
        while turns < until and time.monotonic() < limit:
            time.sleep(0.001)
        event.record["title"] = "threaded" if turns >= until else "blocked"

    app = await app_with(make_plugin("heavy", record_saving))
    await app.make_collection("notes", [{"name": "title", "type": "text"}])
    request = asyncio.create_task(app.send("POST", "notes", json={}))
    while not request.done():
        turns += 1
        await asyncio.sleep(0)
    assert (await request).json()["title"] == "threaded"


async def test_the_watchdog_names_the_plugin_that_blocks_the_loop(
    app_with: AppWith, caplog: pytest.LogCaptureFixture
) -> None:
    blocking = make_plugin("blocking")
    source = """
import time
from groundplane.hooks import hookimpl

API_VERSION = 1
watchdog = None


@hookimpl
async def record_saving(event):
    limit = time.monotonic() + 10
    while not watchdog.seen and time.monotonic() < limit:
        pass
"""
    exec(compile(source, "blocking.py", "exec"), vars(blocking))
    app = await app_with(blocking)
    blocking.watchdog = app.plugins.watchdog  # type: ignore[attr-defined]
    await app.make_collection("notes", [{"name": "title", "type": "text"}])
    # It holds the loop for longer than its own deadline is allowed to notice; that is another matter.
    await app.send("POST", "notes", json={"title": "a"})
    assert app.plugins.watchdog is not None
    assert app.plugins.watchdog.seen[0].plugin == "blocking"
    assert "Plugin blocking blocks the event loop in blocking.py:" in caplog.text


async def test_a_plugin_has_tables_of_its_own_brought_up_to_date_step_by_step(app_with: AppWith) -> None:
    first = {"0001_words": "CREATE TABLE words (word text PRIMARY KEY)"}
    app = await app_with(make_plugin("lexicon", MIGRATIONS=first))
    await app.services.db.execute("INSERT INTO x_lexicon.words VALUES ('a')")
    second = first | {"0002_count": "ALTER TABLE words ADD count integer NOT NULL DEFAULT 1"}
    app = await app_with(make_plugin("lexicon", MIGRATIONS=second))
    assert await app.services.db.fetchval("SELECT count FROM x_lexicon.words") == 1
    # What was applied may neither vanish nor get something in front of it.
    for steps, reason in ((first, "newer version"), (second | {"0001_a": "SELECT 1"}, "would come before")):
        app = await app_with(make_plugin("lexicon", MIGRATIONS=steps))
        assert reason in app.plugins.broken[0].reason


async def test_a_step_that_fails_leaves_nothing_behind_and_takes_the_plugin_out(app_with: AppWith) -> None:
    steps = {"0001_a": "CREATE TABLE a ()", "0002_b": "CREATE TABLE oops ("}
    app = await app_with(make_plugin("bad", saving(), MIGRATIONS=steps))
    assert "its tables cannot be brought up to date" in app.plugins.broken[0].reason
    assert not app.plugins.hooks.record_saving
    assert await app.services.db.fetchval("SELECT to_regclass('x_bad.a')") is None


def routed(*routes: Any, name: str = "hello") -> ModuleType:
    @hookimpl
    def register_routes() -> Any:
        return list(routes)

    return make_plugin(name, register_routes)


async def greet(request: PluginRequest, services: Services) -> dict[str, Any]:
    return {"hello": request.params["who"], "body": (await request.body()).decode()}


async def test_a_route_answers_below_the_plugins_name_to_those_it_is_for(app_with: AppWith) -> None:
    async def nothing(request: PluginRequest, services: Services) -> None: ...

    async def fail(request: PluginRequest, services: Services) -> None:
        raise RuntimeError("secret")

    async def rubbish(request: PluginRequest, services: Services) -> object:
        return object()

    app = await app_with(
        routed(
            Route("POST", "/greet/{who}", greet, access="everyone"),
            Route("GET", "/mine", nothing, access="accounts"),
            Route("GET", "/", nothing),
            Route("GET", "/fail", fail, access="everyone"),
            Route("GET", "/rubbish", rubbish, access="everyone"),
        )
    )
    answer = await app.ask("POST", "/api/x/hello/greet/a%2Fb", content=b"x")
    assert (answer.status_code, answer.json()) == (200, {"hello": "a/b", "body": "x"})
    user, superuser = await app.as_user(), await app.as_superuser()
    statuses = [
        [(await app.ask("GET", path, user=who)).status_code for who in (GUEST, user, superuser)]
        for path in ("/api/x/hello/mine", "/api/x/hello")
    ]
    assert statuses == [[401, 204, 204], [401, 403, 204]]
    for path in ("/api/x/hello/fail", "/api/x/hello/rubbish"):
        answer = await app.ask("GET", path)
        assert answer.status_code == 500
        assert "secret" not in answer.text
    for path in ("/api/x/hello/nowhere", "/api/x/nobody", "/api/x"):
        assert (await app.ask("GET", path)).status_code == 404


async def test_routes_that_are_none_take_the_plugin_out(app_with: AppWith) -> None:
    def fails() -> Any:
        raise RuntimeError("no")

    fails.__name__ = "register_routes"
    app = await app_with(
        routed("GET /", name="a"),
        routed(Route("get", "/", greet), name="b"),
        make_plugin("c", hookimpl(fails)),
    )
    assert [plugin.name for plugin in app.plugins.broken] == ["a", "b", "c"]
    assert (await app.ask("GET", "/api/health")).status_code == 200


async def test_doctor_tells_of_broken_plugins_and_of_what_plugins_find(app_with: AppWith) -> None:
    from groundplane.doctor import examine_services

    def checking(name: str, *found: HealthCheck) -> ModuleType:
        @hookimpl
        async def health_checks(services: Services) -> list[HealthCheck]:
            if not found:
                raise RuntimeError("no")
            return list(found)

        return make_plugin(name, health_checks)

    app = await app_with(
        checking("well", HealthCheck(True, "the well is full"), HealthCheck(False, "the rope is old")),
        checking("fails"),
        make_plugin("bad", API_VERSION=9),
    )
    findings = {finding.text: finding.sound async for finding in examine_services(app.services)}
    assert findings["plugin well: loaded"]
    assert findings["plugin well: the well is full"]
    assert not findings["plugin well: the rope is old"]
    assert not findings["plugin fails: plugin fails failed in health_checks: RuntimeError: no"]
    assert not findings["plugin bad: broken: it was written for API version 9, and this server has 1"]


def test_signatures_are_those_of_the_specifications() -> None:
    assert signature("record_saving") == "record_saving(event, services)"
