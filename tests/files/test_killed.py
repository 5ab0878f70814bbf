"""A server that is killed between a commit and the removal of files, or in the middle of an upload."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from groundplane.files.s3 import S3Files
from groundplane.settings.values import S3
from groundplane.testing.file_storage import keys_of
from groundplane.testing.live import LiveServer

pytestmark = pytest.mark.slow
EMAIL, PASSWORD = "admin@example.com", "1234567890"
RECORDS = "/api/collections/docs/records"
LIMIT_S = 60.0
CONFIG = """
[[collections]]
name = "docs"
createRule = ""
deleteRule = ""
[collections.fields]
file = {type = "file"}
"""


class Site:
    """A live server, its database, and a superuser's token."""

    def __init__(self, live: LiveServer, database: Any) -> None:
        self.live = live
        self.database = database
        self.headers: dict[str, str] = {}

    async def sign_in(self) -> None:
        await self.live.command("superuser", "upsert", EMAIL, PASSWORD)
        body = {"identity": EMAIL, "password": PASSWORD}
        answer = await self.live.client.post("/api/collections/_superusers/auth-with-password", json=body)
        self.headers = {"Authorization": answer.json()["token"]}

    async def use(self, bucket: S3) -> None:
        change = {"s3": msgspec.to_builtins(bucket)}
        answer = await self.live.client.patch("/api/settings", json=change, headers=self.headers)
        assert answer.status_code == 200, answer.text

    async def kill(self) -> None:
        """Kill every process of the server at once, as a machine that loses its power does."""
        for pid in self.live.pids(""):
            if b"postgres" not in Path(f"/proc/{pid}/comm").read_bytes():
                os.kill(pid, signal.SIGKILL)
        await self.live.stop(signal.SIGKILL)

    async def until(self, query: str, wanted: object) -> None:
        async with asyncio.timeout(LIMIT_S):
            while await self.database.fetchval(query) != wanted:  # noqa: ASYNC110  # of other processes
                await asyncio.sleep(0.02)

    async def sweep(self) -> None:
        """Have everything that waits fall due, and the job of the clock run."""
        await self.database.execute('UPDATE "_file_removals" SET "due" = now() - interval \'1 second\'')
        answer = await self.live.client.post("/api/crons/__gpFilesCleanup__", headers=self.headers)
        assert answer.status_code == 204, answer.text
        await self.until('SELECT count(*) FROM "_file_removals"', 0)


async def test_files_go_and_stay_as_the_records_say_whenever_the_server_was_killed(
    server_database_url: str, tmp_path: Path, bucket: S3
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hole:
        # Takes connections and never says a word.
        silent = msgspec.structs.replace(bucket, endpoint=f"http://127.0.0.1:{hole.getsockname()[1]}")
        database = await asyncpg.connect(server_database_url)
        live = LiveServer(tmp_path, server_database_url, config=CONFIG, workers=1)
        site = Site(live, database)
        try:
            await live.start()
            await site.sign_in()
            await site.use(bucket)
            files = {"file": ("a.txt", b"a")}
            doomed = (await live.client.post(RECORDS, files=files)).json()
            kept = (await live.client.post(RECORDS, files=files)).json()
            assert len(await keys_of(S3Files(bucket))) == 2

            await site.use(silent)
            deleting = asyncio.create_task(live.client.delete(f"{RECORDS}/{doomed['id']}"))
            await site.until("SELECT count(*) FROM docs", 1)
            uploading = asyncio.create_task(live.client.post(RECORDS, files=files))
            await site.until('SELECT count(*) FROM "_file_removals" WHERE "is_upload"', 1)
            await site.kill()
            await asyncio.gather(deleting, uploading, return_exceptions=True)
            # The record is gone, its file is not, and that is known.
            assert len(await keys_of(S3Files(bucket))) == 2
            rows = await database.fetch('SELECT "record", "is_upload" FROM "_file_removals" ORDER BY 2')
            assert [row["is_upload"] for row in rows] == [False, True]
            assert rows[0]["record"] == doomed["id"]
            assert await database.fetchval("SELECT count(*) FROM docs") == 1

            await live.start()
            await site.sign_in()
            await site.use(bucket)
            # As if half of the upload had arrived after all.
            store = S3Files(bucket)
            name = await database.fetchval('SELECT "names"[1] FROM "_file_removals" WHERE "is_upload"')

            async def half() -> Any:
                yield b"half"

            await store.put(f"{kept['collectionId']}/{rows[1]['record']}/{name}", half())
            await site.sweep()
            assert await keys_of(store) == [f"{kept['collectionId']}/{kept['id']}/{kept['file']}"]
            answer = await live.client.get(f"/api/files/docs/{kept['id']}/{kept['file']}")
            assert answer.content == b"a"
        finally:
            await live.stop()
            await live.client.aclose()
            await database.close()
