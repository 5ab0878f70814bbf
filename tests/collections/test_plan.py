"""File and database: plan shows the difference, apply removes it, pull writes it down."""

from __future__ import annotations

import asyncio
from textwrap import dedent
from typing import Any

import pytest

from groundplane.collections.file import BadFile, Declared, read
from groundplane.collections.plan import NotApplied, Plan, Planner
from groundplane.collections.pull import pulled
from groundplane.collections.service import Collections
from groundplane.db.engine import Database
from groundplane.schema.wire import collection_to_json

BLOG = """
# Our blog.
[server]
port = 8090

[[collections]]
name = "posts"
listRule = ""                                # everyone reads
createRule = "@request.auth.id != ''"
indexes = ["CREATE INDEX `idx_posts_title` ON `posts` (`title`)"]

[collections.fields]
title = {type = "text", required = true, max = 200}   # shown in lists
# What it is about.
tags = {type = "relation", collection = "tags", maxSelect = 5}
author = {type = "relation", collection = "users", maxSelect = 1}
stars = {type = "number", min = 0, max = 5, onlyInt = true}
created = {type = "autodate", onCreate = true}

[[collections]]
name = "tags"

[collections.fields]
name = {type = "text"}
parent = {type = "relation", collection = "tags", maxSelect = 1}

[[collections]]
name = "authors"
type = "view"
viewQuery = "SELECT id, n FROM counts"

[[collections]]
name = "counts"
type = "view"
viewQuery = "SELECT author AS id, count(id) AS n FROM posts WHERE author != '' GROUP BY author"

[[collections]]
name = "members"
type = "auth"
authRule = "verified = true"

[collections.fields]
nickname = {type = "text", max = 30}

[collections.passwordAuth]
identityFields = ["email"]

[collections.authToken]
duration = 3600
"""


@pytest.fixture
def planner(collections: Collections) -> Planner:
    return Planner(collections)


def file(text: str) -> Declared:
    return read(dedent(text))


def kinds(plan: Plan) -> list[str]:
    return [step.kind for step in plan.steps]


async def one(db: Database, sql: str) -> Any:
    return await db.fetchval(sql)


async def test_a_plan_shows_what_apply_does_and_is_empty_afterwards(planner: Planner, db: Database) -> None:
    plan = await planner.plan(read(BLOG))
    assert kinds(plan) == ["create_collection"] * 5
    assert plan.destructive == ()
    assert (
        "Create base collection posts with the fields title, tags, author, stars, created." in plan.render()
    )
    assert await one(db, "SELECT to_regclass('posts')") is None
    assert kinds(await planner.apply(read(BLOG))) == ["create_collection"] * 5
    assert (await planner.plan(read(BLOG))).steps == ()
    assert (await planner.plan(read(BLOG))).render() == ""
    assert await one(db, "SELECT count(*) FROM authors") == 0


async def test_the_shown_statements_make_the_tables(planner: Planner, db: Database) -> None:
    plan = await planner.plan(read(BLOG))
    for step in plan.steps:
        if step.collection in ("posts", "tags", "members"):
            for statement in step.sql:
                await db.execute(statement)
    assert await one(db, "SELECT count(*) FROM posts") == 0


async def test_collections_that_are_not_in_the_file_are_left_alone(
    planner: Planner, collections: Collections
) -> None:
    await planner.apply(read(BLOG))
    await planner.apply(read(""))
    assert collections.cache.current.get("posts") is not None
    assert (await planner.plan(read(""))).steps == ()


async def test_an_exclusive_file_deletes_the_others_when_that_is_allowed(
    planner: Planner, collections: Collections, db: Database
) -> None:
    await planner.apply(read(BLOG))
    await db.execute("INSERT INTO tags (id) VALUES ('t1'), ('t2')")
    only_users = file(
        """
        [schema]
        exclusive = true
        [[collections]]
        name = "users"
        type = "auth"
        """
    )
    plan = await planner.plan(only_users)
    gone = {step.collection: step.rows for step in plan.steps if step.kind == "delete_collection"}
    assert gone == {"posts": 0, "tags": 2, "authors": 0, "counts": 0, "members": 0}
    with pytest.raises(NotApplied, match=r"Delete collection tags.* Loses everything in 2 records"):
        await planner.apply(only_users)
    await planner.apply(only_users, allow_destructive=True)
    assert [each.name for each in collections.cache.current if not each.system] == ["users"]


