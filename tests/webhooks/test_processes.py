"""Several processes share webhooks: a change is known to all of them, and what waits survives a restart."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from groundplane.app import open_services
from groundplane.jobs.worker import Worker
from groundplane.services import Services
from groundplane.testing.live import LiveServer
from groundplane.testing.server import running

CONFIG = """
[outgoing]
allow_http = true
allow_networks = ["127.0.0.1"]

[settings.meta]
appName = "Hooks"

[[collections]]
name = "posts"
listRule = ""
createRule = ""
updateRule = ""

[collections.fields]
title = {type = "text"}
"""


@pytest.fixture
async def two(config: Any, server_database_url: str) -> AsyncIterator[tuple[Services, Services]]:
    async with (
        open_services(config, server_database_url) as first,
        open_services(config, server_database_url) as second,
    ):
        await first.collections.create(
            {"name": "posts", "type": "base", "fields": [{"name": "title", "type": "text"}]}
        )
        yield first, second


async def test_a_webhook_made_by_one_process_is_heard_by_the_other_at_once(two: Any, receiver: Any) -> None:
    first, second = two
    body = {"name": "hook", "url": receiver.url, "collections": ["posts"]}
    webhook, _ = await first.webhooks.create(body)
    posts = second.schema.current.find("posts")
    assert second.webhooks.outbox.concerns(posts, "create")
    await second.webhooks.update(webhook.id, {"enabled": False})
    assert not first.webhooks.outbox.concerns(posts, "create")
    await second.webhooks.update(webhook.id, {"enabled": True})
    await first.webhooks.suspend(webhook.id, "because")
    assert not second.webhooks.outbox.concerns(posts, "create")
    await first.webhooks.delete(webhook.id)
    assert not second.webhooks.outbox.concerns(posts, "create")


async def test_a_process_that_missed_messages_reads_the_webhooks_again(two: Any, receiver: Any) -> None:
    first, second = two
    body = {"name": "hook", "url": receiver.url, "collections": ["posts"]}
    await first.webhooks.create(body)
    second.webhooks.outbox.take([])
    posts = second.schema.current.find("posts")
    assert not second.webhooks.outbox.concerns(posts, "create")
    await second.catch_up()
    assert second.webhooks.outbox.concerns(posts, "create")


async def test_a_delivery_is_carried_out_by_whatever_process_and_once(two: Any, receiver: Any) -> None:
    first, second = two
    body = {"name": "hook", "url": receiver.url, "collections": ["posts"], "concurrency": 50}
    await first.webhooks.create(body)
    posts = first.schema.current.find("posts")
    for number in range(20):
        await first.records.create_internal(posts, {"title": str(number)})
    for services in (first, second):
        await Worker(services.db, services.jobs).run_due()
    assert len(receiver.heard) == 20


async def test_what_waits_is_sent_after_a_restart(
    config: Any, server_database_url: str, receiver: Any, verify: Any
) -> None:
    async with running(config, server_database_url) as server:
        fields = [{"name": "title", "type": "text"}]
        posts = await server.services.collections.create({"name": "posts", "type": "base", "fields": fields})
        body = {"name": "hook", "url": receiver.url, "collections": ["posts"]}
        _, secrets = await server.services.webhooks.create(body)
        await server.services.records.create_internal(posts, {"title": "a"})
    async with running(config, server_database_url) as server:
        await Worker(server.services.db, server.services.jobs).run_due()
        posts = server.services.schema.current.find("posts")
        await server.services.records.create_internal(posts, {"title": "b"})
        await Worker(server.services.db, server.services.jobs).run_due()
    assert [verify(heard, secrets[0])["data"]["record"]["title"] for heard in receiver.heard] == ["a", "b"]


async def test_a_real_server_with_two_workers_and_a_job_process_delivers(
    tmp_path: Path, server_database_url: str, receiver: Any, verify: Any
) -> None:
    config = CONFIG + (
        f'\n[[webhooks]]\nname = "hook"\nurl = "{receiver.url}"\ncollections = ["posts"]\n'
        'secrets = ["env:HOOK_SECRET"]\n'
    )
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYq="
    async with LiveServer(
        tmp_path / "live", server_database_url, config=config, environment={"HOOK_SECRET": secret}
    ) as live:
        for number in range(10):
            answer = await live.client.post("/api/collections/posts/records", json={"title": str(number)})
            assert answer.status_code == 200
        heard = await receiver.until(10)
        titles = {verify(each, secret)["data"]["record"]["title"] for each in heard}
        assert titles == {str(number) for number in range(10)}
        code, said = await live.command("plan")
        assert code == 0, said
        code, said = await live.command("doctor")
        assert "webhooks: 1, 0 deliveries are waiting" in said
        code, said = await live.command("pull")
        assert code == 0, said
        assert 'secrets = ["env:HOOK_SECRET"]' in live.config_file.read_text()
