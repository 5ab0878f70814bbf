"""Who subscribes hears of what happens, once, in order, and only of what may be seen."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.realtime.streams import OPEN, OpenStream, caller_of

from groundplane.errors import Forbidden, Invalid, NotFound
from groundplane.realtime import clients
from groundplane.testing.server import Server


async def make(server: Server, path: str, **body: Any) -> dict[str, Any]:
    answer = await server.client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def make_user(server: Server, name: str) -> dict[str, Any]:
    person = {"email": f"{name}@example.com", "password": "1234567890", "passwordConfirm": "1234567890"}
    return await make(server, "/api/collections/users/records", name=name, **person)


async def test_creates_updates_and_deletes_arrive_in_order(
    server: Server, posts: str, open_stream: OpenStream
) -> None:
    stream = await open_stream("posts/*")
    made = await make(server, posts, text="a")
    await server.client.patch(f"{posts}/{made['id']}", json={"text": "b"})
    await server.client.delete(f"{posts}/{made['id']}")
    assert await stream.heard() == [
        ("posts/*", "create", "a"),
        ("posts/*", "update", "b"),
        ("posts/*", "delete", "b"),
    ]


async def test_the_message_is_the_record_as_a_view_shows_it(
    server: Server, posts: str, open_stream: OpenStream
) -> None:
    stream = await open_stream("posts/*")
    made = await make(server, posts, text="<a> & ü")
    message = await stream.next()
    assert message.data.pop("cursor")
    assert message.data == {"record": made, "action": "create"}


async def test_a_topic_names_the_collection_by_name_or_id_and_all_or_one(
    server: Server, posts: str, open_stream: OpenStream
) -> None:
    id = server.services.schema.current.find("posts").id
    made = await make(server, posts, text="a")
    await make(server, posts, text="other")
    one, other = f"posts/{made['id']}", f"{id}/{made['id']}"
    stream = await open_stream(
        "posts/*", f"{id}/*", "posts", one, other, "Posts/*", "@posts/*", "nothing", ""
    )
    await server.client.patch(f"{posts}/{made['id']}", json={"text": "b"})
    await make(server, posts, text="c")
    heard = await stream.heard()
    assert sorted(topic for topic, _, text in heard if text == "b") == sorted(
        ["posts/*", f"{id}/*", "posts", one, other]
    )
    assert sorted(topic for topic, _, text in heard if text == "c") == sorted(["posts/*", f"{id}/*", "posts"])


async def test_the_list_rule_guards_all_records_and_the_view_rule_one(
    server: Server, posts: str, open_stream: OpenStream
) -> None:
    await server.services.collections.update("posts", {"listRule": "text != 'hidden'", "viewRule": None})
    made = await make(server, posts, text="a")
    stream = await open_stream("posts/*", f"posts/{made['id']}")
    for text in ("hidden", "b"):
        await server.client.patch(f"{posts}/{made['id']}", json={"text": text})
    assert await stream.heard() == [("posts/*", "update", "b")]


async def test_a_rule_on_the_caller_is_asked_for_each_caller(
    server: Server, posts: str, open_stream: OpenStream
) -> None:
    await server.services.collections.update("posts", {"listRule": "author = @request.auth.id"})
    anna, bert = await make_user(server, "anna"), await make_user(server, "bert")
    annas = await open_stream("posts/*", caller=await caller_of(server, "users", "anna@example.com"))
    berts = await open_stream("posts/*", caller=await caller_of(server, "users", "bert@example.com"))
    guests = await open_stream("posts/*")
    await server.superuser_token()
    all_of_it = await open_stream(
        "posts/*", caller=await caller_of(server, "_superusers", "admin@example.com")
    )
    await make(server, posts, text="of anna", author=anna["id"])
    await make(server, posts, text="of bert", author=bert["id"])
    await make(server, posts, text="of nobody")
    assert [text for _, _, text in await annas.heard()] == ["of anna"]
    assert [text for _, _, text in await berts.heard()] == ["of bert"]
    assert [text for _, _, text in await guests.heard()] == ["of nobody"]
    assert [text for _, _, text in await all_of_it.heard()] == ["of anna", "of bert", "of nobody"]


async def test_options_filter_expand_and_choose_fields(
    server: Server, posts: str, open_stream: OpenStream
) -> None:
    anna = await make_user(server, "anna")
    topic = 'posts/*?options={"query":{"filter":"text%20~%20\'yes\'","expand":"author","fields":"text,expand.author.name"}}'
    me = await caller_of(server, "users", "anna@example.com")
    stream = await open_stream(topic, caller=me)
    await make(server, posts, text="no", author=anna["id"])
    await make(server, posts, text="yes", author=anna["id"])
    message = await stream.next()
    assert message.event == topic
    assert message.data["record"] == {"text": "yes", "expand": {"author": {"name": "anna"}}}


@pytest.mark.parametrize(
    "query",
    [
        '{"filter":"@request.auth.id = \'\'"}',
        '{"filter":"@collection.users.id != \'\'"}',
        '{"filter":"text = "}',
        '{"filter":"nothing = 1"}',
        '{"filter":"secret = \'\'"}',
        '{"filter":"text != \'x\'","sort":"@request.auth.id"}',
    ],
)
async def test_a_filter_that_is_not_allowed_hears_nothing(
    server: Server, posts: str, open_stream: OpenStream, query: str
) -> None:
    stream = await open_stream('posts/*?options={"query":' + query + "}", "posts/*?options=%7B")
    await make(server, posts, text="a")
    assert await stream.heard() == [("posts/*?options=%7B", "create", "a")]


async def test_headers_of_a_topic_are_the_rules_headers(
    server: Server, posts: str, open_stream: OpenStream
) -> None:
    await server.services.collections.update("posts", {"listRule": "@request.headers.x_key = 'right'"})
    right, wrong = (f'posts/*?options={{"headers":{{"X-Key":"{key}"}}}}' for key in ("right", "wrong"))
    stream = await open_stream(right, wrong)
    await make(server, posts, text="a")
    assert await stream.heard() == [(right, "create", "a")]


async def test_addresses_are_shown_as_in_a_view(server: Server, posts: str, open_stream: OpenStream) -> None:
    await server.services.collections.update("users", {"listRule": ""})
    await make_user(server, "anna")
    await make_user(server, "bert")
    annas = await open_stream("users/*", caller=await caller_of(server, "users", "anna@example.com"))
    guests = await open_stream("users/*")
    for name in ("anna", "bert"):
        token = await server.token("users", f"{name}@example.com")
        me = server.services.schema.current.find("users")
        row = await server.services.records.find_one(me, 'r."email" = $1', f"{name}@example.com")
        assert row is not None
        await server.client.patch(
            f"/api/collections/users/records/{row['id']}",
            json={"name": name},
            headers={"Authorization": token},
        )
    seen = [(await annas.next()).data["record"] for _ in range(2)]
    assert [record.get("email") for record in seen] == ["anna@example.com", None]
    seen = [(await guests.next()).data["record"] for _ in range(2)]
    assert [record.get("email") for record in seen] == [None, None]
    assert all("password" not in record and "tokenKey" not in record for record in seen)


async def test_a_batch_tells_only_what_it_has_committed(
    server: Server, posts: str, open_stream: OpenStream
) -> None:
    await server.services.settings.change({"batch": {"enabled": True}})
    stream = await open_stream("posts/*")

    async def send(*ids: str) -> int:
        requests = [
            {"method": "POST", "url": posts, "body": {"text": f"t{n}", "id": id}} for n, id in enumerate(ids)
        ]
        return (await server.client.post("/api/batch", json={"requests": requests})).status_code

    assert await send("aaaaaaaaaaaaaa1", "no") == 400
    assert await send("aaaaaaaaaaaaaa2", "aaaaaaaaaaaaaa3") == 200
    assert [text for _, _, text in await stream.heard()] == ["t0", "t1"]


async def test_a_cascade_is_told_and_judged_while_the_parent_is_there(
    server: Server, posts: str, open_stream: OpenStream
) -> None:
    relation = {
        "name": "post",
        "type": "relation",
        "collectionId": server.services.schema.current.find("posts").id,
    }
    await server.services.collections.create(
        {
            "name": "comments",
            "type": "base",
            "fields": [{"name": "text", "type": "text"}, relation | {"cascadeDelete": True}],
            **OPEN,
            "listRule": "post.text = 'open'",
        }
    )
    stream = await open_stream("comments/*", "posts/*")
    expanding = await open_stream('comments/*?options={"query":{"expand":"post"}}')
    for text in ("open", "closed"):
        post = await make(server, posts, text=text)
        await make(server, "/api/collections/comments/records", text=f"on {text}", post=post["id"])
        await server.client.delete(f"{posts}/{post['id']}")
    heard = [each for each in await stream.heard() if each[0] == "comments/*"]
    assert heard == [("comments/*", "create", "on open"), ("comments/*", "delete", "on open")]
    await expanding.next()
    assert (await expanding.next()).data["record"]["expand"]["post"]["text"] == "open"


async def test_a_deletion_that_is_refused_is_not_told(
    server: Server, posts: str, open_stream: OpenStream
) -> None:
    await server.services.collections.create(
        {
            "name": "comments",
            "type": "base",
            "fields": [
                {
                    "name": "post",
                    "type": "relation",
                    "required": True,
                    "collectionId": server.services.schema.current.find("posts").id,
                }
            ],
            **OPEN,
        }
    )
    post = await make(server, posts, text="kept")
    await make(server, "/api/collections/comments/records", post=post["id"])
    stream = await open_stream(
        'posts/*?options={"query":{"filter":"comments_via_post.id ?!= \'\'"}}', "posts"
    )
    assert (await server.client.delete(f"{posts}/{post['id']}")).status_code == 400
    assert await stream.heard() == []


async def test_subscriptions_are_replaced_as_a_whole(
    server: Server, posts: str, open_stream: OpenStream
) -> None:
    stream = await open_stream("posts/*")
    await stream.subscribe("marks/*")
    await make(server, posts, text="a")
    assert await stream.heard() == []
    await stream.subscribe("posts/*", "marks/*")
    await make(server, posts, text="b")
    assert [text for _, _, text in await stream.heard()] == ["b"]


async def test_only_the_address_and_the_caller_of_a_stream_may_use_it(
    server: Server, posts: str, open_stream: OpenStream
) -> None:
    await make_user(server, "anna")
    await make_user(server, "bert")
    anna = await caller_of(server, "users", "anna@example.com")
    bert = await caller_of(server, "users", "bert@example.com")
    stream = await open_stream("posts/*")
    desk = server.services.streams
    with pytest.raises(NotFound, match="Missing or invalid client id"):
        await desk.subscribe("x" * 40, "10.0.0.1", None, [])
    with pytest.raises(Invalid, match="Invalid realtime client"):
        await desk.subscribe(stream.client.id, "10.0.0.2", None, [])
    await stream.subscribe("posts/*", caller=anna)  # a guest's stream may be upgraded
    for other in (None, bert):
        with pytest.raises(Forbidden, match="don't match"):
            await stream.subscribe("posts/*", caller=other)
    await stream.subscribe("posts/*", caller=anna)


async def test_who_is_changed_or_thrown_out_is_that_at_once(
    server: Server, posts: str, open_stream: OpenStream
) -> None:
    await server.services.collections.update("posts", {"listRule": "@request.auth.name = text"})
    user = await make_user(server, "anna")
    caller = await caller_of(server, "users", "anna@example.com")
    stream = await open_stream("posts/*", caller=caller)
    users = server.services.schema.current.find("users")
    await make(server, posts, text="anna")
    assert (await stream.next()).data["record"]["text"] == "anna"
    await server.services.records.save_fields(users, user["id"], {"name": "Anne"})
    await make(server, posts, text="Anne")
    await make(server, posts, text="anna")
    assert [text for _, _, text in await stream.heard()] == ["Anne"]
    await server.services.records.save_fields(users, user["id"], {"tokenKey": "k" * 50})
    await make(server, posts, text="Anne")
    assert await stream.heard() == []
    assert stream.client.caller is None
    await stream.subscribe("posts/*", "marks/*", caller=await caller_of(server, "users", "anna@example.com"))
    await make(server, posts, text="Anne")
    assert [text for _, _, text in await stream.heard()] == ["Anne"]
    await server.services.records.delete_internal(users, user["id"])
    await make(server, posts, text="Anne")
    assert await stream.heard() == []


async def test_a_new_secret_of_the_collection_makes_guests(
    server: Server, posts: str, open_stream: OpenStream
) -> None:
    await server.services.collections.update("posts", {"listRule": "@request.auth.id != ''"})
    await make_user(server, "anna")
    stream = await open_stream("posts/*", caller=await caller_of(server, "users", "anna@example.com"))
    await make(server, posts, text="a")
    await stream.heard()
    await server.services.collections.update("users", {"authToken": {"secret": "s" * 50}})
    await make(server, posts, text="b")
    assert await stream.heard() == []


async def test_who_belongs_to_a_collection_made_a_moment_ago_stays_bound(
    server: Server, posts: str, open_stream: OpenStream
) -> None:
    await server.services.collections.update("posts", {"listRule": "@request.auth.id != ''"})
    stream = await open_stream("posts/*")
    await server.services.collections.create({"name": "people", "type": "auth", "fields": [], **OPEN})
    person = {"email": "ann@example.com", "password": "1234567890", "passwordConfirm": "1234567890"}
    await make(server, "/api/collections/people/records", **person)
    await stream.subscribe("posts/*", "marks/*", caller=await caller_of(server, "people", "ann@example.com"))
    await make(server, posts, text="a")
    assert await stream.heard() == [("posts/*", "create", "a")]


async def test_a_rule_or_collection_that_changes_counts_from_then_on(
    server: Server, posts: str, open_stream: OpenStream
) -> None:
    stream = await open_stream("posts/*", "later/*")
    await server.services.collections.update("posts", {"listRule": None})
    await make(server, posts, text="unseen")
    text = {"name": "text", "type": "text"}
    await server.services.collections.create({"name": "later", "type": "base", "fields": [text], **OPEN})
    later = server.services.schema.current.find("later").id
    async with asyncio.timeout(10):
        # Nobody says when a process has looked at the new schema.
        while later not in await server.services.realtime.log.interest():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await make(server, "/api/collections/later/records", text="seen")
    assert await stream.heard() == [("later/*", "create", "seen")]


async def test_a_client_that_does_not_read_is_dropped(
    server: Server, posts: str, open_stream: OpenStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "MAX_WAITING_BYTES", 10_000)
    stream, other = await open_stream("posts/*"), await open_stream("posts/*")
    for _ in range(3):
        await make(server, posts, text="x" * 4900)
        await other.next()
    assert stream.client.is_stuck
    assert await stream.client.frames() is None
    assert stream.client.ended == "it reads too slowly"


async def test_nothing_is_logged_while_nobody_listens(server: Server, posts: str) -> None:
    await make(server, posts, text="a")
    assert await server.services.db.fetchval('SELECT count(*) FROM "_events"') == 0


async def test_secrets_are_not_in_the_log(server: Server, posts: str, open_stream: OpenStream) -> None:
    await server.services.collections.update("users", {"listRule": ""})
    stream = await open_stream("users/*")
    await make_user(server, "anna")
    await stream.next()
    row = await server.services.db.fetchrow(
        'SELECT "row"->>\'password\' p, "row"->>\'tokenKey\' k FROM "_events"'
    )
    assert row is not None
    assert (row["p"], row["k"]) == ("", "")
