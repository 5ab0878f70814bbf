"""Hooks of the schema, of signing in and of the settings; the commands; what is told in the end."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from groundplane.collections.file import read_document
from groundplane.collections.plan import NotApplied
from groundplane.errors import Forbidden, Invalid
from groundplane.hooks import hookimpl
from groundplane.hooks.calls import Around, Before, Hooks, Notify
from groundplane.hooks.events import (
    AuthAttempt,
    AuthSucceeded,
    CollectionSaving,
    PlanCheck,
    RecordEnrich,
    RecordSaved,
    RecordSaving,
    SchemaApplied,
    SettingsSaved,
    SettingsSaving,
)
from groundplane.services import Services
from groundplane.testing.plugins import PASSWORD, AppWith, PluginApp, make_plugin


async def test_a_change_of_the_schema_is_shown_can_be_refused_and_is_told(app_with: AppWith) -> None:
    seen: list[Any] = []

    @hookimpl
    async def collection_saving(event: CollectionSaving, services: Services) -> None:
        names = [each.name if each is not None else None for each in (event.before, event.after)]
        seen.append(names)
        if "forbidden" in names:
            raise Forbidden("Not that one.")

    @hookimpl
    async def schema_applied(event: SchemaApplied) -> None:
        seen.append(event.schema.get("notes") is not None)

    app = await app_with(make_plugin("guard", collection_saving, schema_applied))
    admin = await app.as_superuser()
    made = await app.ask("POST", "/api/collections", user=admin, json={"name": "notes", "type": "base"})
    assert made.status_code == 200
    refused = await app.ask("PATCH", "/api/collections/notes", user=admin, json={"name": "forbidden"})
    assert (refused.status_code, refused.json()["message"]) == (403, "Not that one.")
    assert app.services.schema.current.get("forbidden") is None
    assert (await app.ask("DELETE", "/api/collections/notes", user=admin)).status_code == 204
    await app.settled()
    assert [each for each in seen if isinstance(each, list)] == [
        [None, "notes"],
        ["notes", "forbidden"],
        ["notes", None],
    ]
    assert [each for each in seen if not isinstance(each, list)] == [True, False]


async def test_a_plan_that_a_plugin_objects_to_is_shown_with_the_reason_and_not_applied(
    app_with: AppWith,
) -> None:
    @hookimpl
    async def plan_check(event: PlanCheck) -> None:
        if any("notes" in step.text for step in event.plan.steps):
            event.problems.append("Nobody wants notes.")
        else:
            raise RuntimeError("no")

    app = await app_with(make_plugin("critic", plan_check))
    for name, problem in (("notes", "Nobody wants notes."), ("others", "Plugin critic failed in plan_check")):
        declared = read_document({"collections": [{"name": name, "type": "base", "fields": {}}]})
        planner = app.services.planner
        assert problem in (await planner.plan(declared)).render()
        with pytest.raises(NotApplied, match=problem):
            await planner.apply(declared)
        await planner.apply_safe(declared)
        assert app.services.schema.current.get(name) is None


async def sign_in(app: PluginApp, password: str = PASSWORD) -> Any:
    form = {"identity": "user@example.com", "password": password}
    return await app.ask("POST", "/api/collections/users/auth-with-password", json=form)


async def test_signing_in_can_be_watched_and_refused(app_with: AppWith) -> None:
    seen: list[Any] = []

    @hookimpl
    async def auth_attempt(event: AuthAttempt) -> AsyncIterator[None]:
        if seen.count("failed") >= 2:
            raise Forbidden("Too many attempts.")
        try:
            yield
        except Invalid:
            seen.append("failed")
            raise

    @hookimpl
    async def auth_succeeded(event: AuthSucceeded) -> None:
        seen.append((event.method, event.record["email"]))

    app = await app_with(make_plugin("doorman", auth_attempt, auth_succeeded))
    user = await app.as_user()
    assert (await sign_in(app)).status_code == 200
    refreshed = await app.ask("POST", "/api/collections/users/auth-refresh", user=user)
    assert refreshed.status_code == 200
    await app.settled()
    assert seen == [("password", "user@example.com")]
    for _ in range(2):
        assert (await sign_in(app, "wrong")).status_code == 400
    answer = await sign_in(app)
    assert (answer.status_code, answer.json()["message"]) == (403, "Too many attempts.")


async def test_settings_can_be_changed_refused_and_heard_of(app_with: AppWith) -> None:
    heard: list[str] = []

    @hookimpl
    async def settings_saving(event: SettingsSaving) -> None:
        if event.after.meta.app_name == "no":
            raise Invalid("Not that name.")
        event.after.meta.app_name = event.after.meta.app_name.title()

    @hookimpl
    async def settings_saved(event: SettingsSaved) -> None:
        heard.append(event.settings.meta.app_name)

    app = await app_with(make_plugin("namer", settings_saving, settings_saved))
    await app.services.settings.change({"meta": {"appName": "acme"}})
    with pytest.raises(Invalid, match="Not that name"):
        await app.services.settings.change({"meta": {"appName": "no"}})
    await app.settled()
    assert (app.services.settings.current.meta.app_name, heard) == ("Acme", ["Acme"])


async def test_events_that_wait_are_delivered_before_a_process_ends(app_with: AppWith) -> None:
    told: list[str] = []
    held = asyncio.Event()

    @hookimpl
    async def record_saved(event: RecordSaved) -> None:
        await held.wait()
        told.append(event.record["title"])

    app = await app_with(make_plugin("ears", record_saved))
    await app.make_collection("notes", [{"name": "title", "type": "text"}])
    for title in ("a", "b"):
        await app.send("POST", "notes", json={"title": title})
    stopping = asyncio.create_task(app.plugins.stop())
    held.set()
    await stopping
    assert told == ["a", "b"]


def test_without_plugins_no_hook_is_called() -> None:
    """Every place looks at the hook's truth first, which is one attribute; see `Hook.__bool__`."""
    hooks = Hooks()
    assert not any(hooks.all.values())
    for hook in hooks.all.values():
        if isinstance(hook, Before | Around | Notify):
            assert not hook.implementations


