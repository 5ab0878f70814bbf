"""Tells Piccolo and the server of the plugin's tables."""

from __future__ import annotations

from pathlib import Path

from piccolo.conf.apps import AppConfig

from groundplane_hello.tables import Greeting

APP_CONFIG = AppConfig(
    app_name="hello",
    migrations_folder_path=str(Path(__file__).parent / "piccolo_migrations"),
    table_classes=[Greeting],
)
