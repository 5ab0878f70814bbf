"""Plugins hear of sessions, and may end them."""

from __future__ import annotations

from typing import Any

from groundplane.hooks import hookimpl
from groundplane.hooks.events_sessions import SessionCreated, SessionRevoked
from groundplane.services import Services
from groundplane.testing.plugins import PASSWORD, AppWith, User, make_plugin

SESSIONS = "/api/collections/users/sessions"
AT_MOST = 2


async def test_a_plugin_keeps_an_account_to_some_devices_and_hears_of_each_end(app_with: AppWith) -> None:
    heard: list[Any] = []

    @hookimpl
    async def session_created(event: SessionCreated, services: Services) -> None:
        session = event.session
        heard.append(("created", session.method, session.ip, event.record["email"]))
        sessions, _ = await services.sessions.page(
            session.collection, event.record, limit=100, offset=0, with_total=False
        )
        for each in sorted(sessions, key=lambda each: each.created, reverse=True)[AT_MOST:]:
            await services.sessions.end(session.collection, session.record_id, each.id)

    @hookimpl
    async def session_revoked(event: SessionRevoked) -> None:
        heard.append(("revoked", event.session is None, event.info is None))

    app = await app_with(make_plugin("device_limit", session_created, session_revoked))
    await app.as_user()
    form = {"identity": "user@example.com", "password": PASSWORD}
    devices = []
    for _ in range(AT_MOST + 1):
        answer = await app.ask("POST", "/api/collections/users/auth-with-password", json=form)
        devices.append(User(answer.json()["record"]["id"], answer.json()["token"]))
        await app.settled()
    refresh = "/api/collections/users/auth-refresh"
    statuses = [(await app.ask("POST", refresh, user=device)).status_code for device in devices]
    assert statuses == [401, 200, 200]
    assert (await app.ask("POST", f"{SESSIONS}/revoke-all", user=devices[-1])).status_code == 204
    await app.settled()
    created = ("created", "password", "127.0.0.1", "user@example.com")
    assert heard == [created, created, created, ("revoked", False, True), ("revoked", True, False)]
