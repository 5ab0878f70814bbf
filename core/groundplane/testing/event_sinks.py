"""What every event sink must do, as a suite of tests against a real broker."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Protocol, TypeAlias

import pytest

from groundplane.errors import Conflict
from groundplane.events.changes import Change, ChangeAction
from groundplane.jobs.job import Backoff
from groundplane.jobs.worker import Worker
from groundplane.schema.collection import Collection
from groundplane.services import Services
from groundplane.sinks import delivery
from groundplane.sinks.sink import Message
from groundplane.testing.plugins import PluginApp

LIMIT_S = 30.0
LOOK_S = 0.02


class Received(NamedTuple):
    """A message as a consumer has got it."""

    id: str
    body: dict[str, Any]

    @property
    def told(self) -> tuple[str, str, str]:
        """The type, the id of the record and its text."""
        record = self.body["data"]["record"]
        return self.body["type"], record["id"], record.get("text", "")


class SinkBroker(Protocol):
    """The broker of a test, with a place of the test's own for its messages."""

    async def received(self) -> list[Received]:
        """Everything that has come to that place, those of one record in the broker's order."""

    def pause(self) -> None:
        """Let the broker answer nobody until `resume`."""

    def resume(self) -> None: ...


class SinkApp:
    """A server with the plugin of a sink, and its broker."""

    def __init__(self, app: PluginApp, broker: SinkBroker, plugin: str) -> None:
        self.app = app
        self.broker = broker
        self.services = app.services
        self.name = plugin

    async def collections(self) -> None:
        """Make `posts`, and `comments` that go with their post."""
        await self.services.settings.change({"batch": {"enabled": True}})
        text = {"name": "text", "type": "text"}
        posts = await self.app.make_collection("posts", [text])
        post = {"name": "post", "type": "relation", "collectionId": posts.id, "cascadeDelete": True}
        await self.app.make_collection("comments", [text, post])

    async def send(self, method: str, collection: str, record: str = "", **values: Any) -> Any:
        body: dict[str, Any] = {"json": values} if values else {}
        answer = await self.app.send(method, collection, record, **body)
        assert answer.status_code in (200, 204), answer.text
        return answer.json() if answer.status_code == 200 else None

    async def events_left(self) -> int:
        return (await self.services.sinks.state(self.name)).waiting

    async def delivered(self) -> None:
        """Return when no event waits any more."""
        await until(self._nothing_waits)

    async def _nothing_waits(self) -> bool:
        return not await self.events_left()

    async def is_failing(self) -> bool:
        return (await self.services.sinks.state(self.name)).failing_since is not None


OpenSink: TypeAlias = Callable[..., Awaitable[SinkApp]]


async def until(fact: Callable[[], Awaitable[Any]]) -> None:
    """Wait for a fact in the database or at a broker."""
    async with asyncio.timeout(LIMIT_S):
        while not await fact():  # noqa: ASYNC110  # the fact is not in this process
            await asyncio.sleep(LOOK_S)


@asynccontextmanager
async def working(services: Services, *, grace_s: float = 5.0) -> AsyncIterator[Worker]:
    """A job worker in this process, stopped in an orderly way."""
    worker = Worker(services.db, services.jobs)
    task = asyncio.create_task(worker.run(grace_s))
    try:
        yield worker
    finally:
        worker.stop()
        await task
        await services.sinks.close()


def first_of_each(received: Iterable[Received]) -> list[Received]:
    """Without repetitions, which have the id of the first."""
    found: dict[str, Received] = {}
    for each in received:
        same = found.setdefault(each.id, each)
        assert same == each, "a repetition differs from the first message"
    return list(found.values())


def by_record(received: Iterable[Received]) -> dict[str, list[tuple[str, str]]]:
    """Type and text of the messages of each record, in their order."""
    found: dict[str, list[tuple[str, str]]] = {}
    for each in received:
        kind, record, text = each.told
        found.setdefault(record, []).append((kind, text))
    return found


