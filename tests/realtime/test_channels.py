"""Channels: who may be in, what members tell each other, and who is there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.realtime.streams import OPEN, OpenStream, Stream, caller_of

from groundplane.config import ChannelConfig, Config, RealtimeConfig
from groundplane.errors import Forbidden, GroundplaneError, Unavailable
from groundplane.realtime.channel_words import Message
from groundplane.testing.server import Server, running

SEATED = "@collection.seats.room ?= key && @collection.seats.person ?= @request.auth.id"
CHANNELS = {
    "open-*": ChannelConfig(join="", send="", presence="", max_present=3),
    "open-radio": ChannelConfig(
        join="", send="@request.body.event = 'song' && @request.body.data.length < 5"
    ),
    "quiet": ChannelConfig(join="", send="", messages_per_s=0.01),
    "locked": ChannelConfig(),
    "room-*": ChannelConfig(join=SEATED, send=SEATED, presence=SEATED),
    "half": ChannelConfig(join="", presence="@request.auth.id != ''"),
    "header": ChannelConfig(join="@request.headers.x_key = 'right' && channel = 'header'"),
    "broken": ChannelConfig(join="nothing = 1"),
}


@pytest.fixture
async def server(server_database_url: str, tmp_path: Path) -> AsyncIterator[Server]:
    config = Config(data_dir=str(tmp_path / "data"), realtime=RealtimeConfig(channels=CHANNELS))
    async with running(config, server_database_url) as started:
        yield started


def topic(channel: str, **options: Any) -> str:
    return f"@channel/{channel}?options={quote(json.dumps(options))}" if options else f"@channel/{channel}"


async def entered(open_stream: OpenStream, *topics: str, **more: Any) -> tuple[Stream, Any]:
    """A stream in the channel of the first topic, and what it was welcomed with."""
    stream = await open_stream(*topics, **more)
    return stream, (await stream.next()).data


async def told(stream: Stream) -> Any:
    """The next that it hears of a channel."""
    while (message := await stream.next()).event == "marks/*":
        pass
    return message.data


async def say(server: Server, stream: Stream, channel: str, **more: Any) -> None:
    """As a member; past HTTP, where a stream's address would not be that of the test."""
    caller = stream.client.caller
    message = Message(channel=channel, **({"event": "hi", "data": "1"} | more))
    await server.services.streams.say(stream.client.id, stream.client.ip, caller, message)


async def make_people(server: Server, *names: str) -> dict[str, str]:
    """Users by name, with their ids."""
    found = {}
    for name in names:
        person = {"email": f"{name}@example.com", "password": "1234567890", "passwordConfirm": "1234567890"}
        found[name] = (await server.client.post("/api/collections/users/records", json=person)).json()["id"]
    return found


async def make_seats(server: Server) -> str:
    fields = [{"name": "room", "type": "text"}, {"name": "person", "type": "text"}]
    await server.services.collections.create({"name": "seats", "type": "base", "fields": fields, **OPEN})
    return "/api/collections/seats/records"


async def test_members_hear_each_other_and_nobody_else_does(server: Server, open_stream: OpenStream) -> None:
    anna, _ = await entered(open_stream, topic("quiet"))
    bert, welcome = await entered(open_stream, topic("quiet"))
    carl = await open_stream(topic("quiet2"), topic("open-1"))
    assert [(await carl.next()).data["action"] for _ in range(2)] == ["refused", "joined"]
    assert "members" not in welcome
    await say(server, anna, "quiet", event="typing", data='{"far":[1,2]}')
    message = await bert.next()
    assert message.event == "@channel/quiet"
    sender = message.data.pop("from")
    assert message.data == {"action": "message", "event": "typing", "data": {"far": [1, 2]}}
    assert sender != welcome["id"]
    await say(server, bert, "quiet", to=sender, data='"only you"')
    assert (await anna.next()).data["data"] == "only you"
    assert await anna.until_now() == await bert.until_now() == await carl.until_now() == []


async def test_an_echo_comes_back_to_its_sender(server: Server, open_stream: OpenStream) -> None:
    anna, welcome = await entered(open_stream, topic("quiet"))
    await say(server, anna, "quiet", echo=True)
    assert (await anna.next()).data == {"action": "message", "event": "hi", "data": 1, "from": welcome["id"]}


