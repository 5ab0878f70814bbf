"""The bundled PostgreSQL: found, shared, stopped, and back after every kind of sudden end."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from groundplane.db import embedded, server_user
from groundplane.db.embedded import BUNDLED_VERSION, EmbeddedPostgres, processes_in
from groundplane.db.unusable import DatabaseUnusable

LIMIT_S = 60
AS_ROOT = os.geteuid() == 0
NOBODY = 65534


def value(url: str, sql: str) -> object:
    async def ask() -> object:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return asyncio.run(ask())


def until(fact: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not fact():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def postmaster(folder: Path) -> int:
    return int((folder / "data" / "postmaster.pid").read_text().split("\n")[0])


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cluster that was started and stopped; making one takes longer than all that is tested with it."""
    folder = tmp_path_factory.mktemp("made") / "pg"
    server = EmbeddedPostgres(folder, durable=False)
    server.start()
    server.stop()
    return folder


@pytest.fixture
def folder(tmp_path: Path, made_once: Path) -> Path:
    folder = tmp_path / "pg"
    subprocess.run(["cp", "-a", str(made_once), str(folder)], check=True)
    return folder


@pytest.fixture
def server(folder: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(folder, durable=False)
    yield server
    server.stop()
    assert processes_in(folder / "data") == []


def test_a_second_start_finds_the_data_and_is_quick(server: EmbeddedPostgres) -> None:
    value(server.start(), "CREATE TABLE kept AS SELECT 42 AS n")
    server.stop()
    assert not server.is_running()
    started = time.monotonic()
    url = server.start()
    assert time.monotonic() - started < 1
    assert value(url, "SELECT n FROM kept") == 42


def test_two_users_share_one_server_and_the_last_one_ends_it(server: EmbeddedPostgres, folder: Path) -> None:
    url = server.start()
    other = EmbeddedPostgres(folder, durable=False)
    assert other.start() == url
    server.stop()
    assert value(url, "SELECT 1") == 1
    other.stop()
    assert processes_in(folder / "data") == []
    with pytest.raises(FileNotFoundError):
        value(url, "SELECT 1")


def test_the_server_listens_on_no_port_and_others_cannot_enter_its_folders(
    server: EmbeddedPostgres, folder: Path
) -> None:
    url = server.start()
    assert value(url, "SHOW listen_addresses") == ""
    for private in ("data", "run"):
        assert (folder / private).stat().st_mode & 0o077 == 0
    assert (folder / "password").stat().st_mode & 0o777 == 0o600
    wrong = url.replace(url.split(":")[2].partition("@")[0], "wrong")
    with pytest.raises(asyncpg.InvalidPasswordError):
        value(wrong, "SELECT 1")


def test_text_sorts_bytewise_whatever_the_machine_speaks(server: EmbeddedPostgres) -> None:
    url = server.start()
    assert value(url, "SELECT string_agg(x, '' ORDER BY x) FROM unnest(ARRAY['b','B','ä','a']) x") == "Babä"
    assert value(url, "SELECT upper('äé')") == "ÄÉ"


def test_a_killed_server_is_noticed_and_comes_back_with_its_data(folder: Path) -> None:
    server = EmbeddedPostgres(folder)
    url = server.start()
    value(url, "CREATE TABLE kept AS SELECT 42 AS n")
    os.kill(postmaster(folder), signal.SIGKILL)
    until(lambda: not server.is_running())
    assert server.start() == url
    assert value(url, "SELECT n FROM kept") == 42
    server.stop()


def test_a_pid_file_that_names_a_process_of_someone_else_fools_nobody(
    server: EmbeddedPostgres, folder: Path
) -> None:
    server.start()
    pid_file = folder / "data" / "postmaster.pid"
    lines = pid_file.read_text().split("\n")
    server.stop()
    with subprocess.Popen(["sleep", "60"]) as stranger:
        try:
            pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]))
            assert not server.is_running()
            assert value(server.start(), "SELECT 1") == 1
            assert stranger.poll() is None
        finally:
            stranger.kill()


