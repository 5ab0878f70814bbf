"""Webhooks in the configuration file: plan shows the difference, apply removes it, pull writes it down."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import dedent
from typing import Any

import pytest

from groundplane.app import prepare
from groundplane.collections.file import WEBHOOK_KEYS, BadFile, read
from groundplane.collections.plan import NotApplied
from groundplane.config import Config, OutgoingConfig
from groundplane.testing.server import running
from groundplane.webhooks.checks import KEYS
from groundplane.webhooks.pulled import pulled_webhooks

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYq="
FILE = """
# What others hear of us.
[[webhooks]]
name = "shop"                                # the one in the basement
url = "https://shop.example.com/hooks"
collections = ["posts", "notes"]
condition = "title != ''"
headers = {Authorization = "env:SHOP_TOKEN"}  # from the vault

[[collections]]
name = "notes"

[collections.fields]
title = {type = "text"}
"""


@pytest.fixture(autouse=True)
def token(monkeypatch: Any) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "Bearer abc")


@pytest.fixture
def planner(hooks: Any) -> Any:
    return hooks.services.planner


async def sentences(planner: Any, text: str) -> list[str]:
    return [step.text for step in (await planner.plan(read(text))).steps]


async def stored(hooks: Any) -> Mapping[str, Any]:
    return {each.definition.name: each for each in await hooks.services.webhooks.all()}


def test_the_file_knows_the_keys_of_the_api() -> None:
    assert set(WEBHOOK_KEYS) == {*KEYS, "renamed_from", "secrets"}


async def test_a_plan_makes_a_webhook_beside_the_collection_that_it_listens_to(
    hooks: Any, planner: Any
) -> None:
    assert (await sentences(planner, FILE))[1:] == ["Create webhook shop for posts, notes."]
    done = await planner.apply(read(FILE))
    assert [step.kind for step in done.steps] == ["create_collection", "create_webhook"]
    assert await sentences(planner, FILE) == []
    shop = (await stored(hooks))["shop"]
    assert hooks.services.webhooks.opened(shop).headers == {"Authorization": "Bearer abc"}
    assert len(hooks.services.webhooks.lasting_secrets(shop)) == 1
    await hooks.post(title="a")
    assert len(await hooks.deliveries(shop.id)) == 1, "this process listens at once"


async def test_a_change_names_the_keys_and_nothing_secret(hooks: Any, planner: Any, monkeypatch: Any) -> None:
    await planner.apply(read(FILE))
    monkeypatch.setenv("SHOP_TOKEN", "Bearer other")
    changed = FILE.replace("condition = \"title != ''\"", f'actions = ["create"]\nsecrets = ["{SECRET}"]')
    assert await sentences(planner, changed) == ["Change webhook shop: actions, condition, headers, secrets."]
    await planner.apply(read(changed))
    assert await sentences(planner, changed) == []
    shop = (await stored(hooks))["shop"]
    assert hooks.services.webhooks.lasting_secrets(shop) == [SECRET]
    assert len(shop.secrets) == 2, "the one before signs on for a while"


async def test_a_rename_keeps_the_webhook_and_its_deliveries(hooks: Any, planner: Any) -> None:
    await planner.apply(read(FILE))
    before = (await stored(hooks))["shop"]
    renamed = FILE.replace('name = "shop"', 'name = "store"\nrenamed_from = "shop"')
    assert await sentences(planner, renamed) == ["Change webhook store: name."]
    await planner.apply(read(renamed))
    assert {name: each.id for name, each in (await stored(hooks)).items()} == {"store": before.id}


async def test_only_an_exclusive_file_deletes_webhooks_and_that_must_be_allowed(
    hooks: Any, planner: Any
) -> None:
    await planner.apply(read(FILE))
    hook = await hooks.make(name="by hand")
    await hooks.post(title="a")
    assert await sentences(planner, FILE) == []
    exclusive = "[schema]\nexclusive = true\n" + FILE.replace('"posts", ', "")
    found = [each for each in await sentences(planner, exclusive) if "webhook by hand" in each]
    assert found == [
        "Delete webhook by hand, which is not in the file. Loses the log of its deliveries in 1 record."
    ]
    with pytest.raises(NotApplied, match="by hand"):
        await planner.apply(read(exclusive))
    assert "by hand" in await stored(hooks)
    await planner.apply(read(exclusive), allow_destructive=True)
    assert list(await stored(hooks)) == ["shop"]
    await hooks.call("GET", f"/api/webhooks/{hook['id']}", status=404)


async def test_a_file_without_webhooks_says_nothing_about_them(hooks: Any, planner: Any) -> None:
    await hooks.make(name="by hand")
    kept = '[schema]\nexclusive = true\n[[collections]]\nname = "posts"\n'
    plan = await planner.plan(read(kept))
    assert not [step for step in plan.steps if step.kind == "delete_webhook"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('url = "https://example.com"', r"\[\[webhooks\]\] number 1 has no name"),
        ('name = "a"\nurl = "https://10.0.0.1/"\ncollections = ["posts"]', "Webhook a, url: Must not be"),
        ('name = "a"\nurl = "https://example.com"\ncollections = ["nowhere"]', "no collection nowhere"),
        ('name = "a"\nurl = "https://example.com"\ncollections = ["posts"]\ncondition = "x ="', "condition"),
        ('name = "a"\nuri = "https://example.com"', "did you mean 'url'"),
        (
            'name = "a"\nurl = "https://example.com"\ncollections = ["posts"]\nsecrets = ["env:NOPE"]',
            "NOPE is not set",
        ),
        ('name = "a"\nurl = "https://example.com"\ncollections = ["posts"]\nsecrets = ["x"]', "secrets"),
        (
            'name = "a"\nurl = "https://example.com"\ncollections = ["posts"]\nheaders = {X = "******"}',
            "headers",
        ),
    ],
)
async def test_a_file_that_cannot_be_is_refused_with_the_place(
    planner: Any, entry: str, message: str
) -> None:
    with pytest.raises(BadFile, match=message):
        await planner.plan(read(f"[[webhooks]]\n{entry}\n"))


async def test_two_entries_of_one_name_are_refused() -> None:
    with pytest.raises(BadFile, match="two webhooks called A"):
        read('[[webhooks]]\nname = "a"\n[[webhooks]]\nname = "A"\n')
    with pytest.raises(BadFile, match="written as"):
        read('webhooks = "a"')


async def test_a_refused_step_of_the_schema_leaves_the_webhooks_as_they_were(
    hooks: Any, planner: Any
) -> None:
    await hooks.post(title="a")
    bad = FILE + dedent("""
        [[collections]]
        name = "posts"
        indexes = ["CREATE INDEX `i` ON `posts` (`nothing`)"]
        [collections.fields]
        title = {type = "text"}
    """)
    with pytest.raises((NotApplied, BadFile)):
        await planner.apply(read(bad), allow_destructive=True)
    assert await stored(hooks) == {}


async def test_pull_writes_what_differs_and_keeps_comments(hooks: Any, planner: Any) -> None:
    await planner.apply(read(FILE))
    shop = (await stored(hooks))["shop"]
    await hooks.call(
        "PATCH", f"/api/webhooks/{shop.id}", {"condition": "", "timeout": 30, "actions": ["delete"]}
    )
    await hooks.make(name="by hand", headers={"X-Token": "secret"}, concurrency=4)
    services = hooks.services
    text = pulled_webhooks(FILE, await services.webhooks.all(), services.schema.current)
    assert "# the one in the basement" in text
    assert "# from the vault" in text
    assert "condition" not in text
    assert "secret" not in text
    assert "timeout = 30\n" in text
    assert 'X-Token = "******"' in text
    assert await sentences(planner, text) == []
    assert pulled_webhooks(text, await services.webhooks.all(), services.schema.current) == text
    await hooks.call("DELETE", f"/api/webhooks/{shop.id}", status=204)
    text = pulled_webhooks(text, await services.webhooks.all(), services.schema.current)
    assert "shop" not in text
    assert 'name = "by hand"' in text


async def test_pull_into_a_file_without_webhooks_leaves_it_alone_when_there_are_none(hooks: Any) -> None:
    schema = hooks.services.schema.current
    assert pulled_webhooks("# mine\n", [], schema) == "# mine\n"
    await hooks.make()
    text = pulled_webhooks("# mine\n", await hooks.services.webhooks.all(), schema)
    assert text.startswith("# mine\n")
    assert read(text).webhooks is not None


async def test_a_start_makes_the_webhooks_of_its_configuration(
    server_database_url: str, tmp_path: Any, outgoing: OutgoingConfig
) -> None:
    entry = {"name": "all", "url": "https://example.com/", "collections": ["*"]}
    config = Config(data_dir=str(tmp_path), outgoing=outgoing, webhooks=[entry])
    async with running(config, server_database_url) as server:
        left = await prepare(server.services)
        assert left.steps == ()
        assert [each.definition.name for each in await server.services.webhooks.all()] == ["all"]
