"""Signing in with a real OpenID Connect provider: by code from Node, and in a popup of a browser."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Page, Route, async_playwright
from tests.compatibility.conftest import Node, Target
from tests.compatibility.test_browser import BROWSER, FLAGS, LIMIT_S, PAGE, SITE

from groundplane.testing.live import LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = Path(__file__).parents[2]
PROVIDER_VERSION = "9.13.3"
SCRIPT = Path(__file__).parent / "oidc_provider.mjs"
SCENARIOS = "oauth.mjs"
SOURCE = (SCRIPT.parent / "scenarios" / SCENARIOS).read_text(encoding="utf-8")
NAMES = re.findall(r"^scenario\('([^']+)'", SOURCE, re.MULTILINE)
REDIRECT = "https://app.example/callback"
SECRET = "s3cret/+& of many characters"
CONFIG = """
[outgoing]
allow_http = true
allow_networks = ["127.0.0.1"]

[[collections]]
name = "people"
type = "auth"
listRule = ""
viewRule = ""
createRule = ""
updateRule = "id = @request.auth.id"

[collections.fields.name]
type = "text"

[collections.oauth2]
enabled = true
mappedFields = {{ name = "name" }}

[[collections.oauth2.providers]]
name = "oidc"
clientId = "basic client"
clientSecret = "env:TEST_OIDC_SECRET"
extra = {{ issuer = "{issuer}" }}

[[collections.oauth2.providers]]
name = "oidc2"
clientId = "post"
clientSecret = "env:TEST_OIDC_SECRET"
authURL = "{issuer}/auth"
tokenURL = "{issuer}/token"
userInfoURL = "{issuer}/me"

[[collections.oauth2.providers]]
name = "oidc3"
displayName = "Form"
clientId = "basic client"
clientSecret = "env:TEST_OIDC_SECRET"
authURL = "{issuer}/auth?response_mode=form_post"
extra = {{ issuer = "{issuer}" }}
"""


@pytest.fixture(scope="session")
def provider_library(javascript: Node) -> Path:
    """The provider's module, installed into `.cache` the first time."""
    folder = ROOT / ".cache" / "oidc-provider" / PROVIDER_VERSION
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / "node_modules" / "oidc-provider" / "lib" / "index.js"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test workers may come here at once
        if not library.is_file():
            install = ["install", "--no-audit", "--no-fund", "--no-save", "--ignore-scripts"]
            path = f"{Path(javascript.node[0]).parent}{os.pathsep}{os.environ['PATH']}"
            done = subprocess.run(
                [*javascript.npm, *install, "--prefix", str(folder), f"oidc-provider@{PROVIDER_VERSION}"],
                check=False,
                capture_output=True,
                text=True,
                env=os.environ | {"PATH": path},
            )
            assert done.returncode == 0, f"it could not be installed:\n{done.stdout}{done.stderr}"
    return library


class OidcProvider:
    """The provider on a port of its own; it forgets everything when it is started again."""

    def __init__(self, node: list[str], library: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.issuer = f"http://127.0.0.1:{self.port}"
        self._command = [*node, str(SCRIPT), str(library), str(self.port)]
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, key: str, redirects: list[str]) -> None:
        """Start it with a new key of this name, and return when it listens."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command, key, *redirects, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output = self._process.stdout
        said = b""
        async with asyncio.timeout(LIMIT_S):
            while output is not None and not said.endswith(b"ready\n"):
                line = await output.readline()
                assert line, said.decode()
                said += line

    async def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            await self._process.communicate()
            self._process = None


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def provider(javascript: Node, provider_library: Path) -> AsyncIterator[OidcProvider]:
    made = OidcProvider(javascript.node, provider_library)
    yield made
    await made.stop()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def served(
    tmp_path_factory: pytest.TempPathFactory,
    session_database_url: Callable[[str], str],
    provider: OidcProvider,
) -> AsyncIterator[LiveServer]:
    """A server of two workers whose file names the provider, which knows the server's address."""
    folder, url = tmp_path_factory.mktemp("oauth"), session_database_url("oauth")
    config = CONFIG.format(issuer=provider.issuer)
    environment = {"TEST_OIDC_SECRET": SECRET}
    async with LiveServer(folder, url, workers=2, config=config, environment=environment) as server:
        await provider.start("first", redirects(server))
        yield server


def redirects(server: LiveServer) -> list[str]:
    return [REDIRECT, f"{server.url}/api/oauth2-redirect"]


