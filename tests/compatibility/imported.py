"""Servers over an imported PocketBase 0.39 folder, and callers that hold tokens of that installation."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import shutil
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import pytest

from groundplane.app import open_services
from groundplane.config import Config
from groundplane.imports.pocketbase import PocketBaseOptions, Target, import_pocketbase
from groundplane.testing.server import MAKERS, Server, own_database, running

SOURCE = Path(__file__).parents[3] / "shared" / "data" / "pocketbase-0.39"
TEMPLATE = "template_imported"
CALLERS = {
    "superuser": ("_superusers", "sywbhecnh46rhm0"),
    "user": ("users", "4q1xlclmfloku33"),
    "client": ("clients", "gk390qegs4y47wn"),
}
GENERIC = '"message":"Something went wrong while processing your request."'
NOT_FOUND = '"message":"The requested resource wasn\'t found."'
ONLY_SUPERUSERS = '"message":"Only superusers can perform this action."'
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Imported:
    """A server over a copy of the imported database; callers hold tokens of the old installation."""

    def __init__(self, server: Server) -> None:
        self.server = server

    async def send(
        self,
        method: str,
        url: str,
        *,
        caller: str = "guest",
        body: Any = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> httpx.Response:
        sent = dict(headers)
        if caller != "guest":
            sent["Authorization"] = old_token(*CALLERS[caller])
        if isinstance(body, bytes):
            return await self.server.client.request(method, url, content=body, headers=sent)
        return await self.server.client.request(method, url, json=body, headers=sent)


def old_token(collection: str, record_id: str) -> str:
    """Sign a token as the imported installation did."""
    with sqlite3.connect(f"file:{SOURCE / 'data.db'}?mode=ro&immutable=1", uri=True) as data:
        collection_id, options = data.execute(
            "SELECT id, options FROM _collections WHERE name = ?", (collection,)
        ).fetchone()
        key = data.execute(f'SELECT "tokenKey" FROM "{collection}" WHERE id = ?', (record_id,)).fetchone()[0]
    data.close()
    secret = json.loads(options)["authToken"]["secret"]
    claims = {
        "collectionId": collection_id,
        "exp": int(time.time()) + 3600,
        "id": record_id,
        "refreshable": True,
        "type": "auth",
    }
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = hmac.digest((key + secret).encode(), signed, hashlib.sha256)
    return (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


async def import_into(url: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with open_services(Config(data_dir=folder), url, alone=True) as services:
            target = Target(services.db, services.collections, services.settings, services.files.storage)
            await import_pocketbase(PocketBaseOptions(folder=SOURCE), target)


async def imported_copy(postgres_url: str, data: Path) -> AsyncIterator[Imported]:
    MAKERS[TEMPLATE] = import_into
    if not SOURCE.is_dir():
        pytest.skip("needs the folder of real inputs, ../shared/data, beside the repository")
    shutil.copytree(SOURCE / "storage", data / "storage", copy_function=shutil.copyfile)
    async for url in own_database(postgres_url, TEMPLATE):
        async with running(Config(data_dir=str(data)), url) as server:
            yield Imported(server)
