"""Loads the fixtures for tests of plugins."""

from __future__ import annotations

import pytest

from groundplane.testing import plugins

app_with = plugins.app_with


@pytest.fixture(autouse=True)
def no_project_plugins(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """The folder that the tests run in may have plugins of its own."""
    monkeypatch.chdir(str(tmp_path))
