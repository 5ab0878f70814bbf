"""Runs the bundled PostgreSQL for as long as any process uses it; started by `db.embedded`, stdlib only.

Every user of a server holds a shared lock on `users.lock`, and the kernel lets go of it when the process
dies, however it dies. This process waits for the exclusive lock: when it gets it, nobody is left, and it
stops PostgreSQL. Should this process be killed, PostgreSQL gets the same signal from the kernel (Linux).

The argument is the cluster's folder; standard input brings a JSON object with `program`, `arguments`,
`environment`, `socket` and the server's `uid` and `gid` (null: keep ours).
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
LOG_LIMIT_BYTES = 10_000_000


def main(folder: Path, order: dict[str, Any]) -> int:
    if not own_lock(folder / "server.lock"):
        return 0  # another one runs already
    server = launch(folder, order)
    signal.signal(signal.SIGTERM, lambda *_: server.send_signal(signal.SIGINT))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=stop_when_unused, args=(folder, server), daemon=True).start()
    code = server.wait()
    # The lock is free once this process has ended; whoever waits for it must not find an old socket.
    socket = Path(order["socket"])
    for name in (".s.PGSQL.5432", ".s.PGSQL.5432.lock"):
        (socket / name).unlink(missing_ok=True)
    if code == 0:
        # After a crash the next server listens at the same place, for those who have the address.
        (folder / "server.json").unlink(missing_ok=True)
        if socket.parent != folder:
            socket.rmdir()
    return 0 if code == 0 else 1


def own_lock(path: Path) -> bool:
    """Take the lock for the life of this process; users that only look hold it for an instant, so try again."""
    descriptor = os.open(path, os.O_RDWR)
    for _ in range(100):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
        else:
            return True
    return False


def launch(folder: Path, order: dict[str, Any]) -> subprocess.Popen[bytes]:
    data, fds = data_argument(folder / "data", order["uid"])
    log = folder / "server.log"
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.replace(folder / "server.log.1")
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    keeper = os.getpid()
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def die_with_keeper() -> None:
        # Runs after the change of user, which would clear the signal again.
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGINT)
            if os.getppid() != keeper:
                os._exit(1)

    return subprocess.Popen(  # noqa: S603  # our own command
        [order["program"], "-D", data, *order["arguments"]],
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=out,
        pass_fds=fds,
        env=order["environment"],
        preexec_fn=die_with_keeper,  # noqa: PLW1509  # there is only one thread yet
        cwd="/",
        **as_user(order["uid"], order["gid"]),
    )


def data_argument(data: Path, uid: int | None) -> tuple[str, list[int]]:
    """Return the name by which the server's user reaches `data`, and the descriptors it must inherit.

    That user may not be able to enter the folders above (root's home, say), and they are not ours to open
    up. An inherited descriptor leads into the folder directly.
    """
    if uid is None or not Path("/proc/self/fd").exists():
        return str(data), []
    descriptor = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
    return f"/proc/self/fd/{descriptor}", [descriptor]


def as_user(uid: int | None, gid: int | None) -> dict[str, Any]:
    """Return the arguments of Popen that drop root's rights, none when there is nothing to drop."""
    return (
        {"umask": 0o077} if uid is None else {"user": uid, "group": gid, "extra_groups": [], "umask": 0o077}
    )


def stop_when_unused(folder: Path, server: subprocess.Popen[bytes]) -> None:
    """Wait until no process holds `users.lock`, then stop; new users wait at the lock until that is done."""
    users = os.open(folder / "users.lock", os.O_RDWR)
    fcntl.flock(users, fcntl.LOCK_EX)
    server.send_signal(signal.SIGINT)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), json.load(sys.stdin)))
