"""The blog of `config.example.toml`, with the few records that the guides speak of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from groundplane.collections.file import read
from groundplane.collections.plan import Planner

ROOT = Path(__file__).parents[2]
PASSWORD = "correct horse"


@pytest.fixture
async def example(server: Any) -> Any:
    """A server with the example's collections."""
    services = server.services
    declared = read((ROOT / "config.example.toml").read_text(encoding="utf-8"))
    await Planner(services.collections, services.settings).apply(declared)
    return server


@pytest.fixture
async def guide_server(example: Any) -> tuple[Any, dict[str, str]]:
    """The example with Ann, who has written a post and a draft, and the words that the guides use for them."""
    known = {"SUPERUSER_TOKEN": await example.superuser_token()}

    async def send(method: str, path: str, body: Any, token: str = "") -> Any:
        headers = {"Authorization": token} if token else {}
        answer = await example.client.request(method, path, json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    await send("PATCH", "/api/settings", {"batch": {"enabled": True}}, known["SUPERUSER_TOKEN"])
    ann = {
        "email": "ann@example.com",
        "password": PASSWORD,
        "passwordConfirm": PASSWORD,
        "name": "Ann",
    }
    known["ANN_ID"] = (await send("POST", "/api/collections/users/records", ann))["id"]
    identity = {"identity": "ann@example.com", "password": PASSWORD}
    signed_in = await send("POST", "/api/collections/users/auth-with-password", identity)
    known["ANN_TOKEN"] = signed_in["token"]
    for word, title, published in (("HELLO_ID", "Hello", True), ("DRAFT_ID", "Draft", False)):
        post = {
            "title": title,
            "slug": title.lower(),
            "body": "<p>First <b>words</b>.</p>",
            "published": published,
            "author": known["ANN_ID"],
        }
        made = await send("POST", "/api/collections/posts/records", post, known["ANN_TOKEN"])
        known[word] = made["id"]
    return example, known
