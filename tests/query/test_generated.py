"""Generated filters over small tables: PostgreSQL and the evaluator agree on every record.

GROUNDPLANE_QUERY_CASES sets how many filters each test tries, GROUNDPLANE_QUERY_SEED where it begins.
"""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime
from typing import Any

from tests.query.evaluator import And, Compare, Evaluator, Literal, Or, Path, Tree
from tests.query.worlds import World, collection

from groundplane.context import Caller, RequestInfo
from groundplane.db.engine import Database

CASES = int(os.environ.get("GROUNDPLANE_QUERY_CASES", "500"))
SEED = int(os.environ.get("GROUNDPLANE_QUERY_SEED", "1"))
WORLDS = 4  # different rows for parts of the cases
ROWS = 6

TEXTS = ["", "x", "X", "xy", "Äx", "5", "5.0", "a%b", "_", "\\", "1e1"]
NUMBERS = [0.0, 1.0, 2.0, 5.0, 10.0, -1.5]
DATES = [None, datetime(2030, 1, 2, tzinfo=UTC), datetime(2030, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)]
OPTIONS = ["x", "xy", "a,b", 'q"q']
JSONS = [
    None, '"x"', '""', "5", "5.5", "true", '"5"', "[]", '[1,"x"]', '{"k":"x"}', '{"k":5,"l":[2,"xy"]}',
    '{"k":null,"0":"x"}', '{"k":{"m":false}}', '"a\\u0041"',
]  # fmt: skip
SIGNS = ["=", "!=", ">", ">=", "<", "<=", "~", "!~"]
DATE_TEXTS = [
    "2030", "2030-01-02", "2030-01-02 00:00:00.000Z", "2030-01-02 03:04:05.678Z", "2030-01-02 03:04:05",
    "2030-01-02T03:04:05.678Z", "2030-13-45 00:00:00.000Z", "0000-01-01",
]  # fmt: skip

OWN = {
    "a": ["id", "title", "n", "flag", "d", "tags", "kind", "rel", "rels", "data", "loc", "user"],
    "b": ["id", "name", "m", "on", "when", "owner", "peers", "twin", "labels", "info"],
    "users": ["id", "name", "team", "teams"],
}
MODIFIED = {
    "a": ["tags:each", "tags:length", "kind:each", "kind:length", "rels:each", "title:lower", "data:lower",
          "rel:length", "data.k", "data.0", "data.l.1", "data.k.m", "loc.lon", "loc.x", "tags:lower", "n:each"],
    "b": ["labels:each", "labels:length", "peers:each", "name:lower", "info.k", "owner:length", "on:lower"],
    "users": ["teams:each", "teams:length", "name:lower"],
}  # fmt: skip
RELATIONS = {
    "a": {
        "rel": "b",
        "rels": "b",
        "b_via_owner": "b",
        "b_via_peers": "b",
        "b_via_twin": "b",
        "user": "users",
    },
    "b": {"owner": "a", "peers": "a", "twin": "a", "a_via_rel": "a", "a_via_rels": "a"},
    "users": {"team": "b", "teams": "b", "a_via_user": "a"},
}


def relation(name: str, target: str, several: bool = False) -> dict[str, Any]:
    return {"type": "relation", "name": name, "collectionId": f"c_{target}", "maxSelect": 9 if several else 1}


def collections() -> list[Any]:
    def of(kind: str, name: str, **options: Any) -> dict[str, Any]:
        return {"type": kind, "name": name, **options}

    return [
        collection(
            "a",
            of("text", "title"), of("number", "n"), of("bool", "flag"), of("date", "d"),
            of("select", "tags", values=OPTIONS, maxSelect=4), of("select", "kind", values=OPTIONS),
            relation("rel", "b"), relation("rels", "b", True), of("json", "data"), of("geoPoint", "loc"),
            relation("user", "users"),
        ),
        collection(
            "b",
            of("text", "name"), of("number", "m"), of("bool", "on"), of("date", "when"),
            relation("owner", "a"), relation("peers", "a", True), relation("twin", "a"),
            of("select", "labels", values=OPTIONS, maxSelect=4), of("json", "info"),
            indexes=["CREATE UNIQUE INDEX `i` ON `b` (`twin`)"],
        ),
        collection(
            "users",
            of("text", "name"), of("email", "email", hidden=True), of("bool", "emailVisibility"), of("bool", "verified"),
            relation("team", "b"), relation("teams", "b", True), type="auth",
        ),
    ]  # fmt: skip


