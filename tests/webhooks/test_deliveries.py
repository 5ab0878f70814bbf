"""Changes arrive at the receiver: signed, in order, again until it has them, and each can be looked at."""

from __future__ import annotations

import json
from typing import Any

import pytest

from groundplane.schema.wire import collection_to_json
from groundplane.security.ids import record_id
from groundplane.webhooks.sender import Answer, Message


async def test_a_create_an_update_and_a_delete_arrive_signed_and_in_order(hooks: Any, verify: Any) -> None:
    hook = await hooks.make()
    post = await hooks.post(title="a", stars=1.5, secret="hidden")
    await hooks.edit(post, title="b")
    await hooks.remove(post)
    await hooks.work()
    secret = hook["secrets"][0]["secret"]
    messages = [verify(heard, secret) for heard in hooks.receiver.heard]
    assert [each["type"] for each in messages] == ["record.created", "record.updated", "record.deleted"]
    assert [each["data"]["record"]["title"] for each in messages] == ["a", "b", "b"]
    assert messages[0]["data"]["record"] == {
        "collectionId": messages[0]["data"]["record"]["collectionId"],
        "collectionName": "posts",
        "id": post,
        "stars": 1.5,
        "title": "a",
    }
    assert messages[1]["data"]["before"]["title"] == "a"
    assert [heard.headers["webhook-id"] for heard in hooks.receiver.heard] == [
        each["id"] for each in messages
    ]
    assert all(heard.headers["content-type"] == "application/json" for heard in hooks.receiver.heard)
    assert hooks.receiver.connections == 1, "one connection serves what follows on each other"


async def test_a_rolled_back_change_sends_nothing(hooks: Any) -> None:
    await hooks.services.settings.change({"batch": {"enabled": True}})
    hook = await hooks.make()
    item = {"method": "POST", "url": "/api/collections/posts/records"}
    wrong = {"method": "PATCH", "url": "/api/collections/posts/records/missing", "body": {}}
    await hooks.call("POST", "/api/batch", {"requests": [item | {"body": {"title": "a"}}, wrong]}, status=400)
    await hooks.call("POST", "/api/collections/posts/records", {"id": "x"}, status=400)
    await hooks.work()
    assert hooks.receiver.heard == []
    assert await hooks.deliveries(hook["id"]) == []


async def test_only_the_wanted_collections_and_actions_are_recorded(hooks: Any) -> None:
    await hooks.services.collections.create({"name": "notes", "type": "base", "createRule": ""})
    only = await hooks.make(name="only", actions=["delete"])
    every = await hooks.make(name="every", collections=["*"], actions=["create"])
    post = await hooks.post(title="a")
    await hooks.call("POST", "/api/collections/notes/records", {})
    await hooks.remove(post)
    assert [each["type"] for each in await hooks.deliveries(only["id"])] == ["record.deleted"]
    assert len(await hooks.deliveries(every["id"])) == 2
    system = hooks.services.schema.current.find("_authOrigins")
    assert not hooks.services.webhooks.outbox.concerns(system, "create")


async def test_a_collection_without_webhooks_costs_a_look_into_a_dictionary(hooks: Any) -> None:
    posts = hooks.services.schema.current.find("posts")
    outbox = hooks.services.webhooks.outbox
    assert not outbox.concerns(posts, "create")
    await hooks.make(actions=["update"])
    assert (outbox.concerns(posts, "update"), outbox.concerns(posts, "create")) == (True, False)


async def test_a_condition_chooses_by_the_new_row_and_by_the_deleted_one(hooks: Any) -> None:
    hook = await hooks.make(condition="stars > 3 && title != 'no'")
    low, high = await hooks.post(stars=1, title="a"), await hooks.post(stars=5, title="b")
    await hooks.edit(low, stars=4)
    await hooks.edit(high, title="no")
    await hooks.remove(high)
    await hooks.remove(low)
    found = [(each["type"], each["record"]) for each in await hooks.deliveries(hook["id"])]
    assert found == [("record.created", high), ("record.updated", low), ("record.deleted", low)]


