"""The TypeScript of the guide to channels: its types are right, and the official client does what it says."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from groundplane.config import ChannelConfig
from groundplane.testing.live import LiveServer

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "http-realtime.md"
BLOCK = re.compile(r"^```typescript\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMPILER_VERSION = "5.9.3"
LIMIT_S = 60
ADDRESS = "http://127.0.0.1:8090"
CONFIG = """
[realtime.channels.lobby]
join = ""
send = ""
presence = ""
"""
# What a second person does meanwhile, and what the first sees of it.
BEFORE = """import { EventSource } from 'eventsource';
(globalThis as any).EventSource = EventSource;
declare const process: { exit(code: number): never };
"""
AFTER = """
const other = new PocketBase(pb.baseURL);
const heard = new Promise((done) =>
  other.realtime.subscribe('@channel/lobby', (e) => e.action === 'message' && done(e), { state: { name: 'Bob' } }),
);
while (people.size < 2) await new Promise((later) => setTimeout(later, 10));
console.log([...people.values()].map((each) => each.state.name).sort().join(' '));
await say('lobby', 'wave', { to: 'Bob' });
console.log(JSON.stringify(((await heard) as any).data));
await other.send('/api/realtime/channels/lobby', {
  method: 'POST', body: { clientId: other.realtime.clientId, event: 'back', data: 1 },
});
await other.realtime.unsubscribe();
while (people.size > 1) await new Promise((later) => setTimeout(later, 10));
await leave();
console.log('alone');
process.exit(0);
"""


@pytest.fixture(scope="session")
def compiler(javascript: Any) -> Path:
    """The TypeScript compiler, installed into `.cache` the first time."""
    folder = ROOT / ".cache" / "typescript" / COMPILER_VERSION
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "node_modules" / "typescript" / "lib" / "tsc.js"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.is_file():
            install = ["install", "--no-audit", "--no-fund", "--no-save", "--ignore-scripts"]
            path = f"{Path(javascript.node[0]).parent}{os.pathsep}{os.environ['PATH']}"
            done = subprocess.run(
                [*javascript.npm, *install, "--prefix", str(folder), f"typescript@{COMPILER_VERSION}"],
                check=False,
                capture_output=True,
                text=True,
                env=os.environ | {"PATH": path},
            )
            assert done.returncode == 0, f"the compiler could not be installed:\n{done.stdout}{done.stderr}"
    return program


@pytest.fixture
async def served(session_database_url: Callable[[str], str], tmp_path: Path) -> AsyncIterator[LiveServer]:
    async with LiveServer(tmp_path, session_database_url("channels"), workers=2, config=CONFIG) as server:
        yield server


def test_the_guide_has_every_setting_of_a_channel_with_its_default() -> None:
    text = GUIDE.read_text(encoding="utf-8").partition("## Channels")[2].partition("A stream enters")[0]
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| `?([^|`]+?)`? \|", text, re.MULTILINE))
    fields = {each.name: each.default for each in msgspec.structs.fields(ChannelConfig)}
    for name, default in fields.items():
        assert rows[name] == ("absent" if default is None else str(default))


async def test_the_typescript_of_the_guide_compiles_and_runs(
    served: LiveServer, javascript: Any, compiler: Path, tmp_path: Path
) -> None:
    (block,) = BLOCK.findall(GUIDE.read_text(encoding="utf-8"))
    folder = tmp_path / "page"
    folder.mkdir()
    (folder / "node_modules").symlink_to(javascript.client.parents[2])
    (folder / "package.json").write_text('{"type": "module"}')
    source = BEFORE + block.replace(ADDRESS, served.url) + AFTER
    (folder / "guide.ts").write_text(source, encoding="utf-8")

    async def run(*arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *javascript.node,
            *arguments,
            cwd=folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(LIMIT_S):
                output = (await process.communicate())[0].decode()
        finally:
            if process.returncode is None:
                process.kill()
        assert process.returncode == 0, output
        return output

    flags = ["--strict", "--target", "es2022", "--module", "nodenext", "--skipLibCheck", "--noEmitOnError"]
    await run(str(compiler), *flags, "--lib", "es2022,dom", "guide.ts")
    printed = (await run("guide.js")).splitlines()
    assert printed == ["Ann Bob", '{"to":"Bob"}', "back 1", "alone"]