class Refuser:
    """Refuses changes of records whose text is "no", after everybody else was told of them."""

    def concerns(self, collection: Collection, action: ChangeAction) -> bool:
        return True

    async def changed(self, change: Change) -> None:
        if change.record.get("text") == "no":
            raise Conflict("no")


class EventSinkSuite:
    """Subclass it and give it a fixture `open_sink`: `await open_sink(**section)` starts a server whose
    plugin has these settings, those for the broker besides."""

    @pytest.fixture(autouse=True)
    def short_pauses(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(delivery, "REOPENING", Backoff(base_s=0.05, max_s=0.5))

    async def test_exactly_the_committed_changes_arrive(self, open_sink: OpenSink) -> None:
        sink = await open_sink()
        await sink.collections()
        sink.services.changes.listeners.append(Refuser())
        async with working(sink.services):
            post = (await sink.send("POST", "posts", text="a"))["id"]
            await sink.send("PATCH", "posts", post, text="b")
            assert (await sink.app.send("POST", "posts", json={"text": "no"})).status_code == 409
            assert (await sink.app.send("PATCH", "posts", post, json={"text": "no"})).status_code == 409
            await sink.send("DELETE", "posts", post)
            await sink.delivered()
        received = first_of_each(await sink.broker.received())
        assert [each.told for each in received] == [
            ("record.created", post, "a"),
            ("record.updated", post, "b"),
            ("record.deleted", post, "b"),
        ]

    async def test_a_message_says_what_has_changed_and_who_did_it(self, open_sink: OpenSink) -> None:
        sink = await open_sink(collections=["posts"], actions=["update"])
        await sink.collections()
        user = await sink.app.as_user()
        post = await sink.send("POST", "posts", text="a")
        answer = await sink.app.send("PATCH", "posts", post["id"], user=user, json={"text": "ä\x07'\""})
        async with working(sink.services):
            await sink.delivered()
        [received] = first_of_each(await sink.broker.received())
        assert received.id == received.body["id"]
        assert received.body["type"] == "record.updated"
        assert received.body["timestamp"].endswith("Z")
        assert received.body["data"] == {
            "collection": "posts",
            "record": answer.json(),
            "changed": ["text"],
            "before": post,
            "caller": {"id": user.id, "collection": "users"},
        }

    async def test_batches_and_cascades_arrive(self, open_sink: OpenSink) -> None:
        sink = await open_sink()
        await sink.collections()
        sink.services.changes.listeners.append(Refuser())
        posts, comments = "/api/collections/posts/records", "/api/collections/comments/records"

        async def batch(*texts: str) -> int:
            requests = [{"method": "POST", "url": posts, "body": {"text": text}} for text in texts]
            return (await sink.app.ask("POST", "/api/batch", json={"requests": requests})).status_code

        async with working(sink.services):
            assert await batch("a", "b", "c") == 200
            assert await batch("d", "no", "e") == 400
            post = (await sink.send("POST", "posts", text="p"))["id"]
            for text in ("x", "y"):
                answer = await sink.app.ask("POST", comments, json={"text": text, "post": post})
                assert answer.status_code == 200
            await sink.send("DELETE", "posts", post)
            await sink.delivered()
        received = first_of_each(await sink.broker.received())
        told = sorted((kind, text) for kind, _, text in (each.told for each in received))
        created = [("record.created", text) for text in "abcpxy"]
        assert told == created + [("record.deleted", text) for text in "pxy"]
        cascades = [each.told[2] for each in received if each.body["data"].get("cascade")]
        assert sorted(cascades) == ["x", "y"]

    async def test_the_events_of_a_record_arrive_in_their_order(
        self, open_sink: OpenSink, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sink = await open_sink()
        await sink.collections()
        real = sink.services.sinks.deliveries[sink.name].registered.sink
        send = real.send

        async def sent_after_a_while(message: Message) -> None:
            await asyncio.sleep(random.random() * 0.02)  # noqa: S311  # spreads load, keeps no secret
            await send(message)

        monkeypatch.setattr(real, "send", sent_after_a_while)
        async with working(sink.services), working(sink.services):
            posts = [(await sink.send("POST", "posts", text="0"))["id"] for _ in range(8)]

            async def change(post: str) -> None:
                for number in range(1, 8):
                    await sink.send("PATCH", "posts", post, text=str(number))

            await asyncio.gather(*(change(post) for post in posts))
            await sink.delivered()
        expected = [("record.created", "0"), *(("record.updated", str(number)) for number in range(1, 8))]
        received = by_record(first_of_each(await sink.broker.received()))
        assert received == dict.fromkeys(posts, expected)

    async def test_a_repetition_has_the_same_id_and_body(
        self, open_sink: OpenSink, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sink = await open_sink()
        await sink.collections()
        real = sink.services.sinks.deliveries[sink.name].registered.sink
        send, ids = real.send, list[str]()

        async def sent_but_nobody_heard(message: Message) -> None:
            await send(message)
            ids.append(message.id)
            if ids.count(message.id) < 3:
                raise TimeoutError

        monkeypatch.setattr(real, "send", sent_but_nobody_heard)
        post = (await sink.send("POST", "posts", text="a"))["id"]
        await sink.send("PATCH", "posts", post, text="b")
        async with working(sink.services):
            await sink.delivered()
        first, second = dict.fromkeys(ids)
        assert ids == [first] * 3 + [second] * 3
        received = await sink.broker.received()
        assert [each.id for each in first_of_each(received)] == [first, second]
        assert sum(each.id == first for each in received) in (1, 3)  # 1 where the broker drops repetitions

    async def test_nothing_is_lost_while_the_broker_does_not_answer(self, open_sink: OpenSink) -> None:
        sink = await open_sink(timeout_s=1)
        await sink.collections()
        async with working(sink.services):
            posts = [(await sink.send("POST", "posts", text="0"))["id"] for _ in range(3)]
            await sink.delivered()
            sink.broker.pause()
            try:
                for post in posts:
                    await sink.send("PATCH", "posts", post, text="1")
                await until(sink.is_failing)
                for post in posts:
                    await sink.send("PATCH", "posts", post, text="2")
                [check, *_] = await sink.services.sinks.health(sink.name)
                assert not check.sound
                assert f"the sink {sink.name}" in check.text
                assert "fails since" in check.text
            finally:
                sink.broker.resume()
            await sink.delivered()
        expected = [("record.created", "0"), ("record.updated", "1"), ("record.updated", "2")]
        received = by_record(first_of_each(await sink.broker.received()))
        assert received == dict.fromkeys(posts, expected)
        assert [check.sound for check in await sink.services.sinks.health(sink.name)] == [True]

    async def test_another_worker_goes_on_where_one_was_stopped(
        self, open_sink: OpenSink, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sink = await open_sink()
        await sink.collections()
        posts = [(await sink.send("POST", "posts", text="0"))["id"] for _ in range(30)]
        for post in posts:
            await sink.send("PATCH", "posts", post, text="1")
        real = sink.services.sinks.deliveries[sink.name].registered.sink
        send, sent, stuck = real.send, list[str](), asyncio.Event()

        async def sent_until_it_sticks(message: Message) -> None:
            if len(sent) == 10:
                stuck.set()
                await asyncio.Event().wait()
            sent.append(message.id)
            await send(message)

        with monkeypatch.context() as patch:
            patch.setattr(real, "send", sent_until_it_sticks)
            async with working(sink.services, grace_s=0.1):
                await stuck.wait()
        assert 50 <= await sink.events_left() < 60, "it was stopped in the middle"
        async with working(sink.services):
            await sink.delivered()
        expected = [("record.created", "0"), ("record.updated", "1")]
        received = by_record(first_of_each(await sink.broker.received()))
        assert received == dict.fromkeys(posts, expected)