class Generator:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def some(self, items: list[Any], most: int) -> list[Any]:
        return self.random.sample(items, self.random.randint(0, min(most, len(items))))

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        pick = self.random.choice
        ids = {name: [f"{name}{number}" for number in range(ROWS)] for name in ("a", "b", "users")}
        some_ids = {name: ["", "gone", *known] for name, known in ids.items()}
        twins = self.random.sample(ids["a"], ROWS)
        return {
            "a": [
                {
                    "id": each, "title": pick(TEXTS), "n": pick(NUMBERS), "flag": pick([True, False]),
                    "d": pick(DATES), "tags": self.some(OPTIONS, 3), "kind": pick(["", *OPTIONS]),
                    "rel": pick(some_ids["b"]), "rels": self.some(some_ids["b"][1:], 3), "data": pick(JSONS),
                    "loc": (pick(NUMBERS), pick(NUMBERS)), "user": pick(some_ids["users"]),
                }
                for each in ids["a"]
            ],
            "b": [
                {
                    "id": each, "name": pick(TEXTS), "m": pick(NUMBERS), "on": pick([True, False]),
                    "when": pick(DATES), "owner": pick(some_ids["a"]), "peers": self.some(some_ids["a"][1:], 3),
                    "twin": pick([twins.pop(), "gone"]), "labels": self.some(OPTIONS, 3), "info": pick(JSONS),
                }
                for each in ids["b"]
            ],
            "users": [
                {
                    "id": each, "name": pick(TEXTS), "email": f"{each}@example.com", "verified": pick([True, False]),
                    "emailVisibility": pick([True, False]), "team": pick(some_ids["b"]),
                    "teams": self.some(some_ids["b"][1:], 2),
                }
                for each in ids["users"]
            ],
        }  # fmt: skip

    def path(self, name: str, *, virtual: bool = False) -> str:
        pick = self.random.choice
        kind = self.random.random()
        if kind < 0.06:
            return f"@collection.{pick(['b', 'b:x', 'b:y'])}.{self.tail('b', 1)}"
        if kind < 0.14:
            return "@request.auth." + pick(["id", "email", "verified", self.tail("users", 2)])
        if kind < 0.2 and name == "a":
            return "@request.body." + pick(
                ["title", "n", "tags", "tags:each", "tags:length", "title:isset", "nope", "rel.name", "rels.name",
                 "rels.labels:each", "rels:each", "rel:length", "data"]
            )  # fmt: skip
        if kind < 0.23:
            return "@request.query." + pick(["q", "nope", "five"])
        return self.tail(name, 2, virtual=virtual)

    def tail(self, name: str, hops: int, *, virtual: bool = False) -> str:
        parts = []
        while hops and self.random.random() < 0.45:
            choices = [each for each in RELATIONS[name] if not (virtual and "_via_" in each)]
            parts.append(self.random.choice(choices))
            name, hops, virtual = RELATIONS[name][parts[-1]], hops - 1, False
        parts.append(self.random.choice(OWN[name] if self.random.random() < 0.65 else MODIFIED[name]))
        return ".".join(parts)

    def literal(self, near: str) -> Literal:
        pick, kind = self.random.choice, self.random.random()
        last = near.rpartition(".")[2]
        if last in ("d", "when") and kind < 0.7:
            return Literal(pick(DATE_TEXTS))
        if last in ("id", "rel", "rels", "owner", "peers", "twin", "user", "rels:each") and kind < 0.5:
            return Literal(pick("ab") + str(self.random.randrange(ROWS)))
        if kind < 0.45:
            return Literal(pick(TEXTS))
        if kind < 0.65:
            return Literal(pick(NUMBERS))
        if kind < 0.8:
            return Literal(pick([True, False, None, ""]))
        return Literal(pick([*OPTIONS, '["x"]', "[]", '{"k":"x"}', "%x%", "x%", "\\%", "%\\", "_x%", "gone"]))

    def comparison(self, name: str, *, virtual: bool = False) -> Compare:
        left: Literal | Path = Path(self.path(name, virtual=virtual))
        right: Literal | Path = self.literal(left.name)
        if self.random.random() < 0.3:
            right = Path(self.path(name, virtual=virtual))
        if self.random.random() < 0.1:
            left, right = right, left
        return Compare(left, self.random.choice(["", "?"]) + self.random.choice(SIGNS), right)

    def tree(self, name: str, depth: int = 2, *, virtual: bool = False) -> Tree:
        if depth == 0 or self.random.random() < 0.4:
            return self.comparison(name, virtual=virtual)
        if self.random.random() < 0.3:
            return self.about_one_row(name)
        items = tuple(self.tree(name, depth - 1, virtual=virtual) for _ in range(self.random.randint(2, 3)))
        return self.random.choice([And, Or])(items)

    def about_one_row(self, name: str) -> Tree:
        """Several comparisons along one relation: they must meet on the same joined rows."""
        chain = {"a": ["rel", "rels", "rels.peers", "user.teams"], "b": ["peers", "a_via_rel", "owner.rels"]}
        prefix = self.random.choice(chain.get(name, ["teams", "team.peers", "a_via_user"]))
        for head in prefix.split("."):
            name = RELATIONS[name][head]
        tails = [self.random.choice(OWN[name] + MODIFIED[name]) for _ in range(3)]
        signs = ["?=", "?!=", "?>", "?<=", "?~", "=", "!=", "<="]
        items = [
            Compare(Path(f"{prefix}.{tail}"), self.random.choice(signs), self.literal(tail)) for tail in tails
        ]
        inner = self.random.choice([And, Or])((items[1], items[2]))
        return self.random.choice([And, Or])((items[0], inner))

    def info(self, rows: dict[str, list[dict[str, Any]]]) -> RequestInfo:
        pick = self.random.choice
        user = pick([None, *rows["users"]])
        caller = user and Caller(user["id"], "c_users", "users", user)
        body = {
            "title": pick(TEXTS), "n": pick(NUMBERS), "tags": self.some(OPTIONS, 3), "rel": pick(["", "b1", "gone"]),
            "rels": self.some(["b0", "b1", "b2", "gone"], 3), "data": pick([None, "x", 5.0, True, ["x"]]),
        }  # fmt: skip
        kept = {key: value for key, value in body.items() if self.random.random() < 0.8}
        return RequestInfo(caller=caller, query={"q": pick(TEXTS), "five": "5"}, body=kept)


