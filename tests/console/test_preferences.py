"""What the console keeps for superusers."""

from __future__ import annotations

import msgspec
import pytest

from groundplane.console import preferences
from groundplane.console.preferences import EVERYONE, Preferences
from groundplane.db.engine import Database
from groundplane.errors import Invalid


class Choice(msgspec.Struct, frozen=True):
    order: list[str] = []


async def test_a_value_is_kept_for_its_owner_alone_and_replaced(db: Database) -> None:
    kept = Preferences(db)
    await kept.keep("mira", "columns.posts", Choice(["id"]))
    await kept.keep("mira", "columns.posts", Choice(["id", "title"]))
    assert await kept.read("mira", "columns.posts", Choice, Choice()) == Choice(["id", "title"])
    assert await kept.read("jon", "columns.posts", Choice, Choice()) == Choice()


async def test_what_another_version_wrote_is_as_if_it_were_not_there(db: Database) -> None:
    kept = Preferences(db)
    await kept.keep(EVERYONE, "view.posts.Old", [1, 2])
    await kept.keep(EVERYONE, "view.posts.New", Choice(["id"]))
    assert await kept.read(EVERYONE, "view.posts.Old", Choice, Choice()) == Choice()
    assert await kept.below(EVERYONE, "view.posts.", Choice) == {"New": Choice(["id"])}


async def test_names_below_are_taken_as_they_are(db: Database) -> None:
    kept = Preferences(db)
    await kept.keep("mira", "view.a_b.x", 1)
    assert await kept.below("mira", "view.a%", int) == {}
    assert await kept.below("mira", "view.a_b.", int) == {"x": 1}
    await kept.forget("mira", "view.a_b.x")
    await kept.forget("mira", "view.a_b.x")
    assert await kept.below("mira", "view.", int) == {}


async def test_what_is_too_large_or_too_much_is_refused(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Preferences(db)
    for name, value in (("n" * 201, 1), ("a\0b", 1), ("large", "x" * 70_000)):
        with pytest.raises(Invalid):
            await kept.keep("mira", name, value)
    monkeypatch.setattr(preferences, "MAX_PER_OWNER", 2)
    await kept.keep("mira", "a", 1)
    await kept.keep("mira", "b", 1)
    with pytest.raises(Invalid):
        await kept.keep("mira", "c", 1)
    await kept.keep("mira", "a", 2)
    assert await kept.read("mira", "a", int, 0) == 2