USER = """
import sys, time
from pathlib import Path
from groundplane.db.embedded import EmbeddedPostgres
print(EmbeddedPostgres(Path(sys.argv[1])).start(), flush=True)
time.sleep(600)
"""


def test_the_server_ends_with_a_user_that_was_killed(server: EmbeddedPostgres, folder: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", USER, str(folder)], stdout=subprocess.PIPE) as user:
        assert user.stdout is not None
        url = user.stdout.readline().decode().strip()
        value(url, "CREATE TABLE kept AS SELECT 42 AS n")
        first = postmaster(folder)
        user.kill()
    until(lambda: processes_in(folder / "data") == [])
    assert value(server.start(), "SELECT n FROM kept") == 42
    assert postmaster(folder) != first


def test_the_server_ends_with_its_killed_keeper(server: EmbeddedPostgres, folder: Path) -> None:
    server.start()
    assert server._keeper is not None
    server._keeper.kill()
    until(lambda: processes_in(folder / "data") == [])
    assert value(server.start(), "SELECT 1") == 1


def test_an_interrupted_creation_starts_afresh(server: EmbeddedPostgres, folder: Path) -> None:
    shutil.rmtree(folder / "data")
    (folder / "data.new").mkdir(parents=True)
    (folder / "data.new" / "PG_VERSION").write_text(BUNDLED_VERSION)
    assert value(server.start(), "SELECT 1") == 1
    assert not (folder / "data.new").exists()


def test_a_path_too_long_for_a_socket_works_too(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / ("long" * 25) / "pg", durable=False)
    url = server.start()
    assert value(url, "SELECT 1") == 1
    os.kill(postmaster(server.folder), signal.SIGKILL)
    until(lambda: not server.is_running())
    assert server.start() == url, "workers go on with the address they were given"
    server.stop()


def test_data_of_another_version_is_refused_with_a_sentence(server: EmbeddedPostgres, folder: Path) -> None:
    server.start()
    server.stop()
    (folder / "data" / "PG_VERSION").write_text("12\n")
    with pytest.raises(DatabaseUnusable, match=r"holds a database of PostgreSQL 12.*brings PostgreSQL 18"):
        server.start()


def test_a_data_folder_that_is_a_file_is_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatabaseUnusable, match="there is a file in the way"):
        EmbeddedPostgres(tmp_path / "file" / "pg").start()


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ('initdb: error: could not write "x": No space left on device', "is full: free some space"),
        ('FATAL:  could not open file "x": Permission denied', "may not write in"),
        ("initdb: error: could not look up effective user ID 1234: user does not exist", "has no name"),
        (
            "2026 UTC [1] FATAL:  could not load library\n",
            "did not start (2026 UTC [1] FATAL:  could not load",
        ),
        ("the last words", "did not start (the last words)"),
        ("", "it gave no reason"),
    ],
)
def test_a_failed_start_is_one_sentence(said: str, advice: str, folder: Path) -> None:
    sentence = embedded.complaint(said, folder)
    assert advice in sentence
    assert "\n" not in sentence


def test_a_server_that_ends_at_once_says_why(folder: Path) -> None:
    server = EmbeddedPostgres(folder, durable=False, settings={"shared_buffers": "1kB"})
    with pytest.raises(DatabaseUnusable, match="shared_buffers"):
        server.start()