async def test_a_declared_rename_keeps_the_data(
    planner: Planner, db: Database, collections: Collections
) -> None:
    await planner.apply(file('[[collections]]\nname = "a"\n[collections.fields]\nold = {type = "text"}\n'))
    id = collections.view("a").id
    await db.execute("INSERT INTO a (id, old) VALUES ('r1', 'kept')")
    renamed = file(
        """
        [[collections]]
        name = "b"
        renamed_from = "a"
        [collections.fields]
        new = {type = "text", renamed_from = "old"}
        """
    )
    plan = await planner.plan(renamed)
    assert kinds(plan) == ["rename_collection", "rename_field"]
    assert plan.destructive == ()
    await planner.apply(renamed)
    assert await one(db, "SELECT new FROM b") == "kept"
    assert collections.view("b").id == id
    # The word may stay in the file.
    assert (await planner.plan(renamed)).steps == ()


async def test_an_undeclared_rename_is_a_dropped_and_an_added_field(planner: Planner, db: Database) -> None:
    await planner.apply(file('[[collections]]\nname = "a"\n[collections.fields]\nold = {type = "text"}\n'))
    await db.execute("INSERT INTO a (id, old) VALUES ('r1', 'x'), ('r2', ''), ('r3', 'y')")
    changed = file('[[collections]]\nname = "a"\n[collections.fields]\nnew = {type = "text"}\n')
    plan = await planner.plan(changed)
    assert kinds(plan) == ["drop_field", "add_field"]
    (step,) = plan.destructive
    assert step.rows == 2
    assert step.text == "Drop field a.old. Loses its value in 2 records."
    with pytest.raises(NotApplied) as caught:
        await planner.apply(changed)
    assert "Loses its value in 2 records" in str(caught.value)
    assert await one(db, "SELECT count(*) FROM a WHERE old <> ''") == 2
    await planner.apply(changed, allow_destructive=True)
    assert (await planner.plan(changed)).steps == ()


async def test_dropping_an_empty_field_destroys_nothing(planner: Planner, db: Database) -> None:
    await planner.apply(file('[[collections]]\nname = "a"\n[collections.fields]\nold = {type = "text"}\n'))
    await db.execute("INSERT INTO a (id) VALUES ('r1')")
    await planner.apply(file('[[collections]]\nname = "a"\n'))
    assert (await planner.plan(file('[[collections]]\nname = "a"\n'))).steps == ()


TYPES: list[tuple[str, str, dict[str, Any], dict[str, Any], int]] = [
    ("text", "number", {"r1": "1.5", "r2": "", "r3": "1e2"}, {"r1": 1.5, "r2": 0, "r3": 100}, 0),
    ("text", "number", {"r1": "12", "r2": "twelve", "r3": "1e999"}, {"r1": 12, "r2": 0, "r3": 0}, 2),
    ("text", "bool", {"r1": "true", "r2": "0", "r3": "maybe"}, {"r1": True, "r2": False, "r3": False}, 1),
    ("number", "text", {"r1": 5.0, "r2": 0.1, "r3": 1e21}, {"r1": "5", "r2": "0.1", "r3": "1e+21"}, 0),
    ("bool", "number", {"r1": True, "r2": False}, {"r1": 1, "r2": 0}, 0),
    ("number", "bool", {"r1": 1.0, "r2": 0.0, "r3": 7.0}, {"r1": True, "r2": False, "r3": True}, 1),
    ("text", "editor", {"r1": "<p>"}, {"r1": "<p>"}, 0),
    ("text", "json", {"r1": 'a"b', "r2": ""}, {"r1": '"a\\"b"', "r2": None}, 0),
    ("json", "text", {"r1": '"a"', "r2": None, "r3": "[1]"}, {"r1": "a", "r2": "", "r3": "[1]"}, 0),
    ("password", "text", {"r1": "$2a$hash", "r2": ""}, {"r1": "", "r2": ""}, 1),
    ("text", "file", {"r1": "name", "r2": ""}, {"r1": "", "r2": ""}, 1),
]


