"""Ends a worker whose supervisor is gone, even one whose event loop is stuck."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

PR_SET_PDEATHSIG = 1
POLL_S = 1.0


def follow_parent(grace_s: float) -> None:
    """Stop this process when its parent ends: politely at first, and for good `grace_s` seconds later.

    The kernel's signal (Linux) lets open requests finish, but is handled by the event loop. A worker whose
    loop hangs would stay for ever and keep the port, so a thread of its own looks after the parent as well.
    """
    die_with_parent(signal.SIGTERM)
    threading.Thread(target=_end_after, args=(os.getppid(), grace_s), daemon=True).start()


def die_with_parent(number: signal.Signals) -> None:
    """Have the kernel send this process a signal when its parent ends, where it can (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def _end_after(parent: int, grace_s: float) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_S)
    time.sleep(grace_s)
    os._exit(1)