async def worlds(db: Database) -> Any:
    """Yield worlds with rows, each with a generator for its share of the cases."""
    for number in range(WORLDS):
        for each in ("a", "b", "users"):
            await db.execute(f'DROP TABLE IF EXISTS "{each}"')
        generator = Generator(SEED * 1000 + number)
        world = await World(db, collections()).create()
        rows = generator.rows()
        for name, stored in rows.items():
            await world.insert(name, *stored)
        yield world, rows, generator


async def test_generated_rules_match_the_records_that_the_contract_says(db: Database) -> None:
    async for world, rows, generator in worlds(db):
        for _ in range(CASES // WORLDS):
            name = generator.random.choice(["a", "a", "b", "users"])
            tree, info = generator.tree(name), generator.info(rows)
            expected = Evaluator(world.schema, rows, info).matching(world[name], tree)
            assert await world.matching(name, str(tree), info) == expected, (name, str(tree), info)


async def test_generated_create_rules_say_what_the_contract_says(db: Database) -> None:
    async for world, rows, generator in worlds(db):
        for _ in range(CASES // WORLDS // 3):
            tree, info = generator.tree("a", virtual=True), generator.info(rows)
            record = generator.rows()["a"][0] | {"id": "new"}
            expected = Evaluator(world.schema, rows, info, virtual=True).holds(world["a"], record, tree)
            assert await world.created("a", record, str(tree), info) is expected, (str(tree), record, info)