@pytest.mark.parametrize("name", NAMES)
async def test_the_javascript_client_signs_in_with_codes(
    name: str, served: LiveServer, run_scenarios: Callable[..., dict[str, str | None]]
) -> None:
    target = Target(served.url, "", "", (("GROUNDPLANE_REDIRECT", REDIRECT),))
    problem = (await asyncio.to_thread(run_scenarios, SCENARIOS, target))[name]
    assert problem is None, problem


async def test_the_file_keeps_the_secret_in_the_environment_and_leaves_nothing_to_do(
    served: LiveServer,
) -> None:
    code, said = await served.command("plan")
    assert (code, SECRET in said) == (0, False), said
    assert SECRET not in served.output.decode()


# In a browser


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser(served: LiveServer, javascript: Node) -> AsyncIterator[BrowserContext]:
    program = shutil.which(BROWSER)
    if program is None:
        pytest.skip(f"needs the Debian package {BROWSER}")
    client = javascript.client.parent / "pocketbase.umd.js"

    async def answer(route: Route) -> None:
        if route.request.url.endswith("/client.js"):
            await route.fulfill(path=client, content_type="text/javascript")
        else:
            await route.fulfill(body=PAGE, content_type="text/html")

    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=program, args=FLAGS)
        context = await started.new_context()
        context.set_default_timeout(LIMIT_S * 1000)
        await context.route(f"{SITE}/**", answer)
        yield context
        await context.close()
        await started.close()


@pytest_asyncio.fixture(loop_scope="module")
async def page(served: LiveServer, browser: BrowserContext) -> AsyncIterator[Page]:
    await browser.clear_cookies()
    opened = await browser.new_page()
    await opened.goto(SITE)
    await opened.evaluate("(url) => { window.pb = new PocketBase(url); }", served.url)
    yield opened
    await opened.evaluate("() => pb.authStore.clear()")
    for each in browser.pages:
        await each.close()


# The promise is kept in the page, because the popup is to be filled in meanwhile.
BEGIN = """(options) => {
    window.outcome = pb.collection('people').authWithOAuth2(options).then(
        (answer) => ({ answer, valid: pb.authStore.isValid }),
        (error) => ({ error: String(error.originalError ?? error), status: error.status }),
    );
}"""


async def begin(page: Page, **options: Any) -> Page:
    """Begin to sign in, and return the popup at the provider's first form."""
    async with page.expect_popup() as popup:
        await page.evaluate(BEGIN, {"provider": "oidc", **options})
    opened = await popup.value
    await opened.wait_for_selector("input[name=login]")
    return opened


async def fill_in(popup: Page, login: str) -> None:
    await popup.fill("input[name=login]", login)
    await popup.fill("input[name=password]", "any")
    await popup.click("button[type=submit]")
    await popup.wait_for_selector("input[name=prompt][value=consent]", state="attached")
    # The popup may be closed before this click is through.
    await popup.evaluate("() => setTimeout(() => document.forms[0].requestSubmit(), 0)")


@pytest.mark.parametrize("name", ["oidc", "oidc2", "oidc3"])
async def test_one_call_opens_a_popup_and_signs_in_on_any_worker(page: Page, name: str) -> None:
    popup = await begin(page, provider=name)
    await fill_in(popup, "ann")
    outcome = await page.evaluate("() => outcome")
    assert outcome.get("valid") is True, outcome
    assert outcome["answer"]["record"]["email"] == "ann@example.com"
    assert outcome["answer"]["meta"]["id"] == "ann"


async def test_a_popup_in_which_somebody_says_no_ends_in_an_error(page: Page) -> None:
    popup = await begin(page)
    await popup.evaluate("() => setTimeout(() => document.querySelector('a[href$=\"/abort\"]').click(), 0)")
    outcome = await page.evaluate("() => outcome")
    assert "answer" not in outcome
    assert "access_denied" in outcome["error"]


async def test_somebody_new_signs_up_in_the_popup_with_what_the_page_adds(page: Page) -> None:
    popup = await begin(page, createData={"email": "carla@own.example"})
    await fill_in(popup, "carl")
    outcome = await page.evaluate("() => outcome")
    assert outcome.get("valid") is True, outcome
    assert outcome["answer"]["record"]["name"] == "Carl Example"


async def test_keys_that_the_provider_has_changed_are_taken_up_at_the_next_sign_in(
    page: Page, provider: OidcProvider, served: LiveServer
) -> None:
    await provider.stop()
    await provider.start("second", redirects(served))
    popup = await begin(page)
    await fill_in(popup, "ann")
    outcome = await page.evaluate("() => outcome")
    assert outcome.get("valid") is True, outcome
