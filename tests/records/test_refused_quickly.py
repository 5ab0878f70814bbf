"""A value that is taken is refused in the words of the ordinary way, at the price of one look more."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.records.conftest import GUEST, Base
from tests.records.test_quick import asker_of

from groundplane.api.errors import error_reply
from groundplane.context import RequestInfo
from groundplane.db.engine import Database
from groundplane.db.kept import Kept
from groundplane.errors import GroundplaneError, Invalid
from groundplane.records.quick import NOBODY, Asker
from groundplane.records.shapes import SIGHTINGS
from groundplane.records.values import Submitted

TAKEN = {
    "id": "takentakentaken",
    "slug": "taken",
    "mail": "Taken@Example.com",
    "kind": "a",
    "n": 1,
    "tail": "x",
}
FREE = {"slug": "free", "mail": "free@example.com", "kind": "b", "n": 2, "tail": "y", "flag": True}


async def quickly(base: Base, values: dict[str, Any], asker: Asker = NOBODY) -> Any:
    return await base.records.create_quickly("notes", Submitted(values), {}, asker)


async def refused(base: Base, values: dict[str, Any], info: RequestInfo = GUEST) -> tuple[Any, Any]:
    """The answer of the short way, None where it leaves that to the ordinary one, and that of the ordinary one."""
    answers: list[Any] = []
    for work in (quickly(base, values, asker_of(info)), base.create("notes", values, info=info)):
        try:
            answers.append(await work)
        except GroundplaneError as error:
            answers.append(error_reply(error))
    return answers[0], answers[1]


async def make_notes(base: Base, field: Any, *indexes: str, **options: Any) -> None:
    people = await base.collection("people", field("name"))
    await base.collection(
        "notes",
        field("slug"), field("mail", "email"), field("kind"), field("n", "number"), field("flag", "bool"),
        field("tail"), field("due", "date"), field("owner", "relation", collectionId=people.id, maxSelect=1),
        indexes=[f"CREATE UNIQUE INDEX u{number} ON notes {text}" for number, text in enumerate(indexes)],
        **options,
    )  # fmt: skip
    for number in range(SIGHTINGS):
        assert (await quickly(base, {"slug": f"s{number}", "mail": f"{number}@x.example", "n": number - 9,
                                     "tail": f"{number}", "flag": number == 0}) is None) == (number < SIGHTINGS - 1)  # fmt: skip
    assert await quickly(base, TAKEN) is not None


@pytest.mark.parametrize(
    ("indexes", "values", "fields"),
    [
        (["(slug)"], FREE | {"id": TAKEN["id"]}, ["id"]),
        (["(slug)"], FREE | {"slug": "taken"}, ["slug"]),
        (["(slug)"], FREE | {"slug": "taken", "id": "freefreefreefre"}, ["slug"]),
        (["(kind, n)"], FREE | {"kind": "a", "n": 1.0}, ["kind", "n"]),
        (["(`n`)", "(slug)"], FREE | {"n": 1}, ["n"]),
        (["(mail COLLATE NOCASE)"], FREE | {"mail": "tAKEN@example.COM"}, ["mail"]),
        (["(mail COLLATE NOCASE, flag, Kind)"], FREE | {"mail": "taken@example.com", "flag": False, "kind": "a"},
         ["flag", "kind", "mail"]),
        (["(tail COLLATE RTRIM DESC)"], FREE | {"tail": "x  "}, ["tail"]),
    ],
)  # fmt: skip
async def test_a_taken_value_is_refused_as_by_the_ordinary_way(
    base: Base, field: Any, indexes: list[str], values: dict[str, Any], fields: list[str]
) -> None:
    await make_notes(base, field, *indexes)
    before = await base.db.fetchval("SELECT count(*) FROM notes")
    quick, ordinary = await refused(base, values)
    assert quick == ordinary
    assert ordinary.status == 400
    with pytest.raises(Invalid) as caught:
        await quickly(base, values)
    assert sorted(caught.value.data) == fields
    assert {error.code for error in caught.value.data.values()} == {"validation_not_unique"}
    assert await base.db.fetchval("SELECT count(*) FROM notes") == before
    assert await quickly(base, FREE) is not None


@pytest.mark.parametrize(
    ("indexes", "values"),
    [
        # Of two, PostgreSQL names one.
        (["(slug)", "(mail)"], FREE | {"slug": "taken", "mail": TAKEN["mail"]}),
        (["(slug)"], FREE | {"slug": "taken", "id": TAKEN["id"]}),
        # What an index compares besides plain columns.
        (["(slug) WHERE kind != 'z'"], FREE | {"slug": "taken"}),
        (["(lower(slug))"], FREE | {"slug": "TAKEN"}),
        (["(due, slug)"], FREE | {"slug": "taken"}),
        (["(slug)", "(kind) WHERE kind = 'a'"], FREE | {"slug": "taken"}),
    ],
)  # fmt: skip
async def test_what_is_not_clear_is_left_to_the_ordinary_way(
    base: Base, field: Any, indexes: list[str], values: dict[str, Any]
) -> None:
    await make_notes(base, field, *indexes)
    quick, ordinary = await refused(base, values)
    assert quick is None
    assert ordinary.status == 400
    assert (b"validation_not_unique" in ordinary.body) == ("lower" not in indexes[0])


async def test_nobody_hears_of_a_taken_value_who_may_not_create_the_record(base: Base, field: Any) -> None:
    await make_notes(base, field, "(slug)", createRule="kind != 'no' && (owner = '' || owner.name != 'x')")
    for values in (
        {"slug": "taken", "kind": "no"},
        {"slug": "new", "kind": "no"},
        {"slug": "taken", "owner": "nobodynobodynob"},
    ):
        quick, ordinary = await refused(base, values)
        assert quick is None
        assert b"validation_not_unique" not in ordinary.body


async def test_a_revoked_proof_hears_of_nothing(base: Base, field: Any) -> None:
    accounts = await base.collection("accounts", type="auth")
    await make_notes(base, field, "(slug)")
    password = {"password": "1234567890", "passwordConfirm": "1234567890"}
    made = await base.create("accounts", {"email": "p@example.com"} | password)
    record = await base.records.find_one(accounts, "r.id = $1", made["id"])
    assert record is not None
    asker = Asker(base.as_caller("accounts", record).caller, record["tokenKey"])
    for _ in range(SIGHTINGS - 1):
        assert await quickly(base, {"slug": "taken"}, asker) is None
    with pytest.raises(Invalid):
        await quickly(base, {"slug": "taken"}, asker)
    await base.records.save_fields(accounts, made["id"], {"tokenKey": "k" * 40})
    assert await quickly(base, {"slug": "taken"}, asker) is None


async def test_of_many_at_once_each_hears_its_own(base: Base, field: Any) -> None:
    await make_notes(base, field, "(slug)")
    slugs = ["taken" if number % 7 == 0 else f"slug {number % 60}" for number in range(200)]
    outcomes = await asyncio.gather(
        *(quickly(base, {"slug": slug}) for slug in slugs), return_exceptions=True
    )
    for slug, outcome in zip(slugs, outcomes, strict=True):
        if isinstance(outcome, BaseException):
            assert isinstance(outcome, Invalid)
            assert list(outcome.data) == ["slug"]
        else:
            assert f'"slug":"{slug}"'.encode() in outcome.body
    written = [slug for slug, each in zip(slugs, outcomes, strict=True) if not isinstance(each, Invalid)]
    assert sorted(written) == sorted(set(slugs) - {"taken"})


async def test_the_value_of_a_transaction_that_is_not_over_is_waited_for(base: Base, field: Any) -> None:
    await make_notes(base, field, "(slug)")
    inserted = "INSERT INTO notes (id, slug) VALUES ('otherotherother', 'new')"
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    for ending in ("COMMIT", "ROLLBACK"):
        async with base.db.session() as other:
            await other.execute("BEGIN")
            await other.execute(inserted)
            asked = asyncio.create_task(quickly(base, {"slug": "new"}))
            while not await base.db.fetchval(waiting):  # noqa: ASYNC110  # only asking tells
                await asyncio.sleep(0.01)
            await other.execute(ending)
        if ending == "COMMIT":
            with pytest.raises(Invalid):
                await asked
            await base.db.execute("DELETE FROM notes WHERE slug = 'new'")
        else:
            assert b'"slug":"new"' in (await asked).body


async def test_one_taken_value_among_many_costs_one_statement_more(
    base: Base, field: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_notes(base, field, "(slug)")
    with pytest.raises(Invalid):  # and its statements are prepared
        await quickly(base, {"slug": "taken"})
    statements: list[str] = []
    fetch, connection = Kept.fetch, Database.connection

    async def noted(slot: Kept, text: str, args: Any) -> Any:
        statements.append(text)
        return await fetch(slot, text, args)

    def elsewhere(database: Database) -> Any:
        statements.append("elsewhere")
        return connection(database)

    monkeypatch.setattr(Kept, "fetch", noted)
    monkeypatch.setattr(Database, "connection", elsewhere)
    for slugs, expected in (([f"a{number}" for number in range(30)], ["INSERT"]),
                            ([f"b{number}" for number in range(29)] + ["taken"], ["INSERT", "SELECT"])):  # fmt: skip
        await asyncio.gather(*(quickly(base, {"slug": slug}) for slug in slugs), return_exceptions=True)
        assert [text.split()[0] for text in statements] == expected
        statements.clear()
