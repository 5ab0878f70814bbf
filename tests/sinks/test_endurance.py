"""Changes by a real server while its job worker is killed and all three brokers go away and come back."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from groundplane.testing.event_sinks import Received, by_record, first_of_each
from groundplane.testing.live import LiveServer

RECORDS, CHANGES = 40, 25  # changes of each record
LIMIT_S = 180.0
CONFIG = """
[jobs]
lease_s = 5.0

[plugins.rabbitmq]
url = "{rabbit}"
exchange = "{name}"
timeout_s = 2

[plugins.nats]
servers = ["{nats}"]
stream = "{name}"
subject = "{name}.{{collection}}"
timeout_s = 2

[plugins.kafka]
servers = {kafka}
topic = "{name}"
timeout_s = 2

[[collections]]
name = "posts"
listRule = ""
createRule = ""
updateRule = ""
deleteRule = ""

[collections.fields]
text = {{type = "text"}}
"""
POSTS = "/api/collections/posts/records"


async def changed(client: httpx.AsyncClient, told: dict[str, list[tuple[str, str]]]) -> None:
    """Make a record, change it, delete it; `told` gets the events that must arrive."""
    record = (await client.post(POSTS, json={"text": "0"})).raise_for_status().json()["id"]
    events = told[record] = [("record.created", "0")]
    for number in range(1, CHANGES):
        (await client.patch(f"{POSTS}/{record}", json={"text": str(number)})).raise_for_status()
        events.append(("record.updated", str(number)))
        await asyncio.sleep(random.random() * 0.5)
    (await client.delete(f"{POSTS}/{record}")).raise_for_status()
    events.append(("record.deleted", str(CHANGES - 1)))


async def disturb(server: LiveServer, disturbances: list[Callable[[], Any]]) -> None:
    """Kill the job worker again and again, and let something happen to a broker between."""
    for disturbance in disturbances:
        await asyncio.to_thread(disturbance)
        for pid in server.pids("groundplane.job_worker"):
            os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(1.0 + random.random())


@pytest.mark.slow
async def test_every_committed_change_arrives_in_order_at_all_three_whatever_is_killed(
    server_database_url: str,
    tmp_path: Path,
    name: str,
    rabbit: Any,
    nats_server: Any,
    kafka: Any,
    rabbit_place: Any,
    nats_place: Any,
    kafka_place: Any,
) -> None:
    config = CONFIG.format(
        rabbit=rabbit.url, nats=nats_server.url, kafka=json.dumps(kafka.servers), name=name
    )
    told: dict[str, list[tuple[str, str]]] = {}

    def restart_nats() -> None:
        nats_server.program.stop(signal.SIGKILL)
        nats_server.program.start()

    def restart_rabbit() -> None:
        rabbit.server.stop(signal.SIGKILL)
        rabbit.server.start()

    disturbances = [
        restart_nats,
        kafka_place.pause,
        restart_rabbit,
        kafka_place.resume,
        nats_place.pause,
        rabbit_place.pause,
        nats_place.resume,
        rabbit_place.resume,
        restart_nats,
    ]
    async with LiveServer(tmp_path / "live", server_database_url, config=config) as server:
        code, said = await server.command("apply")
        assert code == 0, said
        await asyncio.gather(
            disturb(server, disturbances), *(changed(server.client, told) for _ in range(RECORDS))
        )
        places = (rabbit_place, nats_place, kafka_place)
        repetitions = [await everything(place, told) for place in places]
        code, said = await server.command("doctor")
        assert "events wait" in said
    print(f"repetitions at RabbitMQ, NATS and Kafka: {repetitions}")  # noqa: T201  # for whoever looks


async def everything(place: Any, told: dict[str, list[tuple[str, str]]]) -> int:
    """Wait until every event has come, in order and no other; returns the number of repetitions."""
    received: list[Received] = []
    async with asyncio.timeout(LIMIT_S):
        while len({each.id for each in received}) < RECORDS * (CHANGES + 1):
            received = await place.received()
    assert by_record(first_of_each(received)) == told
    return len(received) - len(first_of_each(received))
