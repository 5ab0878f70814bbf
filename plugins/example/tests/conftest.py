"""Loads the fixtures of Groundplane: `app_with` runs a server with plugins on a throw-away database."""

pytest_plugins = ["groundplane.testing.plugins"]
