"""A real browser on a real server: one of each for all tests of a process, a page for each test.

`console` is what tests use: `console.open("/_/")` gives a page of a signed-in superuser, in light or dark, wide or
narrow, and `console.check(page)` refuses what no page may have: a report of the policy, an error of a script, a
violation that axe finds.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright
from tests.compatibility.conftest import find_node, session_database_url  # noqa: F401  # a fixture

from groundplane.testing.live import LiveServer

ROOT = Path(__file__).parents[2]
PROGRAM = "chromium-headless-shell"
AXE_VERSION = "4.14.1"
LIMIT_MS = 30_000
EMAIL, PASSWORD = "mira@example.com", "correct horse battery"
WIDE, NARROW = (1440, 900), (390, 844)
FLAGS = ["--no-sandbox", "--force-color-profile=srgb"]  # the sandbox does not start for root
CONFIG = """
[plugins.history]

[outgoing]
allow_http = true
allow_private = true
"""
# Answers that a test expects, which Chromium tells of as errors of loading.
EXPECTED = ("Failed to load resource", "the server responded with a status of")


class Weight(NamedTuple):
    """What a page has loaded: `bytes` over the wire, by kind, and how many answers."""

    kinds: dict[str, int]
    requests: int

    @property
    def total(self) -> int:
        return sum(self.kinds.values())


class Console:
    """A signed-in superuser's browser on a server; `api` speaks to its API as the same superuser."""

    def __init__(self, server: LiveServer, browser: Browser, axe: Path) -> None:
        self.server = server
        self.url = server.url
        self.api = httpx.AsyncClient(base_url=server.url, timeout=60)
        self.token = ""
        self._browser = browser
        self._axe = axe
        self._state: Any = None
        self._contexts: list[BrowserContext] = []
        self.problems: dict[Page, list[str]] = {}

    async def begin(self) -> None:
        """Make the superuser, and sign in over the API and in the browser."""
        code, said = await self.server.command("superuser", "upsert", EMAIL, PASSWORD)
        assert code == 0, said
        answer = await self.api.post(
            "/api/collections/_superusers/auth-with-password", json={"identity": EMAIL, "password": PASSWORD}
        )
        self.token = answer.json()["token"]
        self.api.headers["Authorization"] = self.token
        page = await self.open("/_/sign-in", signed_in=False)
        await sign_in(page)
        await page.wait_for_url(f"{self.url}/_/")
        self._state = await page.context.storage_state()

    async def open(
        self,
        path: str,
        *,
        theme: str = "light",
        size: tuple[int, int] = WIDE,
        signed_in: bool = True,
        script: bool = True,
    ) -> Page:
        """A page of its own browser context at an address of the console."""
        context = await self._browser.new_context(
            base_url=self.url,
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if theme == "dark" else "light",
            storage_state=self._state if signed_in else None,
            java_script_enabled=script,
            timezone_id="UTC",
            locale="en-GB",
        )
        self._contexts.append(context)
        context.set_default_timeout(LIMIT_MS)
        page = await context.new_page()
        self.problems[page] = []
        page.on("console", lambda message: self._heard(page, message))
        page.on("pageerror", lambda error: self.problems[page].append(f"error: {error}"))
        await page.goto(path)
        if script and signed_in and "/sign-in" not in page.url:
            await page.locator("body[data-ready]").wait_for()
        return page

    def _heard(self, page: Page, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(each in message.text for each in EXPECTED):
            self.problems[page].append(f"{message.type}: {message.text}")

    async def check(self, page: Page, *, exclude: list[str] | None = None) -> None:
        """Fail for whatever the browser has complained of, and for what axe finds; `exclude` are selectors."""
        assert self.problems[page] == []
        found = await self.violations(page, exclude or [])
        assert found == [], "\n".join(found)

    async def violations(self, page: Page, exclude: list[str]) -> list[str]:
        """What axe finds, a line for each element."""
        # The policy lets no page load it, so it comes through the debugger.
        await page.evaluate(f"() => {{ {self._axe.read_text(encoding='utf-8')} }}")
        found = await page.evaluate(
            "async (exclude) => (await axe.run({exclude: exclude.map((each) => [each])}, "
            "{resultTypes: ['violations']})).violations",
            exclude,
        )
        return [
            f"{each['id']}: {node['html'][:160]} {node['failureSummary'][:300]}"
            for each in found
            for node in each["nodes"]
        ]

    async def weigh(self, path: str) -> Weight:
        """Load a page with an empty cache and add up what came over the wire."""
        page = await self.open("/_/keys")
        session = await page.context.new_cdp_session(page)
        await session.send("Network.enable")
        await session.send("Network.setCacheDisabled", {"cacheDisabled": True})
        types: dict[str, str] = {}
        kinds: dict[str, int] = {}

        def began(event: dict[str, Any]) -> None:
            types[event["requestId"]] = event["type"]

        def ended(event: dict[str, Any]) -> None:
            kind = types.get(event["requestId"], "Other")
            kinds[kind] = kinds.get(kind, 0) + int(event["encodedDataLength"])

        session.on("Network.responseReceived", began)
        session.on("Network.loadingFinished", ended)
        await page.goto(path, wait_until="networkidle")
        return Weight(kinds, len(types))

    async def close_pages(self) -> None:
        for context in self._contexts:
            await context.close()
        self._contexts.clear()
        self.problems.clear()

    # Arranging over the API

    async def make_collection(
        self, name: str, fields: list[dict[str, Any]], **options: Any
    ) -> dict[str, Any]:
        """Make a collection; `fields` as the API takes them."""
        body = {"name": name, "type": "base", "fields": fields, **options}
        answer = await self.api.post("/api/collections", json=body)
        assert answer.status_code == 200, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def make_record(self, collection: str, **values: Any) -> dict[str, Any]:
        answer = await self.api.post(f"/api/collections/{collection}/records", json=values)
        assert answer.status_code == 200, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def record(self, collection: str, id: str) -> dict[str, Any] | None:
        """A record as the API shows it; None when there is none."""
        answer = await self.api.get(f"/api/collections/{collection}/records/{id}")
        found: dict[str, Any] = answer.json()
        return found if answer.status_code == 200 else None


async def sign_in(page: Page, email: str = EMAIL, password: str = PASSWORD) -> None:
    """Fill the sign-in form and send it."""
    await page.get_by_label("Email").fill(email)
    await page.get_by_label("Password", exact=True).fill(password)
    await page.get_by_role("button", name="Sign in").click()


@pytest.fixture(scope="session")
def axe() -> Path:
    """axe-core's file, fetched with npm into `.cache` the first time."""
    _, npm = find_node()
    folder = ROOT / ".cache" / "axe-core" / AXE_VERSION
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "node_modules" / "axe-core" / "axe.min.js"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test workers may come here at once
        if not script.is_file():
            install = ["install", "--no-audit", "--no-fund", "--no-save", "--ignore-scripts"]
            done = subprocess.run(
                [*npm, *install, "--prefix", str(folder), f"axe-core@{AXE_VERSION}"],
                check=False,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, f"axe-core could not be installed:\n{done.stdout}{done.stderr}"
    return script


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def browser() -> AsyncIterator[Browser]:
    program = shutil.which(PROGRAM)
    if program is None:
        pytest.skip(f"needs the Debian package {PROGRAM}")
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield started
        await started.close()


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def shared_console(
    tmp_path_factory: pytest.TempPathFactory,
    session_database_url: Callable[[str], str],  # noqa: F811  # the fixture
    browser: Browser,
    axe: Path,
) -> AsyncIterator[Console]:
    """One server for all tests of this process; each makes collections of its own."""
    folder = tmp_path_factory.mktemp("console")
    async with LiveServer(folder, session_database_url("console"), workers=1, config=CONFIG) as server:
        console = Console(server, browser, axe)
        await console.begin()
        yield console
        await console.close_pages()
        await console.api.aclose()


@pytest_asyncio.fixture(loop_scope="session")
async def console(shared_console: Console) -> AsyncIterator[Console]:
    yield shared_console
    await shared_console.close_pages()


def pretty(value: Any) -> str:
    """JSON for messages of failed tests."""
    return json.dumps(value, indent=2, ensure_ascii=False)