async def test_reads_take_the_short_way_only_while_no_plugin_wants_to_see_them(app_with: AppWith) -> None:
    @hookimpl
    async def record_saving(event: RecordSaving) -> None: ...

    @hookimpl
    async def record_enrich(event: RecordEnrich) -> None: ...

    app = await app_with(make_plugin("writer", record_saving))
    assert app.services.records.reads_are_plain
    app = await app_with(make_plugin("reader", record_enrich))
    assert not app.services.records.reads_are_plain


COMMANDS = """
import click
from groundplane.hooks import hookimpl

API_VERSION = 1


@click.command()
def greet():
    click.echo("hello from a plugin")


@hookimpl
def register_commands():
    return [greet]
"""


def groundplane(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "groundplane", *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=cwd,
        env=dict(os.environ),
    )


def test_the_commands_of_plugins_and_about_them(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "polite.py").write_text(COMMANDS, encoding="utf-8")
    assert groundplane("x", "polite", "greet", cwd=tmp_path).stdout == "hello from a plugin\n"
    assert groundplane("x", "nobody", "greet", cwd=tmp_path).returncode == 2
    assert groundplane("plugin", "check", cwd=tmp_path).returncode == 0
    (tmp_path / "plugins" / "broken.py").write_text("API_VERSION = 7", encoding="utf-8")
    checked = groundplane("plugin", "check", cwd=tmp_path)
    assert checked.returncode == 1
    assert "broken broken file it was written for API version 7" in " ".join(checked.stdout.split())
    assert "before    record_saving(event, services)" in groundplane("hooks", cwd=tmp_path).stdout
    assert groundplane("plugin", "new", "Bad Name", cwd=tmp_path).returncode == 1