async def test_who_is_there_comes_changes_and_goes(server: Server, open_stream: OpenStream) -> None:
    people = await make_people(server, "anna")
    caller = await caller_of(server, "users", "anna@example.com")
    first = topic("open-1", query={"state": {"name": "Anna"}})
    anna, welcome = await entered(open_stream, first, caller=caller)
    user = {"collectionId": caller.collection_id, "collectionName": "users", "id": people["anna"]}
    shown = {"id": welcome["id"], "caller": user, "state": {"name": "Anna"}}
    assert welcome == {"action": "joined", "id": welcome["id"], "members": [shown]}

    bert, welcomed = await entered(open_stream, topic("open-1"))
    guest = {"id": welcomed["id"], "caller": None, "state": {}}
    assert welcomed["members"] == [shown, guest]
    nothing = {"action": "presence", "joined": [], "updated": [], "left": []}
    assert (await anna.next()).data == nothing | {"joined": [guest]}

    await server.services.realtime.channels.set_state(bert.client, "open-1", '{"away":true}')
    assert (await anna.next()).data == nothing | {"updated": [guest | {"state": {"away": True}}]}
    assert (await bert.next()).data["updated"][0]["id"] == welcomed["id"]

    server.services.realtime.clients.close(bert.client)
    assert (await anna.next()).data["left"] == [guest | {"state": {"away": True}}]

    other = topic("open-1", query={"state": {"name": "Anna", "away": True}})
    await anna.subscribe(other, "marks/*", caller=caller)
    message = await anna.next()
    assert (message.event, message.data["members"][0]["state"]) == (other, {"name": "Anna", "away": True})
    await anna.subscribe("marks/*", caller=caller)
    assert server.services.realtime.channels.members("open-1") == {}


async def test_whoever_presence_does_not_let_neither_sees_nor_is_seen(
    server: Server, open_stream: OpenStream
) -> None:
    await make_people(server, "anna", "bert")
    annas = [await caller_of(server, "users", f"{name}@example.com") for name in ("anna", "bert")]
    anna, _ = await entered(open_stream, topic("half"), caller=annas[0])
    guest, welcome = await entered(open_stream, topic("half"))
    assert "members" not in welcome
    _, welcome = await entered(open_stream, topic("half"), caller=annas[1])
    assert [each["caller"] is not None for each in welcome["members"]] == [True, True]
    assert len((await anna.next()).data["joined"]) == 1
    assert await guest.until_now() == await anna.until_now() == []


async def test_only_superusers_are_let_where_no_rule_is(server: Server, open_stream: OpenStream) -> None:
    _, refused = await entered(open_stream, topic("locked"))
    assert (refused["action"], refused["status"]) == ("refused", 403)
    for unknown in ("nothing", "open-", "open-ü", "a/b", "x" * 101):
        assert (await entered(open_stream, topic(unknown)))[1]["status"] == 403
    await server.superuser_token()
    admin = await caller_of(server, "_superusers", "admin@example.com")
    stream, welcome = await entered(open_stream, topic("locked"), caller=admin)
    assert len(welcome["members"]) == 1
    await say(server, stream, "locked", echo=True)
    assert (await stream.next()).data["action"] == "message"


async def test_a_rule_reads_the_channel_its_key_and_other_collections(
    server: Server, open_stream: OpenStream
) -> None:
    seats = await make_seats(server)
    people = await make_people(server, "anna")
    caller = await caller_of(server, "users", "anna@example.com")
    seat = {"room": "blue", "person": people["anna"]}
    seat = (await server.client.post(seats, json=seat)).json()
    anna = await open_stream(topic("room-blue"), topic("room-red"), caller=caller)
    came = [await anna.next() for _ in range(2)]
    assert [(message.event, message.data["action"]) for message in came] == [
        ("@channel/room-blue", "joined"),
        ("@channel/room-red", "refused"),
    ]
    await say(server, anna, "room-blue", echo=True)
    assert (await anna.next()).data["action"] == "message"
    await server.client.delete(f"{seats}/{seat['id']}")
    with pytest.raises(Forbidden):
        await say(server, anna, "room-blue")
    await server.services.realtime.channels.look_at_all()
    assert (await anna.next()).data["action"] == "refused"
    assert server.services.realtime.channels.members("room-blue") == {}


