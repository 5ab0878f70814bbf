"""Many sign-ins at once: they are limited whatever they carry, and no hash holds the event loop."""

from __future__ import annotations

import asyncio
import random
import string
import threading
from typing import Any

import pytest

from groundplane.security import passwords
from groundplane.testing.server import Server

SIGN_IN = "/api/collections/_superusers/auth-with-password"
WRONG = {"identity": "nobody@example.com", "password": "wrong"}
ALLOWED = 5
LIMITS = {
    "enabled": True,
    "rules": [{"label": "*:auth", "audience": "", "duration": 1000, "maxRequests": ALLOWED}],
}


def noise(chance: random.Random) -> dict[str, Any]:
    """Fields, queries and headers that mean nothing, of the kinds that could be taken for a caller."""
    name = "".join(chance.choices(string.ascii_letters, k=8))
    return {
        "json": WRONG | {name: chance.random(), "mfaId": name, "identityField": "", "ip": name, "id": name},
        "params": {name: name},
        "headers": {
            "x-forwarded-for": f"10.{chance.randrange(256)}.{chance.randrange(256)}.1",
            "x-real-ip": f"10.1.{chance.randrange(256)}.{chance.randrange(256)}",
            "forwarded": f"for=10.2.{chance.randrange(256)}.1",
            "cf-connecting-ip": f"10.3.{chance.randrange(256)}.1",
            "host": f"{name}.example.com",
            "user-agent": name,
            "cookie": f"id={name}",
        },
    }


async def statuses(server: Server, requests: list[dict[str, Any]]) -> list[int]:
    found: list[int] = []
    for start in range(0, len(requests), 50):
        part = requests[start : start + 50]
        answers = await asyncio.gather(*(server.client.post(SIGN_IN, **each) for each in part))
        found += [answer.status_code for answer in answers]
    return found


async def test_a_thousand_with_random_extras_are_limited_like_a_thousand_plain_ones(server: Server) -> None:
    chance = random.Random(7)  # only makes names
    expected = {400: ALLOWED, 429: 1000 - ALLOWED}
    for requests in [{"json": WRONG}] * 1000, [noise(chance) for _ in range(1000)]:
        await server.services.settings.change({"rateLimits": LIMITS})
        found = await statuses(server, requests)
        assert {status: found.count(status) for status in set(found)} == expected


async def test_hashes_are_worked_out_beside_the_event_loop(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.services.superusers.upsert("admin@example.com", "1234567890")
    threads: list[int] = []
    genuine = passwords.matches

    def noted(plain: bytes, hashed: str) -> bool:
        threads.append(threading.get_ident())
        return genuine(plain, hashed)

    monkeypatch.setattr(passwords, "matches", noted)
    right = {"identity": "admin@example.com", "password": "1234567890"}
    wrong = right | {"password": "wrong"}
    requests = [{"json": each} for each in (right, wrong, WRONG, right, wrong, WRONG)]
    assert await statuses(server, requests) == [200, 400, 400] * 2
    assert len(threads) == len(requests)
    assert threading.get_ident() not in threads
