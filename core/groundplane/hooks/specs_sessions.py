"""The hooks about sessions, a part of the contract with plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundplane.hooks import hookspec

if TYPE_CHECKING:
    from groundplane.hooks.events_sessions import SessionCreated, SessionRevoked
    from groundplane.services import Services


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
