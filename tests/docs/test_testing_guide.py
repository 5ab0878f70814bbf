"""The guide to testing a plugin: its plugin and its tests are written to files and run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from groundplane.testing import plugins

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "testing-plugins.md").read_text(encoding="utf-8")
TESTS = "tests/test_minder.py"
SETTINGS = """\
[tool.pytest.ini_options]
pythonpath = ["."]
asyncio_mode = "auto"
asyncio_default_fixture_loop_scope = "function"
filterwarnings = ["error"]
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{re.escape(language)}\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


def test_the_tests_in_the_guide_pass(tmp_path: Path) -> None:
    conftest, plugin = blocks("python")
    tests = "\n\n".join(blocks(f"python {TESTS}"))
    count = len(re.findall(r"^async def test_", tests, re.MULTILINE))
    (tmp_path / "tests").mkdir()
    for path, text in (
        ("pyproject.toml", SETTINGS),
        ("minder.py", plugin),
        ("tests/conftest.py", conftest),
        (TESTS, tests),
    ):
        (tmp_path / path).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{count} passed" in done.stdout
    assert count > 8


def test_the_guide_names_everything_that_tests_may_call() -> None:
    offered = {name for name in vars(plugins.PluginApp) if not name.startswith("_")}
    # `may` is what the assertions are made of.
    assert {name for name in offered - {"may"} if not re.search(rf"\b{name}\b", GUIDE)} == set()
