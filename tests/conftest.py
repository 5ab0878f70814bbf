"""Loads the fixtures of `groundplane.testing`, and fails a run in continuous integration that skips a test."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

# Before the first import of the suites; without it a failing suite says only "AssertionError".
pytest.register_assert_rewrite("groundplane.testing")

pytest_plugins = ["groundplane.testing.server"]

# Node ids that may be skipped in continuous integration, each with its reason beside it.
MAY_BE_SKIPPED: frozenset[str] = frozenset()

_skipped: set[str] = set()


@pytest.fixture(scope="session")
def real_inputs() -> Path:
    """The folder of real inputs (a PocketBase installation, tables), which lies beside the repository."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the folder of real inputs, ../shared/data, beside the repository")
    return folder


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail") and not lacks_a_package(report):
        _skipped.add(report.nodeid)


def lacks_a_package(report: pytest.TestReport) -> bool:
    """Whether a test was skipped for a Debian package that `.ci/install-debian` could not install here."""
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
    can_install = os.geteuid() == 0 and shutil.which("apt-get") is not None
    return "needs the Debian package" in reason and not can_install


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if os.environ.get("CI") and (wrong := _skipped - MAY_BE_SKIPPED) and session.exitstatus == 0:
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(f"Skipped, but may not be: {', '.join(sorted(wrong))}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
