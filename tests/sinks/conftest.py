"""Real brokers, one of each for a run of a file: RabbitMQ, NATS, and the mock cluster of librdkafka."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import aio_pika
import nats
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from groundplane.testing import plugins
from groundplane.testing.event_sinks import OpenSink, Received, SinkApp
from groundplane.testing.plugins import AppWith
from groundplane_plugins import kafka as kafka_plugin
from groundplane_plugins import nats as nats_plugin
from groundplane_plugins import rabbitmq

app_with = plugins.app_with

LIMIT_S = 120
RABBITMQ = "/usr/lib/rabbitmq/bin/rabbitmq-server"
# Ordinary users may not have this folder in their PATH.
NATS = shutil.which("nats-server") or shutil.which("nats-server", path="/usr/sbin")


@pytest.fixture(autouse=True)
def no_project_plugins(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """The folder that the tests run in may have plugins of its own."""
    monkeypatch.chdir(str(tmp_path))


def free_ports(count: int) -> list[int]:
    """Ports below those that the system gives to connections.

    A broker takes seconds to listen: one of the others would be somebody's by then, or be connected to itself
    by whoever looks whether it listens.
    """
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(15_000, 32_000)
        with suppress(OSError):
            socket.create_server(("127.0.0.1", port)).close()
            found.append(port)
    return found


class Program:
    """A broker's process, started in a folder of its own."""

    def __init__(self, command: list[str], environment: Mapping[str, str], port: int) -> None:
        self.command = command
        self.environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **environment}
        self.port = port
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        # A session of its own: signals go to all of its processes, and Ctrl-C does not.
        self.process = subprocess.Popen(
            self.command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd=self.environment.get("HOME", "/"),  # where it leaves what it dumps
        )
        deadline = time.monotonic() + LIMIT_S
        while True:
            assert self.process.poll() is None, f"{self.command[0]} has ended"
            assert time.monotonic() < deadline, f"{self.command[0]} does not listen"
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None and self.process.poll() is None:
            self.send(number)
            self.process.wait(LIMIT_S)
            # What it has started listens a little longer, and would be taken for the next one.
            with suppress(ProcessLookupError):
                deadline = time.monotonic() + LIMIT_S
                while time.monotonic() < deadline:
                    os.killpg(self.process.pid, 0)
                    time.sleep(0.02)


