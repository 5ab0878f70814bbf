"""Trying a file store out: each step is timed, and nothing is left behind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from groundplane.files.local import LocalFiles
from groundplane.files.storage import StorageFailed
from groundplane.files.trial import try_store


class Forgetful(LocalFiles):
    """A store whose list has nothing in it."""

    async def keys(self, prefix: str = "") -> AsyncIterator[str]:
        for key in ():
            yield key


class Full(LocalFiles):
    async def put(self, *_: object, **__: object) -> None:
        raise StorageFailed("no space is left")


async def test_a_store_that_works_does_every_step_and_keeps_nothing(tmp_path: Path) -> None:
    store = LocalFiles(tmp_path)
    steps = await try_store(store)
    assert [(step.name, step.problem) for step in steps] == [
        ("write", ""),
        ("read", ""),
        ("list", ""),
        ("delete", ""),
    ]
    assert all(step.ms >= 0 for step in steps)
    assert list(tmp_path.rglob("*.txt")) == []


async def test_the_step_that_fails_is_the_last_one_and_says_why(tmp_path: Path) -> None:
    steps = await try_store(Full(tmp_path))
    assert [(step.name, step.problem) for step in steps] == [("write", "no space is left")]


async def test_a_file_that_is_not_listed_is_taken_away_all_the_same(tmp_path: Path) -> None:
    steps = await try_store(Forgetful(tmp_path))
    assert (steps[-1].name, steps[-1].problem) == ("list", "the new file is not in the list")
    assert list(tmp_path.rglob("*.txt")) == []
