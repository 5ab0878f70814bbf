"""`config.example.toml` is complete, has the real defaults, and its collections can be applied."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from groundplane.collections.file import read
from groundplane.collections.plan import Planner
from groundplane.config import Config, load_config

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
COMMENTED = re.compile(r"^# ?((?:[a-z_]+ = |\[[a-z_]+\]).*)$", re.MULTILINE)
SCHEMA_PARTS = {"collections", "settings", "webhooks"}


def values(raw: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in raw.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            found |= values(value, name + ".")
        else:
            found[name] = value
    return found


def defaults() -> dict[str, Any]:
    return {
        name: value
        for name, value in values(msgspec.to_builtins(Config())).items()
        if name.partition(".")[0] not in SCHEMA_PARTS
    }


def test_the_example_can_be_loaded() -> None:
    config = load_config(EXAMPLE, environment={})
    assert [each["name"] for each in config.collections] == ["users", "tags", "posts", "comments", "authors"]


def test_the_example_names_every_setting_with_its_default() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    # A setting that is commented out is shown as well; taking the mark away must give the same default.
    head = COMMENTED.sub(r"\1", text.partition("[[collections]]")[0])
    shown = {
        name: value
        for name, value in values(tomllib.loads(head)).items()
        if name.partition(".")[0] not in SCHEMA_PARTS
    }
    assert shown == defaults()


async def test_the_collections_of_the_example_apply_and_leave_no_difference(server: Any) -> None:
    services = server.services
    declared = read(EXAMPLE.read_text(encoding="utf-8"))
    planner = Planner(services.collections, services.settings)
    plan = await planner.apply(declared)
    assert plan.destructive == ()
    assert (await planner.plan(declared)).steps == ()
    assert {"users", "tags", "posts", "comments", "authors"} <= {
        each.name for each in services.schema.current
    }