def wait_until_stopped(pid: int) -> None:
    """Return when every thread of a process got its SIGSTOP."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        states = [
            (task / "stat").read_text().rpartition(")")[2].split()[0]
            for task in Path(f"/proc/{pid}/task").iterdir()
        ]
        if set(states) == {"T"}:
            return
        time.sleep(0.001)
    raise TimeoutError


def pause(pid: int) -> None:
    os.killpg(pid, signal.SIGSTOP)
    wait_until_stopped(pid)


# RabbitMQ


class Rabbit:
    """A RabbitMQ of our own; Erlang's port mapper belongs to it."""

    def __init__(self, folder: Path) -> None:
        (folder / "home").mkdir()
        port, distribution, mapper = free_ports(3)
        (folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{port}\n")
        (folder / "plugins").write_text("[].\n")
        self.url = f"amqp://guest:guest@127.0.0.1:{port}/"
        epmd = shutil.which("epmd") or "epmd"
        self.mapper = Program([epmd, "-port", str(mapper), "-address", "127.0.0.1"], {}, mapper)
        environment = {
            "HOME": str(folder / "home"),
            "RABBITMQ_NODENAME": f"tests{port}@localhost",
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_DIST_PORT": str(distribution),
            "ERL_EPMD_PORT": str(mapper),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }
        self.server = Program([RABBITMQ], environment, port)

    def start(self) -> None:
        self.mapper.start()
        self.server.start()

    def stop(self) -> None:
        self.server.stop(signal.SIGKILL)
        self.mapper.stop(signal.SIGKILL)


class RabbitPlace:
    """An exchange with a queue that gets all of its messages."""

    def __init__(self, rabbit: Rabbit, name: str) -> None:
        self.rabbit = rabbit
        self.name = name
        self._received: list[Received] = []

    async def make(self) -> None:
        async with await aio_pika.connect(self.rabbit.url) as connection:
            channel = await connection.channel()
            exchange = await channel.declare_exchange(self.name, "topic", durable=True)
            queue = await channel.declare_queue(self.name, durable=True)
            await queue.bind(exchange, "#")

    async def received(self) -> list[Received]:
        async with await aio_pika.connect(self.rabbit.url) as connection:
            channel = await connection.channel()
            queue = await channel.get_queue(self.name)
            while (message := await queue.get(no_ack=True, fail=False)) is not None:
                assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
                self._received.append(Received(message.message_id or "", json.loads(message.body)))
        return self._received

    def pause(self) -> None:
        assert self.rabbit.server.process is not None
        pause(self.rabbit.server.process.pid)

    def resume(self) -> None:
        self.rabbit.server.send(signal.SIGCONT)


@pytest.fixture(scope="session")
def rabbit() -> Iterator[Rabbit]:
    if not Path(RABBITMQ).exists() or shutil.which("epmd") is None:
        pytest.skip("needs the Debian package rabbitmq-server")
    folder = Path(tempfile.mkdtemp(prefix="groundplane-rabbitmq-"))
    rabbit = Rabbit(folder)
    try:
        rabbit.start()
        yield rabbit
    finally:
        rabbit.stop()
        shutil.rmtree(folder, ignore_errors=True)


# NATS


class Nats:
    """A NATS server with JetStream on disk."""

    def __init__(self, folder: Path) -> None:
        [port] = free_ports(1)
        self.url = f"nats://127.0.0.1:{port}"
        command = [NATS or "nats-server", "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder)]
        self.program = Program(command, {}, port)


class NatsPlace:
    """A stream of its own."""

    def __init__(self, server: Nats, name: str) -> None:
        self.server = server
        self.name = name

    async def received(self) -> list[Received]:
        client = await nats.connect(self.server.url, allow_reconnect=False)
        try:
            context = client.jetstream()
            try:
                state = (await context.stream_info(self.name)).state
            except nats.js.errors.NotFoundError:
                return []
            messages = [
                await context.get_msg(self.name, seq) for seq in range(state.first_seq, state.last_seq + 1)
            ]
        finally:
            await client.close()
        return [
            Received((each.headers or {})["Nats-Msg-Id"], json.loads(each.data or b"")) for each in messages
        ]

    def pause(self) -> None:
        assert self.server.program.process is not None
        pause(self.server.program.process.pid)

    def resume(self) -> None:
        self.server.program.send(signal.SIGCONT)


@pytest.fixture(scope="session")
def nats_server() -> Iterator[Nats]:
    if NATS is None:
        pytest.skip("needs the Debian package nats-server")
    folder = Path(tempfile.mkdtemp(prefix="groundplane-nats-"))
    server = Nats(folder)
    try:
        server.program.start()
        yield server
    finally:
        server.program.stop(signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


# Kafka


class Kafka:
    """Three brokers of the mock cluster, in a process that can be stopped and continued."""

    def __init__(self) -> None:
        script = str(Path(__file__).with_name("kafka_mock.py"))
        self.process = subprocess.Popen(
            [sys.executable, script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.servers = self.process.stdout.readline().decode().strip().split(",")

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


class KafkaPlace:
    """A topic of its own; all of its partitions are read from the beginning."""

    def __init__(self, kafka: Kafka, name: str) -> None:
        self.kafka = kafka
        self.name = name

    async def received(self) -> list[Received]:
        consumer = AIOKafkaConsumer(
            self.name, bootstrap_servers=self.kafka.servers, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            parts = [
                TopicPartition(self.name, number) for number in consumer.partitions_for_topic(self.name) or ()
            ]
            ends = await consumer.end_offsets(parts)
            found: list[Any] = []
            while any([await consumer.position(part) < ends[part] for part in parts]):
                for messages in (await consumer.getmany(*parts, timeout_ms=500)).values():
                    found += messages
        finally:
            await consumer.stop()
        assert all(each.key == json.loads(each.value)["data"]["record"]["id"].encode() for each in found)
        # Time orders what offsets cannot: they count in each partition for itself.
        found.sort(key=lambda each: (each.timestamp, each.offset))
        return [Received(dict(each.headers)["id"].decode(), json.loads(each.value)) for each in found]

    def pause(self) -> None:
        pause(self.kafka.process.pid)

    def resume(self) -> None:
        os.killpg(self.kafka.process.pid, signal.SIGCONT)


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    cluster = Kafka()
    yield cluster
    cluster.stop()


# A server with the plugin of each


@pytest.fixture
def name(tmp_path: Path) -> str:
    """A name that no other test has."""
    return f"t{os.getpid()}_{tmp_path.name.replace('-', '_')}"


@pytest.fixture
async def rabbit_place(rabbit: Rabbit, name: str) -> RabbitPlace:
    place = RabbitPlace(rabbit, name)
    await place.make()
    return place


@pytest.fixture
def nats_place(nats_server: Nats, name: str) -> NatsPlace:
    return NatsPlace(nats_server, name)


@pytest.fixture
def kafka_place(kafka: Kafka, name: str) -> KafkaPlace:
    return KafkaPlace(kafka, name)


@pytest.fixture
def open_rabbit(app_with: AppWith, rabbit_place: RabbitPlace) -> OpenSink:
    async def start(**section: Any) -> SinkApp:
        config = {"url": rabbit_place.rabbit.url, "exchange": rabbit_place.name, **section}
        app = await app_with(rabbitmq, config={"rabbitmq": config})
        return SinkApp(app, rabbit_place, "rabbitmq")

    return start


@pytest.fixture
def open_nats(app_with: AppWith, nats_place: NatsPlace) -> OpenSink:
    async def start(**section: Any) -> SinkApp:
        config = {
            "servers": [nats_place.server.url],
            "stream": nats_place.name,
            "subject": f"{nats_place.name}.{{collection}}.{{action}}",
            **section,
        }
        app = await app_with(nats_plugin, config={"nats": config})
        return SinkApp(app, nats_place, "nats")

    return start


@pytest.fixture
def open_kafka(app_with: AppWith, kafka_place: KafkaPlace) -> OpenSink:
    async def start(**section: Any) -> SinkApp:
        config = {"servers": kafka_place.kafka.servers, "topic": kafka_place.name, **section}
        app = await app_with(kafka_plugin, config={"kafka": config})
        return SinkApp(app, kafka_place, "kafka")

    return start
