"""`groundplane doctor --indexes` names what is missing, and only that; `--memory` adds up what processes take."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from groundplane import index_advice
from groundplane.index_advice import advice
from groundplane.logs.shapes import without_values
from groundplane.testing.live import LiveServer
from groundplane.testing.server import Server

FIELDS = [
    {"name": "title", "type": "text"},
    {"name": "status", "type": "text"},
    {"name": "score", "type": "number"},
    {"name": "owner", "type": "relation", "collectionId": "_pb_users_auth_"},
    {"name": "due", "type": "date"},
]
FILL = """
INSERT INTO posts (id, title, status, score, owner, due)
SELECT lpad(n::text, 15, '0'), 'title ' || n, 's' || n % 500, n, 'u' || n % 20, now() - n * interval '1 minute'
  FROM generate_series(1, {}) n
"""


async def posts(server: Server, *, rows: int = 5000, **more: object) -> None:
    await server.services.collections.create(
        {"name": "posts", "type": "base", "listRule": "", "fields": FIELDS, **more}
    )
    await server.services.db.execute(FILL.format(rows))
    await server.services.db.execute("ANALYZE posts")


async def ask(server: Server, **query: str) -> None:
    answer = await server.client.get("/api/collections/posts/records", params=query)
    assert answer.status_code == 200, answer.text
    await server.services.logs.writer.flush()


async def indexes(server: Server) -> list[str]:
    return [one.create_index for one in await advice(server.services)]


@pytest.mark.parametrize(
    ("query", "columns"),
    [
        ({"filter": "status = 's7'"}, "(`status`)"),
        ({"filter": "status = 's7'", "sort": "-score"}, "(\n  `status`,\n  `score`\n)"),
        ({"sort": "-due"}, "(`due`)"),
        ({"filter": "score > 4990"}, "(`score`)"),
        ({"filter": "title ~ 'x' && title = 'title 4711'"}, "(`title`)"),
    ],
)
async def test_the_index_of_a_used_filter_or_sort_is_named(
    server: Server, query: dict[str, str], columns: str
) -> None:
    await posts(server)
    await ask(server, **query)
    [one] = await advice(server.services)
    assert one.create_index.endswith(f"ON `posts` {columns}")
    assert one.tried
    assert one.gain >= 2
    assert one.questions[0].used == 1


async def test_with_the_index_nothing_is_missing_any_more(server: Server) -> None:
    await posts(server)
    await ask(server, filter="status = 's7'", sort="due")
    [named] = await indexes(server)
    # Nothing is left of the trial.
    assert await server.services.db.fetchval("SELECT count(*) FROM pg_indexes WHERE tablename = 'posts'") == 3
    await server.services.collections.update("posts", {"indexes": [named]})
    assert await indexes(server) == []


async def test_the_list_rule_counts_without_any_filter(server: Server) -> None:
    await posts(server, listRule="status = @request.auth.id")
    [named] = await indexes(server)
    assert named.endswith("(`status`)")


async def test_relations_have_their_index_already_and_tiny_tables_need_none(server: Server) -> None:
    await posts(server, listRule="owner = @request.auth.id")
    assert await indexes(server) == []


async def test_a_tiny_table_needs_no_index(server: Server) -> None:
    await posts(server, rows=200)
    await ask(server, filter="status = 's7'")
    assert await indexes(server) == []


async def test_what_no_index_serves_is_left_alone(server: Server) -> None:
    await posts(server)
    for query in ({"filter": "title ~ 'x'"}, {"filter": "status != 's7'"}, {"sort": "@random"}):
        await ask(server, **query)
    assert await indexes(server) == []


async def test_questions_about_fields_that_are_gone_are_ignored(server: Server) -> None:
    await posts(server)
    await server.services.db.execute(
        """INSERT INTO _query_shapes VALUES ('posts', 'gone = ''''', '', true, 5, now()), ('none', 'a = 0', '', true, 5, now()),
        ('posts', 'broken (', '', true, 5, now())"""
    )
    assert await indexes(server) == []


async def test_of_a_large_table_the_gain_is_estimated_without_touching_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_advice, "MAX_TRIED_ROWS", 2000)
    await posts(server)
    await ask(server, filter="status = 's7'", sort="score")
    [one] = await advice(server.services)
    assert (one.tried, "estimated" in "\n".join(one.lines())) == (False, True)
    assert one.gain >= 2


async def test_no_value_of_a_filter_is_kept(server: Server) -> None:
    await posts(server, rows=10)
    await ask(server, filter="title = 'secret' && (score > -12.5 || status = \"it's\")", sort="-score")
    row = await server.services.db.fetchrow("SELECT * FROM _query_shapes")
    assert row is not None
    assert (row["filter"], row["sort"]) == ("title = '' && (score > 0 || status = '')", "-score")


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("a='x' && b1=1", "a='' && b1=0"),
        ("a ~ 'it\\'s'  &&\n b > -1.5", "a ~ '' && b > 0"),
        ("data.0 = 5 && x_2 = 1", "data.0 = 0 && x_2 = 0"),
    ],
)
def test_values_are_taken_out_of_filters(text: str, shape: str) -> None:
    assert without_values(text) == shape


async def test_the_command_prints_a_statement_that_can_be_pasted(
    server_database_url: str, tmp_path: Path
) -> None:
    shop = LiveServer(tmp_path / "shop", server_database_url)
    code, said = await shop.command("doctor", "--indexes")
    assert (code, "No index is missing." in said) == (0, True), said


async def test_the_command_adds_up_the_memory_of_an_installation(tmp_path: Path) -> None:
    async with LiveServer(tmp_path / "live", workers=1) as server:
        code, said = await server.command("doctor", "--memory")
        assert code == 0, said
        found = re.search(r"^ *([\d.]+) MiB in all$", said, re.MULTILINE)
        assert found is not None, said
        assert 60 < float(found[1]) < 400
        assert "groundplane-web" in said
        assert "postgres" in said
