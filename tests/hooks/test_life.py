"""The life of a plugin: configuration for single collections, its tables, switching it on and off, removal."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import msgspec
import pytest

from groundplane.db.engine import Database
from groundplane.doctor import examine_services
from groundplane.hooks import hookimpl
from groundplane.hooks.checks import BadPlugin
from groundplane.hooks.events import HealthCheck
from groundplane.hooks.loading import Status
from groundplane.hooks.removal import belongings, drop
from groundplane.hooks.switching import switched
from groundplane.testing.plugins import GUEST, AppWith, load_plugins, make_plugin


class Each(msgspec.Struct, frozen=True, kw_only=True):
    days: int = 7


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    word: str = "hello"


def configured(section: dict[str, Any], **attributes: Any) -> Any:
    return load_plugins([make_plugin("keeper", **attributes)], {"keeper": section}).all[0]


def test_single_collections_have_a_configuration_of_their_own() -> None:
    section = {"word": "dear", "collections": {"posts": {"days": 3}, "notes": {}}}
    plugin = configured(section, Config=Whole, CollectionConfig=Each)
    assert (plugin.config, plugin.collections) == (
        Whole(word="dear"),
        {"posts": Each(days=3), "notes": Each()},
    )
    assert configured({"collections": {"posts": {}}}, CollectionConfig=Each).collections == {"posts": Each()}


@pytest.mark.parametrize(
    ("section", "reason"),
    [
        ({"collections": {"posts": {"dais": 3}}}, "it has no setting dais: known are days"),
        (
            {"collections": {"posts": {"days": "many"}}},
            "its configuration for posts is wrong: Expected `int`",
        ),
        ({"collections": ["posts"]}, "its collections must be tables"),
    ],
)
def test_a_wrong_configuration_of_a_collection_is_told(section: dict[str, Any], reason: str) -> None:
    plugin = configured(section, CollectionConfig=Each)
    assert plugin.status is Status.BROKEN
    assert reason in plugin.reason


async def test_startup_gets_it_and_doctor_misses_a_collection_that_is_not_there(app_with: AppWith) -> None:
    got: list[Any] = []

    @hookimpl
    async def startup(collections: Any) -> None:
        got.append(collections)

    plugin = make_plugin("keeper", startup, CollectionConfig=Each)
    app = await app_with(plugin, config={"keeper": {"collections": {"posts": {"days": 1}}}})
    assert got == [{"posts": Each(days=1)}]
    findings = [finding.text async for finding in examine_services(app.services) if not finding.sound]
    assert "plugin keeper: it is configured for posts, which is no collection" in findings
    await app.make_collection("posts")
    findings = [finding.text async for finding in examine_services(app.services) if not finding.sound]
    assert not any("keeper" in each for each in findings)


async def test_superusers_see_at_the_health_address_what_plugins_find(app_with: AppWith) -> None:
    @hookimpl
    async def health_checks() -> list[HealthCheck]:
        return [HealthCheck(True, "full")]

    app = await app_with(make_plugin("well", health_checks))
    answer = (await app.ask("GET", "/api/health", user=await app.as_superuser())).json()
    assert answer["data"]["plugins"] == [{"plugin": "well", "sound": True, "text": "full"}]
    assert (await app.ask("GET", "/api/health", user=GUEST)).json()["data"] == {}


# Piccolo migrations

TABLES = """
from piccolo.columns import Integer, Varchar
from piccolo.table import Table


class Greeting(Table, tablename="greetings", schema="x_{name}"):
    collection = Varchar(primary_key=True)
    count = Integer()
"""
APP = """
from pathlib import Path

from piccolo.conf.apps import AppConfig

from {name}.tables import Greeting

APP_CONFIG = AppConfig(
    app_name="{name}",
    migrations_folder_path=str(Path(__file__).parent / "piccolo_migrations"),
    table_classes=[Greeting],
)
"""
FIRST = """
from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import Integer, Varchar