async def test_headers_of_the_topic_are_those_of_the_rules(server: Server, open_stream: OpenStream) -> None:
    for key, action in (("right", "joined"), ("wrong", "refused")):
        assert (await entered(open_stream, topic("header", headers={"X-Key": key})))[1]["action"] == action


async def test_a_rule_that_is_wrong_lets_nobody_and_is_logged(
    server: Server, open_stream: OpenStream, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await entered(open_stream, topic("broken")))[1]["action"] == "refused"
    assert "unknown field nothing" in caplog.text


async def test_the_longer_name_counts_and_send_sees_the_message(
    server: Server, open_stream: OpenStream
) -> None:
    stream, welcome = await entered(open_stream, topic("open-radio"))
    assert "members" not in welcome
    await say(server, stream, "open-radio", event="song", data='{"length":3}', echo=True)
    assert (await stream.next()).data["data"] == {"length": 3}
    for event, data in (("song", '{"length":9}'), ("talk", '{"length":3}'), ("so\x00ng", "1")):
        with pytest.raises(Forbidden):
            await say(server, stream, "open-radio", event=event, data=data)


async def test_who_is_thrown_out_is_out_of_the_channels_too(server: Server, open_stream: OpenStream) -> None:
    seats = await make_seats(server)
    people = await make_people(server, "anna", "bert", "carl")
    for id in people.values():
        await server.client.post(seats, json={"room": "blue", "person": id})
    users = server.services.schema.current.find("users")
    streams = {}
    for name in people:
        caller = await caller_of(server, "users", f"{name}@example.com")
        streams[name], _ = await entered(open_stream, topic("room-blue"), caller=caller)
    carl = streams["carl"]
    await carl.until_now()
    # A new token key is what signs out everywhere, and a new password has one.
    await server.services.records.save_fields(users, people["anna"], {"tokenKey": "k" * 50})
    assert (await streams["anna"].until_now())[-1].data["action"] == "refused"
    assert [each["caller"]["id"] for each in (await told(carl))["left"]] == [people["anna"]]
    await server.services.records.delete_internal(users, people["bert"])
    assert (await streams["bert"].until_now())[-1].data["action"] == "refused"
    assert [each["caller"]["id"] for each in (await told(carl))["left"]] == [people["bert"]]
    await server.services.collections.update("users", {"authToken": {"secret": "s" * 50}})
    assert (await carl.until_now())[-1].data["action"] == "refused"
    assert server.services.realtime.channels.members("room-blue") == {}


async def test_a_session_that_ends_takes_its_streams_out(server: Server, open_stream: OpenStream) -> None:
    await make_people(server, "anna")
    caller = await caller_of(server, "users", "anna@example.com")
    anna, _ = await entered(open_stream, topic("half"), caller=caller)
    realtime = server.services.realtime
    assert len(realtime.channels.members("half")) == 1
    realtime.sign_out(lambda caller: True, caller.collection_id, caller.id)
    # The guest that it is now may be in the channel, but not be seen.
    async with asyncio.timeout(15):
        while realtime.channels.members("half"):  # noqa: ASYNC110  # nobody is told who could tell
            await asyncio.sleep(0.01)
    assert realtime.channels.membership(anna.client, "half").shown == ""


