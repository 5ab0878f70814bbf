"""Pictures of every screen in light, dark and phone size: `make screenshots`, or with names of scenes, only those.

Each module of `scenes` has SCENES, and may have `async def arrange(console)`, which is called first.
"""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from playwright.async_api import Page, async_playwright

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "screenshots"
FORMS = {"light": ("light", (1440, 900)), "dark": ("dark", (1440, 900)), "phone": ("light", (390, 844))}
SETTLE_MS = 350  # until what moves has come to rest


class Scene(NamedTuple):
    """One screen: its address, what is done on it before the picture, and in which of FORMS it is shown."""

    name: str
    path: str
    act: Callable[[Page], Awaitable[None]] | None = None
    signed_in: bool = True
    forms: tuple[str, ...] = ("light", "dark", "phone")


async def take(names: list[str]) -> int:
    """Take the pictures into `build/screenshots`; returns how many there are."""
    from tests.browser import scenes
    from tests.browser.conftest import CONFIG, FLAGS, PROGRAM, Console

    from groundplane.testing.live import LiveServer

    program = shutil.which(PROGRAM)
    if program is None:
        raise SystemExit(f"needs the Debian package {PROGRAM}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    found = [
        importlib.import_module(f"{scenes.__name__}.{info.name}")
        for info in pkgutil.iter_modules(scenes.__path__)
    ]
    count = 0
    with tempfile.TemporaryDirectory(prefix="gp-") as folder:
        async with LiveServer(Path(folder), workers=1, config=CONFIG) as server, async_playwright() as driver:
            browser = await driver.chromium.launch(executable_path=program, args=FLAGS)
            console = Console(server, browser, Path())
            await console.begin()
            for module in found:
                if arrange := getattr(module, "arrange", None):
                    await arrange(console)
            for module in found:
                for scene in module.SCENES:
                    if names and scene.name not in names:
                        continue
                    for form in scene.forms:
                        theme, size = FORMS[form]
                        page = await console.open(
                            scene.path, theme=theme, size=size, signed_in=scene.signed_in
                        )
                        await page.wait_for_load_state("networkidle")
                        if scene.act is not None:
                            await scene.act(page)
                        await page.wait_for_timeout(SETTLE_MS)
                        await page.screenshot(path=FOLDER / f"{scene.name}-{form}.png")
                        count += 1
                        await console.close_pages()
            await console.api.aclose()
            await browser.close()
    return count


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    taken = asyncio.run(take(sys.argv[1:]))
    sys.stdout.write(f"{taken} pictures are in {FOLDER}.\n")
