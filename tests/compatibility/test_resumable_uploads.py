"""A tus client uploads to a server of two workers through lost connections and killed workers."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Self

import httpx
import pytest
import pytest_asyncio
from tests.files.tus import Tus, mark

from groundplane.settings.values import S3
from groundplane.testing import s3 as object_store
from groundplane.testing.live import LiveServer
from groundplane.testing.s3 import S3Server
from groundplane.testing.server import INSTALLED, own_database

if TYPE_CHECKING:
    from tests.compatibility.conftest import Node

bucket, s3_server = object_store.bucket, object_store.s3_server

MIB = 1024 * 1024
MAX_MEMORY_BYTES = 150 * MIB
LIMIT_S = 300
CONFIG = """
[[collections]]
name = "docs"
createRule = '@request.auth.id != ""'
viewRule = ""
[collections.fields]
file = {type = "file", maxSize = 400_000_000}
[[collections]]
name = "open"
createRule = ""
[collections.fields]
file = {type = "file", maxSize = 50_000_000}
"""


class Way:
    """The network between a client and the server: something happens after so many bytes of requests."""

    def __init__(self, port: int, events: list[tuple[int, Callable[[], Awaitable[bool]]]]) -> None:
        """Each event is called once, and returns whether the connection breaks."""
        self._port = port
        self._events = list(events)
        self._passed = 0
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    @property
    def is_over(self) -> bool:
        return not self._events

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.transport.abort()
            return
        back = asyncio.create_task(self._answers(there_reader, writer))
        try:
            while data := await reader.read(64 * 1024):
                there_writer.write(data)
                await there_writer.drain()
                self._passed += len(data)
                if self._events and self._passed >= self._events[0][0] and await self._events.pop(0)[1]():
                    break
        except OSError:
            pass
        finally:
            for each in (there_writer, writer):
                each.transport.abort()
            await back

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(64 * 1024):
                writer.write(data)
                await writer.drain()
        except OSError:
            return
        finally:
            writer.transport.abort()


def peak_of(pid: int) -> int:
    """The most memory that a process has had, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise LookupError(pid)


async def download_digest(client: httpx.AsyncClient, path: str) -> str:
    digest = hashlib.sha256()
    async with client.stream("GET", path) as answer:
        assert answer.status_code == 200
        async for chunk in answer.aiter_bytes():
            digest.update(chunk)
    return digest.hexdigest()


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def live(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveServer]:
    async for url in own_database(postgres_url, INSTALLED):
        folder = tmp_path_factory.mktemp("live")
        async with LiveServer(folder, url, config=CONFIG, workers=2) as started:
            yield started


@pytest.mark.parametrize("size", [16 * MIB, pytest.param(200 * MIB, marks=pytest.mark.slow)])
async def test_a_tus_client_gets_a_file_through_a_lost_connection_and_killed_workers(
    javascript: Node, live: LiveServer, tmp_path: Path, size: int
) -> None:
    await upload_through_troubles(javascript, live, tmp_path, size)
    assert list((live.data_dir / "storage" / ".uploads").iterdir()) == []


