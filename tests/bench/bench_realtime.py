"""What a delivered event costs: many streams on one server, some events, CPU time of server and database.

    python tests/bench/bench_realtime.py [--subscribers 200] [--events 200] [--idle 2000] [--workers 1]

Prints one JSON object: CPU microseconds per delivery, milliseconds from the answer to the write to the last and to
the 99th percentile of the deliveries, and bytes of memory for one stream.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parent))

from bench_cpu import cpu_seconds, postgres_pids, tree

from groundplane.testing.live import LiveServer

CONFIG = """
[[collections]]
name = "posts"
listRule = "published = true || owner = @request.auth.id"
createRule = ""

[collections.fields.text]
type = "text"

[collections.fields.owner]
type = "text"

[collections.fields.published]
type = "bool"

[collections.fields.n]
type = "number"
"""


class Stream:
    """A subscriber on a raw socket; notes when each event came."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client_id: str) -> None:
        self.reader = reader
        self.writer = writer
        self.client_id = client_id
        self.came: list[tuple[int, float]] = []

    async def read(self, count: int) -> None:
        rest = b""
        while len(self.came) < count:
            data = rest + await self.reader.read(65536)
            at = time.perf_counter()
            *frames, rest = data.split(b"\n\n")
            for frame in frames:
                position = frame.find(b'"n":')
                if b"event:posts" in frame and position > 0:
                    number = int(frame[position + 4 : position + 14].split(b",")[0].split(b"}")[0])
                    self.came.append((number, at))


async def connect(host: str, port: int) -> Stream:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"GET /api/realtime HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    data = b""
    while b'"clientId":"' not in data:
        part = await reader.read(4096)
        if not part or b" 503 " in data:
            raise RuntimeError(f"no stream: {data.decode()}")
        data += part
    start = data.index(b'"clientId":"') + 12
    return Stream(reader, writer, data[start : start + 40].decode())


async def many(count: int, host: str, port: int) -> list[Stream]:
    streams: list[Stream] = []
    while len(streams) < count:
        part = min(50, count - len(streams))
        streams += await asyncio.gather(*(connect(host, port) for _ in range(part)))
    return streams


def memory(pids: set[int]) -> int:
    """Bytes of memory that these processes have for themselves or share (PSS)."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        async with LiveServer(Path(folder), workers=options.workers, config=CONFIG) as server:
            return await on(server, options)


async def on(server: LiveServer, options: argparse.Namespace) -> dict[str, Any]:
    url = httpx.URL(server.url)
    host, port = url.host, url.port or 80
    limits = httpx.Limits(max_connections=64)
    process = server.process
    if process is None:
        raise RuntimeError("the server is not there")
    web = tree([process.pid])
    async with httpx.AsyncClient(base_url=server.url, limits=limits, timeout=60) as client:
        (code, _), email = (
            await server.command("superuser", "upsert", "a@example.com", "1234567890"),
            "a@example.com",
        )
        if code:
            raise RuntimeError("no superuser could be made")
        signing = {"identity": email, "password": "1234567890"}
        answer = await client.post("/api/collections/_superusers/auth-with-password", json=signing)
        admin = {"Authorization": answer.json()["token"]}
        tokens: list[str] = []
        for number in range(options.users):
            body = {
                "email": f"u{number}@example.com",
                "password": "1234567890",
                "passwordConfirm": "1234567890",
            }
            user = await client.post("/api/collections/users/records", json=body)
            path = f"/api/collections/users/impersonate/{user.json()['id']}"
            tokens.append((await client.post(path, json={}, headers=admin)).json()["token"])
        before = memory(web)
        idle = await many(options.idle, host, port)
        per_stream = (memory(web) - before) / max(len(idle), 1)
        streams = await many(options.subscribers, host, port)
        for number, stream in enumerate(streams):
            body = {"clientId": stream.client_id, "subscriptions": ["posts/*"]}
            headers = {"Authorization": tokens[number % len(tokens)]} if tokens else {}
            (await client.post("/api/realtime", json=body, headers=headers)).raise_for_status()
        readers = [asyncio.create_task(stream.read(options.events)) for stream in streams]
        database = tree(postgres_pids(server.data_dir))
        await client.post("/api/collections/posts/records", json={"text": "warm", "published": True, "n": -1})
        await asyncio.sleep(1)
        for stream in streams:
            stream.came.clear()
        used, used_there = cpu_seconds(web - database), cpu_seconds(database)
        started = time.perf_counter()
        written: dict[int, float] = {}
        for number in range(options.events):
            body = {"text": "x" * 100, "published": True, "n": number}
            (await client.post("/api/collections/posts/records", json=body)).raise_for_status()
            written[number] = time.perf_counter()
            await asyncio.sleep(options.pause_ms / 1000)
        async with asyncio.timeout(120):
            await asyncio.gather(*readers)
        took = time.perf_counter() - started
        used = cpu_seconds(web - database) - used
        used_there = cpu_seconds(database) - used_there
    delays = sorted(
        max(at - written[number], 0) for stream in streams for number, at in stream.came if number in written
    )
    for stream in [*idle, *streams]:
        stream.writer.close()
    return {
        "subscribers": options.subscribers,
        "callers": options.users,
        "events": options.events,
        "deliveries": len(delays),
        "cpu_us_per_delivery": round((used + used_there) / len(delays) * 1e6, 1),
        "of_that_the_database": round(used_there / len(delays) * 1e6, 1),
        "last_ms": round(delays[-1] * 1000, 1),
        "p99_ms": round(delays[int(len(delays) * 0.99)] * 1000, 1),
        "p50_ms": round(delays[len(delays) // 2] * 1000, 1),
        "seconds": round(took, 2),
        "idle_streams": len(idle),
        "bytes_per_idle_stream": round(per_stream),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--subscribers", type=int, default=200)
    parser.add_argument("--events", type=int, default=200)
    parser.add_argument("--idle", type=int, default=0)
    parser.add_argument("--users", type=int, default=20, help="different callers among the subscribers")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--pause-ms", type=float, default=5.0, help="between two writes")
    options = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = options.idle + options.subscribers + 500
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    print(json.dumps(asyncio.run(measure(options)), indent=2))  # noqa: T201


if __name__ == "__main__":
    main()
