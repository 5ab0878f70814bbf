"""Who the bundled PostgreSQL runs as when we are root, since it refuses to run as root."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

SYSTEM_USER = "groundplane"
# Kept between starts; the folder is made when it is needed.
PROGRAMS_FOLDER = Path("/var/lib/groundplane")


class ServerUser(NamedTuple):
    uid: int
    gid: int


def server_user(data: Path) -> ServerUser:
    """Return the owner of an existing cluster, else our system user (made if need be), else `nobody`."""
    with suppress(OSError):
        found = data.stat()
        if found.st_uid != 0:
            return ServerUser(found.st_uid, found.st_gid)
    known = by_name(SYSTEM_USER) or made_user() or by_name("nobody")
    # A machine without even `nobody` still has the number that everyone keeps for it.
    return known or ServerUser(65534, 65534)


def by_name(name: str) -> ServerUser | None:
    with suppress(KeyError):
        entry = pwd.getpwnam(name)
        return ServerUser(entry.pw_uid, entry.pw_gid)
    return None


def made_user() -> ServerUser | None:
    """Add the system user, without a home or a shell; None where that is not possible."""
    program = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        return None
    with suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(  # noqa: S603  # a constant command
            [
                program,
                *("--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"),
                *("--shell", "/usr/sbin/nologin", SYSTEM_USER),
            ],
            capture_output=True,
            check=False,
            timeout=20,
        )
    return by_name(SYSTEM_USER)


def reachable_programs(installed: Path, user: ServerUser | None) -> Path:
    """Return a folder with PostgreSQL's programs that `user` may enter: the installed one, else a copy.

    A virtual environment in root's home is closed to other users, and it is not ours to open.
    The copy is root's, so nobody else can change what runs.
    """
    installed = installed.resolve()
    if user is None or open_to_all(installed):
        return installed
    about = f"{installed}:{installed.stat().st_mtime_ns}"
    name = f"postgres-{hashlib.sha256(about.encode()).hexdigest()[:16]}"
    for base in (PROGRAMS_FOLDER, Path(tempfile.gettempdir())):
        with suppress(OSError):
            base.mkdir(mode=0o755, parents=True, exist_ok=True)
            if enterable([base, *base.parents]):
                return copied(installed, base, name)
    return installed


def copied(installed: Path, base: Path, name: str) -> Path:
    """Copy the package's programs with the libraries beside it, which they find by the relative path."""
    target = base / name
    package = installed.parent.name
    programs = target / package / installed.name
    if target.is_dir() and not target.is_symlink() and target.stat().st_uid == os.geteuid():
        return programs
    making = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=base))
    for part in ("bin", "lib", "share"):
        if (installed / part).exists():
            shutil.copytree(installed / part, making / package / installed.name / part, symlinks=True)
    libraries = installed.parent.with_name(f"{package}.libs")
    if libraries.exists():
        shutil.copytree(libraries, making / libraries.name, symlinks=True)
    for folder, _, names in os.walk(making):
        os.chmod(folder, 0o755)  # noqa: S103  # others must be able to run it
        for each in names:
            path = Path(folder, each)
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
    try:
        making.rename(target)
    except OSError:
        # Someone else made it meanwhile, or the name is taken by another user; ours is as good.
        return making / package / installed.name
    return programs


def open_to_all(installed: Path) -> bool:
    inside = [installed / "bin" / "postgres", installed / "lib", installed / "share", installed / "bin"]
    inside.append(installed.parent.with_name(f"{installed.parent.name}.libs"))
    return enterable([path for path in inside if path.exists()] + [installed, *installed.parents])


def enterable(paths: Iterable[Path]) -> bool:
    """Whether everyone may pass through these folders (or run these files)."""
    return all(path.stat().st_mode & 0o005 == 0o005 or path.stat().st_mode & 0o001 for path in paths)