@pytest.mark.parametrize(("old", "new", "before", "after", "lost"), TYPES, ids=lambda value: str(value)[:30])
async def test_a_changed_type_takes_over_the_values_that_fit(
    planner: Planner,
    db: Database,
    old: str,
    new: str,
    before: dict[str, Any],
    after: dict[str, Any],
    lost: int,
) -> None:
    def declared(kind: str) -> Declared:
        return file(f'[[collections]]\nname = "a"\n[collections.fields]\nv = {{type = "{kind}"}}\n')

    await planner.apply(declared(old))
    for id, value in before.items():
        await db.execute("INSERT INTO a (id, v) VALUES ($1, $2)", id, value)
    plan = await planner.plan(declared(new))
    assert kinds(plan) == ["change_field_type"]
    assert plan.steps[0].rows == lost
    await planner.apply(declared(new), allow_destructive=bool(lost))
    assert {row["id"]: row["v"] for row in await db.fetch("SELECT id, v FROM a")} == after
    assert (await planner.plan(declared(new))).steps == ()


async def test_texts_become_dates_when_they_are_some(planner: Planner, db: Database) -> None:
    def declared(kind: str) -> Declared:
        return file(f'[[collections]]\nname = "a"\n[collections.fields]\nv = {{type = "{kind}"}}\n')

    await planner.apply(declared("text"))
    texts = ["2030-01-02 03:04:05.678Z", "2030-01-02", "2030-02-31", "0000-01-01", "soon", ""]
    for number, text in enumerate(texts):
        await db.execute("INSERT INTO a (id, v) VALUES ($1, $2)", f"r{number}", text)
    assert (await planner.plan(declared("date"))).steps[0].rows == 3
    await planner.apply(declared("date"), allow_destructive=True)
    assert [row[0] for row in await db.fetch("SELECT v IS NULL FROM a ORDER BY id")] == [False, False] + [
        True
    ] * 4
    await planner.apply(declared("text"))
    found = [row["v"] for row in await db.fetch("SELECT v FROM a ORDER BY id")]
    assert found[:3] == ["2030-01-02 03:04:05.678Z", "2030-01-02 00:00:00.000Z", ""]


async def test_several_values_become_one_only_when_allowed(planner: Planner, db: Database) -> None:
    def declared(most: int) -> Declared:
        field = f'{{type = "select", values = ["x", "y"], maxSelect = {most}}}'
        return file(f'[[collections]]\nname = "a"\n[collections.fields]\nv = {field}\n')

    await planner.apply(declared(2))
    await db.execute("INSERT INTO a (id, v) VALUES ('r1', '{x,y}'), ('r2', '{x}'), ('r3', '{}')")
    plan = await planner.plan(declared(1))
    assert [(step.kind, step.rows, step.destructive) for step in plan.steps] == [("change_field", 1, True)]
    with pytest.raises(NotApplied):
        await planner.apply(declared(1))
    await planner.apply(declared(1), allow_destructive=True)
    assert [row["v"] for row in await db.fetch("SELECT v FROM a ORDER BY id")] == ["y", "x", ""]
    plan = await planner.plan(declared(2))
    assert plan.destructive == ()
    await planner.apply(declared(2))
    assert [row["v"] for row in await db.fetch("SELECT v FROM a ORDER BY id")] == [["y"], ["x"], []]


