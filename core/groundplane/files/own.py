"""The store of a plugin, where the configuration names one."""

from __future__ import annotations

from groundplane.errors import Unavailable
from groundplane.files.storage import FileStorage
from groundplane.hooks.implementation import PluginFailed
from groundplane.hooks.manager import Plugins

METHODS = ("put", "stat", "read", "delete", "delete_prefix", "keys", "sizes")


def storage_of(plugins: Plugins, name: str) -> FileStorage:
    """Ask the plugin for its store; raises Unavailable, with which the server does not start."""
    plugin, hook = plugins.get(name), plugins.hooks.register_storage
    surroundings = plugins.hooks.surroundings
    for each in hook.implementations:
        if plugin is None or each.plugin != name:
            continue
        try:
            found = each.ask(surroundings, {"config": plugin.config, "services": surroundings.services})
        except PluginFailed as error:
            raise Unavailable(f"The store of the plugin {name} cannot be had: {error.reason}") from error
        if missing := [method for method in METHODS if not callable(getattr(found, method, None))]:
            raise Unavailable(f"The store of the plugin {name} has no {', '.join(missing)}.")
        storage: FileStorage = found
        return storage
    raise Unavailable(f"files.store names the plugin {name}, which is off, broken, or brings no store.")
