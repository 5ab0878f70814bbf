"""The official JavaScript client against a running server of several workers.

Each scenario in `scenarios/*.mjs` is a test here; a failure shows what the script said.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCENARIOS = Path(__file__).parent / "scenarios"
NAME = re.compile(r"^scenario\('((?:[^'\\]|\\.)*)'", re.MULTILINE)
NOT_SCENARIOS = {"harness.mjs", "resumable.mjs"}
OVER_IMPORTED_DATA = {"imported.mjs"}
WITH_A_PROVIDER = {"oauth.mjs"}


def scenarios(*files: str) -> list[Any]:
    """Return one test parameter for each scenario of the files."""
    found = []
    for file in sorted(files):
        source = (SCENARIOS / file).read_text(encoding="utf-8")
        names = [name.replace("\\'", "'") for name in NAME.findall(source)]
        assert names, f"{file} has no scenario"
        assert len(set(names)) == len(names), f"{file} has a name twice"
        found += [pytest.param(file, name, id=f"{file}: {name}") for name in names]
    return found


FRESH = {path.name for path in SCENARIOS.glob("*.mjs")} - NOT_SCENARIOS - OVER_IMPORTED_DATA - WITH_A_PROVIDER


@pytest.mark.parametrize(("file", "name"), scenarios(*FRESH))
def test_the_javascript_client_on_a_new_server(
    file: str, name: str, fresh_target: Any, run_scenarios: Callable[..., dict[str, str | None]]
) -> None:
    problem = run_scenarios(file, fresh_target)[name]
    assert problem is None, problem


@pytest.mark.parametrize(("file", "name"), scenarios(*OVER_IMPORTED_DATA))
def test_the_javascript_client_on_imported_data(
    file: str, name: str, imported_target: Any, run_scenarios: Callable[..., dict[str, str | None]]
) -> None:
    problem = run_scenarios(file, imported_target)[name]
    assert problem is None, problem
