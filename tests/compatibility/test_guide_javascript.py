"""The JavaScript of the guides does what they say, on a server with the example's collections."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```javascript\n(.*?)^```", re.DOTALL | re.MULTILINE)
ADDRESS = "http://127.0.0.1:8090"
PRINTED = {
    "README.md": "Hello by Ann",
    "docs/http-uploads.md": "big_picture",
    "docs/start.md": "1 Hello Ann",
}


def test_these_are_all_the_guides_with_javascript() -> None:
    found = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    with_script = {
        str(path.relative_to(ROOT)) for path in found if BLOCK.search(path.read_text(encoding="utf-8"))
    }
    assert with_script == set(PRINTED)


# The one that counts posts goes first, because both write on one server.
@pytest.mark.parametrize("guide", sorted(PRINTED, reverse=True))
def test_the_script_of_the_guide_runs(guide: str, example_url: str, javascript: Any, tmp_path: Path) -> None:
    source = "\n".join(BLOCK.findall((ROOT / guide).read_text(encoding="utf-8")))
    assert ADDRESS in source
    # Each guide signs up the same Ann; here they share one server.
    own = (
        source.replace(ADDRESS, example_url)
        .replace("ann@", f"ann-{len(guide)}@")
        .replace("'hello'", f"'hello-{len(guide)}'")
    )
    script = tmp_path / "guide.mjs"
    tus = javascript.client.parents[2] / "tus-js-client" / "lib.esm" / "node" / "index.js"
    for name, module in (("pocketbase", javascript.client), ("tus-js-client", tus)):
        own = own.replace(f"from '{name}'", f"from '{module.as_uri()}'")
    script.write_text(own, encoding="utf-8")
    done = subprocess.run(
        [*javascript.node, str(script)], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == PRINTED[guide]