async def test_safe_differences_are_applied_and_the_others_left(planner: Planner, db: Database) -> None:
    await planner.apply(
        file(
            """
            [[collections]]
            name = "a"
            [collections.fields]
            gone = {type = "text"}
            code = {type = "text"}
            """
        )
    )
    await db.execute("INSERT INTO a (id, gone, code) VALUES ('r1', 'precious', 'not a number')")
    wanted = file(
        """
        [[collections]]
        name = "a"
        listRule = ""
        [collections.fields]
        code = {type = "number"}
        more = {type = "bool"}
        [[collections]]
        name = "b"
        """
    )
    done, left = await planner.apply_safe(wanted)
    assert {step.kind for step in done.steps} == {"add_field", "change_rules", "create_collection"}
    assert {step.kind for step in left.steps} == {"drop_field", "change_field_type"}
    assert len(left.destructive) == 2
    row = await db.fetchrow("SELECT gone, code, more FROM a")
    assert dict(row or {}) == {"gone": "precious", "code": "not a number", "more": False}
    # A second start finds the same.
    done, again = await planner.apply_safe(wanted)
    assert done.steps == ()
    assert again == left


async def test_rules_options_and_indexes_have_steps_of_their_own(planner: Planner) -> None:
    await planner.apply(read(BLOG))
    changed = BLOG.replace('listRule = ""', 'listRule = "stars > 1"').replace(
        "duration = 3600", "duration = 7200"
    )
    changed = changed.replace("(`title`)", "(`title`, `stars`)").replace("max = 200", "max = 300")
    plan = await planner.plan(read(changed))
    assert sorted(kinds(plan)) == [
        "add_index",
        "change_field",
        "change_options",
        "change_rules",
        "drop_index",
    ]
    assert "Change field posts.title: max 200 to 300." in plan.render()
    assert 'Change rules of posts: listRule from everyone to "stars > 1".' in plan.render()
    assert "CREATE INDEX" in plan.render(with_sql=True)
    await planner.apply(read(changed))
    assert (await planner.plan(read(changed))).steps == ()


async def test_secrets_survive_an_apply_and_stay_out_of_plan_and_file(
    planner: Planner, collections: Collections
) -> None:
    await planner.apply(read(BLOG))
    options = collections.view("members").options
    assert options is not None
    before = [options.auth_token.secret, options.file_token.secret]
    changed = BLOG.replace("duration = 3600", "duration = 7200")
    shown = (await planner.plan(read(changed))).render(with_sql=True)
    await planner.apply(read(changed))
    options = collections.view("members").options
    assert options is not None
    assert [options.auth_token.secret, options.file_token.secret] == before
    text = pulled("", collections.cache.current)
    assert not any(secret in shown or secret in text for secret in before)


async def test_a_provider_gets_its_secret_from_the_file_and_keeps_it_when_the_file_has_none(
    planner: Planner, collections: Collections
) -> None:
    def declared(secret: str) -> Declared:
        return file(
            f"""
            [[collections]]
            name = "members"
            type = "auth"
            [collections.oauth2]
            enabled = true
            providers = [{{name = "github", clientId = "me"{secret}}}]
            """
        )

    def stored() -> str:
        options = collections.view("members").options
        assert options is not None
        return options.oauth2.providers[0].clientSecret

    await planner.apply(declared(', clientSecret = "one"'))
    plan = await planner.plan(declared(', clientSecret = "two"'))
    assert kinds(plan) == ["change_options"]
    assert "two" not in plan.render(with_sql=True)
    await planner.apply(declared(', clientSecret = "two"'))
    assert stored() == "two"
    assert (await planner.plan(declared(""))).steps == ()
    await planner.apply(declared(""))
    assert stored() == "two"


