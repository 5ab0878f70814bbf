"""The hooks about ways to sign in and about sessions, a part of the contract with plugins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from groundplane.hooks import hookspec

if TYPE_CHECKING:
    from groundplane.hooks.auth_methods import AuthMethod
    from groundplane.hooks.events_sessions import SessionCreated, SessionRevoked
    from groundplane.services import Services


@hookspec("collect")
def register_auth_methods(config: object, services: Services) -> Sequence[AuthMethod]:
    """Ways to sign in, as `groundplane.hooks.auth_methods` describes them.

    What follows a proof is the server's: the auth rule, the second factor, the session. Asked in every process
    once all plugins are started. A plugin that raises, or returns something else, or a name that is taken, is
    broken and stays out.

    `config`   the plugin's configuration, as in `startup`

    Called by: groundplane/hooks/manager.py
    """
    raise NotImplementedError


@hookspec("notify")
async def session_created(event: SessionCreated, services: Services) -> None:
    """Somebody has signed in and got the first token of a session; a refresh continues it and is not told.

    End it, or another one, with `services.sessions.end`.
    Called by: groundplane/auth/sessions.py
    """


@hookspec("notify")
async def session_revoked(event: SessionRevoked, services: Services) -> None:
    """A session was ended before its time by its owner, a superuser or a plugin, or all sessions of a record were.

    Sessions that end with a new password or address, or with the record, are told by `record_saved` and
    `record_deleted`.
    Called by: groundplane/auth/sessions.py
    """
