"""What three plugins make of access together, against an evaluation of our own: never more than each allows."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest

from groundplane.hooks import hookimpl
from groundplane.hooks.events import AccessRules
from groundplane.testing.plugins import GUEST, AppWith, PluginApp, User, make_plugin

Record = Mapping[str, Any]
Meets = Callable[[Record, str], bool]

# Expressions with what they mean, written down a second time; the second argument is who asks, "" a guest.
EXPRESSIONS: dict[str, Meets] = {
    "n > 2": lambda record, _: record["n"] > 2,
    "n <= 4": lambda record, _: record["n"] <= 4,
    "title = 'a'": lambda record, _: record["title"] == "a",
    "title != 'b'": lambda record, _: record["title"] != "b",
    "title ~ 'a'": lambda record, _: "a" in record["title"],
    "shut = true": lambda record, _: record["shut"],
    "shut = false && n > 1": lambda record, _: not record["shut"] and record["n"] > 1,
    "owner = @request.auth.id": lambda record, who: record["owner"] == who,
    "@request.auth.id != ''": lambda _, who: who != "",
    "owner = @request.auth.id || n = 3": lambda record, who: record["owner"] == who or record["n"] == 3,
}
ACTIONS = ("list", "view", "create", "update", "delete")
ROUNDS = 8
FIELDS: list[dict[str, Any]] = [
    {"name": "title", "type": "text"},
    {"name": "n", "type": "number"},
    {"name": "shut", "type": "bool"},
    {"name": "owner", "type": "text"},
]


class Opinion(NamedTuple):
    """What one plugin says about one action."""

    grant: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    restrict: tuple[str, ...] = ()

    def bounds(self, record: Record, who: str) -> bool:
        """Whether this plugin, for itself, lets anybody near the record."""
        return all(EXPRESSIONS[each](record, who) for each in self.restrict) and not any(
            EXPRESSIONS[each](record, who) for each in self.deny
        )


def allowed(own: str | None, opinions: list[Opinion], record: Record, who: str) -> bool:
    grants = [each for opinion in opinions for each in opinion.grant]
    entry = own == "" or any(EXPRESSIONS[each](record, who) for each in [*([own] if own else []), *grants])
    return entry and all(opinion.bounds(record, who) for opinion in opinions)


def some(chance: random.Random, most: int) -> tuple[str, ...]:
    return tuple(chance.sample(sorted(EXPRESSIONS), chance.choice((0, 0, 1, most))))


def opinion(chance: random.Random) -> Opinion:
    return Opinion(some(chance, 2), some(chance, 2), some(chance, 2))


async def ids_listed(app: PluginApp, user: User) -> set[str]:
    answer = await app.send("GET", "notes", user=user, params={"perPage": 500})
    return {item["id"] for item in answer.json()["items"]} if answer.status_code == 200 else set()


@pytest.mark.parametrize("seed", range(3))
async def test_access_is_what_all_of_them_let_through(app_with: AppWith, seed: int) -> None:
    chance = random.Random(seed)
    says: dict[tuple[str, str], Opinion] = {}

    def may(action: str, record: Record, own: Mapping[str, str | None], who: User) -> bool:
        return allowed(own[action], [says[name, action] for name in names], record, who.id)

    def voiced(name: str) -> Any:
        @hookimpl(collections=["notes"])
        def access_rules(action: str) -> AccessRules | None:
            mine = says.get((name, action), Opinion())
            return None if mine == Opinion() else AccessRules(*mine)

        return make_plugin(name, access_rules)

    names = ("one", "two", "three")
    app = await app_with(*(voiced(name) for name in names))
    await app.make_collection("notes", FIELDS)
    user = await app.as_user()
    owners = [user.id, "somebody"]

    def values() -> dict[str, Any]:
        return {
            "title": chance.choice("abc"),
            "n": chance.randrange(6),
            "shut": chance.random() < 0.5,
            "owner": chance.choice(owners),
        }

    records = [await app.make_record("notes", **values()) for _ in range(12)]
    for _ in range(ROUNDS):
        own = {action: chance.choice((None, "", *sorted(EXPRESSIONS))) for action in ACTIONS}
        says.clear()
        says |= {(name, action): opinion(chance) for name in names for action in ACTIONS}
        rules = {f"{action}Rule": rule for action, rule in own.items()}
        await app.services.collections.update("notes", rules)
        for who in (user, GUEST):
            context = (seed, own, says, who.id)
            expected = {record["id"] for record in records if may("list", record, own, who)}
            assert await ids_listed(app, who) == expected, context
            for record in chance.sample(records, 4):
                for action in ("view", "update"):
                    found = await app.may(who, action, "notes", record["id"])
                    assert found == may(action, record, own, who), (action, record, context)
            doomed = records.pop(chance.randrange(len(records)))
            deleted = await app.may(who, "delete", "notes", doomed["id"])
            assert deleted == may("delete", doomed, own, who), (doomed, context)
            records.append(await app.make_record("notes", **values()) if deleted else doomed)
            wanted = values()
            answer = await app.send("POST", "notes", user=who, json=wanted)
            assert (answer.status_code == 200) == may("create", wanted, own, who), (wanted, context)
            if answer.status_code == 200:
                records.append(answer.json())