async def test_a_condition_knows_who_made_the_change(hooks: Any) -> None:
    hook = await hooks.make(condition="@request.auth.id = ''")
    await hooks.post(title="by a superuser")
    answer = await hooks.server.client.post("/api/collections/posts/records", json={"title": "by a guest"})
    assert [each["record"] for each in await hooks.deliveries(hook["id"])] == [answer.json()["id"]]


async def test_fields_choose_what_is_sent_and_hidden_ones_only_by_name(hooks: Any) -> None:
    await hooks.make(fields=["title", "secret"])
    post = await hooks.post(title="a", stars=2, secret="s")
    await hooks.edit(post, secret="t")
    await hooks.work()
    first, second = (heard.message["data"] for heard in hooks.receiver.heard)
    assert set(first["record"]) == {"id", "collectionId", "collectionName", "title", "secret"}
    assert first["record"]["secret"] == "s"
    assert second["changed"] == ["secret"]
    assert second["before"]["secret"] == "s"


async def test_headers_of_the_webhook_are_sent_and_never_shown(hooks: Any) -> None:
    hook = await hooks.make(headers={"Authorization": "Bearer secret-token"})
    await hooks.post(title="a")
    await hooks.work()
    assert hooks.receiver.heard[0].headers["authorization"] == "Bearer secret-token"
    (delivery,) = await hooks.deliveries(hook["id"])
    seen = await hooks.delivery(hook["id"], delivery["id"])
    assert seen["history"][0]["request"]["headers"]["Authorization"] == "******"
    again = await hooks.call("GET", f"/api/webhooks/{hook['id']}")
    assert "secret-token" not in json.dumps([seen, again])
    assert again["headers"] == {"Authorization": "******"}


async def test_a_failed_attempt_is_made_again_with_the_same_id_until_it_succeeds(
    hooks: Any, reply: Any
) -> None:
    hook = await hooks.make(retries=[0, 0, 0])
    hooks.receiver.answers = [reply(500, {}, b"no"), reply(503)]
    await hooks.post(title="a")
    await hooks.work()
    assert [heard.event for heard in hooks.receiver.heard] == [hooks.receiver.heard[0].event] * 3
    assert len({heard.body for heard in hooks.receiver.heard}) == 1
    (delivery,) = await hooks.deliveries(hook["id"])
    assert (delivery["state"], delivery["attempts"], delivery["status"]) == ("delivered", 3, 204)
    history = (await hooks.delivery(hook["id"], delivery["id"]))["history"]
    assert [(each["number"], each["answer"]["status"], each["error"]) for each in history] == [
        (3, 204, ""),
        (2, 503, "The receiver answered 503."),
        (1, 500, "The receiver answered 500."),
    ]
    assert history[2]["answer"]["body"] == "no"


async def test_a_record_waits_for_its_own_failed_delivery_and_others_pass(hooks: Any, reply: Any) -> None:
    hook = await hooks.make(retries=[60])
    hooks.receiver.answers = [reply(500)]
    slow = await hooks.post(title="slow")
    await hooks.work()
    await hooks.edit(slow, title="slow again")
    other = await hooks.post(title="other")
    await hooks.work()
    assert [heard.message["data"]["record"]["id"] for heard in hooks.receiver.heard] == [slow, other]
    await hooks.hurry()
    await hooks.work()
    titles = [heard.message["data"]["record"]["title"] for heard in hooks.receiver.heard]
    assert titles == ["slow", "other", "slow", "slow again"]
    assert {each["state"] for each in await hooks.deliveries(hook["id"])} == {"delivered"}


async def test_after_the_last_attempt_the_delivery_has_failed_and_the_next_one_goes(
    hooks: Any, reply: Any
) -> None:
    hook = await hooks.make(retries=[0])
    hooks.receiver.answers = [reply(500), reply(500)]
    post = await hooks.post(title="a")
    await hooks.edit(post, title="b")
    await hooks.work()
    assert [each["state"] for each in await hooks.deliveries(hook["id"])] == ["failed", "delivered"]
    assert [heard.message["type"] for heard in hooks.receiver.heard] == [
        "record.created",
        "record.created",
        "record.updated",
    ]


