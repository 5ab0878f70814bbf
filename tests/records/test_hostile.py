"""Whatever a client sends, the answer is a record or an error that says 400, 403 or 404."""

from __future__ import annotations

import random
from typing import Any

import pytest

from groundplane.errors import GroundplaneError

VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1.5, -0.0, 1e308, -1e308, 5e-324, 2**53 + 1, 10**400),
    *(
        "",
        " ",
        "a",
        "\x00",
        "a\x00b",
        "\ud800",
        "null",
        "true",
        "[]",
        "{}",
        '["a"]',
        "[1",
        '{"lon":1}',
        "NaN",
        "inf",
    ),
    *("2030-01-01", "9999-12-31 23:59:59.999Z", "0000-01-01", "0001-01-01 00:00:00.000Z", "2030-13-45"),
    *("9999-12-31T23:59:59-23:59", "'; DROP TABLE x; --", "$1", "%s", "\\", "é😀", "x" * 20_000),
    *([], ["a"], [None], [[]], [{}], ["a", "a", ""], ["\x00"], list("abc") * 50, [1e400, "\ud800"]),
    *({}, {"a": 1}, {"lon": 1e308, "lat": "x"}, {"\x00": "\x00"}, {"a": {"b": [1, {"c": "\ud800"}]}}),
]
deep: Any = "bottom"
for _ in range(190):
    deep = [deep]
VALUES.append(deep)


@pytest.fixture
async def every_kind(base):
    await base.collection("every")
    every = base.schema.find("every")
    fields = [
        *(field.to_json() for field in every.fields),
        {"name": "text", "type": "text", "autogeneratePattern": "[a-z]{3}"},
        {"name": "editor", "type": "editor"},
        {"name": "number", "type": "number"},
        {"name": "bool", "type": "bool"},
        {"name": "email", "type": "email"},
        {"name": "url", "type": "url"},
        {"name": "date", "type": "date"},
        {"name": "auto", "type": "autodate", "onCreate": True},
        {"name": "one", "type": "select", "values": ["a", "b"]},
        {"name": "many", "type": "select", "values": ["a", "b"], "maxSelect": 2},
        {"name": "rel", "type": "relation", "collectionId": every.id},
        {"name": "rels", "type": "relation", "collectionId": every.id, "maxSelect": 9},
        {"name": "file", "type": "file"},
        {"name": "files", "type": "file", "maxSelect": 9},
        {"name": "json", "type": "json"},
        {"name": "point", "type": "geoPoint"},
        {"name": "secret", "type": "password"},
    ]
    await base.collections.update(
        "every",
        {
            "fields": fields,
            "createRule": "text != 'x' && (json.a = 1 || number < 5 || many:length < 9 || point.lat < 90 || date < @now)",
            "updateRule": "@request.body.text:isset = false || @request.body.json.a != 1 || rels.text != 'x'",
        },
    )
    return base


def random_body(chance: random.Random, names: list[str]) -> dict[str, Any]:
    keys = []
    for _ in range(chance.randint(1, 4)):
        name = chance.choice(names)
        keys.append(
            chance.choice(["{}", "{}", "{}", "{}+", "+{}", "{}-", "{}:autogenerate", "{}.x", "@{}"]).format(
                name
            )
        )
    return {key: chance.choice(VALUES) for key in keys}


@pytest.mark.parametrize("seed", range(4))
async def test_random_bodies_are_stored_or_refused(every_kind, seed: int) -> None:
    chance = random.Random(seed)
    names = [field.name for field in every_kind.schema.find("every").fields]
    known = (await every_kind.create("every", {"number": 1}))["id"]
    saved = 0
    refused: list[Any] = []
    for _ in range(120):
        body = random_body(chance, names)
        try:
            if chance.random() < 0.5:
                record = await every_kind.create("every", body)
            else:
                record = await every_kind.update("every", known, body)
        except GroundplaneError as error:
            refused.append((error.status, body))
            continue
        saved += 1
        # What was answered is what is stored.
        stored = await every_kind.view("every", record["id"])
        assert stored | {"json": 0, "number": 0, "point": 0} == record | {"json": 0, "number": 0, "point": 0}
    assert [each for each in refused if each[0] != 400] == []
    assert saved > 20


@pytest.mark.parametrize("seed", range(2))
async def test_random_parameters_are_answered(every_kind, seed: int) -> None:
    chance = random.Random(seed)
    names = [field.name for field in every_kind.schema.find("every").fields]
    await every_kind.create("every", {"number": 1})
    texts = [value for value in VALUES if isinstance(value, str) and "\ud800" not in value]
    refused: list[Any] = []
    for _ in range(120):
        query = {
            key: chance.choice([*texts, *names, f"{chance.choice(names)}.{chance.choice(names)}", "a_via_b"])
            for key in chance.sample(["page", "perPage", "sort", "filter", "expand", "skipTotal"], 2)
        }
        try:
            await every_kind.listed("every", **query)
        except GroundplaneError as error:
            refused.append((error.status, query))
    assert [each for each in refused if each[0] not in (400, 403)] == []
    assert len(refused) < 120