@pytest.mark.slow
async def test_the_same_into_an_object_store(
    javascript: Node, live: LiveServer, tmp_path: Path, bucket: S3, s3_server: S3Server
) -> None:
    await live.command("superuser", "upsert", "admin@example.com", "correct horse")
    body = {"identity": "admin@example.com", "password": "correct horse"}
    path = "/api/collections/_superusers/auth-with-password"
    token = (await live.client.post(path, json=body)).json()["token"]
    s3 = {
        "enabled": True,
        "bucket": bucket.bucket,
        "region": bucket.region,
        "endpoint": bucket.endpoint,
        "accessKey": bucket.access_key,
        "secret": bucket.secret,
        "forcePathStyle": True,
    }
    for settings in (s3, {"enabled": False}):
        answer = await live.client.patch(
            "/api/settings", json={"s3": settings}, headers={"Authorization": token}
        )
        assert answer.status_code == 200, answer.text
        if settings is s3:
            await upload_through_troubles(javascript, live, tmp_path, 200 * MIB)
            folder = s3_server.folder / bucket.bucket
            sizes = {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*.bin")}
            assert list(sizes.values()) == [200 * MIB], sizes
            # Of a request that was killed, this server may keep an object without content.
            assert not any(path.stat().st_size for path in (folder / ".uploads").rglob("*-*"))


async def upload_through_troubles(javascript: Node, live: LiveServer, tmp_path: Path, size: int) -> None:
    """Upload a file whose connections are cut and whose workers are killed; it arrives as it is."""
    file = tmp_path / "big.bin"
    digest = hashlib.sha256()
    with file.open("wb") as out:
        for _ in range(size // MIB):
            block = os.urandom(MIB)
            digest.update(block)
            out.write(block)
    peaks: list[int] = []

    async def cut() -> bool:
        return True

    async def kill() -> bool:
        for pid in live.pids("groundplane-web"):
            peaks.append(peak_of(pid))
            os.kill(pid, signal.SIGKILL)
        return False

    port = httpx.URL(live.url).port
    assert port is not None
    async with Way(port, [(size // 4, cut), (size // 2, kill), (size * 3 // 4, cut)]) as way:
        process = await asyncio.create_subprocess_exec(
            *javascript.node,
            str(Path(__file__).parent / "scenarios" / "resumable.mjs"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ
            | {
                "GROUNDPLANE_CLIENT": javascript.client.as_uri(),
                "GROUNDPLANE_URL": live.url,
                "GROUNDPLANE_TUS_URL": way.url,
                "GROUNDPLANE_FILE": str(file),
            },
        )
        async with asyncio.timeout(LIMIT_S):
            said, wrong = await process.communicate()
        assert process.returncode == 0, wrong.decode()
        assert way.is_over
    peaks += [peak_of(pid) for pid in live.pids("groundplane-web")]
    outcome = json.loads(said)
    record = outcome["record"]
    assert record["file"].startswith("big_file_")
    path = f"/api/files/docs/{record['id']}/{record['file']}"
    assert await download_digest(live.client, path) == digest.hexdigest()
    assert outcome["retries"] >= 3
    print(f"peak memory of workers: {[peak // MIB for peak in peaks]} MiB")  # noqa: T201  # the figure of the test
    assert max(peaks) < MAX_MEMORY_BYTES


async def test_of_many_who_write_at_once_to_two_workers_one_wins(live: LiveServer) -> None:
    contents = [bytes([number]) * 3_000_000 for number in range(8)]
    url = await Tus(live.client).begun(len(contents[0]), collection="open", field="file")

    async def send(content: bytes) -> int:
        # A connection of one's own: which worker has it is up to the system.
        async with httpx.AsyncClient(base_url=live.url, timeout=60) as client:
            return (await Tus(client).send(url, 0, content)).status_code

    statuses = await asyncio.gather(*map(send, contents))
    assert sorted(set(statuses) - {409, 423}) == [204]
    assert statuses.count(204) == 1

    async def take() -> httpx.Response:
        async with httpx.AsyncClient(base_url=live.url, timeout=60) as client:
            return await Tus(client).record("open", {"file": mark(url)})

    answers = await asyncio.gather(*(take() for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 5
    record = next(answer.json() for answer in answers if answer.status_code == 200)
    found = await live.client.get(f"/api/files/open/{record['id']}/{record['file']}")
    assert found.content == contents[statuses.index(204)]


async def test_what_a_crash_has_left_of_uploads_is_deleted_and_nothing_else(live: LiveServer) -> None:
    left = live.data_dir / "storage" / ".uploads" / "aaaaaaaaaaaaaaa"
    left.parent.mkdir(parents=True, exist_ok=True)
    left.write_bytes(b"left behind")
    os.utime(left, (1_600_000_000, 1_600_000_000))
    await Tus(live.client).finished(b"hello", collection="open", field="file")
    _, said = await live.command("files", "orphans", "--delete", "--min-age", "0.001")
    assert "No orphans." in said
    assert "1 uploads that a crash cut off deleted" in said
    assert [path.name for path in left.parent.iterdir()] != []
    assert not left.exists()
