"""Rate limits, counted across processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from groundplane.api.limits import collection_route, find_rule
from groundplane.config import Config
from groundplane.settings.values import RateLimitRule
from groundplane.testing.server import Server, running

TOO_MANY = {"data": {}, "message": "Too Many Requests.", "status": 429}


def rule(label: str, audience: str = "", maximum: int = 2, duration: int = 100) -> dict[str, Any]:
    return {"label": label, "audience": audience, "duration": duration, "maxRequests": maximum}


async def limit(server: Server, *rules: dict[str, Any], **more: Any) -> None:
    current = server.services.settings.current.rate_limits.rules
    # An element starts from the old one at its place, so every key is given.
    assert all(len(each) == 4 for each in rules) or not current
    await server.services.settings.change({"rateLimits": {"enabled": True, "rules": list(rules)} | more})


async def statuses(server: Server, path: str, times: int, method: str = "GET", **more: Any) -> list[int]:
    return [(await server.client.request(method, path, **more)).status_code for _ in range(times)]


@pytest.fixture
async def second(server: Server, server_database_url: str, tmp_path: Any) -> AsyncIterator[Server]:
    """Another process on the same database."""
    async with running(Config(data_dir=str(tmp_path / "data")), server_database_url) as started:
        yield started


async def test_nothing_is_counted_while_limits_are_off(server: Server) -> None:
    assert await statuses(server, "/api/health", 20) == [200] * 20
    assert await server.services.db.fetchval("SELECT count(*) FROM _rate_limits") == 0


async def test_the_third_of_two_is_refused_and_another_path_below_the_prefix_shares(server: Server) -> None:
    await limit(server, rule("/api/"))
    assert await statuses(server, "/api/health", 3) == [200, 200, 429]
    response = await server.client.get("/api/nothing")
    assert (response.status_code, response.json()) == (429, TOO_MANY)
    assert not {"retry-after", "x-ratelimit-limit"} & set(response.headers)
    assert response.headers["x-frame-options"] == "SAMEORIGIN"
    assert await statuses(server, "/elsewhere", 3) == [404] * 3
    assert await statuses(server, "/api/health", 2, "OPTIONS") == [204, 204]


async def test_two_processes_count_together(server: Server, second: Server) -> None:
    await limit(server, rule("/api/", maximum=6))
    await second.services.settings.load()
    answers = await asyncio.gather(
        *((server if number % 2 else second).client.get("/api/health") for number in range(20))
    )
    assert sorted(answer.status_code for answer in answers) == [200] * 6 + [429] * 14


async def test_a_save_of_the_settings_starts_all_counters_anew_everywhere(
    server: Server, second: Server
) -> None:
    await limit(server, rule("/api/"))
    assert await statuses(server, "/api/health", 3) == [200, 200, 429]
    await server.services.settings.change({})
    await second.services.settings.load()
    assert await statuses(second, "/api/health", 3) == [200, 200, 429]
    assert await statuses(server, "/api/health", 1) == [429]


async def test_a_window_ends_after_its_duration(server: Server) -> None:
    await limit(server, rule("/api/", duration=50))
    assert await statuses(server, "/api/health", 3) == [200, 200, 429]
    await server.services.db.execute("UPDATE _rate_limits SET started = started - 49")
    assert await statuses(server, "/api/health", 1) == [429]
    await server.services.db.execute("UPDATE _rate_limits SET started = started - 1")
    assert await statuses(server, "/api/health", 3) == [200, 200, 429]


async def test_each_client_has_counters_of_its_own_by_the_trusted_header(server: Server) -> None:
    await limit(server, rule("/api/", maximum=1), excludedIPs=["9.9.0.0/16"])
    await server.services.settings.change({"trustedProxy": {"headers": ["X-Real-IP"]}})
    for ip, expected in (("1.1.1.1", [200, 429]), ("2.2.2.2", [200, 429]), ("9.9.9.9", [200, 200])):
        assert await statuses(server, "/api/health", 2, headers={"X-Real-IP": ip}) == expected


async def test_superusers_are_never_counted(server: Server) -> None:
    token = await server.superuser_token()
    await limit(server, rule("/api/", maximum=1))
    assert await statuses(server, "/api/health", 3, headers={"Authorization": token}) == [200] * 3
    assert await statuses(server, "/api/health", 2) == [200, 429]


async def test_a_guest_of_a_guarded_endpoint_uses_quota_and_is_refused_first(server: Server) -> None:
    await limit(server, rule("/api/settings", maximum=1))
    assert await statuses(server, "/api/settings", 2) == [401, 429]


async def test_sign_in_is_counted_per_collection_and_action(server: Server) -> None:
    await limit(server, rule("*:auth"), rule("/api/", maximum=3))
    url = "/api/collections/{}/auth-with-password"
    body = {"json": {"identity": "a@b.co", "password": "wrong-password"}}
    assert await statuses(server, url.format("users"), 3, "POST", **body) == [400, 400, 429]
    assert await statuses(server, url.format("_pb_users_auth_"), 1, "POST", **body) == [429]
    assert await statuses(server, url.format("_superusers"), 1, "POST", **body) == [400]
    # A shared prefix rule still counts each action of each collection by itself.
    methods = "/api/collections/{}/auth-methods"
    assert await statuses(server, methods.format("users"), 4) == [200, 200, 200, 429]
    assert await statuses(server, methods.format("_superusers"), 1) == [200]
    assert await statuses(server, "/api/health", 4) == [200, 200, 200, 429]


async def test_the_collection_must_exist_before_anything_is_counted(server: Server) -> None:
    await limit(server, rule("/api/", maximum=1))
    assert await statuses(server, "/api/collections/nothing/auth-methods", 3) == [404] * 3


async def test_record_endpoints_are_counted_by_their_action(server: Server) -> None:
    await limit(server, rule("users:list", maximum=1), rule("*:view", maximum=1))
    assert await statuses(server, "/api/collections/users/records", 2) == [200, 429]
    assert await statuses(server, "/api/collections/users/records/x", 2) == [404, 429]
    assert await statuses(server, "/api/collections/USERS/records/x", 1) == [429]
    assert await statuses(server, "/api/collections/users/records", 3, "POST", json={}) == [400] * 3


async def test_enormous_limits_are_as_good_as_none(server: Server) -> None:
    await limit(server, rule("/api/", maximum=10**14, duration=10**14))
    assert await statuses(server, "/api/health", 2) == [200, 200]


def found(labels: list[str], rules: list[tuple[str, str]], *, signed_in: bool = False) -> str | None:
    chosen = find_rule(
        [RateLimitRule(label=label, audience=audience) for label, audience in rules],
        labels,
        signed_in=signed_in,
    )
    return None if chosen is None else f"{chosen.label}{chosen.audience}"


PLAIN = ["GET /api/health", "/api/health"]


@pytest.mark.parametrize(
    ("labels", "rules", "signed_in", "expected"),
    [
        (PLAIN, [], False, None),
        (PLAIN, [("/api/health", "")], False, "/api/health"),
        (PLAIN, [("/api/health", ""), ("GET /api/health", "")], False, "GET /api/health"),
        (PLAIN, [("get /api/health", "")], False, None),
        (PLAIN, [("/api/", ""), ("/api/health/", "")], False, "/api/"),
        (PLAIN, [("/api/health/", "")], False, "/api/health/"),
        (PLAIN, [("/api", "")], False, None),
        (PLAIN, [("/", ""), ("/api/health", "")], False, "/api/health"),
        (PLAIN, [("GET /api/", ""), ("/api/health", "")], False, "GET /api/"),
        (PLAIN, [("/api/health", "@auth")], False, None),
        (PLAIN, [("/api/health", "@auth"), ("/api/health", "@guest")], False, "/api/health@guest"),
        (PLAIN, [("/api/health", "@auth"), ("/", "@guest")], True, "/api/health@auth"),
        (PLAIN, [("/api/health", "@guest"), ("/api/", "")], True, "/api/"),
        (["posts:list", "*:list", *PLAIN], [("/api/", ""), ("*:list", "")], False, "*:list"),
        (["posts:list", "*:list"], [("*:list", ""), ("posts:list", "")], False, "posts:list"),
    ],
)
def test_which_rule_applies(
    labels: list[str], rules: list[tuple[str, str]], signed_in: bool, expected: str | None
) -> None:
    assert found(labels, rules, signed_in=signed_in) == expected


def test_which_paths_are_actions_of_a_collection() -> None:
    def tags(method: str, path: str) -> tuple[str, ...] | None:
        route = collection_route(method, path.split("/")[1:])
        return None if route is None else route.tags

    assert tags("POST", "/api/collections/x/auth-with-password") == ("authWithPassword", "auth")
    assert tags("GET", "/api/collections/x/auth-methods") == ("listAuthMethods",)
    assert tags("GET", "/api/files/x/y/z") == ("file",)
    assert tags("POST", "/api/files/token") is None
    assert tags("GET", "/api/collections/x/auth-with-password") is None
    assert tags("POST", "/api/collections/x/impersonate/y") is None
    assert tags("GET", "/api/collections/x") is None
