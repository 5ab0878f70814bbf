"""Plugins."""

from __future__ import annotations

from tests.browser.screenshots import Scene

SCENES = [Scene("plugins", "/_/plugins"), Scene("plugin", "/_/plugins/history")]