if AS_ROOT:
    # An interpreter that others may run; this one, or the one below its environment, may lie in root's home.
    PYTHON = next(
        (
            program
            for program in (Path(sys.executable).resolve(), Path("/usr/bin/python3").resolve())
            if program.exists() and server_user.enterable([program, *program.parents])
        ),
        None,
    )
    if PYTHON is not None:

        @pytest.fixture(scope="module")
        def open_modules() -> Iterator[str]:
            """What `sys.path` names, for everybody: a folder that others may not enter is linked elsewhere."""
            folder = Path(tempfile.mkdtemp(prefix="groundplane-modules-"))
            folder.chmod(0o755)
            places: list[str] = []
            for number, place in enumerate(Path(entry) for entry in sys.path if entry):
                if place.is_relative_to(sys.base_prefix):
                    continue  # the other interpreter has its own
                if place.is_dir() and not server_user.enterable([place, *place.parents]):
                    shutil.copytree(place, folder / str(number), copy_function=link_or_copy, symlinks=True)
                    place = folder / str(number)
                places.append(str(place))
            yield os.pathsep.join(places)
            shutil.rmtree(folder)

        def link_or_copy(source: str, target: str) -> str:
            try:
                os.link(source, target)
            except OSError:
                shutil.copy2(source, target)
            return target

        def as_nobody(script: str, folder: Path, modules: str) -> str:
            """Run a script as a user without rights, with the modules of this environment."""
            done = subprocess.run(
                [str(PYTHON), "-c", script, str(folder)],
                user=NOBODY,
                group=NOBODY,
                extra_groups=[],
                env={"PATH": os.environ["PATH"], "PYTHONPATH": modules},
                check=False,
                capture_output=True,
                text=True,
                cwd="/",
            )
            return done.stdout + done.stderr

        START = textwrap.dedent(
            """
            import os, sys
            from pathlib import Path
            from groundplane.db.embedded import EmbeddedPostgres
            from groundplane.db.unusable import DatabaseUnusable
            server = EmbeddedPostgres(Path(sys.argv[1]), durable=False)
            try:
                server.start()
                print((Path(sys.argv[1]) / "data").stat().st_uid == os.geteuid(), server.is_running())
                server.stop()
            except DatabaseUnusable as error:
                print(error)
            """
        )

        @pytest.fixture
        def open_folder() -> Iterator[Path]:
            folder = Path(tempfile.mkdtemp(prefix="groundplane-open-"))
            os.chown(folder, NOBODY, NOBODY)
            yield folder
            shutil.rmtree(folder)

        def test_an_ordinary_user_runs_it_as_himself(open_folder: Path, open_modules: str) -> None:
            assert as_nobody(START, open_folder / "pg", open_modules) == "True True\n"

        def test_a_folder_that_cannot_be_written_is_refused_with_a_sentence(
            tmp_path: Path, open_modules: str
        ) -> None:
            assert "cannot be written: change its owner" in as_nobody(START, tmp_path / "pg", open_modules)

        def test_a_folder_of_another_user_is_refused_with_a_sentence(
            open_folder: Path, open_modules: str
        ) -> None:
            (open_folder / "pg").mkdir()
            assert "belongs to another user" in as_nobody(START, open_folder / "pg", open_modules)

    def test_root_runs_it_as_another_user_below_folders_that_this_one_cannot_enter(tmp_path: Path) -> None:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        server = EmbeddedPostgres(closed / "pg", durable=False)
        url = server.start()
        owner = (closed / "pg" / "data").stat().st_uid
        assert owner != 0
        assert Path(f"/proc/{postmaster(closed / 'pg')}").stat().st_uid == owner
        assert value(url, "SELECT 1") == 1
        assert closed.stat().st_mode & 0o777 == 0o700, "folders above are not ours to open"
        server.stop()

    def test_programs_in_a_closed_folder_are_copied_to_where_the_user_may_run_them(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        closed = tmp_path / "closed"
        package = embedded.INSTALLED.parent
        shutil.copytree(package, closed / package.name, symlinks=True)
        if (libraries := package.with_name(f"{package.name}.libs")).exists():
            shutil.copytree(libraries, closed / libraries.name, symlinks=True)
        closed.chmod(0o700)
        shelf = Path(tempfile.mkdtemp(prefix="groundplane-shelf-"))
        shelf.chmod(0o755)
        monkeypatch.setattr(server_user, "PROGRAMS_FOLDER", shelf)
        monkeypatch.setattr(embedded, "INSTALLED", closed / package.name / "pginstall")
        try:
            server = EmbeddedPostgres(tmp_path / "pg", durable=False)
            assert value(server.start(), "SELECT 1") == 1
            program = Path(f"/proc/{postmaster(tmp_path / 'pg')}/exe").readlink()
            assert program.is_relative_to(shelf)
            assert program.stat().st_uid == 0
            server.stop()
            value(server.start(), "SELECT 1")
            server.stop()
            assert len(list(shelf.iterdir())) == 1, "one copy serves every start"
        finally:
            shutil.rmtree(shelf)
