"""The start page: of a new installation, and with something to tell."""

from __future__ import annotations

from tests.browser.conftest import Console
from tests.browser.screenshots import Scene


async def arrange(console: Console) -> None:
    fields = [{"name": "title", "type": "text"}, {"name": "done", "type": "bool"}]
    await console.make_collection("notices", fields, listRule="", viewRule="")
    await console.api.post(
        "/api/webhooks",
        json={"name": "shipping", "url": "http://127.0.0.1:9/hook", "collections": ["notices"]},
    )
    for number in range(12):
        await console.make_record("notices", title=f"Notice {number}")
    for number in range(60):
        await console.api.get(f"/api/collections/notices/records?page={number}")


SCENES = [Scene("home", "/_/"), Scene("home-hour", "/_/?range=1h")]