async def test_who_cannot_be_judged_any_more_is_out(
    server: Server, open_stream: OpenStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = await make_people(server, "anna")
    caller = await caller_of(server, "users", "anna@example.com")
    anna, _ = await entered(open_stream, topic("half"), caller=caller)
    channels = server.services.realtime.channels

    async def failing(questions: object) -> list[bool]:
        raise Unavailable()

    monkeypatch.setattr(channels.rules, "allowed", failing)
    users = server.services.schema.current.find("users")
    await server.services.records.save_fields(users, people["anna"], {"name": "Anne"})
    assert (await anna.next()).data["status"] == 503
    assert channels.members("half") == {}


async def test_a_stream_that_becomes_somebodys_is_seen_as_such(
    server: Server, open_stream: OpenStream
) -> None:
    await make_people(server, "anna")
    other, _ = await entered(open_stream, topic("open-1"))
    stream, welcome = await entered(open_stream, topic("open-1"))
    assert (await other.next()).data["joined"][0]["caller"] is None
    caller = await caller_of(server, "users", "anna@example.com")
    await stream.subscribe(topic("open-1"), "marks/*", caller=caller)
    updated = (await other.next()).data["updated"]
    assert [(each["id"], each["caller"]["id"]) for each in updated] == [(welcome["id"], caller.id)]


async def test_limits_hold(server: Server, open_stream: OpenStream, monkeypatch: pytest.MonkeyPatch) -> None:
    channels = server.services.realtime.channels
    streams = [(await entered(open_stream, topic("open-full")))[0] for _ in range(3)]
    _, refused = await entered(open_stream, topic("open-full"))
    assert (refused["action"], refused["message"]) == ("refused", "The channel is full.")
    _, refused = await entered(open_stream, topic("open-2", query={"state": {"x": "y" * 1024}}))
    assert refused["message"] == "The state is larger than 1024 bytes."
    many, _ = await entered(open_stream, *(topic(f"open-n{number}") for number in range(101)))
    assert [(await many.next()).data["action"] for _ in range(100)].count("joined") == 99

    async def status(act: Any) -> int:
        try:
            await act
        except GroundplaneError as error:
            return error.status
        return 204

    member = streams[0]
    assert await status(say(server, member, "open-full", data=f'"{"x" * 16384}"')) == 413
    assert await status(say(server, member, "open-full", event="x" * 101)) == 413
    assert await status(say(server, member, "open-other")) == 403
    assert await status(channels.set_state(member.client, "open-full", '{"a":"' + "x" * 1024 + '"}')) == 400
    results = [await status(say(server, member, "open-full")) for _ in range(60)]
    assert set(results) == {204, 429}
    assert 30 < results.count(204) < 60
    slow, _ = await entered(open_stream, topic("quiet"))
    assert [await status(say(server, slow, "quiet")) for _ in range(2)] == [204, 429]


async def test_requests_name_a_stream_or_come_from_a_superuser(
    server: Server, open_stream: OpenStream
) -> None:
    stream, welcome = await entered(open_stream, topic("open-1"))
    stream.client.ip = "127.0.0.1"  # where the test's requests come from
    path = "/api/realtime/channels/open-1"
    body = {"clientId": stream.client.id, "event": "hi", "data": {"n": 1}, "echo": True}
    assert (await server.client.post(path, json=body)).status_code == 204
    assert (await stream.next()).data["data"] == {"n": 1}
    answer = await server.client.put(f"{path}/state", json={"clientId": stream.client.id, "state": {"a": 1}})
    assert answer.status_code == 204
    assert (await stream.next()).data["updated"][0]["state"] == {"a": 1}
    shown = (await server.client.get(path)).json()["members"]
    assert shown == [{"id": welcome["id"], "caller": None, "state": {"a": 1}}]

    token = await server.superuser_token()
    admin = {"Authorization": token}
    assert (await server.client.post(path, json={"data": "news"}, headers=admin)).status_code == 204
    assert (await stream.next()).data == {
        "action": "message",
        "event": "message",
        "data": "news",
        "from": None,
    }
    for method, url, sent, headers, status in (
        ("POST", path, {"data": 1}, {}, 401),
        ("POST", path, body | {"clientId": "x" * 40}, {}, 404),
        ("POST", path, body, admin, 403),
        ("POST", "/api/realtime/channels/open-2", body, {}, 403),
        ("POST", "/api/realtime/channels/nothing", {"data": 1}, admin, 404),
        ("POST", path, [], {}, 400),
        ("POST", path, {"clientId": 5}, {}, 400),
        ("PUT", f"{path}/state", {"clientId": stream.client.id, "state": 5}, {}, 400),
        ("GET", "/api/realtime/channels/nothing", None, {}, 404),
        ("GET", "/api/realtime/channels/locked", None, {}, 403),
        ("GET", "/api/realtime/channels/locked", None, admin, 200),
    ):
        answer = await server.client.request(method, url, json=sent, headers=headers)
        assert answer.status_code == status, (method, url, sent, answer.text)
    stream.client.ip = "10.0.0.9"
    assert (await server.client.post(path, json=body)).status_code == 400
    deep = b'{"clientId":"x","data":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert (await server.client.post(path, content=deep)).status_code == 400