ID, VERSION, DESCRIPTION = "2030-01-01T00:00:00:000001", "1.38.0", ""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="{name}", description=DESCRIPTION)
    manager.add_table("Greeting", tablename="greetings", schema="x_{name}")
    for column, kind, params in (
        ("collection", Varchar, {{"primary_key": True, "null": False, "length": 255}}),
        ("odd", Integer, {{"null": True, "default": None}}),
    ):
        manager.add_column(
            table_class_name="Greeting", tablename="greetings", schema="x_{name}",
            column_name=column, db_column_name=column, column_class_name=kind.__name__,
            column_class=kind, params=params,
        )
    return manager
"""
SECOND = """
from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import Integer

ID, VERSION, DESCRIPTION = "2030-01-01T00:00:00:000002", "1.38.0", ""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="{name}", description=DESCRIPTION)
    manager.add_column(
        table_class_name="Greeting", tablename="greetings", schema="x_{name}",
        column_name="count", db_column_name="count", column_class_name="Integer",
        column_class=Integer, params={{"default": 0, "null": False}},
    )
    manager.drop_column(
        table_class_name="Greeting", tablename="greetings", schema="x_{name}",
        column_name="odd", db_column_name="odd",
    )
    return manager
"""


def package(folder: Path, name: str, **files: str) -> Any:
    """Write and import a plugin that is a package."""
    root = folder / name
    (root / "piccolo_migrations").mkdir(parents=True, exist_ok=True)
    (root / "__init__.py").write_text("API_VERSION = 1\n", encoding="utf-8")
    (root / "piccolo_migrations" / "__init__.py").write_text("", encoding="utf-8")
    for path, text in files.items():
        (root / f"{path.replace('__', '/')}.py").write_text(text.format(name=name), encoding="utf-8")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    for known in [each for each in sys.modules if each == name or each.startswith(f"{name}.")]:
        del sys.modules[known]
    import importlib

    importlib.invalidate_caches()
    return importlib.import_module(name)


@pytest.fixture
def packages(tmp_path: Path) -> Any:
    folder = tmp_path / "site"
    folder.mkdir()
    yield folder
    sys.path[:] = [each for each in sys.path if each != str(folder)]
    for known in [
        each for each in sys.modules if each.split(".")[0] in {path.name for path in folder.iterdir()}
    ]:
        del sys.modules[known]


async def test_piccolo_migrations_make_and_change_tables_in_the_plugins_schema(
    app_with: AppWith, packages: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"tables": TABLES, "piccolo_app": APP, "piccolo_migrations__m0001_greetings": FIRST}
    app = await app_with(package(packages, "lexicon", **files))
    assert app.plugins.broken == []
    await app.services.db.execute("INSERT INTO x_lexicon.greetings (collection) VALUES ('posts')")
    files |= {"piccolo_migrations__m0002_count": SECOND}
    module = package(packages, "lexicon", **files)
    app = await app_with(module)
    assert app.plugins.broken == []
    columns = await app.services.db.fetch(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = 'x_lexicon' ORDER BY 1"
    )
    assert [row[0] for row in columns] == ["collection", "count"]
    # The plugin's tables know their database, and join the open transaction.
    from lexicon.tables import Greeting  # type: ignore[import-not-found]

    async with app.services.db.transaction():
        await Greeting.update({Greeting.count: 5}).where(Greeting.collection == "posts")
        assert await app.services.db.fetchval("SELECT count FROM x_lexicon.greetings") == 5
    assert await Greeting.select(Greeting.count) == [{"count": 5}]
    assert "forwards" not in capsys.readouterr().out


async def test_a_piccolo_migration_that_fails_leaves_nothing_behind(
    app_with: AppWith, packages: Path
) -> None:
    broken = FIRST.replace("return manager", 'raise RuntimeError("no")')
    files = {"piccolo_migrations__m0001_greetings": FIRST, "piccolo_migrations__m0002_bad": broken}
    app = await app_with(package(packages, "failing", **files))
    assert "its tables cannot be brought up to date: no" in app.plugins.broken[0].reason
    assert await app.services.db.fetchval("SELECT to_regclass('x_failing.greetings')") is None


def test_two_ways_of_making_tables_are_one_too_many(packages: Path) -> None:
    module = package(packages, "doubtful", piccolo_migrations__m0001_greetings=FIRST)
    module.MIGRATIONS = {"0001": "SELECT 1"}
    plugin = load_plugins([module], {}).all[0]
    assert "it has MIGRATIONS and piccolo_migrations" in plugin.reason


# Switching

FILE = """\
# Our site.
[server]
port = 8091  # behind the proxy

