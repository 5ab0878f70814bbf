"""A process that follows its parent ends with it, stuck or not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

# Deaf to the polite signal and never idle, as a worker whose event loop hangs.
STUCK = """
import os, signal
from groundplane.parent import follow_parent
signal.signal(signal.SIGTERM, signal.SIG_IGN)
follow_parent(0.1)
print(os.getpid(), flush=True)
while True:
    pass
"""
PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_stuck_process_ends_after_its_parent_was_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, STUCK], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_running(child)
        parent.kill()
        parent.wait()
    try:
        limit = time.monotonic() + 30
        while is_running(child) and time.monotonic() < limit:
            time.sleep(0.05)
        assert not is_running(child)
    finally:
        if is_running(child):
            os.kill(child, signal.SIGKILL)
