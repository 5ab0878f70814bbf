"""Ceph's object gateway on this machine, with one monitor and one store in memory."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from groundplane.files.s3 import connect
from groundplane.settings.values import S3

PROGRAMS = {"ceph-mon": "ceph-mon", "ceph-osd": "ceph-osd", "ceph": "ceph-common", "radosgw": "radosgw"}
LIMIT_S = 120.0
KEY, SECRET = "test-key", "test-secret"
CONFIG = """
[global]
fsid = {fsid}
mon_host = v2:127.0.0.1:{port2},v1:127.0.0.1:{port1}
mon_initial_members = a
public_network = 127.0.0.0/8
cluster_network = 127.0.0.0/8
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_data_avail_crit = 1
run_dir = {folder}/run
pid_file = {folder}/run/$name.pid
admin_socket = {folder}/run/$cluster-$name.$pid.asok
log_file = {folder}/log/$name.log
keyring = {folder}/keyring
mon_data = {folder}/mon
osd_data = {folder}/osd
osd_objectstore = memstore
rgw_frontends = beast endpoint=127.0.0.1:{gateway}
"""


class Gateway:
    """A running gateway with one user."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._numbers = count(1)

    def bucket(self) -> S3:
        """Make a bucket and return the settings for it."""
        settings = S3(
            enabled=True,
            bucket=f"bucket{next(self._numbers)}",
            region="us-east-1",
            endpoint=f"http://127.0.0.1:{self.port}",
            access_key=KEY,
            secret=SECRET,
            force_path_style=True,
        )
        connect(settings).make_bucket(settings.bucket)
        return settings


def free_ports(number: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def gateway(folder: Path) -> Iterator[Gateway]:
    """Start everything in a folder; skips where a program is missing or cannot be run."""
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if missing:
        pytest.skip(f"needs the Debian package {', '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("needs to be root")
    for name in ("mon", "osd", "run", "log"):
        (folder / name).mkdir()
    port1, port2, port = free_ports(3)
    fsid = str(uuid.uuid4())
    config = folder / "ceph.conf"
    config.write_text(CONFIG.format(fsid=fsid, port1=port1, port2=port2, gateway=port, folder=folder))

    def run(*command: str) -> str:
        done = subprocess.run(
            command, check=False, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def with_config(program: str, *words: str) -> str:
        return run(program, "-c", str(config), *words)

    keys = ("ceph-authtool", "keyring", "--gen-key")
    caps = ("--cap", "osd", "allow *")
    run("ceph-authtool", "--create-keyring", *keys[1:], "-n", "mon.", "--cap", "mon", "allow *")
    run(*keys, "-n", "client.admin", "--cap", "mon", "allow *", *caps, "--cap", "mgr", "allow *")
    run(*keys, "-n", "osd.0", "--cap", "mon", "allow profile osd", *caps, "--cap", "mgr", "allow profile osd")
    address = f"[v2:127.0.0.1:{port2},v1:127.0.0.1:{port1}]"
    run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, "monmap")
    try:
        with_config("ceph-mon", "--mkfs", "-i", "a", "--monmap", "monmap", "--keyring", "keyring")
        with_config("ceph-mon", "-i", "a")
        osd = str(uuid.uuid4())
        with_config("ceph", "osd", "new", osd)
        with_config("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        with_config("ceph-osd", "-i", "0")
        wait_for(lambda: "1 up" in with_config("ceph", "osd", "stat"))
        with_config("radosgw", "-n", "client.admin")
        wait_for(lambda: answers(port))
        user = (
            "user",
            "create",
            "--uid=t",
            "--display-name=t",
            f"--access-key={KEY}",
            f"--secret-key={SECRET}",
        )
        with_config("radosgw-admin", *user)
        yield Gateway(port)
    finally:
        stop_all(folder / "run")


def wait_for(condition: object) -> None:
    limit = time.monotonic() + LIMIT_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < limit, "it did not start"
        time.sleep(0.2)


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return bool(connection.recv(1))
    except OSError:
        return False


def stop_all(folder: Path) -> None:
    """End the gateway first: without its monitor it would not listen."""
    pids = {path.name: int(path.read_text()) for path in folder.glob("*.pid") if path.read_text().strip()}
    for name in sorted(pids, key=lambda name: not name.startswith("client")):
        pid = pids[name]
        os.kill(pid, signal.SIGTERM)
        limit = time.monotonic() + 20
        while Path(f"/proc/{pid}").exists():
            if time.monotonic() > limit:
                os.kill(pid, signal.SIGKILL)
                break
            time.sleep(0.1)
