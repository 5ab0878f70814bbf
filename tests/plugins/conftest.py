"""Loads the fixtures for tests of plugins."""

from __future__ import annotations

from groundplane.testing import clock as clocks
from groundplane.testing import plugins

app_with = plugins.app_with
clock = clocks.clock
