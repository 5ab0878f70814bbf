"""Makes a new plugin: a package that can be installed, with tests that pass at once."""

from __future__ import annotations

from pathlib import Path

from groundplane.hooks import API_VERSION
from groundplane.hooks.checks import BadPlugin
from groundplane.hooks.loading import NAME

PROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "groundplane-{dashed}"
version = "0.1.0"
description = "A plugin for Groundplane."
requires-python = ">=3.11"
dependencies = ["groundplane"]

[project.entry-points.groundplane]
{name} = "groundplane_{name}"

[dependency-groups]
dev = ["httpx", "pytest", "pytest-asyncio"]

[tool.hatch.build.targets.wheel]
packages = ["src/groundplane_{name}"]

[tool.pytest.ini_options]
pythonpath = ["src"]
testpaths = ["tests"]
asyncio_mode = "auto"
asyncio_default_fixture_loop_scope = "function"
filterwarnings = ["error"]
"""

MODULE = '''\
"""Writes a word in front of the titles of the chosen collections, and counts how often."""

from __future__ import annotations

import msgspec

from groundplane.hooks import hookimpl
from groundplane.hooks.events import RecordSaving
from groundplane.services import Services

API_VERSION = {version}


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What `[plugins.{name}]` may say; `collections` are names."""

    word: str = "hello"
    collections: tuple[str, ...] = ()


_config = Config()


@hookimpl
async def startup(config: Config) -> None:
    global _config
    _config = config


@hookimpl
async def record_saving(event: RecordSaving, services: Services) -> None:
    name = event.collection.name
    if name not in _config.collections or event.before is not None:
        return
    event.record["title"] = f"{{_config.word}} {{event.record['title']}}"
    # In the transaction of the record: it is counted when it is there, and only then.
    await services.db.execute(
        "INSERT INTO x_{name}.greetings (collection, count) VALUES ($1, 1) "
        "ON CONFLICT (collection) DO UPDATE SET count = greetings.count + 1",
        name,
    )
'''

TABLES = '''\
"""The plugin's own tables; `piccolo migrations new {name} --auto` writes what changes them."""

from __future__ import annotations

from piccolo.columns import Integer, Text
from piccolo.table import Table


class Greeting(Table, tablename="greetings", schema="x_{name}"):
    """How many records of a collection were greeted."""

    collection = Text(primary_key=True)
    count = Integer()
'''

APP = '''\
"""Tells Piccolo and the server of the plugin's tables."""

from __future__ import annotations

from pathlib import Path

from piccolo.conf.apps import AppConfig

from groundplane_{name}.tables import Greeting

APP_CONFIG = AppConfig(
    app_name="{name}",
    migrations_folder_path=str(Path(__file__).parent / "piccolo_migrations"),
    table_classes=[Greeting],
)
'''

MIGRATION = '''\
"""The counted greetings."""

from __future__ import annotations

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import Integer, Text

ID = "2026-01-01T00:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = __doc__
TABLE = {{"tablename": "greetings", "schema": "x_{name}"}}


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="{name}", description=DESCRIPTION)
    manager.add_table("Greeting", **TABLE)
    for column, kind, params in (
        ("collection", Text, {{"primary_key": True}}),
        ("count", Integer, {{"default": 0}}),
    ):
        manager.add_column(
            "Greeting",
            column_name=column,
            db_column_name=column,
            column_class=kind,
            column_class_name=kind.__name__,
            params={{"null": False, **params}},
            **TABLE,
        )
    return manager
'''

CONF = '''\
"""For the command `piccolo`, which writes migrations here; the server runs them and does not read this file."""

from piccolo.conf.apps import AppRegistry
from piccolo.engine.postgres import PostgresEngine

DB = PostgresEngine(config={{}})
APP_REGISTRY = AppRegistry(apps=["groundplane_{name}.piccolo_app"])
'''

CONFTEST = '''\
"""Loads the fixtures of Groundplane: `app_with` runs a server with plugins on a throw-away database."""

pytest_plugins = ["groundplane.testing.plugins"]
'''

TESTS = '''\
"""What the plugin does in a running server."""

from __future__ import annotations

import groundplane_{name}
from groundplane_{name}.tables import Greeting

from groundplane.testing.plugins import AppWith


async def test_the_word_stands_in_front_of_new_titles(app_with: AppWith) -> None:
    config = {{"{name}": {{"word": "dear", "collections": ["notes"]}}}}
    app = await app_with(groundplane_{name}, config=config)
    await app.make_collection("notes", [{{"name": "title", "type": "text"}}])
    record = await app.make_record("notes", title="reader")
    assert record["title"] == "dear reader"
    await app.assert_called("record_saving")
    assert await Greeting.select() == [{{"collection": "notes", "count": 1}}]


async def test_other_collections_stay_as_they_are(app_with: AppWith) -> None:
    app = await app_with(groundplane_{name})
    await app.make_collection("notes", [{{"name": "title", "type": "text"}}])
    assert (await app.make_record("notes", title="reader"))["title"] == "reader"
'''

README = """\
# groundplane-{dashed}

A plugin for Groundplane. Install it beside the server, and configure it in `groundplane.toml`:

```toml
[plugins.{name}]
collections = ["notes"]
```

`pytest` runs its tests. After a change of `tables.py`, `piccolo migrations new {name} --auto` writes the next
migration, and the server runs it when it starts.
"""


def files_of(name: str) -> dict[str, str]:
    """The files of a new plugin by their path in its folder; raises BadPlugin for an impossible name."""
    if not NAME.fullmatch(name):
        raise BadPlugin(f"{name} is no name for a plugin: small letters, digits and _, at most 40")
    words = {"name": name, "dashed": name.replace("_", "-"), "version": API_VERSION}
    return {
        "README.md": README.format(**words),
        "piccolo_conf.py": CONF.format(**words),
        "pyproject.toml": PROJECT.format(**words),
        f"src/groundplane_{name}/__init__.py": MODULE.format(**words),
        f"src/groundplane_{name}/piccolo_app.py": APP.format(**words),
        f"src/groundplane_{name}/piccolo_migrations/__init__.py": "",
        f"src/groundplane_{name}/piccolo_migrations/{name}_2026_01_01t00_00_00_000000.py": MIGRATION.format(
            **words
        ),
        f"src/groundplane_{name}/py.typed": "",
        f"src/groundplane_{name}/tables.py": TABLES.format(**words),
        "tests/conftest.py": CONFTEST,
        f"tests/test_{name}.py": TESTS.format(**words),
    }


def make(name: str, folder: Path) -> Path:
    """Write a new plugin into `folder`; returns its own folder. Raises BadPlugin, also when that exists."""
    files = files_of(name)
    root = folder / f"groundplane-{name.replace('_', '-')}"
    if root.exists():
        raise BadPlugin(f"{root} is there already")
    for path, text in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return root
