"""What plugins see of these sign-ins, and what they may refuse."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.mail.mail_site import PASSWORD, MailSite, mail_site

from groundplane.auth.callers import PASSWORD_RESET, issue
from groundplane.errors import FieldError, Forbidden, Invalid
from groundplane.hooks import hookimpl
from groundplane.hooks.events import AuthAttempt, AuthSucceeded, PasswordCheck
from groundplane.testing.plugins import make_plugin
from groundplane.testing.server import INSTALLED, own_database

pytestmark = pytest.mark.asyncio(loop_scope="module")

WEAK = FieldError("validation_weak_password", "Everybody knows this one.")
seen: list[str] = []


@hookimpl
async def auth_attempt(event: AuthAttempt) -> AsyncIterator[None]:
    if event.info.headers.get("user_agent") == "robot":
        raise Forbidden("No robots.")
    try:
        yield
    except Invalid as error:
        seen.append(f"{event.method} refused: {error.message}")
        raise
    seen.append(f"{event.method} tried")


@hookimpl
async def auth_succeeded(event: AuthSucceeded) -> None:
    seen.append(f"{event.method} in")


@hookimpl
async def password_check(event: PasswordCheck) -> None:
    if event.password == "12345678":
        raise Invalid("Failed to set new password.", {event.field: WEAK})


@pytest_asyncio.fixture(loop_scope="module")
async def watched(postgres_url: str, tmp_path: Path) -> AsyncIterator[MailSite]:
    watch = make_plugin("watch", auth_attempt, auth_succeeded, password_check)
    async for url in own_database(postgres_url, INSTALLED):
        async with mail_site(url, tmp_path, [watch]) as site:
            yield site


async def test_a_plugin_sees_refuses_and_checks(watched: MailSite) -> None:
    user = await watched.user("a@example.com", verified=True)
    await watched.options(otp={"enabled": True}, mfa={"enabled": True})
    first: dict[str, Any] = (await watched.sign_in("a@example.com")).json()
    otp_id, code = await watched.code_for("a@example.com")
    body = {"otpId": otp_id, "mfaId": first["mfaId"]}
    await watched.post("auth-with-otp", body | {"password": "wrong"})
    robot = await watched.post("auth-with-otp", body | {"password": code}, headers={"User-Agent": "robot"})
    assert (robot.status_code, robot.json()["message"]) == (403, "No robots.")
    assert (await watched.post("auth-with-otp", body | {"password": code})).status_code == 200
    await watched.services.plugins.hooks.finished()
    tried = [each for each in seen if not each.endswith(" in")]
    assert tried == ["password tried", "otp refused: Invalid or expired OTP.", "otp tried"]
    # Who has shown only one factor is not in.
    assert [each for each in seen if each.endswith(" in")] == ["otp in"]
    token = issue(watched.services.schema.current.find("users"), user, PASSWORD_RESET)
    reset = {"token": token, "password": "12345678", "passwordConfirm": "12345678"}
    response = await watched.post("confirm-password-reset", reset)
    assert response.json()["data"]["password"]["code"] == "validation_weak_password"
    reset |= {"password": PASSWORD, "passwordConfirm": PASSWORD}
    assert (await watched.post("confirm-password-reset", reset)).status_code == 204