async def test_the_pause_that_the_receiver_asks_for_is_kept_by_all(hooks: Any, reply: Any) -> None:
    hook = await hooks.make(retries=[1, 1])
    hooks.receiver.answers = [reply(429, {"Retry-After": "120"})]
    await hooks.post(title="a")
    await hooks.work()
    await hooks.post(title="b")
    await hooks.work()
    assert len(hooks.receiver.heard) == 1
    second = (await hooks.deliveries(hook["id"]))[1]
    assert second["attempts"] == 0, "a postponed run is no attempt"
    due = await hooks.services.db.fetchval(
        "SELECT min(extract(epoch FROM run_at - now()))::float FROM _jobs WHERE kind = 'webhook'"
    )
    assert 110 < due < 200


async def test_a_receiver_that_is_gone_for_good_is_not_asked_again(hooks: Any, reply: Any) -> None:
    hook = await hooks.make()
    hooks.receiver.answers = [reply(410)]
    await hooks.post(title="a")
    await hooks.work()
    shown = await hooks.call("GET", f"/api/webhooks/{hook['id']}")
    assert (shown["state"], shown["suspended"]) == ("suspended", "The receiver answered 410 Gone.")
    (delivery,) = await hooks.deliveries(hook["id"])
    assert delivery["state"] == "failed"
    await hooks.post(title="b")
    assert len(await hooks.deliveries(hook["id"])) == 1, "a suspended webhook records nothing"
    await hooks.call("PATCH", f"/api/webhooks/{hook['id']}", {"enabled": True})
    await hooks.post(title="c")
    await hooks.work()
    assert len(hooks.receiver.heard) == 2


async def test_what_waits_for_a_disabled_webhook_is_sent_when_it_is_enabled(hooks: Any) -> None:
    hook = await hooks.make()
    await hooks.post(title="before")
    await hooks.call("PATCH", f"/api/webhooks/{hook['id']}", {"enabled": False})
    await hooks.post(title="meanwhile")
    await hooks.work()
    assert hooks.receiver.heard == []
    await hooks.call("PATCH", f"/api/webhooks/{hook['id']}", {"enabled": True})
    await hooks.work()
    assert [heard.message["data"]["record"]["title"] for heard in hooks.receiver.heard] == ["before"]


async def test_the_test_button_sends_a_signed_message_and_shows_the_answer(
    hooks: Any, reply: Any, verify: Any
) -> None:
    hook = await hooks.make(enabled=False)
    hooks.receiver.answers = [reply(200, {"X-Seen": "yes"}, b"thanks")]
    done = await hooks.call("POST", f"/api/webhooks/{hook['id']}/test")
    assert (done["state"], done["type"], done["status"]) == ("delivered", "webhook.test", 200)
    assert done["attempt"]["answer"]["body"] == "thanks"
    assert done["attempt"]["answer"]["headers"]["X-Seen"] == "yes"
    message = verify(hooks.receiver.heard[0], hook["secrets"][0]["secret"])
    assert message["data"] == {"webhook": {"id": hook["id"], "name": "hook"}}
    await hooks.receiver.stop()
    failed = await hooks.call("POST", f"/api/webhooks/{hook['id']}/test")
    assert (failed["state"], failed["attempt"]["answer"]) == ("failed", None)
    assert failed["error"].startswith("The receiver cannot be reached:")


async def test_one_delivery_is_replayed_with_the_same_id_and_body(hooks: Any) -> None:
    hook = await hooks.make()
    await hooks.post(title="a")
    await hooks.work()
    (delivery,) = await hooks.deliveries(hook["id"])
    path = f"/api/webhooks/{hook['id']}/deliveries/{delivery['id']}/replay"
    again = await hooks.call("POST", path)
    assert (again["state"], again["attempts"]) == ("waiting", 1)
    await hooks.work()
    first, second = hooks.receiver.heard
    assert (first.event, first.body) == (second.event, second.body)
    assert [each["attempts"] for each in await hooks.deliveries(hook["id"])] == [2]