[plugins.hello]  # greets
word = "dear"
"""


def test_a_plugin_is_switched_off_and_on_with_all_comments_kept() -> None:
    off = switched(FILE, "hello", on=False)
    assert off == FILE + "enabled = false\n"
    assert switched(off, "hello", on=True) == FILE
    assert switched(FILE, "hello", on=True) == FILE


def test_a_bundled_plugin_gets_its_section_and_an_unknown_one_is_switched_off_by_one() -> None:
    assert switched("", "history", on=True, needs_section=True) == "[plugins.history]\n"
    assert switched(FILE, "history", on=True, needs_section=True) == FILE + "\n[plugins.history]\n"
    assert switched("", "good", on=True) == ""
    assert "enabled = false" in switched(FILE, "good", on=False)


@pytest.mark.parametrize(
    "text", ["[plugins", "plugins = 3\n", "[plugins]\nhello = true\n", "plugins = {hello = {}}\n"]
)
def test_a_file_that_cannot_be_changed_safely_is_left_alone(text: str) -> None:
    with pytest.raises(BadPlugin):
        switched(text, "hello", on=False)


# Removal


async def test_dropping_writes_what_there_is_and_takes_everything_away(
    app_with: AppWith, tmp_path: Path
) -> None:
    steps = {"0001_words": "CREATE TABLE words (word text PRIMARY KEY, size integer)"}
    app = await app_with(make_plugin("lexicon", MIGRATIONS=steps))
    db = app.services.db
    await db.execute("INSERT INTO x_lexicon.words VALUES (E'a\\nb', 1), ('ü', NULL)")
    has = await belongings(db, "lexicon")
    assert (has.tables, has.steps) == ({"words": 2}, ("0001_words",))
    file = tmp_path / "lexicon.ndjson"
    assert await drop(db, "lexicon", file) == 2
    head, *rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert (head["plugin"], head["steps"]) == ("lexicon", ["0001_words"])
    assert rows == [
        {"table": "words", "row": {"word": "a\nb", "size": 1}},
        {"table": "words", "row": {"word": "ü", "size": None}},
    ]
    assert file.stat().st_mode & 0o777 == 0o600
    assert not await belongings(db, "lexicon")
    assert await db.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname = 'x_lexicon'") == 0


async def test_dropping_leaves_everything_when_others_depend_on_it_or_the_file_is_there(
    app_with: AppWith, tmp_path: Path
) -> None:
    steps = {"0001_words": "CREATE TABLE words (word text PRIMARY KEY)"}
    app = await app_with(make_plugin("lexicon", MIGRATIONS=steps))
    db: Database = app.services.db
    file = tmp_path / "there.ndjson"
    file.write_text("mine", encoding="utf-8")
    with pytest.raises(BadPlugin, match="is there already"):
        await drop(db, "lexicon", file)
    assert file.read_text(encoding="utf-8") == "mine"
    await db.execute("CREATE VIEW public.seen AS SELECT * FROM x_lexicon.words")
    with pytest.raises(BadPlugin, match="something else depends"):
        await drop(db, "lexicon")
    assert await db.fetchval("SELECT count(*) FROM x_lexicon.words") == 0
    assert await db.fetchval("SELECT count(*) FROM public.seen") == 0


PLUGIN = """
    import click

    from groundplane.cli import installation, options, run
    from groundplane.hooks import hookimpl

    API_VERSION = 1
    MIGRATIONS = {"0001_words": "CREATE TABLE words (word text); INSERT INTO words VALUES ('a')"}


    @click.command()
    @options
    def count(config, config_file):
        async def work():
            async with installation(config) as services:
                return await services.db.fetchval("SELECT count(*) FROM x_lexicon.words")

        click.echo(f"{run(work())} words")


    @hookimpl
    def register_commands():
        return [count]
