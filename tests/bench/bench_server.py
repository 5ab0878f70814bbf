"""Starts what is measured: an installation with data in it, its servers, and the bare one beside them."""

from __future__ import annotations

import asyncio
import hashlib
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
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
from bench_load import Target

from groundplane.db.embedded import EmbeddedPostgres
from groundplane.testing.s3 import rclone

HERE = Path(__file__).parent
EMAIL, PASSWORD = "bench@example.com", "bench-password-1"
PEOPLE, PROJECTS = 64, 1000
CATEGORIES = ("news", "code", "food", "art")
START_TIMEOUT_S = 60
MAX_SERVERS = 2
PAPER_SIZES = (*(102_400 for _ in range(32)), 50_000_000)
FILL = (HERE / "fill.sql").read_text(encoding="utf-8")

PLUGIN = '''"""Hears of saved records and does nothing about it."""

from groundplane.hooks import hookimpl


@hookimpl
async def record_saved(event, services):
    return None
'''


class Setup(NamedTuple):
    """One way to start a server."""

    workers: int = 2
    hooks: int = 0  # plugins that hear of saved records
    lanes: bool = True  # False: every statement by itself, on a connection of the pool


class Data(NamedTuple):
    """What is stored; ids follow from numbers, see `row_id`."""

    rows: int
    tokens: list[str]  # of the people, by number
    papers: list[str]  # paths of stored files: of 100 KiB, and of 50 MB the last

    def owner(self, number: int) -> int:
        return number % PEOPLE

    def is_published(self, number: int) -> bool:
        return number // PEOPLE % 2 == 0


def row_id(kind: str, number: int) -> str:
    """The id of a row that `fill.sql` made: `post`, `memo`, `project` or `person` number so-and-so."""
    return kind[0] + hashlib.md5(f"{kind}{number}".encode()).hexdigest()[:14]


def post(number: int, owner: int) -> dict[str, Any]:
    """The body of a new post; it comes to about 380 bytes in an answer, as the rows that are there do."""
    return {
        "title": f"Post number {number}",
        "body": f"{number} " + ("The quick brown fox jumps over the lazy dog. " * 3)[:112],
        "category": CATEGORIES[number % len(CATEGORIES)],
        "score": number * 7919 % 10_000,
        "published": number // PEOPLE % 2 == 0,
        "owner": row_id("person", owner),
    }


# As Debian configures it, with as many workers as our own server has.
NGINX = """
daemon off;
worker_processes 2;
user root;
pid {folder}/nginx.pid;
events {{ worker_connections 768; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    sendfile on;
    tcp_nopush on;
    client_body_temp_path {folder}/nginx-body;
    proxy_temp_path {folder}/nginx-proxy;
    fastcgi_temp_path {folder}/nginx-fastcgi;
    scgi_temp_path {folder}/nginx-scgi;
    uwsgi_temp_path {folder}/nginx-uwsgi;
    server {{ listen 127.0.0.1:{port}; root {folder}/static; }}
}}
"""


