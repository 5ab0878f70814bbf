"""Settings in the database."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest

from groundplane.db.engine import Database
from groundplane.errors import Invalid
from groundplane.security.encryption import BadKey, Seal
from groundplane.settings.service import Settings
from groundplane.settings.values import SettingsValues, to_json

KEY = "0123456789abcdef0123456789abcdef"


async def stored(db: Database) -> str:
    return str(await db.fetchval("SELECT value::text FROM _params WHERE id = 'settings'"))


async def test_the_first_start_stores_the_defaults(db: Database) -> None:
    settings = Settings(db)
    await settings.load()
    assert settings.current == SettingsValues()
    assert json.loads(await stored(db)) == to_json(SettingsValues(), secrets=True)
    assert settings.version > 0


async def test_a_change_is_stored_announced_and_seen_by_other_processes(db: Database) -> None:
    one, other = Settings(db), Settings(db)
    announced: list[int] = []

    async def announce(version: int) -> None:
        announced.append(version)
        await other.load(version)

    one._announce = announce
    await one.load()
    await other.load()
    values = await one.change({"meta": {"appName": "Mine"}})
    assert values.meta.app_name == one.current.meta.app_name == other.current.meta.app_name == "Mine"
    assert announced == [one.version]
    assert other.version == one.version


async def test_every_save_has_a_version_of_its_own(db: Database) -> None:
    settings = Settings(db)
    await settings.load()
    versions = []
    for number in range(5):
        await settings.change({"logs": {"maxDays": number}})
        versions.append(settings.version)
    assert versions == sorted(set(versions))


async def test_changes_at_the_same_time_do_not_lose_each_other(db: Database) -> None:
    settings = [Settings(db) for _ in range(4)]
    await settings[0].load()
    parts = [
        {"meta": {"appName": "a"}},
        {"meta": {"senderName": "b"}},
        {"logs": {"maxDays": 9}},
        {"smtp": {"port": 25}},
    ]
    await asyncio.gather(*(each.change(part) for each, part in zip(settings, parts, strict=True)))
    final = await Settings(db).load()
    assert (final.meta.app_name, final.meta.sender_name, final.logs.max_days, final.smtp.port) == (
        "a",
        "b",
        9,
        25,
    )


async def test_an_invalid_change_leaves_everything_as_it_was(db: Database) -> None:
    settings = Settings(db)
    await settings.load()
    before = await stored(db)
    with pytest.raises(Invalid) as caught:
        await settings.change({"meta": {"appName": ""}, "logs": {"maxDays": 1}})
    assert caught.value.message == "An error occurred while saving the new settings."
    assert "appName" in caught.value.data["meta"]
    with pytest.raises(Invalid) as caught:
        await settings.change({"meta": []})
    assert caught.value.message == "An error occurred while loading the submitted data."
    with pytest.raises(Invalid):
        await settings.change({"smtp": {"username": "a\0b"}})
    assert await stored(db) == before
    assert settings.current == SettingsValues()


async def test_a_change_in_a_rolled_back_transaction_is_not_announced(db: Database) -> None:
    settings = Settings(db)
    await settings.load()

    async def change_and_fail() -> None:
        async with db.transaction():
            await settings.change({"meta": {"appName": "Lost"}})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await change_and_fail()
    assert settings.current.meta.app_name == "Acme"
    assert (await Settings(db).load()).meta.app_name == "Acme"


async def test_secrets_are_sealed_at_rest_with_a_key_and_only_they(db: Database) -> None:
    settings = Settings(db, encryption_key=KEY)
    await settings.load()
    await settings.change(
        {"smtp": {"password": "mail-secret", "username": "me"}, "s3": {"secret": "s3-secret"}}
    )
    text = await stored(db)
    assert "mail-secret" not in text
    assert "s3-secret" not in text
    assert '"username":"me"' in text
    again = await Settings(db, encryption_key=KEY).load()
    assert (again.smtp.password, again.s3.secret, again.backups.s3.secret) == ("mail-secret", "s3-secret", "")
    with pytest.raises(BadKey, match=r"security\.encryption_key"):
        await Settings(db).load()
    with pytest.raises(BadKey):
        await Settings(db, encryption_key=KEY[::-1]).load()


async def test_settings_encrypted_by_pocketbase_are_read(db: Database) -> None:
    plain = json.dumps({"meta": {"appName": "Moved"}, "smtp": {"password": "p"}}).encode()
    sealed = Seal(KEY).encrypt(plain)
    assert base64.b64decode(sealed)
    await db.execute("INSERT INTO _params (id, value) VALUES ('settings', $1)", json.dumps(sealed))
    values = await Settings(db, encryption_key=KEY).load()
    assert (values.meta.app_name, values.smtp.password) == ("Moved", "p")


async def test_a_late_message_does_not_bring_back_older_settings(db: Database) -> None:
    settings = Settings(db)
    await settings.load()
    await settings.change({"meta": {"appName": "New"}})
    settings._take(SettingsValues(), settings.version - 1)
    assert settings.current.meta.app_name == "New"


async def test_rate_limits_follow_a_renamed_collection(db: Database) -> None:
    settings = Settings(db)
    await settings.load()
    rule = {"label": "posts:create", "audience": "", "duration": 1, "maxRequests": 1}
    await settings.change({"rateLimits": {"rules": [rule, {"label": "postsx:create"}]}})
    await settings.rename_collection("posts", "articles")
    assert [each.label for each in settings.current.rate_limits.rules] == ["articles:create", "postsx:create"]
