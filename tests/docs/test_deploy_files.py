"""The files in `deploy/` name commands, flags and paths that exist."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"


def serve_words() -> dict[str, list[str]]:
    """Return the words of `groundplane serve …` in each file that runs it."""
    unit = (DEPLOY / "groundplane.service").read_text(encoding="utf-8")
    line = re.search(r"^ExecStart=\S+ (.*)$", unit, re.MULTILINE)
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    command = re.search(r"^CMD (\[\"serve\".*\])$", dockerfile, re.MULTILINE)
    assert line is not None
    assert command is not None
    return {"groundplane.service": line[1].split(), "Dockerfile": json.loads(command[1])}


@pytest.mark.parametrize("file", ["groundplane.service", "Dockerfile"])
def test_the_server_is_started_with_flags_that_it_has(file: str) -> None:
    words = serve_words()[file]
    assert words[0] == "serve"
    command = [sys.executable, "-m", "groundplane", "serve", "--help"]
    helped = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert [word for word in words if word.startswith("--") and word not in helped] == []


def test_the_image_gets_everything_that_the_wheel_is_made_of() -> None:
    kept = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    root = DEPLOY.parent
    packages = re.search(
        r"^packages = \[(.*)\]$", (root / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert packages is not None
    folders = {path.split("/")[0] for path in re.findall(r'"([^"]+)"', packages[1])}
    assert {f"!{name}" for name in folders | {"pyproject.toml", "README.md"}} <= set(kept)


def test_the_image_does_not_run_as_root_and_is_checked_by_the_health_endpoint() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    last_stage = text.rpartition("\nFROM ")[2]
    assert "\nUSER groundplane\n" in last_stage
    assert "/api/health" in last_stage
