"""A Ceph cluster of one machine with its S3 gateway, in memory, as a pytest fixture: the strictest store there is."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from groundplane.files.s3 import connect
from groundplane.settings.values import S3

KEY, SECRET = "ceph-test-key", "ceph-test-secret"
PROGRAMS = {"ceph-mon": "ceph-mon", "ceph-osd": "ceph-osd", "radosgw": "radosgw"}  # and their packages
LIMIT_S = 120.0
_numbers = count(1)

CONFIG = """
[global]
fsid = {fsid}
mon_host = v2:127.0.0.1:{ports[0]},v1:127.0.0.1:{ports[1]}
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
admin_socket = {folder}/run/$cluster-$name.$pid.asok
log_file = {folder}/log/$name.log
keyring = {folder}/keyring
mon_data = {folder}/mon
osd_data = {folder}/osd
osd_objectstore = memstore
rgw_frontends = beast endpoint=127.0.0.1:{ports[2]}
"""
CAPS = (
    ("mon.", ("mon", "allow *")),
    ("client.admin", ("mon", "allow *", "osd", "allow *", "mgr", "allow *")),
    ("osd.0", ("mon", "allow profile osd", "osd", "allow *", "mgr", "allow profile osd")),
)


class Ceph:
    """One monitor, one disk and one gateway; `port` is the gateway's."""

    def __init__(self, folder: Path) -> None:
        for program, package in PROGRAMS.items():
            if shutil.which(program) is None:
                pytest.skip(f"needs the Debian package {package}")
        self.folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        fsid, disk = str(uuid.uuid4()), str(uuid.uuid4())
        ports = free_ports(3)
        self.port = ports[2]
        for name in ("mon", "osd", "run", "log"):
            (folder / name).mkdir()
        self._config = str(folder / "ceph.conf")
        Path(self._config).write_text(CONFIG.format(fsid=fsid, ports=ports, folder=folder))
        keyring, monmap = str(folder / "keyring"), str(folder / "monmap")
        self._run("ceph-authtool", "--create-keyring", keyring)
        for name, caps in CAPS:
            pairs = zip(caps[::2], caps[1::2], strict=True)
            self._run(
                "ceph-authtool",
                keyring,
                "--gen-key",
                "-n",
                name,
                *(w for pair in pairs for w in ("--cap", *pair)),
            )
        place = f"[v2:127.0.0.1:{ports[0]},v1:127.0.0.1:{ports[1]}]"
        self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", place, monmap)
        self._run(
            "ceph-mon", "-c", self._config, "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring
        )
        try:
            self._start("ceph-mon", "-i", "a")
            self._run("ceph", "-c", self._config, "--connect-timeout", "60", "osd", "new", disk)
            self._run("ceph-osd", "-c", self._config, "-i", "0", "--mkfs", "--osd-uuid", disk)
            self._start("ceph-osd", "-i", "0")
            self.start_gateway()
            self._run(
                "radosgw-admin", "-c", self._config, "user", "create", "--uid=test", "--display-name=test",
                f"--access-key={KEY}", f"--secret-key={SECRET}",
            )  # fmt: skip
        except BaseException:
            self.stop()
            raise

    def start_gateway(self) -> None:
        """Start the gateway, and wait until it answers."""
        self._start("radosgw", "-n", "client.admin")
        limit = time.monotonic() + LIMIT_S
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=5).close()  # ours
                return
            except urllib.error.HTTPError:
                return
            except OSError:
                if self._processes["radosgw"].poll() is not None or time.monotonic() > limit:
                    raise
                time.sleep(0.1)

    def kill_gateway(self) -> None:
        """End the gateway in the middle of whatever it does."""
        process = self._processes.pop("radosgw")
        process.kill()
        process.wait()

    def stop(self) -> None:
        # The gateway first: without its monitor it would listen to nobody.
        for process in reversed(self._processes.values()):
            process.send_signal(signal.SIGKILL)
            process.wait()
        self._processes.clear()

    def bucket(self) -> S3:
        """Make an empty bucket and the settings for it."""
        settings = S3(
            enabled=True,
            bucket=f"bucket{next(_numbers)}",
            region="us-east-1",
            endpoint=f"http://127.0.0.1:{self.port}",
            access_key=KEY,
            secret=SECRET,
            force_path_style=True,
        )
        connect(settings).make_bucket(settings.bucket)
        return settings

    def _run(self, *command: str) -> None:
        done = subprocess.run(  # noqa: S603  # our own command
            command, check=False, capture_output=True, timeout=LIMIT_S, cwd=self.folder, env=self._environment
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]}: {done.stderr.decode(errors='replace')}")

    def _start(self, program: str, *arguments: str) -> None:
        self._processes[program] = subprocess.Popen(  # noqa: S603  # our own command
            [program, "-c", self._config, "-f", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
            env=self._environment,
        )

    @property
    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), "CEPH_CONF": self._config}


def free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(number)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@pytest.fixture(scope="session")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ceph]:
    """The cluster; it takes half a minute to start, and keeps everything in memory."""
    cluster = Ceph(tmp_path_factory.mktemp("ceph"))
    try:
        yield cluster
    finally:
        cluster.stop()
