"""Starts what is measured: a Groundplane server with data in it, and the hello app beside it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
EMAIL, PASSWORD = "bench@example.com", "bench-password-1"
NOTES_PER_BATCH = 250
START_TIMEOUT_S = 60


class Account(NamedTuple):
    id: str
    email: str
    token: str


class Bench(NamedTuple):
    """A running server: its port, the pids to measure, and what is stored in it."""

    port: int
    roots: list[int]
    data_dir: Path
    accounts: list[Account]
    note_ids: list[str]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def call(port: int, method: str, path: str, body: Any = None, token: str = "") -> Any:
    """Send one JSON request; raises with the server's words when it refuses."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"} | ({"Authorization": token} if token else {}),
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            raw = answer.read()
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{method} {path}: {error.code} {error.read().decode()}") from error
    return json.loads(raw) if raw else None


def wait_for(port: int, process: subprocess.Popen[bytes], path: str, log: Path) -> None:
    """Return when the server answers; raises with its output when it ends or takes too long."""
    limit = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < limit:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}:\n{log.read_text()}")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2).close()
            return
        except (OSError, urllib.error.URLError):
            time.sleep(0.1)
    raise RuntimeError(f"the server did not answer in {START_TIMEOUT_S} s:\n{log.read_text()}")


@contextmanager
def running(
    command: list[str], port: int, path: str, log: Path, **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server process for the time of the block and stop it by its own pid."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, **options)
        try:
            wait_for(port, process, path, log)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def hello(folder: Path, workers: int) -> Iterator[tuple[int, list[int]]]:
    """Serve the hello app with the HTTP server that Groundplane uses."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", str(workers), "--loop", "uvloop", "--http", "httptools", "--ws", "none"]
    command += ["--no-access-log", "--no-server-header", "--log-level", "warning", "bench_hello:app"]
    with running(command, port, "/", folder / "hello.log", cwd=HERE) as process:
        yield port, [process.pid]


def groundplane() -> str:
    """Return the command of this environment, else the one on PATH."""
    beside = Path(sys.executable).with_name("groundplane")
    return str(beside) if beside.exists() else shutil.which("groundplane") or "groundplane"


@contextmanager
def server(folder: Path, *, workers: int, notes: int, users: int) -> Iterator[Bench]:
    """Serve a fresh server with `users` accounts that own `notes` records between them."""
    port = free_port()
    data_dir = folder / "data"
    common = ["--data-dir", str(data_dir)]
    config = folder / "groundplane.toml"
    config.write_text("", encoding="utf-8")
    upsert = [groundplane(), "superuser", "upsert", "--config", str(config), *common, EMAIL, PASSWORD]
    made = subprocess.run(upsert, check=False, capture_output=True, text=True, cwd=folder)
    if made.returncode:
        raise RuntimeError(made.stdout + made.stderr)
    command = [groundplane(), "serve", "--config", str(config), *common, "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", str(workers)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GROUNDPLANE_")}
    with running(command, port, "/api/health", folder / "server.log", cwd=folder, env=environment) as process:
        accounts, note_ids = fill(port, notes=notes, users=users)
        yield Bench(port, [process.pid], data_dir, accounts, note_ids)


def fill(port: int, *, notes: int, users: int) -> tuple[list[Account], list[str]]:
    """Make the collections, accounts and notes that the cases read."""
    signed_in = call(
        port,
        "POST",
        "/api/collections/_superusers/auth-with-password",
        {"identity": EMAIL, "password": PASSWORD},
    )
    token = signed_in["token"]
    call(
        port,
        "PATCH",
        "/api/settings",
        {"batch": {"enabled": True, "maxRequests": NOTES_PER_BATCH, "timeout": 60}},
        token,
    )
    people = call(
        port,
        "POST",
        "/api/collections",
        {"name": "people", "type": "auth", "listRule": "", "viewRule": "", "createRule": ""},
        token,
    )
    own = "owner = @request.auth.id || public = true"
    fields = [
        {"name": "title", "type": "text", "required": True, "max": 200},
        {"name": "body", "type": "text"},
        {"name": "views", "type": "number"},
        {"name": "public", "type": "bool"},
        {"name": "due", "type": "date"},
        {"name": "kind", "type": "select", "values": ["idea", "task", "memo"], "maxSelect": 1},
        {"name": "owner", "type": "relation", "collectionId": people["id"], "maxSelect": 1},
        {"name": "created", "type": "autodate", "onCreate": True},
        {"name": "updated", "type": "autodate", "onCreate": True, "onUpdate": True},
    ]
    call(
        port,
        "POST",
        "/api/collections",
        {
            "name": "notes",
            "type": "base",
            "listRule": own,
            "viewRule": own,
            "createRule": "@request.auth.id != '' && owner = @request.auth.id",
            "fields": fields,
            "indexes": ["CREATE INDEX idx_notes_views ON notes (views)"],
        },
        token,
    )
    accounts = []
    for number in range(users):
        email = f"user{number}@example.com"
        body = {"email": email, "password": PASSWORD, "passwordConfirm": PASSWORD}
        id = call(port, "POST", "/api/collections/people/records", body)["id"]
        answer = call(
            port,
            "POST",
            "/api/collections/people/auth-with-password",
            {"identity": email, "password": PASSWORD},
        )
        accounts.append(Account(id, email, answer["token"]))
    ids: list[str] = []
    for start in range(0, notes, NOTES_PER_BATCH):
        requests = [
            {
                "method": "POST",
                "url": "/api/collections/notes/records",
                "body": note(number, accounts[number % users].id),
            }
            for number in range(start, min(start + NOTES_PER_BATCH, notes))
        ]
        ids += [
            result["body"]["id"] for result in call(port, "POST", "/api/batch", {"requests": requests}, token)
        ]
    return accounts, ids


def note(number: int, owner: str) -> dict[str, Any]:
    return {
        "title": f"Note {number}",
        "body": "The quick brown fox jumps over the lazy dog. " * 3,
        "views": number,
        "public": number % 2 == 0,
        "due": "2030-01-02 03:04:05.678Z",
        "kind": ("idea", "task", "memo")[number % 3],
        "owner": owner,
    }