async def test_a_waiting_delivery_is_replayed_by_trying_it_now(hooks: Any, reply: Any) -> None:
    hook = await hooks.make(retries=[3600])
    hooks.receiver.answers = [reply(500)]
    await hooks.post(title="a")
    await hooks.work()
    (delivery,) = await hooks.deliveries(hook["id"])
    assert delivery["nextAttempt"] > delivery["created"]
    await hooks.call("POST", f"/api/webhooks/{hook['id']}/deliveries/{delivery['id']}/replay")
    await hooks.work()
    assert [each["state"] for each in await hooks.deliveries(hook["id"])] == ["delivered"]


async def test_a_range_is_replayed_by_time_and_state(hooks: Any, reply: Any) -> None:
    hook = await hooks.make(retries=[])
    hooks.receiver.answers = [reply(500)]
    for title in "abc":
        await hooks.post(title=title)
        await hooks.work()
    db = hooks.services.db
    await db.execute(
        "UPDATE _webhook_deliveries SET created = '2020-01-01', queued = '2020-01-01' WHERE status = 204"
    )
    path = f"/api/webhooks/{hook['id']}/replay"
    assert await hooks.call("POST", path, {}) == {"deliveries": 1}
    await hooks.work()
    assert len(hooks.receiver.heard) == 4
    assert {each["state"] for each in await hooks.deliveries(hook["id"])} == {"delivered"}
    assert await hooks.call("POST", path, {"to": "2020-02-01", "state": "delivered"}) == {"deliveries": 2}
    await hooks.work()
    again = {heard.message["data"]["record"]["title"] for heard in hooks.receiver.heard[4:]}
    assert (len(hooks.receiver.heard), again) == (6, {"b", "c"})
    assert await hooks.call("POST", path, {"from": "2030-01-01", "state": "all"}) == {"deliveries": 0}


