"""A server as its users start it: the command, real processes, a real port."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import httpx

LIMIT_S = 60.0  # for a start or a stop on a busy machine
ADDRESS = re.compile(rb"^  Address +(http://\S+)$")


class LiveServer:
    """`groundplane serve` on a free port, with a database of its own; use it as an async context manager.

    Without `database_url` it is the embedded one in `folder`. `output` is what the process has said.
    """

    def __init__(
        self,
        folder: Path,
        database_url: str = "",
        *,
        workers: int = 2,
        config: str = "",
        environment: Mapping[str, str] | None = None,
        flags: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.config_file = folder / "groundplane.toml"
        self.workers = workers
        self.flags = flags
        self.environment = {
            key: value for key, value in os.environ.items() if not key.startswith("GROUNDPLANE_")
        } | {"GROUNDPLANE_DATABASE__URL": database_url, **(environment or {})}
        self.output = b""
        self.url = ""
        self.process: asyncio.subprocess.Process | None = None
        self.client = httpx.AsyncClient(timeout=LIMIT_S)
        self._reading: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        folder.mkdir(parents=True, exist_ok=True)
        self.config_file.write_text(config, encoding="utf-8")

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        await self.client.aclose()

    def arguments(self, *words: str) -> list[str]:
        """The command with words that follow it, on this configuration and data folder."""
        where = ["--config", str(self.config_file), "--data-dir", str(self.data_dir)]
        return [sys.executable, "-m", "groundplane", *words, *where]

    async def start(self) -> None:
        """Start it and wait until it says that it is ready."""
        self._ready.clear()
        self.output = b""
        self.process = await asyncio.create_subprocess_exec(
            *self.arguments("serve", "--port", "0", "--workers", str(self.workers), *self.flags),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self.environment,
            cwd=self.folder,
        )
        self._reading = asyncio.create_task(self._read(self.process))
        async with asyncio.timeout(LIMIT_S):
            await self._ready.wait()
        if not self.url:
            await self.stop()
            raise RuntimeError(f"the server did not start:\n{self.output.decode()}")
        self.client.base_url = httpx.URL(self.url)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        self.url = ""
        if process.stdout is None:
            return
        async for line in process.stdout:
            self.output += line
            if found := ADDRESS.match(line.rstrip()):
                self.url = found[1].decode()
            if line.startswith(b"  Database"):
                self._ready.set()
        self._ready.set()

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the supervisor with a signal and return its exit code."""
        process = self.process
        if process is None:
            return 0
        if process.returncode is None:
            process.send_signal(number)
        async with asyncio.timeout(LIMIT_S):
            code = await process.wait()
        if self._reading is not None:
            # Workers hold the pipe too, so its end is theirs.
            async with asyncio.timeout(LIMIT_S):
                await self._reading
        self.process = None
        return code

    async def command(self, *words: str) -> tuple[int, str]:
        """Run another command on the same installation; return its exit code and all that it printed."""
        process = await asyncio.create_subprocess_exec(
            *self.arguments(*words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self.environment,
            cwd=self.folder,
        )
        async with asyncio.timeout(LIMIT_S):
            said, _ = await process.communicate()
        return process.returncode or 0, said.decode()

    def pids(self, text: str) -> list[int]:
        """The processes below the supervisor whose name (`groundplane-web`, `-job`) or command line holds `text`."""
        if self.process is None:
            return []
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    after = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                children.setdefault(int(after[1]), []).append(int(entry.name))
        found, queue = [], [self.process.pid]
        while queue:
            pid = queue.pop()
            queue += children.get(pid, [])
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                command += Path(f"/proc/{pid}/comm").read_text()
            except OSError:
                continue
            if text in command:
                found.append(pid)
        return sorted(found)
