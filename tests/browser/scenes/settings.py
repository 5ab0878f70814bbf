"""Settings, section by section."""

from __future__ import annotations

from tests.browser.screenshots import Scene

SCENES = [
    Scene("settings-mail", "/_/settings/mail"),
    Scene("settings-rate-limits", "/_/settings/rate-limits"),
    Scene("settings-storage", "/_/settings/storage"),
    Scene("settings-server", "/_/settings/server"),
]
