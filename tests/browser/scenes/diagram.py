"""The schema diagram of a few collections that refer to each other."""

from __future__ import annotations

from tests.browser.conftest import Console
from tests.browser.screenshots import Scene


async def arrange(console: Console) -> None:
    users = (await console.api.get("/api/collections/users")).json()["id"]

    async def make(name: str, *relations: tuple[str, str, int]) -> str:
        fields = [{"name": "title", "type": "text"}] + [
            {"name": field, "type": "relation", "collectionId": target, "maxSelect": many}
            for field, target, many in relations
        ]
        return str((await console.make_collection(name, fields))["id"])

    tags = await make("genres")
    teams = await make("crews", ("members", users, 20))
    books = await make("novels", ("author", users, 1), ("genres", tags, 9), ("team", teams, 1))
    await make("verdicts", ("book", books, 1), ("writer", users, 1))


SCENES = [
    Scene("diagram", "/_/diagram?related=1"),
    Scene("diagram-at", "/_/diagram?related=1&at=novels"),
]
