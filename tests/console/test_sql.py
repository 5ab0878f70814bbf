"""The SQL console against whoever has taken over a superuser's session: records, and nothing beyond them."""

from __future__ import annotations

import asyncio

import pytest

from groundplane.console.sql import AT_ONCE, MAX_CELL, MAX_ROWS, SqlFailed
from groundplane.errors import Invalid, TooManyRequests
from groundplane.testing.server import Server

WHO = "mira@example.com"
# Each of these would reach a file, a program, a secret, another session, or would write.
ATTACKS = [
    "select pg_read_file('/etc/passwd')",
    "select pg_ls_dir('/')",
    "select lo_export(1, '/tmp/x')",
    "select lo_import('/etc/passwd')",
    "select * from pg_authid",
    "select rolpassword from pg_authid",
    "select query from pg_stat_activity where query ~ 'x' and pg_terminate_backend(pid)",
    'select "tokenKey" from users',
    "select password from users",
    'select md5(u::text) from "_superusers" u',
    'select * from "_collections"',
    'select * from "_params"',
    'select * from "_sessions"',
    "select set_config('role', 'postgres', false), query_to_xml('select rolpassword from pg_authid', true, true, '')",
    "select set_config('session_authorization', 'postgres', false)",
    "select query_to_xml('select pg_read_file(''/etc/passwd'')', true, true, '')",
    "select set_config('transaction_read_only', 'off', true)",
    "with gone as (delete from posts returning 1) select * from gone",
    "select * from posts for update",
    "select query_to_xml('delete from posts returning 1', true, true, '')",
    "select nextval('nothing')",
    "select 1; delete from posts",
    "explain analyze delete from posts",
    "select title into stolen from posts",
    "select pg_reload_conf()",
    "select lo_create(1)",
]
NEVER_RUN = [
    "copy posts to program 'id'",
    "copy posts to '/tmp/x'",
    "do $$ begin delete from posts; end $$",
    "delete from posts",
    "set role postgres",
    "reset role",
    "commit",
    "create extension dblink",
    "/* select */ drop table posts",
    "-- select\ntruncate posts",
    "call anything()",
    "vacuum",
    "",
    " ; ",
]


@pytest.fixture
async def app(server: Server) -> Server:
    token = await server.superuser_token()
    server.client.headers["Authorization"] = token
    made = await server.client.post(
        "/api/collections",
        json={
            "name": "posts",
            "type": "base",
            "fields": [{"name": "title", "type": "text"}, {"name": "views", "type": "number"}],
        },
    )
    assert made.status_code == 200, made.text
    for title in ("one", "two"):
        await server.client.post("/api/collections/posts/records", json={"title": title, "views": 1})
    return server


async def titles(app: Server) -> list[str]:
    return [row["title"] for row in await app.services.db.fetch("SELECT title FROM posts ORDER BY title")]


async def refused(app: Server, text: str, *, write: bool = False) -> bool:
    try:
        await app.services.sql.run(text, who=WHO, write=write)
    except Invalid:
        return True
    return False


async def test_a_query_answers_with_names_types_and_texts(app: Server) -> None:
    run = app.services.sql.run
    answer = await run(
        "select title, views, null as nothing, 1.5::numeric as views, '{1,2}'::int[] from posts order by title; ",
        who=WHO,
    )
    assert answer.columns == [
        ("title", "text"),
        ("views", "float8"),
        ("nothing", "text"),
        ("views", "numeric"),
        ("int4", "int4[]"),
    ]
    assert answer.rows[0] == ["one", "1", None, "1.5", "{1,2}"]
    assert (len(answer.rows), answer.is_cut, answer.tag) == (2, False, "SELECT 2")
    # The rest of an unfinished comment is no part of what is put around it.
    assert (await run("select 1 -- note", who=WHO)).rows == [["1"]]
    assert (await run("show timezone", who=WHO)).rows == [["UTC"]]
    assert "Scan" in "\n".join(
        row[0] or "" for row in (await run("select * from posts", who=WHO, explain=True)).rows
    )


async def test_nothing_leads_beyond_the_records(app: Server) -> None:
    for attack in ATTACKS:
        assert await refused(app, attack), attack
    for text in NEVER_RUN:
        with pytest.raises(Invalid):
            await app.services.sql.run(text, who=WHO)
    assert await titles(app) == ["one", "two"]


async def test_not_even_writes_lead_beyond_the_records(app: Server) -> None:
    for attack in (
        "insert into \"_superusers\" (id, email) values ('x', 'x@example.com')",
        'update "_params" set value = value',
        'update users set "tokenKey" = md5(random()::text)',
        "insert into posts (id, title) values ('a', pg_read_file('/etc/passwd'))",
        'update posts set title = (select "tokenKey" from users limit 1)',
        "select set_config('role', 'postgres', false)",
        "with x as (update \"_collections\" set name = 'x' returning 1) select * from x",
        "drop table posts",
        "copy posts from program 'id'",
        "update posts set title = 'a'; update posts set title = 'b'",
    ):
        assert await refused(app, attack, write=True), attack
    assert await titles(app) == ["one", "two"]


