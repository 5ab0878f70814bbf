"""The rule lab with an answer."""

from __future__ import annotations

from tests.browser.conftest import Console
from tests.browser.screenshots import Scene

RULE = '(@request.auth.id != "" && owner = @request.auth.id) || (status = "out" && meta.rank > 3)'


async def arrange(console: Console) -> None:
    users = (await console.api.get("/api/collections/users")).json()
    await console.make_collection(
        "dispatches",
        [
            {"name": "title", "type": "text"},
            {"name": "owner", "type": "relation", "collectionId": users["id"], "maxSelect": 1},
            {"name": "status", "type": "select", "values": ["draft", "out"], "maxSelect": 1},
            {"name": "meta", "type": "json"},
        ],
        updateRule=RULE,
    )
    account = {"email": "jon.lab@example.com", "password": "12345678", "passwordConfirm": "12345678"}
    await console.api.post("/api/collections/users/records", json=account)
    other = await console.make_record("users", **(account | {"email": "ada.lab@example.com"}))
    await console.make_record("dispatches", title="Hello", owner=other["id"], status="out")


SCENES = [
    Scene("rule-lab", "/_/rules/lab?as=users%2Fjon.lab@example.com&action=update&collection=dispatches"),
]
