"""Callers that a plugin knows by its own means: for which requests it is asked, and what it may not say."""

from __future__ import annotations

import asyncio
import hmac
from typing import Any

import pytest

from groundplane.errors import Unauthorized
from groundplane.hooks import hookimpl
from groundplane.hooks.events import Actor, ActorRequest
from groundplane.services import Services
from groundplane.testing.plugins import AppWith, PluginApp, make_plugin

KEY = "k-0123456789"
HEADERS = {"X-Api-Key": KEY}
MINE = {"listRule": "owner = @request.auth.id", "viewRule": "owner = @request.auth.id"}
FIELDS = [{"name": "owner", "type": "text"}]


def keys(answer: Any = None, **options: Any) -> Any:
    """A plugin that takes a key in a header for the first of the users, or answers something else."""

    @hookimpl(headers=["X-Api-Key"], **options)
    async def resolve_actor(event: ActorRequest, services: Services) -> Actor | None:
        if callable(answer):
            return await answer()
        if answer is not None:
            return answer
        if not hmac.compare_digest(event.headers["x-api-key"], KEY):
            raise Unauthorized("The key is wrong.")
        return Actor("users", await services.db.fetchval("SELECT id FROM users LIMIT 1"))

    return make_plugin("keys", resolve_actor)


async def prepared(app: PluginApp) -> Any:
    """A user with a record of their own; returns the user."""
    user = await app.as_user()
    await app.make_collection("notes", FIELDS, **MINE)
    await app.make_record("notes", owner=user.id)
    await app.make_record("notes", owner="somebody")
    return user


async def listed(app: PluginApp, **more: Any) -> Any:
    return await app.server.client.get("/api/collections/notes/records", **more)


async def test_a_key_makes_a_request_that_of_its_owner(app_with: AppWith) -> None:
    app = await app_with(keys())
    user = await prepared(app)
    for _ in range(5):  # also after the statement was learnt
        answer = await listed(app, headers=HEADERS)
        assert [item["owner"] for item in answer.json()["items"]] == [user.id]
        assert (await listed(app)).json()["totalItems"] == 0
    wrong = await listed(app, headers={"X-Api-Key": "k-1"})
    assert (wrong.status_code, wrong.json()["message"]) == (401, "The key is wrong.")


async def test_the_caller_may_do_in_a_batch_and_a_file_token_what_a_token_lets_do(app_with: AppWith) -> None:
    app = await app_with(keys())
    user = await prepared(app)
    answer = await app.server.client.post("/api/files/token", headers=HEADERS)
    assert answer.status_code == 200
    assert answer.json()["token"]
    # It cannot be made a token that outlives the key.
    refreshed = await app.server.client.post("/api/collections/users/auth-refresh", headers=HEADERS)
    assert (refreshed.status_code, refreshed.json()["token"]) == (200, "")
    assert refreshed.json()["record"]["id"] == user.id


async def test_a_valid_token_is_believed_before_any_plugin(app_with: AppWith) -> None:
    app = await app_with(keys(answer=Unauthorized))
    user = await prepared(app)
    answer = await listed(app, headers={**HEADERS, "Authorization": user.token})
    assert answer.json()["totalItems"] == 1


async def test_requests_without_the_header_do_not_wait_for_the_plugin(app_with: AppWith) -> None:
    app = await app_with(keys())
    await prepared(app)
    app.calls.clear()
    for _ in range(5):
        await listed(app)
    await app.assert_called()
    await listed(app, headers=HEADERS)
    await app.assert_called("resolve_actor")


async def test_a_superuser_is_believed_only_if_the_configuration_says_so(
    app_with: AppWith, caplog: pytest.LogCaptureFixture
) -> None:
    async def somebody_above() -> Actor:
        return Actor("_superusers", ids[0])

    ids: list[str] = []
    for config, status in (({}, 500), ({"keys": {"superusers": True}}, 200)):
        app = await app_with(keys(somebody_above), config=config)
        await app.as_superuser()
        ids[:] = [await app.services.db.fetchval("SELECT id FROM _superusers LIMIT 1")]
        answer = await app.server.client.get("/api/settings", headers=HEADERS)
        assert answer.status_code == status
    assert "Plugin keys failed in resolve_actor: it named a superuser" in caplog.text


async def hangs() -> None:
    await asyncio.sleep(60)


async def leaks() -> Any:
    return hangs()


async def fails() -> None:
    raise RuntimeError("no")


@pytest.mark.parametrize(
    "answer",
    ["rubbish", Actor("nowhere", "x"), Actor("notes", "x"), Actor("users", 5), hangs, leaks, fails],  # type: ignore[arg-type]
)
async def test_a_plugin_that_answers_nonsense_lets_nobody_in_and_is_named(
    app_with: AppWith, answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app = await app_with(keys(answer, deadline_s=0.05))
    await app.make_collection("notes", FIELDS, listRule="@request.auth.id != ''")
    refused = await listed(app, headers=HEADERS)
    assert refused.status_code == 500
    assert "Plugin keys failed in resolve_actor" in caplog.text
    assert (await listed(app)).json()["totalItems"] == 0


async def test_an_account_that_is_gone_is_a_guest(app_with: AppWith) -> None:
    app = await app_with(keys(Actor("users", "no_such_record")))
    await prepared(app)
    assert (await listed(app, headers=HEADERS)).json()["totalItems"] == 0
