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


@pytest.fixture
def data(real_inputs: Path) -> Path:
    return real_inputs


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
