"""What is in the wheel: everything that the program reads at run time, and nothing of the tests."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "groundplane": ROOT / "core" / "groundplane",
    "groundplane_admin": ROOT / "admin_ui" / "groundplane_admin",
    "groundplane_plugins": ROOT / "plugins" / "groundplane_plugins",
}


def is_cache(path: Path) -> bool:
    return any(part == "__pycache__" or part.startswith(".") for part in path.parts)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = folder.glob("*.whl")
    with zipfile.ZipFile(made) as archive:
        return set(archive.namelist())


def test_every_file_of_the_packages_is_in_the_wheel(wheel: set[str]) -> None:
    expected = {
        f"{name}/{path.relative_to(source)}"
        for name, source in PACKAGES.items()
        for path in source.rglob("*")
        if path.is_file() and not is_cache(path.relative_to(source))
    }
    assert expected - wheel == set()


@pytest.mark.parametrize(
    "name",
    [
        "groundplane/py.typed",
        "groundplane_admin/py.typed",
        "groundplane_plugins/py.typed",
        "groundplane/query/functions.sql",
        "groundplane/api/templates/api_docs.html",
        "groundplane/db/piccolo_migrations/m0001_system_tables.py",
    ],
)
def test_the_wheel_has(wheel: set[str], name: str) -> None:
    assert name in wheel


def test_the_wheel_has_nothing_else(wheel: set[str]) -> None:
    tops = {name.partition("/")[0] for name in wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