"""


def command(folder: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "groundplane", *arguments],
        check=False, cwd=folder, capture_output=True, text=True, timeout=120,
        env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def site(server_database_url: str, tmp_path: Path) -> Path:
    """A folder with a configuration of another name than usual, and a plugin in a folder of another name."""
    folder = tmp_path / "site"
    (folder / "mine").mkdir(parents=True)
    (folder / "mine" / "lexicon.py").write_text(textwrap.dedent(PLUGIN), encoding="utf-8")
    (folder / "site.toml").write_text(
        f'plugins_dir = "{folder / "mine"}"  # ours\n[database]\nurl = "{server_database_url}"\n'
        '[log]\nlevel = "error"\n',
        encoding="utf-8",
    )
    return folder


def test_the_commands_of_a_plugin_are_found_by_the_file_that_is_named(site: Path) -> None:
    here = ["--config", "site.toml"]
    for arguments in (["x", "lexicon", "count", *here], ["x", *here, "lexicon", "count"]):
        assert command(site, *arguments) == (0, "1 words\n")
    code, said = command(site, "x", "lexicon", "count")
    assert code == 2
    assert "No such command" in said


def test_uninstalling_shows_what_there_is_and_does_nothing_without_a_choice(site: Path) -> None:
    here = ["--config", "site.toml"]
    command(site, "x", "lexicon", "count", *here)
    before = (site / "site.toml").read_text(encoding="utf-8")
    for arguments, sentence in (
        ([], "Say what becomes of this: --keep-data, --export FILE or --drop-data."),
        (["--drop-data"], "Say --yes, or run this on a terminal."),
        (["--drop-data", "--keep-data", "--yes"], "Say one of"),
    ):
        code, said = command(site, "plugin", "uninstall", "lexicon", *arguments, *here, COLUMNS="200")
        assert code == 2
        assert sentence in said
    assert (site / "site.toml").read_text(encoding="utf-8") == before
    assert command(site, "x", "lexicon", "count", *here) == (0, "1 words\n")
    code, said = command(site, "plugin", "uninstall", "nobody", "--drop-data", "--yes", *here)
    assert (code, "There is no plugin nobody" in said) == (1, True)


def test_uninstalling_with_an_export_drops_the_tables_and_switches_the_plugin_off(site: Path) -> None:
    here = ["--config", "site.toml"]
    command(site, "x", "lexicon", "count", *here)
    code, said = command(site, "plugin", "uninstall", "lexicon", "--export", "out.ndjson", "--yes", *here)
    assert code == 0, said
    assert "table x_lexicon.words: 1 rows" in said
    assert "1 rows were written to out.ndjson." in said
    assert '"row":{"word":"a"}' in (site / "out.ndjson").read_text(encoding="utf-8")
    assert "[plugins.lexicon]\nenabled = false" in (site / "site.toml").read_text(encoding="utf-8")
    assert "# ours" in (site / "site.toml").read_text(encoding="utf-8")
    code, said = command(site, "plugin", "list", *here)
    assert re.search(r"lexicon +disabled", said)
    assert command(site, "plugin", "enable", "lexicon", *here)[0] == 0
    assert re.search(r"lexicon +loaded", command(site, "plugin", "list", *here)[1])
    assert command(site, "plugin", "disable", "lexicon", *here)[0] == 0
    assert re.search(r"lexicon +disabled", command(site, "plugin", "list", *here)[1])
    assert command(site, "plugin", "enable", "nobody", *here)[0] == 1