async def test_a_secret_that_the_file_leaves_to_the_environment_is_taken_from_there_and_pulled_as_it_stands(
    planner: Planner, collections: Collections, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = dedent(
        """
        [[collections]]
        name = "members"
        type = "auth"

        [collections.oauth2]
        enabled = true

        [[collections.oauth2.providers]]
        name = "github"
        clientId = "me"
        clientSecret = "env:GITHUB_SECRET"  # in the vault
        """
    )
    monkeypatch.delenv("GITHUB_SECRET", raising=False)
    with pytest.raises(BadFile, match="GITHUB_SECRET is not set"):
        await planner.apply(read(text))
    monkeypatch.setenv("GITHUB_SECRET", "from the vault")
    await planner.apply(read(text))
    options = collections.view("members").options
    assert options is not None
    assert options.oauth2.providers[0].clientSecret == "from the vault"
    assert (await planner.plan(read(text))).steps == ()
    monkeypatch.delenv("GITHUB_SECRET")
    assert text.strip() in pulled(text, collections.cache.current)


async def test_system_fields_keep_their_data_when_the_file_does_not_mention_them(
    planner: Planner, db: Database
) -> None:
    await planner.apply(read(BLOG))
    await db.execute(
        "INSERT INTO members (id, email, \"tokenKey\", nickname) VALUES ('r1', 'a@b.co', 'k', 'ann')"
    )
    changed = BLOG.replace("nickname = {", 'email = {type = "email", required = false}\nnickname = {')
    await planner.apply(read(changed))
    row = await db.fetchrow("SELECT email, nickname FROM members")
    assert dict(row or {}) == {"email": "a@b.co", "nickname": "ann"}
    assert (await planner.plan(read(changed))).steps == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[collections]\n", "not valid TOML"),
        ("[[collections]]\n", "has no name"),
        ('[[collections]]\nname = "a"\nlistrule = ""\n', "did you mean 'listRule'"),
        ('[[collections]]\nname = "a"\n[collections.fields]\nb = {type = "txt"}\n', "did you mean 'text'"),
        (
            '[[collections]]\nname = "a"\n[collections.fields]\nb = {type = "text", maks = 1}\n',
            "did you mean 'max'",
        ),
        ('[[collections]]\nname = "a"\n[collections.fields]\nb = {type = "relation"}\n', "collection"),
        (
            '[[collections]]\nname = "a"\n[collections.fields]\nb = {type = "relation", collection = "c"}\n',
            "there is no collection 'c'",
        ),
        ('[[collections]]\nname = "a"\n[[collections]]\nname = "A"\n', "two collections"),
        ('[[collections]]\nname = "users"\ntype = "base"\n', "cannot become base"),
        ('[[collections]]\nname = "a b"\n', "must be in a valid format"),
        ('[[collections]]\nname = "a"\n[collections.fields]\nb = {type = "text", max = "x"}\n', "max"),
        (
            '[[collections]]\nname = "a"\n[collections.fields]\nb = {type = "number", min = 2, max = 1}\n',
            '"b"',
        ),
        ('[[collections]]\nname = "v"\ntype = "view"\nviewQuery = "SELECT 1"\n', "viewQuery"),
        ("[schema]\nexclusiv = true\n", "did you mean 'exclusive'"),
        ('[collections]\nname = "a"\n', "[[collections]]"),
    ],
)
async def test_a_mistake_in_the_file_is_named(planner: Planner, text: str, says: str) -> None:
    with pytest.raises(BadFile) as caught:
        await planner.plan(read(text))
    assert says in str(caught.value)


async def test_a_step_that_the_database_refuses_undoes_all(planner: Planner, db: Database) -> None:
    await planner.apply(file('[[collections]]\nname = "a"\n[collections.fields]\nv = {type = "text"}\n'))
    await db.execute("INSERT INTO a (id, v) VALUES ('r1', 'same'), ('r2', 'same')")
    wanted = file(
        """
        [[collections]]
        name = "first"
        [[collections]]
        name = "a"
        indexes = ["CREATE UNIQUE INDEX `one` ON `a` (`v`)"]
        [collections.fields]
        v = {type = "text"}
        """
    )
    with pytest.raises(NotApplied, match="index"):
        await planner.apply(wanted)
    assert await one(db, "SELECT to_regclass('first')") is None


