"""The guides for plugin authors: complete, the same as the example, and followed literally."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from groundplane.hooks.checks import SPECS, signature
from groundplane.hooks.scaffold import files_of

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
        MODULE: block("python", "API_VERSION = 1\nMIGRATIONS = {"),
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


def test_following_the_guide_gives_a_plugin_that_is_tested_and_installed(tmp_path: Path) -> None:
    groundplane = (sys.executable, "-m", "groundplane")
    run(*groundplane, "plugin", "new", "hello", cwd=tmp_path)
    made = tmp_path / "groundplane-hello"
    assert "2 passed" in run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=made)
    (made / MODULE).write_text(block("python", "API_VERSION = 1\nMIGRATIONS = {"), encoding="utf-8")
    (made / TESTS).write_text(block(f"python {TESTS}"), encoding="utf-8")
    assert "3 passed" in run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=made)

    target = tmp_path / "installed"
    pip = (
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    )
    run(*pip, "--target", str(target), str(made), cwd=tmp_path)
    (tmp_path / "groundplane.toml").write_text(block("toml", "[plugins.hello]"), encoding="utf-8")
    listed = run(*groundplane, "plugin", "list", cwd=tmp_path, PYTHONPATH=str(target))
    assert re.search(
        r"^hello +loaded +installed +startup, register_routes, record_saving$", listed, re.MULTILINE
    )
    # Not beside the server any more: the configuration names a plugin that is not there.
    listed = run(*groundplane, "plugin", "list", cwd=tmp_path)
    assert "hello    broken" in listed