class Installation:
    """A data folder with its PostgreSQL, and the servers that run on it; all of it stops with `stack`."""

    def __init__(self, folder: Path, stack: ExitStack, *, rows: int) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self._stack = stack
        self._servers: dict[Setup, Target] = {}
        self._ends: dict[Setup, ExitStack] = {}
        self._started = 0
        self._static: Target | None = None
        postgres = EmbeddedPostgres(self.data_dir / "postgres")
        self.database_url = postgres.start()
        stack.callback(postgres.stop)
        self._run("superuser", "upsert", "--data-dir", str(self.data_dir), EMAIL, PASSWORD)
        first = self.server(Setup())
        self.admin = sign_in(first.port, "_superusers", EMAIL)
        make_collections(first.port, self.admin)
        hashed = call(
            first.port,
            "POST",
            "/api/collections/people/records",
            {"email": "first@example.com", "password": PASSWORD, "passwordConfirm": PASSWORD},
            self.admin,
        )["id"]
        self.sql(
            FILL.replace(":rows", str(rows))
            .replace(":people", str(PEOPLE))
            .replace(":projects", str(PROJECTS))
            .replace(":first", f"'{hashed}'")
        )
        self.sql("VACUUM ANALYZE")
        tokens = [sign_in(first.port, "people", f"person{number}@example.com") for number in range(PEOPLE)]
        self.data = Data(rows, tokens, self._store_papers(first.port))

    def _store_papers(self, port: int) -> list[str]:
        """Upload files, and put the same ones where a static file server finds them."""
        (self.folder / "static").mkdir()
        paths = []
        for number, size in enumerate(PAPER_SIZES):
            content = os.urandom(size)
            record = upload(port, "/api/collections/papers/records", "paper", content)
            paths.append(f"{record['id']}/{record['paper']}")
            (self.folder / "static" / f"{number}.bin").write_bytes(content)
        return paths

    def static(self) -> Target:
        """Return a static file server of the same files: nginx where there is one, else rclone."""
        if self._static is None:
            port, log = free_port(), self.folder / "static.log"
            program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
            if program is not None:
                config = self.folder / "nginx.conf"
                config.write_text(NGINX.format(port=port, folder=self.folder), encoding="utf-8")
                command = [program, "-p", str(self.folder), "-c", str(config), "-e", str(log)]
            else:
                command = [rclone(), "serve", "http", "--addr", f"127.0.0.1:{port}"]
                command.append(str(self.folder / "static"))
            environment = {"PATH": os.environ["PATH"], "RCLONE_CONFIG": os.devnull}
            process = self._stack.enter_context(running(command, port, "/0.bin", log, env=environment))
            self._static = Target(port, [process.pid])
        return self._static

    def server(self, setup: Setup) -> Target:
        """Return the server of this kind, started if it does not run.

        Two run at a time, so that two kinds can be compared by turns: more would take all the connections
        that PostgreSQL has.
        """
        if setup in self._servers:
            self._servers[setup] = self._servers.pop(setup)  # the last one used stands last
        else:
            while len(self._servers) >= MAX_SERVERS:
                oldest = next(iter(self._servers))
                del self._servers[oldest]
                self._ends.pop(oldest).close()
            self._servers[setup] = self._start(setup)
        return self._servers[setup]

    def said(self) -> str:
        """The last lines of every server's log, for a failure that needs explaining."""
        ends = [path.read_text(errors="replace")[-3000:] for path in sorted(self.folder.glob("server*/log"))]
        return "\n---\n".join(ends)

    def sql(self, statement: str) -> str:
        """Run a statement beside the servers; returns its command tag."""

        async def run() -> str:
            connection = await asyncpg.connect(self.database_url)
            try:
                return await connection.execute(statement)
            finally:
                await connection.close()

        return asyncio.run(run())

    def settings(self, change: dict[str, Any]) -> None:
        """Change settings of the running servers."""
        port = next(iter(self._servers.values())).port
        call(port, "PATCH", "/api/settings", change, self.admin)

    def _start(self, setup: Setup) -> Target:
        folder = self.folder / f"server{self._started}"
        self._started += 1
        (folder / "plugins").mkdir(parents=True)
        for number in range(setup.hooks):
            (folder / "plugins" / f"listener{number}.py").write_text(PLUGIN, encoding="utf-8")
        port = free_port()
        command = ["serve", "--data-dir", str(self.data_dir), "--host", "127.0.0.1"]
        command += ["--port", str(port), "--workers", str(setup.workers)]
        environment = clean_environment()
        if not setup.lanes:
            environment["GROUNDPLANE_TEST_LANES"] = "off"
        self._ends[setup] = ends = self._stack.enter_context(ExitStack())
        process = ends.enter_context(
            running(
                [*GROUNDPLANE, *command], port, "/api/health", folder / "log", cwd=folder, env=environment
            )
        )
        return Target(port, [process.pid], self.data_dir)

    def _run(self, *arguments: str) -> None:
        command = [*GROUNDPLANE, *arguments]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, cwd=self.folder, env=clean_environment()
        )
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)


GROUNDPLANE = (sys.executable, "-m", "groundplane")