async def test_two_processes_may_apply_the_same_file_at_once(
    planner: Planner, other_process: Collections, collections: Collections
) -> None:
    await other_process.load()
    await asyncio.gather(planner.apply_safe(read(BLOG)), Planner(other_process).apply_safe(read(BLOG)))
    assert (await planner.plan(read(BLOG))).steps == ()
    assert collections.cache.current.get("posts") is not None


# Drift


async def test_what_was_changed_by_sql_is_shown_and_repaired(planner: Planner, db: Database) -> None:
    await planner.apply(read(BLOG))
    await db.execute("INSERT INTO posts (id, title) VALUES ('r1', 'one')")
    await db.execute("DROP VIEW authors")
    await db.execute("ALTER TABLE posts DROP COLUMN stars")
    await db.execute("DROP INDEX idx_posts_title")
    await db.execute("ALTER TABLE tags ALTER COLUMN name DROP NOT NULL")
    plan = await planner.plan(read(""))
    sentences = "\n".join(step.sentence for step in plan.steps)
    for words in (
        "The column of posts.stars is missing",
        "The index idx_posts_title of posts is missing",
        "The column of tags.name allows NULL",
        "The view of authors is missing",
    ):
        assert f"Drift: {words}" in sentences
    assert plan.destructive == ()
    await planner.apply(read(""))
    assert (await planner.plan(read(""))).steps == ()
    assert await one(db, "SELECT stars FROM posts") == 0
    assert await one(db, "SELECT title FROM posts") == "one"


async def test_a_column_that_is_no_field_is_only_dropped_when_allowed(planner: Planner, db: Database) -> None:
    await planner.apply(read(BLOG))
    await db.execute("INSERT INTO tags (id) VALUES ('t1'), ('t2')")
    await db.execute("ALTER TABLE tags ADD COLUMN note text")
    await db.execute("UPDATE tags SET note = 'x' WHERE id = 't1'")
    plan = await planner.plan(read(BLOG))
    assert [(step.kind, step.rows, step.destructive) for step in plan.steps] == [("repair", 1, True)]
    _, left = await planner.apply_safe(read(BLOG))
    assert left == plan
    await planner.apply(read(BLOG), allow_destructive=True)
    assert (await planner.plan(read(BLOG))).steps == ()


async def test_a_retyped_column_is_shown_and_turned_back_when_allowed(planner: Planner, db: Database) -> None:
    await planner.apply(read(BLOG))
    await db.execute("INSERT INTO tags (id, name) VALUES ('t1', '7')")
    await db.execute("ALTER TABLE tags ALTER COLUMN name DROP DEFAULT, ALTER COLUMN name TYPE int USING 7")
    plan = await planner.plan(read(BLOG))
    assert "is integer instead of text" in plan.steps[0].sentence
    assert plan.steps[0].destructive
    await planner.apply(read(BLOG), allow_destructive=True)
    assert await one(db, "SELECT name FROM tags") == "7"
    assert (await planner.plan(read(BLOG))).steps == ()


async def test_a_table_that_is_gone_is_made_again(planner: Planner, db: Database) -> None:
    await planner.apply(read(BLOG))
    await db.execute("DROP TABLE members")
    assert kinds(await planner.plan(read(BLOG))) == ["repair"]
    await planner.apply(read(BLOG))
    assert (await planner.plan(read(BLOG))).steps == ()


# Pull


async def test_a_pulled_file_amounts_to_the_database(planner: Planner, collections: Collections) -> None:
    await planner.apply(read(BLOG))
    text = pulled("", collections.cache.current)
    assert (await planner.plan(read(text))).steps == ()
    before = [collection_to_json(each) for each in collections.cache.current]
    await planner.apply(read("[schema]\nexclusive = true\n"), allow_destructive=True)
    await planner.apply(read(text))
    after = {each["name"]: each for each in map(collection_to_json, collections.cache.current)}
    for each in before:
        again = after[each["name"]]
        for key in ("listRule", "createRule", "type", "viewQuery", "passwordAuth", "authToken", "oauth2"):
            assert again.get(key) == each.get(key)
        assert [field["name"] for field in again["fields"]] == [field["name"] for field in each["fields"]]


