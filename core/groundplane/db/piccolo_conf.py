"""Tells Piccolo which database its migrations and tables work on: the one that is being migrated."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from piccolo.engine.postgres import PostgresEngine

ENGINE: ContextVar[PostgresEngine | None] = ContextVar("engine", default=None)
# The modules that tell of a plugin's tables, while its migrations run.
APPS: ContextVar[tuple[str, ...]] = ContextVar("apps", default=())


def __getattr__(name: str) -> Any:
    # Piccolo asks for the module attribute `DB` each time; there may be several databases in one process.
    if name == "DB":
        return ENGINE.get()
    if name == "APP_REGISTRY":
        from piccolo.conf.apps import (
            AppRegistry,  # brings a code formatter along; nothing of ours asks for it
        )

        return AppRegistry(apps=list(APPS.get()))
    raise AttributeError(name)