def clean_environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("GROUNDPLANE_")}


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


def upload(port: int, path: str, field: str, content: bytes) -> Any:
    """Create a record with a file."""
    edge = "bench-boundary"
    head = (
        f'--{edge}\r\nContent-Disposition: form-data; name="{field}"; filename="paper.bin"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        method="POST",
        data=head.encode() + content + f"\r\n--{edge}--\r\n".encode(),
        headers={"Content-Type": f"multipart/form-data; boundary={edge}"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.loads(answer.read())


def sign_in(port: int, collection: str, email: str) -> str:
    """Return the token."""
    body = {"identity": email, "password": PASSWORD}
    answer = call(port, "POST", f"/api/collections/{collection}/auth-with-password", body)
    return str(answer["token"])


@contextmanager
def running(
    command: list[str], port: int, path: str, log: Path, **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server process for the time of the block and stop it by its own pid."""
    # A worker talks to who started it through its standard input, and stops when that is gone.
    here, there = socket.socketpair()
    with log.open("wb") as output, here:
        process = subprocess.Popen(command, stdin=there, stdout=output, stderr=subprocess.STDOUT, **options)
        there.close()
        try:
            wait_for(port, process, path, log)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            here.close()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


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
            time.sleep(0.05)
    raise RuntimeError(f"the server did not answer in {START_TIMEOUT_S} s:\n{log.read_text()}")


@contextmanager
def hello(folder: Path, workers: int) -> Iterator[Target]:
    """Serve the bare application with the HTTP server that Groundplane uses."""
    port = free_port()
    command = [sys.executable, str(HERE / "bench_hello.py"), str(port), str(workers)]
    with running(command, port, "/", folder / f"hello{workers}.log", env=clean_environment()) as process:
        yield Target(port, [process.pid])


def make_collections(port: int, admin: str) -> None:
    """Make people, their posts (the main table), projects and the memos that belong to them."""

    def make(**collection: Any) -> str:
        return str(call(port, "POST", "/api/collections", collection, admin)["id"])

    people = make(name="people", type="auth", listRule="", viewRule="", createRule="")
    mine = "owner = @request.auth.id"
    visible = f"published = true || {mine}"
    dates = [
        {"name": "created", "type": "autodate", "onCreate": True},
        {"name": "updated", "type": "autodate", "onCreate": True, "onUpdate": True},
    ]
    owner = {"name": "owner", "type": "relation", "collectionId": people, "maxSelect": 1}
    fields = [
        {"name": "title", "type": "text", "required": True, "max": 200},
        {"name": "body", "type": "text"},
        {"name": "category", "type": "select", "values": list(CATEGORIES), "maxSelect": 1},
        {"name": "score", "type": "number"},
        {"name": "published", "type": "bool"},
        owner,
        *dates,
    ]
    rules = {
        "type": "base",
        "listRule": visible,
        "viewRule": visible,
        "createRule": mine,
        "updateRule": mine,
        "deleteRule": mine,
    }
    make(name="posts", fields=fields, indexes=["CREATE INDEX idx_posts_created ON posts (created)"], **rules)
    slug = {"name": "slug", "type": "text", "required": True}
    unique = "CREATE UNIQUE INDEX idx_drafts_slug ON drafts (slug)"
    make(name="drafts", fields=[slug, *fields], indexes=[unique], **rules)
    projects = make(
        name="projects",
        type="base",
        listRule="",
        viewRule="",
        fields=[{"name": "name", "type": "text"}, {"name": "open", "type": "bool"}, owner, *dates],
    )
    make(
        name="papers",
        type="base",
        createRule="",
        fields=[{"name": "paper", "type": "file", "maxSelect": 1, "maxSize": 100_000_000}],
    )
    related = "project.open = true || project.owner = @request.auth.id"
    make(
        name="memos",
        type="base",
        listRule=related,
        viewRule=related,
        fields=[
            *fields[:4],
            {"name": "project", "type": "relation", "collectionId": projects, "maxSelect": 1},
            *dates,
        ],
        indexes=["CREATE INDEX idx_memos_created ON memos (created)"],
    )
