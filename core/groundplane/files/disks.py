"""What a disk answers without keeping anybody waiting: which folders are at hand, and what is cached."""

from __future__ import annotations

import os
import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
ESCAPED = re.compile(r"\\([0-7]{3})")
# File systems that answer from memory or a disk at hand; of a network nobody knows when it answers.
AT_HAND = frozenset({"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"})


def is_at_hand(folder: Path) -> bool:
    """Whether a folder, or the one in which it will be, is on such a file system; no where nobody can tell."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return False
    path = os.path.realpath(folder)
    best, kind = "", ""
    for line in lines:
        # Field 5 is where it is mounted; its kind is the first one behind the lone hyphen (proc(5)).
        about, _, behind = line.partition(" - ")
        place = ESCAPED.sub(lambda match: chr(int(match[1], 8)), about.split(" ")[4])
        within = place == "/" or path == place or path.startswith(place + "/")
        if within and len(place) >= len(best):
            best, kind = place, behind.split(" ")[0]
    return kind in AT_HAND


def is_cached(file: int, position: int) -> bool:
    """Whether the byte there can be read without waiting for the disk; no where nobody can tell."""
    nowait = getattr(os, "RWF_NOWAIT", None)
    if nowait is None:
        return False
    try:
        return os.preadv(file, [bytearray(1)], position, nowait) == 1
    except OSError:
        return False
