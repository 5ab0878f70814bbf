"""An empty installation to import into, and the real inputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from groundplane.collections.service import Collections
from groundplane.db.engine import Database
from groundplane.files.local import LocalFiles
from groundplane.imports.pocketbase import Target
from groundplane.schema.cache import SchemaCache
from groundplane.settings.service import Settings

DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def data() -> Path:
    """The folder of real inputs beside the repository."""
    return DATA


@pytest.fixture
def pocketbase(data: Path) -> Path:
    return data / "pocketbase-0.39"


@pytest.fixture
async def target(db: Database, tmp_path: Path) -> Target:
    """A fresh installation: the collections that every one has, no records."""
    collections = Collections(db, SchemaCache())
    await collections.load()
    settings = Settings(db)
    await settings.load()
    return Target(db, collections, settings, LocalFiles(tmp_path / "target"))
