"""Switches plugins on and off in the configuration file, with its comments kept."""

from __future__ import annotations

import tomlkit
from tomlkit.exceptions import ParseError
from tomlkit.items import Table

from groundplane.hooks.checks import BadPlugin


def switched(text: str, plugin: str, *, on: bool, needs_section: bool = False) -> str:
    """The text of a configuration file with a plugin switched on or off; raises BadPlugin for a broken file.

    `needs_section` says that it is off unless it has a section, as bundled ones are.
    """
    try:
        document = tomlkit.parse(text)
    except ParseError as error:
        raise BadPlugin(f"the configuration cannot be read: {error}") from error
    plugins = document.get("plugins")
    if plugins is None:
        plugins = tomlkit.table(is_super_table=True)
    section = plugins.get(plugin) if isinstance(plugins, dict) else None
    if section is None:
        if on and not needs_section:
            return text
        section = tomlkit.table()
    if not isinstance(plugins, Table) or not isinstance(section, Table):
        raise BadPlugin(f"[plugins.{plugin}] of the configuration is no table of its own: change it by hand")
    if not on:
        section["enabled"] = False
    elif section.get("enabled") is False:
        del section["enabled"]
    if plugin not in plugins:
        plugins[plugin] = section
    if "plugins" not in document:
        document["plugins"] = plugins
    return tomlkit.dumps(document)
