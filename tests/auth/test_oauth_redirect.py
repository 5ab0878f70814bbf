"""The address that providers send people back to: the code goes to the one client that waits for it, and nowhere else."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_asyncio
from tests.auth.oauth_site import OAuthSite

from groundplane.auth.oauth_names import keep_name, take_name
from groundplane.realtime.clients import Client

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = "/api/oauth2-redirect"
SUCCEEDED = "../_/#/auth/oauth2-redirect-success"
FAILED = "../_/#/auth/oauth2-redirect-failure"
OWN_ADDRESS = "127.0.0.1"  # of the tests' HTTP client


@pytest_asyncio.fixture(loop_scope="module")
async def stream(oauth_site: OAuthSite) -> AsyncIterator[Client]:
    """A stream that waits for a code."""
    client = await opened(oauth_site, OWN_ADDRESS)
    yield client
    oauth_site.services.realtime.clients.close(client)


async def opened(site: OAuthSite, ip: str, topics: tuple[str, ...] = ("@oauth2", "users/*")) -> Client:
    client = await site.services.realtime.open(ip, ip)
    await client.next()  # that it is connected
    await site.services.streams.subscribe(client.id, ip, None, topics)
    return client


async def told(client: Client) -> tuple[str, dict[str, Any]]:
    """The next event: its name and data."""
    frames = await client.next()
    assert frames is not None
    lines = b"".join(frames).decode().split("\n")
    return lines[1].removeprefix("event:"), json.loads(lines[2].removeprefix("data:"))


async def returned(site: OAuthSite, method: str = "GET", **sent: str) -> tuple[int, str]:
    """Come back from the provider; the status and where it leads."""
    if method == "GET":
        answer = await site.client.get(PATH, params=sent)
    else:
        answer = await site.client.post(PATH, data=sent)
    return answer.status_code, answer.headers["location"]


@pytest.mark.parametrize(("method", "status"), [("GET", 307), ("POST", 303)])
async def test_a_code_is_told_once_to_the_client_that_waits_for_it(
    oauth_site: OAuthSite, stream: Client, method: str, status: int
) -> None:
    sent = {"state": stream.id, "code": 'a "code"<'}
    assert await returned(oauth_site, method, **sent) == (status, SUCCEEDED)
    assert await told(stream) == ("@oauth2", sent)
    assert list(stream.subscriptions) == ["users/*"]
    assert await returned(oauth_site, method, **sent) == (status, FAILED)


async def test_a_refusal_is_told_too_and_ends_in_failure(oauth_site: OAuthSite, stream: Client) -> None:
    assert await returned(oauth_site, state=stream.id, error="access_denied") == (307, FAILED)
    event, data = await told(stream)
    assert (event, list(data.items())) == (
        "@oauth2",
        [("state", stream.id), ("code", ""), ("error", "access_denied")],
    )


async def test_a_state_that_nobody_waits_for_leads_nowhere_else(
    oauth_site: OAuthSite, stream: Client
) -> None:
    other = await opened(oauth_site, OWN_ADDRESS, ("users/*",))
    states = [
        "",
        "x",
        stream.id[:-1],
        stream.id + "x",
        stream.id.swapcase(),
        other.id,
        "x" * 5000,
        "\x00",
        "ä",
    ]
    for method, status in (("GET", 307), ("POST", 303)):
        for state in states:
            assert await returned(oauth_site, method, state=state, code="c") == (status, FAILED)
    assert await returned(oauth_site, code="c") == (307, FAILED)
    assert await returned(oauth_site, state=stream.id, code="c" * 20_000) == (307, FAILED)
    assert "@oauth2" in stream.subscriptions
    oauth_site.services.realtime.clients.close(other)


async def test_a_client_at_another_address_gets_nothing(oauth_site: OAuthSite) -> None:
    elsewhere = await opened(oauth_site, "203.0.113.5")
    assert await returned(oauth_site, state=elsewhere.id, code="c") == (307, FAILED)
    assert "@oauth2" in elsewhere.subscriptions
    oauth_site.services.realtime.clients.close(elsewhere)


async def test_a_post_reads_its_form_only(oauth_site: OAuthSite, stream: Client) -> None:
    query = urlencode({"state": stream.id, "code": "c"})
    for body, kind in (
        (b"", "application/x-www-form-urlencoded"),
        (b"{", "application/json"),
        (b"%zz=1", "x/y"),
    ):
        answer = await oauth_site.client.post(f"{PATH}?{query}", content=body, headers={"Content-Type": kind})
        assert (answer.status_code, answer.headers["location"]) == (303, FAILED)


async def test_where_the_window_ends_up_is_not_up_to_the_request(
    oauth_site: OAuthSite, stream: Client
) -> None:
    hostile = {
        "Host": "evil.example",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "gopher",
        "Forwarded": "host=evil.example",
        "Referer": "https://evil.example/",
    }
    sent = {"state": stream.id, "code": "c", "redirect": "https://evil.example", "next": "//evil.example"}
    answer = await oauth_site.client.get(PATH, params=sent, headers=hostile)
    assert (answer.status_code, answer.headers["location"], answer.content) == (307, SUCCEEDED, b"")
    assert "evil" not in str(answer.headers)


async def test_the_addresses_of_providers_do_not_follow_the_host_of_the_request(
    oauth_site: OAuthSite,
) -> None:
    people = await oauth_site.collection()
    path = f"/api/collections/{people}/auth-methods"
    hostile = {"Host": "evil.example", "X-Forwarded-Host": "evil.example"}
    answer = await oauth_site.client.get(path, headers=hostile)
    assert answer.status_code == 200
    assert "evil" not in answer.text


async def test_the_name_that_apple_tells_once_is_there_when_the_code_is_exchanged(
    oauth_site: OAuthSite, stream: Client
) -> None:
    user = json.dumps({"name": {"firstName": " Ann ", "lastName": "Example"}, "email": "ann@example.com"})
    assert await returned(oauth_site, "POST", state=stream.id, code="apple-1", user=user) == (303, SUCCEEDED)
    db = oauth_site.services.db
    assert await take_name(db, "apple-1") == "Ann Example"
    assert await take_name(db, "apple-1") == ""
    row = await db.fetchrow('SELECT count(*) AS rows FROM "_oauth_names"')
    assert row is not None
    assert row["rows"] == 0


@pytest.mark.parametrize(
    "user",
    [
        "",
        "{",
        "null",
        "[]",
        '{"name": 1}',
        '{"name": {"firstName": 5}}',
        "{}",
        '{"name": {"firstName": "%s"}}' % ("x" * 5000),
    ],
)
async def test_a_name_that_is_none_is_not_kept(oauth_site: OAuthSite, stream: Client, user: str) -> None:
    assert await returned(oauth_site, "POST", state=stream.id, code="apple-2", user=user) == (303, SUCCEEDED)
    assert await take_name(oauth_site.services.db, "apple-2") == ""


async def test_nobody_fills_the_table_of_names_without_a_client_that_waits(oauth_site: OAuthSite) -> None:
    user = json.dumps({"name": {"firstName": "Eve"}})
    assert await returned(oauth_site, "POST", state="nobody", code="apple-3", user=user) == (303, FAILED)
    assert await take_name(oauth_site.services.db, "apple-3") == ""


async def test_a_name_is_short_and_kept_for_a_minute(oauth_site: OAuthSite) -> None:
    db = oauth_site.services.db
    await keep_name(db, "code", "ä" * 200, "b\x00")
    name = await take_name(db, "code")
    assert (name, len(name.encode())) == ("ä" * 75, 150)
    await keep_name(db, "code", "Ann", "")
    await db.execute('UPDATE "_oauth_names" SET "expires" = now()')
    assert await take_name(db, "code") == ""
    await keep_name(db, "code", "Ann", "")
    await db.execute('UPDATE "_oauth_names" SET "expires" = now()')
    await keep_name(db, "other", "Bob", "")
    row = await db.fetchrow('SELECT count(*) AS rows FROM "_oauth_names"')
    assert row is not None
    assert row["rows"] == 1