async def test_what_a_statement_leaves_in_its_session_is_gone_with_it(app: Server) -> None:
    run = app.services.sql.run
    await run("select set_config('statement_timeout', '0', false), pg_advisory_lock(7)", who=WHO)
    assert (await run("show statement_timeout", who=WHO)).rows == [["5s"]]
    locks = await app.services.db.fetchval(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7"
    )
    assert locks == 0


async def test_writing_is_committed_and_in_the_log_with_who_did_it(app: Server) -> None:
    answer = await app.services.sql.run(
        "update posts set title = title || '!' where views = 1 returning title", who=WHO, write=True
    )
    assert (sorted(row[0] or "" for row in answer.rows), answer.tag) == (["one!", "two!"], "UPDATE 2")
    assert await titles(app) == ["one!", "two!"]
    await app.services.sql.run(
        "insert into posts (id, title) values ('abcdefghijklmno', 'three')", who=WHO, write=True
    )
    await app.services.sql.run("delete from posts where title = 'three'", who=WHO, write=True)
    with pytest.raises(SqlFailed):
        await app.services.sql.run("update posts set nothing = 1", who=WHO, write=True)
    page = await app.services.logs.page(
        filter="data.type = 'sql'", sort="", limit=50, offset=0, with_total=False
    )
    said = [each["message"] for each in page.items]
    assert sum("carried out: UPDATE 2" in each for each in said) == 1
    assert sum("may write" in each for each in said) == 4
    assert sum("refused" in each for each in said) == 1
    assert all(each["data"]["auth"] == WHO for each in page.items)


async def test_errors_say_where_in_the_typed_text(app: Server) -> None:
    for text, line, column in (
        ("select\n  nothing from posts", 2, 3),
        ("select title\nfrom posts\nwhere titel = 'a'", 3, 7),
        ("select 'ä' as x,\n  1 ++", 2, 7),
    ):
        with pytest.raises(SqlFailed) as caught:
            await app.services.sql.run(text, who=WHO)
        assert (caught.value.line, caught.value.column) == (line, column), text
    with pytest.raises(SqlFailed) as caught:
        await app.services.sql.run("select nothing from posts", who=WHO, explain=True)
    assert (caught.value.line, caught.value.column) == (1, 8)
    with pytest.raises(SqlFailed, match="One statement at a time"):
        await app.services.sql.run("select 1; select 2", who=WHO)


async def test_answers_are_bounded_in_rows_values_and_size(app: Server) -> None:
    run = app.services.sql.run
    answer = await run("select n, repeat('x', 5000) from generate_series(1, 5000) n", who=WHO)
    assert answer.is_cut
    assert len(answer.rows) <= MAX_ROWS
    assert len(answer.rows[0][1] or "") == MAX_CELL
    assert not (await run(f"select n from generate_series(1, {MAX_ROWS}) n", who=WHO)).is_cut
    wide = ", ".join(f"repeat('x', 9000) as c{n}" for n in range(200))
    answer = await run(f"select {wide} from generate_series(1, 1000)", who=WHO)
    assert answer.is_cut
    assert sum(len(value or "") for row in answer.rows for value in row) < 20_000_000


async def test_slow_statements_are_stopped_and_only_some_run_at_a_time(
    app: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("groundplane.console.sql.TIMEOUT_S", 1.0)
    sleeping = [
        asyncio.create_task(app.services.sql.run("select pg_sleep(60)", who=WHO)) for _ in range(AT_ONCE)
    ]
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequests):
        await app.services.sql.run("select 1", who=WHO)
    for task in sleeping:
        with pytest.raises(SqlFailed, match="stopped"):
            await task
    assert (await app.services.sql.run("select 1", who=WHO)).rows == [["1"]]


async def test_a_new_collection_can_be_read_at_once_and_a_deleted_one_is_gone(app: Server) -> None:
    await app.services.sql.run("select 1", who=WHO)
    await app.client.post(
        "/api/collections", json={"name": "later", "type": "base", "fields": [{"name": "a", "type": "text"}]}
    )
    assert (await app.services.sql.run("select count(*) from later", who=WHO)).rows == [["0"]]
    await app.client.patch("/api/collections/later", json={"name": "renamed"})
    assert (await app.services.sql.run("select * from renamed", who=WHO)).rows == []
    await app.client.delete("/api/collections/renamed")
    with pytest.raises(SqlFailed):
        await app.services.sql.run("select * from renamed", who=WHO)


async def test_without_the_right_to_make_roles_nothing_runs(app: Server) -> None:
    db = app.services.db
    await db.execute("CREATE ROLE plain_owner")
    try:
        async with db.transaction() as connection:
            await connection.execute("SET LOCAL ROLE plain_owner")
            with pytest.raises(Invalid, match="CREATEROLE"):
                await app.services.sql.run("select 1", who=WHO)
    finally:
        await db.execute("DROP ROLE plain_owner")
