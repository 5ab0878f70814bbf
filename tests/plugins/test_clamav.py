"""The plugin that has ClamAV look at uploads, with a real clamd whose one signature is the EICAR test file."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from groundplane.files.storage import FileStorage
from groundplane.testing.file_storage import keys_of
from groundplane.testing.plugins import AppWith, PluginApp
from groundplane_plugins import clamav
from groundplane_plugins.clamav.clamd import Clamd, NotScanned, TooLarge

# Apart, so that no scanner of somebody's finds it in this file.
EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
SIGNATURE = "44d88612fea8a8f36de82e1278abb02f:68:Eicar-Test\n"
STREAM_MAX = 1024 * 1024
LIMIT_S = 60.0


class Daemon:
    """clamd on a port and on a socket."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("clamd", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            pytest.skip("needs the Debian package clamav-daemon")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.tcp = f"tcp://127.0.0.1:{self.port}"
        self.unix = f"unix://{folder}/clamd.ctl"
        (folder / "eicar.hdb").write_text(SIGNATURE)
        (folder / "clamd.conf").write_text(
            f"DatabaseDirectory {folder}\nTCPSocket {self.port}\nTCPAddr 127.0.0.1\nForeground true\n"
            f"LocalSocket {folder}/clamd.ctl\nTemporaryDirectory {folder}\nStreamMaxLength {STREAM_MAX}\n"
        )
        self.process = subprocess.Popen(
            [program, "--config-file", str(folder / "clamd.conf")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def wait_until_ready(self) -> None:
        limit = time.monotonic() + LIMIT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert self.process.poll() is None, "clamd ended by itself"
                assert time.monotonic() < limit, "clamd did not start in time"
                time.sleep(0.05)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def clamd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path_factory.mktemp("clamd"))
    try:
        daemon.wait_until_ready()
        yield daemon
    finally:
        daemon.stop()


async def content(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def client(address: str, **more: float) -> Clamd:
    return Clamd(address, **({"connect_timeout_s": LIMIT_S, "scan_timeout_s": LIMIT_S} | more))


@pytest.mark.parametrize("kind", ["tcp", "unix"])
async def test_clamd_tells_what_is_in_a_stream(clamd: Daemon, kind: str) -> None:
    asked = client(getattr(clamd, kind))
    assert await asked.scan(content(b"harmless")) == ""
    assert await asked.scan(content()) == ""
    assert "Eicar-Test" in await asked.scan(content(EICAR[:10], EICAR[10:]))
    assert (await asked.version()).startswith("ClamAV ")


async def test_what_clamd_does_not_take_is_too_large(clamd: Daemon) -> None:
    with pytest.raises(TooLarge):
        await client(clamd.tcp).scan(content(*[bytes(100_000)] * 20))


@pytest.mark.parametrize(
    "address", ["", "127.0.0.1:3310", "tcp://127.0.0.1", "tcp://:3310", "unix://", "http://127.0.0.1:3310"]
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="is no address"):
        client(address)


async def test_a_daemon_that_says_nothing_is_given_up(clamd: Daemon) -> None:
    clamd.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(NotScanned, match=r"longer than 0\.2 s"):
            await client(clamd.tcp, scan_timeout_s=0.2).scan(content(b"x"))
    finally:
        clamd.process.send_signal(signal.SIGCONT)


async def test_one_that_hangs_up_is_asked_again() -> None:
    calls = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        if calls > 1:
            await reader.readuntil(b"\0\0\0\0")
            writer.write(b"stream: OK\0")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        asked = client(f"tcp://127.0.0.1:{port}")
        found = await clamav.scanned(asked, lambda: content(b"x"), attempts=2, wait_s=0.01)
    assert (found, calls) == ("", 2)


FIELDS: list[dict[str, Any]] = [
    {"name": "papers", "type": "file", "maxSelect": 5},
    {"name": "t", "type": "text"},
]


async def start(app_with: AppWith, address: str, **config: Any) -> PluginApp:
    app = await app_with(clamav, config={"clamav": {"address": address, "attempts": 1, **config}})
    assert [plugin.reason for plugin in app.plugins.all] == [""]
    await app.make_collection("docs", FIELDS)
    return app


def parts(*contents: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("papers", (f"{number}.txt", each)) for number, each in enumerate(contents)]


async def stored(app: PluginApp) -> list[str]:
    storage: FileStorage = app.services.files.storage
    return await keys_of(storage)


async def test_an_infected_upload_is_refused_at_its_field_and_nothing_is_stored(
    app_with: AppWith, clamd: Daemon
) -> None:
    app = await start(app_with, clamd.unix)
    refused = await app.send("POST", "docs", files=parts(b"fine", EICAR))
    assert refused.status_code == 400
    assert refused.json() == {
        "status": 400,
        "message": "Failed to create record.",
        "data": {
            "papers": {
                "code": "validation_infected_file",
                "message": "Failed to upload 1.txt - a virus was found in it.",
                "params": {"file": "1.txt"},
            }
        },
    }
    assert await stored(app) == []
    made = (await app.send("POST", "docs", files=parts(b"fine"))).json()
    assert len(await stored(app)) == 1
    changed = await app.send("PATCH", "docs", made["id"], files=[("papers+", ("b.txt", EICAR))])
    assert changed.json()["message"] == "Failed to update record."
    assert changed.json()["data"]["papers"]["code"] == "validation_infected_file"
    assert len(await stored(app)) == 1
    more = await app.send("PATCH", "docs", made["id"], files=[("papers+", ("b.txt", b"fine"))])
    assert len(more.json()["papers"]) == 2
    assert [check.sound for check in await app.plugins.findings()] == [True]


async def test_a_batch_with_an_infected_upload_writes_nothing(app_with: AppWith, clamd: Daemon) -> None:
    app = await start(app_with, clamd.tcp)
    await app.services.settings.change({"batch": {"enabled": True}})
    path = "/api/collections/docs/records"
    requests = [{"method": "POST", "url": path, "body": {"t": text}} for text in "ab"]
    answer = await app.ask(
        "POST",
        "/api/batch",
        data={"@jsonPayload": json.dumps({"requests": requests})},
        files=[("requests.0.papers", ("a.txt", b"fine")), ("requests.1.papers", ("b.txt", EICAR))],
    )
    assert answer.status_code == 400
    assert "validation_infected_file" in answer.text
    assert (await app.send("GET", "docs")).json()["totalItems"] == 0
    assert await stored(app) == []


async def test_what_is_refused_anyway_is_not_sent_to_clamd(app_with: AppWith) -> None:
    # Nobody answers at this address, which would be a 503.
    app = await start(app_with, "tcp://127.0.0.1:1")
    await app.services.collections.update("docs", {"createRule": "t = 'x'", "updateRule": None})
    assert (await app.send("POST", "docs", files=parts(b"x"))).status_code == 400
    assert (await app.send("PATCH", "docs", "a" * 15, files=parts(b"x"))).status_code == 403
    assert (await app.send("POST", "docs", json={"t": "x"})).status_code == 200


@pytest.mark.parametrize(("on_failure", "status", "kept"), [("refuse", 503, 0), ("accept", 200, 1)])
async def test_while_clamd_is_away_uploads_are_refused_or_taken_as_configured(
    app_with: AppWith, on_failure: str, status: int, kept: int
) -> None:
    app = await start(app_with, "tcp://127.0.0.1:1", on_failure=on_failure)
    answer = await app.send("POST", "docs", files=parts(b"x"))
    assert (answer.status_code, len(await stored(app))) == (status, kept)
    if kept == 0:
        assert answer.json()["message"] == clamav.AWAY
        assert answer.headers["retry-after"]
    findings = await app.plugins.findings()
    assert [check.sound for check in findings] == [False]
    assert "does not answer" in findings[0].text


@pytest.mark.parametrize(("too_large", "status"), [("refuse", 400), ("accept", 200)])
async def test_files_above_the_limit_are_refused_or_taken_as_configured(
    app_with: AppWith, clamd: Daemon, too_large: str, status: int
) -> None:
    app = await start(app_with, clamd.tcp, max_bytes=100, too_large=too_large)
    answer = await app.send("POST", "docs", files=parts(bytes(101)))
    assert answer.status_code == status
    if status == 400:
        assert answer.json()["data"]["papers"]["code"] == "validation_unchecked_file"
        assert answer.json()["data"]["papers"]["params"] == {"file": "0.txt", "maxSize": 100}


async def test_other_collections_are_left_alone(app_with: AppWith, clamd: Daemon) -> None:
    app = await start(app_with, clamd.tcp, collections=["others"])
    assert (await app.send("POST", "docs", files=parts(EICAR))).status_code == 200


@pytest.mark.parametrize("wrong", [{"address": "nowhere"}, {"attempts": 0}, {"on_failure": "maybe"}])
async def test_a_wrong_configuration_makes_the_plugin_broken(
    app_with: AppWith, wrong: dict[str, Any]
) -> None:
    app = await app_with(clamav, config={"clamav": wrong})
    assert [plugin.reason != "" for plugin in app.plugins.all] == [True]


@pytest.mark.parametrize(
    ("version", "made"),
    [("ClamAV 1.4.6/27400/Sun Nov 22 09:30:00 2026", "2026-11-22"), ("ClamAV 1.4.6", None), ("x/y/z", None)],
)
def test_the_age_of_the_signatures_is_read(version: str, made: str | None) -> None:
    found = clamav.signatures_of(version)
    assert (f"{found:%Y-%m-%d}" if found else None) == made
