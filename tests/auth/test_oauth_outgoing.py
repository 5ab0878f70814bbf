"""Where a sign-in lets the server connect to: providers as the configuration allows, pictures on the open internet."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image
from tests.auth.oauth_site import OAuthSite, Told

from groundplane.config import Config
from groundplane.outgoing.addresses import Reach
from groundplane.outgoing.client import Client, NotFetched
from groundplane.testing.server import Server, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

HERE = Reach(allow_http=True, networks=("127.0.0.1",))


def picture() -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(written, "PNG")
    return written.getvalue()


@pytest_asyncio.fixture(loop_scope="module")
async def pictures(oauth_site: OAuthSite) -> AsyncIterator[str]:
    """The address of a picture on this machine, which may be fetched from for one test."""
    oauth2 = oauth_site.services.auth.oauth2
    oauth_site.provider.answers["/a/ann.png"] = lambda asked: Told(
        200, picture(), (("Content-Type", "image/png"),)
    )
    strict, oauth2.avatars = oauth2.avatars, Client(HERE)
    yield f"{oauth_site.provider.url}/a/ann.png?size=1"
    await oauth2.avatars.close()
    oauth2.avatars = strict


async def with_avatars(site: OAuthSite, **options: Any) -> str:
    fields = [{"name": "avatar", "type": "file", "maxSelect": 1, **options}]
    return await site.collection(mapped={"avatarURL": "avatar"}, fields=fields)


async def test_a_picture_is_stored_in_a_file_field_at_sign_up_only(
    oauth_site: OAuthSite, pictures: str
) -> None:
    site = oauth_site
    people = await with_avatars(site)
    profile = {"email": "a@example.com", "email_verified": True, "picture": pictures}
    made = await site.signed_in(people, site.provider.code_for("a", **profile))
    name = made["record"]["avatar"]
    assert name.startswith("ann_")
    assert name.endswith(".png")
    stored = await site.client.get(f"/api/files/{people}/{made['record']['id']}/{name}")
    assert stored.content == picture()
    site.provider.asked.clear()
    again = await site.signed_in(people, site.provider.code_for("a", **profile))
    assert again["record"]["avatar"] == name
    own = profile | {"email": "b@example.com"}
    kept = await site.signed_in(people, site.provider.code_for("b", **own), createData={"avatar": ""})
    assert kept["record"]["avatar"] == ""
    assert "/a/ann.png?size=1" not in [asked.path for asked in site.provider.asked]


async def test_a_picture_that_cannot_be_had_keeps_nobody_out(oauth_site: OAuthSite, pictures: str) -> None:
    site = oauth_site
    people = await with_avatars(site, maxSize=50)
    addresses = [
        pictures,
        f"{site.provider.url}/missing",
        "ftp://x/a",
        "not an address",
        "https://nowhere.invalid/a",
    ]
    for number, address in enumerate(addresses):
        profile = {"email": f"a{number}@example.com", "email_verified": True, "picture": address}
        made = await site.signed_in(people, site.provider.code_for(**profile))
        assert made["record"]["avatar"] == ""


async def test_a_picture_on_a_private_address_is_not_fetched_even_where_providers_may_be(
    oauth_site: OAuthSite,
) -> None:
    site = oauth_site
    people = await with_avatars(site)
    site.provider.answers["/a/ann.png"] = lambda asked: Told(200, picture(), (("Content-Type", "image/png"),))
    port = site.provider.url.rpartition(":")[2]
    for number, host in enumerate(("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0")):
        site.provider.asked.clear()
        profile = {
            "email": f"{number}@example.com",
            "email_verified": True,
            "picture": f"http://{host}:{port}/a/ann.png",
        }
        made = await site.signed_in(people, site.provider.code_for(**profile))
        assert made["record"]["avatar"] == ""
        assert [asked.path for asked in site.provider.asked] == ["/token", "/userinfo"]


async def test_a_redirect_from_an_open_address_to_a_private_one_is_not_followed(
    oauth_site: OAuthSite,
) -> None:
    provider = oauth_site.provider
    port = provider.url.rpartition(":")[2]

    async def resolve(host: str, _: int) -> list[str]:
        return ["127.0.0.1"] if host == "open.example" else ["10.0.0.1"]

    client = Client(HERE, resolve=resolve)
    try:
        for target in (
            "http://inner.example/",
            "http://169.254.169.254/",
            "file:///etc/passwd",
            "//10.0.0.1/",
        ):
            provider.answers["/away"] = lambda asked, to=target: Told(302, b"", (("Location", to),))
            with pytest.raises(NotFetched):
                await client.get(f"http://open.example:{port}/away")
        provider.answers["/away"] = lambda asked: Told(302, b"", (("Location", "/away"),))
        with pytest.raises(NotFetched, match="redirects"):
            await client.get(f"http://open.example:{port}/away")
    finally:
        await client.close()


async def test_a_question_whose_connection_ends_is_asked_once_more_and_a_code_is_not(
    oauth_site: OAuthSite,
) -> None:
    asked: list[str] = []

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readline()).decode().split(" ")[0])
        if len(asked) == 2:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(cut, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    client = Client(HERE)
    try:
        assert (await client.get(url)).json() == {}
        with pytest.raises(NotFetched, match="connection"):
            await client.post(url, {}, b"code=1")
    finally:
        await client.close()
        server.close()
    assert asked == ["GET", "GET", "POST"]


async def test_tls_is_not_given_up_on_the_way(oauth_site: OAuthSite) -> None:
    client = Client(Reach(networks=("127.0.0.1",)))
    try:
        with pytest.raises(NotFetched, match="https"):
            await client.get(oauth_site.provider.url)
    finally:
        await client.close()


@pytest_asyncio.fixture(loop_scope="module")
async def guarded(server_database_url: str, tmp_path: Path) -> AsyncIterator[Server]:
    """A server as it is without a word in the configuration."""
    async with running(Config(data_dir=str(tmp_path)), server_database_url) as started:
        yield started


async def test_a_provider_on_a_private_address_is_not_asked_unless_the_configuration_allows_it(
    guarded: Server, oauth_site: OAuthSite
) -> None:
    oauth_site.provider.asked.clear()
    port = oauth_site.provider.url.rpartition(":")[2]
    for base in (oauth_site.provider.url, f"https://127.0.0.1:{port}", f"https://localhost:{port}"):
        provider = {
            "name": "oidc",
            "clientId": "x",
            "clientSecret": "x",
            "authURL": f"{base}/authorize",
            "tokenURL": f"{base}/token",
            "userInfoURL": f"{base}/userinfo",
        }
        await guarded.services.collections.update(
            "users", {"oauth2": {"enabled": True, "providers": [provider]}}
        )
        answer = await guarded.client.post(
            "/api/collections/users/auth-with-oauth2", json={"provider": "oidc", "code": "x"}
        )
        assert (answer.status_code, answer.json()["message"]) == (400, "Failed to fetch OAuth2 token.")
    assert oauth_site.provider.asked == []
