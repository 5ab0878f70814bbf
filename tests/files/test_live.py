"""Files of a server of two workers."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import httpx
import pytest
from PIL import Image

from groundplane.files.s3 import S3Files
from groundplane.settings.values import S3
from groundplane.testing.file_storage import BIG, chunks
from groundplane.testing.live import LiveServer
from groundplane.testing.s3 import Cutting, S3Server

CONFIG = """
[log]
level = "debug"
[[collections]]
name = "photos"
createRule = ""
[collections.fields]
photo = {type = "file", maxSize = 20000000, thumbs = ["300x200"]}
"""


async def test_two_hundred_requests_at_two_workers_make_one_thumb(
    server_database_url: str, tmp_path: Path
) -> None:
    out = io.BytesIO()
    Image.effect_noise((2400, 1600), 40).convert("RGB").save(out, "JPEG")
    async with LiveServer(tmp_path, server_database_url, config=CONFIG, workers=2) as live:
        files = {"photo": ("a.jpg", out.getvalue())}
        record = (await live.client.post("/api/collections/photos/records", files=files)).json()
        path = f"/api/files/photos/{record['id']}/{record['photo']}?thumb=300x200"
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=200)
        async with httpx.AsyncClient(base_url=live.url, limits=limits, timeout=60) as client:
            answers = await asyncio.gather(*(client.get(path) for _ in range(200)))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1
        assert Image.open(io.BytesIO(answers[0].content)).size == (300, 200)
        helpers = live.pids("picture_process")
        assert await live.stop() == 0
    assert live.output.count(b"Made the thumb") == 1
    assert helpers
    assert not any(Path(f"/proc/{pid}").exists() for pid in helpers)


async def test_a_download_that_the_store_cuts_off_is_cut_off_for_the_client_too(
    server_database_url: str, tmp_path: Path, bucket: S3, s3_server: S3Server
) -> None:
    proxy = Cutting(s3_server.port, answer=500_000)
    settings = "".join(
        f"{key} = {str(value).lower() if isinstance(value, bool) else repr(value)}\n"
        for key, value in {
            "enabled": True,
            "bucket": bucket.bucket,
            "region": bucket.region,
            "endpoint": f"http://127.0.0.1:{proxy.port}",
            "accessKey": bucket.access_key,
            "secret": bucket.secret,
            "forcePathStyle": True,
        }.items()
    )
    config = f"{CONFIG}\n[settings.s3]\n{settings}"
    async with LiveServer(tmp_path, server_database_url, config=config, workers=1) as live:
        files = {"photo": ("a.bin", b"small")}
        record = (await live.client.post("/api/collections/photos/records", files=files)).json()
        key = f"{record['collectionId']}/{record['id']}/{record['photo']}"
        path = f"/api/files/photos/{record['id']}/{record['photo']}"
        assert (await live.client.get(path)).content == b"small"
        await S3Files(bucket).put(key, chunks(BIG))
        with pytest.raises(httpx.RemoteProtocolError):
            await live.client.get(path)
        assert (await live.client.get("/api/health")).status_code == 200
    proxy.close()