async def test_more_deliveries_than_one_transaction_takes_are_replayed_once(
    hooks: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("groundplane.webhooks.service.AT_ONCE", 3)
    hook = await hooks.make()
    for number in range(8):
        await hooks.post(title=str(number))
    await hooks.work()
    await hooks.call("POST", f"/api/webhooks/{hook['id']}/replay", {"state": "all"})
    await hooks.work()
    assert sorted(heard.message["data"]["record"]["title"] for heard in hooks.receiver.heard) == sorted(
        [str(number) for number in range(8)] * 2
    )


async def test_deliveries_are_chosen_by_state_event_record_and_time(hooks: Any, reply: Any) -> None:
    hook = await hooks.make(retries=[])
    hooks.receiver.answers = [reply(500)]
    first = await hooks.post(title="a")
    await hooks.work()
    second = await hooks.post(title="b")
    await hooks.work()
    failed, delivered = await hooks.deliveries(hook["id"])
    assert (failed["record"], delivered["record"]) == (first, second)
    for query, found in (
        ({"state": "failed"}, [failed]),
        ({"record": second}, [delivered]),
        ({"event": failed["event"]}, [failed]),
        ({"from": "2100-01-01"}, []),
        ({"to": "2100-01-01"}, [failed, delivered]),
    ):
        assert await hooks.deliveries(hook["id"], **query) == found
    await hooks.call("GET", f"/api/webhooks/{hook['id']}/deliveries?state=lost", status=400)
    await hooks.call("GET", f"/api/webhooks/{hook['id']}/deliveries?from=soon", status=400)


async def test_old_deliveries_are_forgotten_and_those_without_a_job_end(hooks: Any) -> None:
    hook = await hooks.make()
    for title in "abc":
        await hooks.post(title=title)
    await hooks.work()
    db = hooks.services.db
    old, lost, kept = (each["id"] for each in await hooks.deliveries(hook["id"]))
    await db.execute("UPDATE _webhook_deliveries SET finished = '2020-01-01' WHERE id = $1", old)
    await db.execute(
        "UPDATE _webhook_deliveries SET state = 'waiting', finished = NULL, queued = '2020-01-01' WHERE id = $1",
        lost,
    )
    await hooks.services.webhooks.clean_up()
    left = await hooks.deliveries(hook["id"])
    assert [(each["id"], each["state"]) for each in left] == [(lost, "failed"), (kept, "delivered")]
    attempts = await db.fetch("SELECT delivery FROM _webhook_attempts ORDER BY delivery")
    assert [row["delivery"] for row in attempts] == sorted([lost, kept])
    await hooks.call("DELETE", f"/api/webhooks/{hook['id']}", status=204)
    await hooks.services.webhooks.clean_up()
    assert await db.fetchval("SELECT count(*) FROM _webhook_deliveries") == 0


@pytest.mark.parametrize("path", ["", "/test", "/rotate", "/replay", "/deliveries", "/deliveries/x"])
async def test_a_webhook_that_does_not_exist_is_a_404(hooks: Any, path: str) -> None:
    method = "GET" if path in ("", "/deliveries", "/deliveries/x") else "POST"
    answer = await hooks.call(method, f"/api/webhooks/{record_id()}{path}", status=404)
    assert answer["message"] == ("Missing or invalid " + ("delivery." if "/x" in path else "webhook."))


async def test_a_message_too_large_to_send_names_the_record_only(hooks: Any) -> None:
    posts = hooks.services.schema.current.find("posts")
    field = {"name": "long", "type": "text", "max": 1_000_000}
    raw = collection_to_json(posts)
    await hooks.services.collections.update("posts", {"fields": [*raw["fields"], field]})
    await hooks.make()
    post = await hooks.post(long="x" * 900_000)
    await hooks.work()
    data = hooks.receiver.heard[0].message["data"]
    assert data["partial"] is True
    assert data["record"]["id"] == post
    assert "long" not in data["record"]


async def test_a_cascade_and_a_batch_are_delivered_record_by_record(hooks: Any) -> None:
    await hooks.services.settings.change({"batch": {"enabled": True}})
    posts = hooks.services.schema.current.find("posts")
    post = {"name": "post", "type": "relation", "collectionId": posts.id, "cascadeDelete": True}
    await hooks.services.collections.create({"name": "notes", "type": "base", "fields": [post]})
    await hooks.make(collections=["*"])
    id = await hooks.post(title="a")
    item = {"method": "POST", "url": "/api/collections/notes/records", "body": {"post": id}}
    await hooks.call("POST", "/api/batch", {"requests": [item] * 3})
    await hooks.remove(id)
    await hooks.work()
    found = [(heard.message["type"], heard.message["data"].get("cascade")) for heard in hooks.receiver.heard]
    assert sorted(found, key=str) == sorted(
        [("record.created", None)] * 4 + [("record.deleted", None)] + [("record.deleted", True)] * 3, key=str
    )


async def test_another_sender_can_take_the_place_of_the_real_one(hooks: Any, verify: Any) -> None:
    class Remembering:
        def __init__(self) -> None:
            self.messages: list[Message] = []

        async def send(self, message: Message) -> Answer:
            self.messages.append(message)
            return Answer(status=200)

        async def close(self) -> None: ...

    await hooks.services.webhooks.close()
    hooks.services.webhooks.sender = sender = Remembering()
    hook = await hooks.make()
    await hooks.post(title="a")
    await hooks.work()
    assert hooks.receiver.heard == []
    (message,) = sender.messages
    assert (message.url, json.loads(message.body)["data"]["record"]["title"]) == (hook["url"], "a")
    assert [each["state"] for each in await hooks.deliveries(hook["id"])] == ["delivered"]


async def test_a_cancelled_job_leaves_a_delivery_that_ends_with_the_next_clean_up(hooks: Any) -> None:
    hook = await hooks.make()
    await hooks.post(title="a")
    (delivery,) = await hooks.deliveries(hook["id"])
    await hooks.call("POST", f"/api/jobs/{delivery['job']}/cancel", status=204)
    await hooks.work()
    await hooks.services.db.execute("UPDATE _webhook_deliveries SET queued = now() - interval '1 hour'")
    await hooks.services.webhooks.clean_up()
    (delivery,) = await hooks.deliveries(hook["id"])
    assert (delivery["state"], delivery["error"]) == ("failed", "Its job was cancelled or lost.")
    await hooks.call("POST", f"/api/webhooks/{hook['id']}/deliveries/{delivery['id']}/replay")
    await hooks.work()
    assert len(hooks.receiver.heard) == 1
