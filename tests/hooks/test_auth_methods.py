"""Plugins add ways to sign in, and the server does the rest."""

from __future__ import annotations

from typing import Any

import pytest

from groundplane.hooks import hookimpl
from groundplane.hooks.auth_methods import AuthMethod, AuthProof
from groundplane.services import Services
from groundplane.testing.plugins import PASSWORD, AppWith, make_plugin

PATH = "/api/collections/users/auth-with/badge"
METHODS = "/api/collections/users/auth-methods"


async def by_badge(proof: AuthProof, services: Services) -> str | None:
    if proof.values.get("badge") != "4711":
        return None
    record = await services.records.find_one(proof.collection, 'r."email" = $1', "user@example.com")
    return record["id"] if record is not None else None


@hookimpl
def register_auth_methods() -> Any:
    return [AuthMethod(name="badge", prove=by_badge)]


async def test_a_badge_signs_in_and_a_wrong_one_does_not(app_with: AppWith) -> None:
    app = await app_with(make_plugin("badges", register_auth_methods))
    user = await app.as_user()
    assert (await app.ask("GET", METHODS)).json()["badge"] == {"enabled": True}
    answer = await app.ask("POST", PATH, json={"badge": "4711"})
    assert (answer.status_code, answer.json()["record"]["id"]) == (200, user.id)
    wrong = await app.ask("POST", PATH, json={"badge": "4712"})
    assert (wrong.status_code, wrong.json()["message"]) == (400, "Failed to authenticate.")
    # Superusers do not sign in by what a plugin says, unless it says so, and unknown methods are not there.
    for path in (PATH.replace("users", "_superusers"), PATH.replace("badge", "wallet")):
        assert (await app.ask("POST", path, json={"badge": "4711"})).status_code == 404


async def test_the_auth_rule_and_the_second_factor_hold_for_it(app_with: AppWith) -> None:
    app = await app_with(make_plugin("badges", register_auth_methods))
    await app.as_user()
    await app.services.collections.update("users", {"mfa": {"enabled": True}, "otp": {"enabled": True}})
    first = await app.ask("POST", PATH, json={"badge": "4711"})
    assert (first.status_code, set(first.json())) == (401, {"mfaId"})
    same = await app.ask("POST", PATH, json={"badge": "4711", "mfaId": first.json()["mfaId"]})
    assert same.status_code == 400
    form = {"identity": "user@example.com", "password": PASSWORD, "mfaId": first.json()["mfaId"]}
    assert (await app.ask("POST", "/api/collections/users/auth-with-password", json=form)).status_code == 200
    await app.services.collections.update("users", {"authRule": "verified = true"})
    assert (await app.ask("POST", PATH, json={"badge": "4711"})).status_code == 403


async def test_its_attempts_are_limited_like_others(app_with: AppWith) -> None:
    app = await app_with(make_plugin("badges", register_auth_methods))
    rule = {"label": "*:auth", "audience": "", "duration": 100, "maxRequests": 2}
    await app.services.settings.change({"rateLimits": {"enabled": True, "rules": [rule]}})
    statuses = [(await app.ask("POST", PATH, json={"badge": "0"})).status_code for _ in range(3)]
    assert statuses == [400, 400, 429]


@pytest.mark.parametrize(
    "given",
    [
        "no list",
        [by_badge],
        [AuthMethod(name="password", prove=by_badge)],
        [AuthMethod(name="No Name", prove=by_badge)],
    ],
)
async def test_a_plugin_with_an_impossible_method_stays_out(app_with: AppWith, given: Any) -> None:
    @hookimpl
    def register_auth_methods() -> Any:
        return given

    app = await app_with(make_plugin("strange", register_auth_methods))
    plugin = app.services.plugins.get("strange")
    assert plugin is None or plugin.status == "broken"
    assert (await app.ask("GET", METHODS)).status_code == 200


async def test_an_answer_that_is_no_id_is_the_plugins_failure(app_with: AppWith) -> None:
    async def rubbish(proof: AuthProof, services: Services) -> Any:
        return {"id": 1}

    @hookimpl
    def register_auth_methods() -> Any:
        return [AuthMethod(name="badge", prove=rubbish)]

    app = await app_with(make_plugin("badges", register_auth_methods))
    await app.as_user()
    answer = await app.ask("POST", PATH, json={})
    assert answer.status_code >= 500
    assert (await app.ask("GET", METHODS)).status_code == 200
