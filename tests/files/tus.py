"""What the tests of uploads share: collections that take files, and requests of the protocol."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx

PATH = "/api/files/uploads"
BYTES = "application/offset+octet-stream"
TUS = {"Tus-Resumable": "1.0.0"}

OPEN, MEMBERS, CLOSED = "open", "members_only", "closed"


def file_field(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "file", "maxSize": 50_000_000, **more}


FIELDS = [
    {"name": "title", "type": "text", "max": 20},
    file_field("one"),
    file_field("many", maxSelect=3),
    file_field("small", maxSize=10),
    file_field("pictures", maxSelect=2, mimeTypes=["image/png"]),
    file_field("secret", hidden=True),
]
COLLECTIONS: list[dict[str, Any]] = [
    {"name": OPEN, "createRule": "", "viewRule": "", "updateRule": "", "fields": FIELDS},
    {"name": MEMBERS, "createRule": '@request.auth.id != ""', "updateRule": None, "fields": FIELDS},
    {"name": CLOSED, "fields": FIELDS},
    {"name": "people", "type": "auth", "fields": []},
]


async def make_collections(client: httpx.AsyncClient, token: str) -> None:
    for document in COLLECTIONS:
        body = {"type": "base", **document}
        answer = await client.post("/api/collections", json=body, headers={"Authorization": token})
        assert answer.status_code == 200, answer.text


def metadata(**pairs: str) -> str:
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items())


class Tus:
    """One caller's way to speak the protocol."""

    def __init__(self, client: httpx.AsyncClient, token: str = "") -> None:
        self.client = client
        self.headers = TUS | ({"Authorization": token} if token else {})

    async def create(
        self,
        length: int | str,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        **pairs: str,
    ) -> httpx.Response:
        given = {"Upload-Length": str(length), **({"Upload-Metadata": metadata(**pairs)} if pairs else {})}
        if content is not None:
            given["Content-Type"] = BYTES
        given |= headers or {}
        return await self.client.post(PATH, headers=self.headers | given, content=content)

    async def begun(self, length: int, **pairs: str) -> str:
        """Create an upload and return its address."""
        answer = await self.create(length, **pairs)
        assert answer.status_code == 201, answer.text
        return answer.headers["location"]

    async def send(
        self, url: str, offset: int | str, content: bytes | AsyncIterator[bytes], **headers: str
    ) -> httpx.Response:
        given = {"Upload-Offset": str(offset), "Content-Type": BYTES}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.patch(url, headers=self.headers | given, content=content)

    async def finished(self, content: bytes, **pairs: str) -> str:
        """Upload a file whole and return its address."""
        answer = await self.create(len(content), content=content, **pairs)
        assert answer.status_code == 201, answer.text
        assert answer.headers["upload-offset"] == str(len(content))
        return answer.headers["location"]

    async def offset(self, url: str) -> int:
        answer = await self.client.head(url, headers=self.headers)
        assert answer.status_code == 200
        return int(answer.headers["upload-offset"])

    async def until(self, url: str, offset: int) -> None:
        """Return when the upload has come this far."""
        async with asyncio.timeout(60):
            while await self.offset(url) < offset:  # noqa: ASYNC110  # as a client would
                await asyncio.sleep(0.05)

    async def record(
        self, collection: str, values: Any, method: str = "POST", id: str = ""
    ) -> httpx.Response:
        headers = {name: value for name, value in self.headers.items() if name == "Authorization"}
        path = f"/api/collections/{collection}/records" + (f"/{id}" if id else "")
        return await self.client.request(method, path, json=values, headers=headers)


def mark(url: str) -> str:
    """What stands in a body for the upload at this address."""
    return "@upload:" + url.rpartition("/")[2]
