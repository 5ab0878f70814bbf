"""The counted greetings."""

from __future__ import annotations

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import Integer, Text

ID = "2026-01-01T00:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = __doc__
TABLE = {"tablename": "greetings", "schema": "x_hello"}


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="hello", description=DESCRIPTION)
    manager.add_table("Greeting", **TABLE)
    for column, kind, params in (
        ("collection", Text, {"primary_key": True}),
        ("count", Integer, {"default": 0}),
    ):
        manager.add_column(
            "Greeting",
            column_name=column,
            db_column_name=column,
            column_class=kind,
            column_class_name=kind.__name__,
            params={"null": False, **params},
            **TABLE,
        )
    return manager
