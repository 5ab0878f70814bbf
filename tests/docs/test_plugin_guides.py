"""The guides for plugin authors: complete, the same as the example, and followed literally."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from groundplane.hooks.checks import SPECS, signature
from groundplane.hooks.scaffold import files_of
from groundplane.testing.live import LIMIT_S, LiveServer

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EXAMPLE = ROOT / "plugins" / "example"
GUIDE = (DOCS / "writing-plugins.md").read_text(encoding="utf-8")
MODULE, TESTS = "src/groundplane_hello/__init__.py", "tests/test_hello.py"


def test_every_hook_has_a_section_headed_by_its_signature_and_no_other() -> None:
    text = (DOCS / "plugin-hooks.md").read_text(encoding="utf-8")
    headed = re.findall(r"^## (\w+\(.*\))$", text, re.MULTILINE)
    assert headed == [signature(name) for name in SPECS]


def test_every_section_says_the_kind_of_its_hook() -> None:
    text = (DOCS / "plugin-hooks.md").read_text(encoding="utf-8")
    for name, spec in SPECS.items():
        assert f"## {signature(name)}\n\n*{spec.kind}*\n" in text  # type: ignore[attr-defined]


def test_the_example_is_what_the_guide_builds() -> None:
    built = files_of("hello") | {
        MODULE: block(f"python {MODULE}"),
        TESTS: block(f"python {TESTS}"),
    }
    found = {
        str(path.relative_to(EXAMPLE)): path.read_text(encoding="utf-8")
        for path in EXAMPLE.rglob("*")
        if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in path.parts[-3:-1])
    }
    assert found == built


def block(language: str, holding: str = "") -> str:
    """The guide's first block of a language that holds a text."""
    for text in re.findall(rf"^```{re.escape(language)}\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE):
        if holding in text:
            return str(text)
    raise AssertionError(f"no {language} block with {holding!r}")


def run(*command: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


COLLECTIONS = """
[[collections]]
name = "notes"
type = "base"
listRule = ""
viewRule = ""
createRule = ""

[collections.fields]
title = { type = "text" }
"""
PIP = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package that the guide builds, each step tested as the guide says."""
    folder = tmp_path_factory.mktemp("guide")
    run(sys.executable, "-m", "groundplane", "plugin", "new", "hello", cwd=folder)
    made = folder / "groundplane-hello"
    assert "2 passed" in run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=made)
    (made / MODULE).write_text(block(f"python {MODULE}"), encoding="utf-8")
    (made / TESTS).write_text(block(f"python {TESTS}"), encoding="utf-8")
    assert "4 passed" in run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=made)
    return made


def test_following_the_guide_gives_a_plugin_that_is_tested_and_installed(made: Path, tmp_path: Path) -> None:
    groundplane = (sys.executable, "-m", "groundplane")
    target = tmp_path / "installed"
    run(*PIP, "--target", str(target), str(made), cwd=tmp_path)
    (tmp_path / "groundplane.toml").write_text(block("toml", "[plugins.hello]"), encoding="utf-8")
    listed = run(*groundplane, "plugin", "list", cwd=tmp_path, PYTHONPATH=str(target))
    assert re.search(
        r"^hello +loaded +installed +startup, register_routes, register_jobs, record_saving$",
        listed,
        re.MULTILINE,
    )
    # Not beside the server any more: the configuration names a plugin that is not there.
    listed = run(*groundplane, "plugin", "list", cwd=tmp_path)
    assert re.search(r"^hello +broken ", listed, re.MULTILINE)


async def test_the_plugin_of_the_guide_works_in_a_project_that_was_running_without_it(
    made: Path, tmp_path: Path, server_database_url: str
) -> None:
    """Its hook, table, route and job, with real workers."""
    target, config = tmp_path / "installed", block("toml", "[plugins.hello]")
    environment = {"PYTHONPATH": str(target)}
    async with LiveServer(
        tmp_path / "project", server_database_url, config=COLLECTIONS, environment=environment
    ) as live:
        counted = "/api/x/hello/greetings/notes"

        async def greeted(title: str) -> str:
            answer = await live.client.post("/api/collections/notes/records", json={"title": title})
            assert answer.status_code == 200, answer.text
            return str(answer.json()["title"])

        assert await greeted("before") == "before"
        assert (await live.client.get(counted)).status_code == 404
        run(*PIP, "--target", str(target), str(made), cwd=tmp_path)
        await live.stop()
        live.config_file.write_text(config + COLLECTIONS, encoding="utf-8")
        await live.start()
        assert await greeted("reader") == "dear reader"
        refused = await live.client.post("/api/collections/notes/records", json={})
        assert refused.json()["message"] == "Nobody can be greeted without a title."
        assert (await live.client.get(counted)).json() == {"count": 1}
        assert (await live.client.delete(counted)).status_code == 401
        code, said = await live.command("superuser", "upsert", "admin@example.com", "1234567890")
        assert code == 0, said
        signed_in = await live.client.post(
            "/api/collections/_superusers/auth-with-password",
            json={"identity": "admin@example.com", "password": "1234567890"},
        )
        answer = await live.client.delete(counted, headers={"Authorization": signed_in.json()["token"]})
        assert answer.json()["job"]
        async with asyncio.timeout(LIMIT_S):
            while (await live.client.get(counted)).json() != {"count": 0}:  # noqa: ASYNC110  # a worker's doing
                await asyncio.sleep(0.05)