@pytest.mark.parametrize("odd", ["\n", "\r\n", "\\", '"', '"""', "\t", "\x7f", "é", "'''", " "])
async def test_any_text_comes_back_from_the_file_as_it_was(collections: Collections, odd: str) -> None:
    line = f"{odd}a{odd}\nsecond line of a text that is long enough to be written over several lines {odd}"
    text = line * 2 + odd
    fields = [
        {"name": "a", "type": "select", "values": [text, "x"]},
        {"name": "b", "type": "text", "help": odd},
    ]
    template = {"subject": odd + "x", "body": text}
    await collections.create(
        {"name": "odd", "type": "auth", "fields": fields, "verificationTemplate": template}
    )
    written = read(pulled("", collections.cache.current)).find("odd")
    assert written is not None
    assert written.options["verificationTemplate"] == template
    assert [field.options for field in written.fields] == [{"values": [text, "x"]}, {"help": odd}]


async def test_pulling_what_is_applied_changes_nothing_but_adds_the_rest(
    planner: Planner, collections: Collections
) -> None:
    await planner.apply(read(BLOG))
    text = pulled(BLOG, collections.cache.current)
    assert text.startswith(BLOG.rstrip("\n"))
    assert 'name = "users"' in text[len(BLOG) - 1 :]
    assert pulled(text, collections.cache.current) == text


async def test_a_pull_keeps_comments_and_takes_over_changes(
    planner: Planner, collections: Collections
) -> None:
    await planner.apply(read(BLOG))
    posts = collection_to_json(collections.view("posts"))
    fields = {field["name"]: field for field in posts["fields"]}
    fields["title"]["max"] = 250
    fields["stars"]["name"] = "rating"
    kept = [fields[name] for name in ("id", "title", "tags", "stars", "created")]
    added = {"name": "body", "type": "editor"}
    # The views read the author.
    await collections.delete("authors")
    await collections.delete("counts")
    await collections.update("posts", {"fields": [*kept, added], "viewRule": "", "createRule": None})
    text = pulled(BLOG, collections.cache.current)
    for kept_line in (
        "# Our blog.",
        "port = 8090",
        'listRule = ""                                # everyone reads',
        "# What it is about.",
        'tags = {type = "relation", collection = "tags", maxSelect = 5}',
    ):
        assert kept_line in text
    assert 'title = {type = "text", required = true, max = 250}   # shown in lists' in text
    assert 'viewRule = ""' in text
    for gone in ('createRule = "@request.auth.id', "author = {", "stars = {", 'name = "authors"'):
        assert gone not in text
    assert 'rating = {type = "number"' in text
    assert 'body = {type = "editor"}' in text
    assert (await planner.plan(read(text))).steps == ()


async def test_a_pull_puts_fields_into_the_order_of_the_database(
    planner: Planner, collections: Collections
) -> None:
    await planner.apply(read(BLOG))
    fields = collection_to_json(collections.view("posts"))["fields"]
    id, title, tags, author, stars, created = fields
    await collections.update("posts", {"fields": [id, stars, tags, title, author, created]})
    assert kinds(await planner.plan(read(BLOG))) == ["reorder_fields"]
    text = pulled(BLOG, collections.cache.current)
    assert (
        text.index("stars =")
        < text.index("# What it is about.")
        < text.index("tags =")
        < text.index("title =")
    )
    assert (await planner.plan(read(text))).steps == ()


async def test_only_settings_that_the_file_has_are_pulled(collections: Collections) -> None:
    text = '[settings.meta]\nappName = "Old"   # our name\n\n[settings.batch]\nenabled = true\n'
    settings = {
        "meta": {"appName": "New", "appURL": "http://x"},
        "batch": {"enabled": True},
        "logs": {"maxDays": 5},
    }
    text = pulled(text, collections.cache.current, settings)
    assert 'appName = "New"   # our name' in text
    assert "appURL" not in text
    assert "logs" not in text
