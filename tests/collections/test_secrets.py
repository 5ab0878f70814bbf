"""The client secrets of OAuth2 providers as they are stored."""

from __future__ import annotations

import json
from typing import Any

import pytest

from groundplane.collections.service import Collections
from groundplane.db.engine import Database
from groundplane.schema.cache import SchemaCache
from groundplane.security.encryption import BadKey

KEY = "0123456789abcdef0123456789abcdef"
SECRET = "client-secret-of-the-app"
MEMBERS: dict[str, Any] = {
    "name": "members",
    "type": "auth",
    "oauth2": {
        "enabled": True,
        "providers": [{"name": "github", "clientId": "the-client", "clientSecret": SECRET}],
    },
}


async def opened(db: Database, key: str) -> Collections:
    collections = Collections(db, SchemaCache(), encryption_key=key)
    await collections.load()
    return collections


async def stored(db: Database) -> str:
    return str(await db.fetchval("SELECT options::text FROM _collections WHERE name = 'members'"))


def secret_in(collections: Collections) -> str:
    options = collections.cache.current.find("members").options
    return options.oauth2.providers[0].clientSecret if options is not None else ""


async def test_with_a_key_they_are_sealed_and_read_back(db: Database) -> None:
    await (await opened(db, KEY)).create(MEMBERS)
    text = await stored(db)
    assert SECRET not in text
    assert "the-client" in text
    assert secret_in(await opened(db, KEY)) == SECRET


async def test_a_missing_or_wrong_key_says_what_to_do(db: Database) -> None:
    await (await opened(db, KEY)).create(MEMBERS)
    with pytest.raises(BadKey, match=r"security\.encryption_key"):
        await opened(db, "")
    with pytest.raises(BadKey):
        await opened(db, KEY[::-1])


async def test_what_was_stored_before_there_was_a_key_is_sealed_by_the_next_save(db: Database) -> None:
    await (await opened(db, "")).create(MEMBERS)
    assert json.loads(await stored(db))["oauth2"]["providers"][0]["clientSecret"] == SECRET
    collections = await opened(db, KEY)
    assert secret_in(collections) == SECRET
    await collections.update("members", {"authRule": "verified = true"})
    assert SECRET not in await stored(db)
    assert secret_in(await opened(db, KEY)) == SECRET
