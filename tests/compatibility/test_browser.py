"""The official client in a browser: tabs that hear of each other's changes, over the browser's own event source."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Page, Route, async_playwright
from playwright.async_api import Error as PageError

from groundplane.testing.live import LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT_S = 30
BROWSER = "chromium-headless-shell"
SITE = "http://app.example"  # answered by the test itself, so it is another origin than the server's
# The sandbox does not start for root, and nothing but these pages is opened. The pages are nowhere, and so not
# on this machine, which they could not call then without a person's consent.
FLAGS = ["--no-sandbox", "--disable-features=LocalNetworkAccessChecks"]
PAGE = "<!doctype html><title>Tab</title><script src='/client.js'></script>"
CONFIG = """
[[collections]]
name = "posts"
listRule = "owner = '' || owner = @request.auth.id"
viewRule = ""
createRule = ""
updateRule = ""
deleteRule = ""

[collections.fields.text]
type = "text"

[collections.fields.owner]
type = "text"
"""
# What a tab has heard is in `heard`, as [topic, action, text].
LISTEN = """async (topic) => {
    window.heard ??= [];
    await pb.collection('posts').subscribe(topic, (e) => heard.push([topic, e.action, e.record.text]));
}"""
OpenTab: TypeAlias = Callable[[], Awaitable[Page]]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def served(
    tmp_path_factory: pytest.TempPathFactory, session_database_url: Callable[[str], str]
) -> AsyncIterator[LiveServer]:
    folder = tmp_path_factory.mktemp("browser")
    async with LiveServer(folder, session_database_url("browser"), workers=2, config=CONFIG) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser(served: LiveServer, javascript: Any) -> AsyncIterator[BrowserContext]:
    program = shutil.which(BROWSER)
    if program is None:
        pytest.skip(f"needs the Debian package {BROWSER}")
    client = Path(javascript.client).parent / "pocketbase.umd.js"

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
async def open_tab(served: LiveServer, browser: BrowserContext) -> AsyncIterator[OpenTab]:
    """Open a tab with a client `pb` of its own; who is signed in is shared between tabs, as in any browser."""

    async def make() -> Page:
        page = await browser.new_page()
        await page.goto(SITE)
        await page.evaluate("(url) => { window.pb = new PocketBase(url); }", served.url)
        return page

    yield make
    for page in browser.pages:
        await page.evaluate("() => pb.authStore.clear()")
        await page.close()


async def heard(page: Page, count: int) -> Any:
    """What a tab has heard, once that is so much."""
    await page.wait_for_function("(count) => (window.heard ?? []).length >= count", arg=count)
    return await page.evaluate("() => heard")


async def make(page: Page, **values: str) -> str:
    id: str = await page.evaluate(
        "async (values) => (await pb.collection('posts').create(values)).id", values
    )
    return id


async def test_every_tab_hears_what_another_one_changes(open_tab: OpenTab) -> None:
    writer, *listeners = [await open_tab() for _ in range(3)]
    for page in listeners:
        await page.evaluate(LISTEN, "*")
    id = await make(writer, text="a")
    # What is already under way when a topic is added may still be told to it: wait for the creation.
    await heard(listeners[0], 1)
    await listeners[0].evaluate(LISTEN, id)
    await writer.evaluate("(id) => pb.collection('posts').update(id, {text: 'b'})", id)
    await writer.evaluate("(id) => pb.collection('posts').delete(id)", id)
    everything = [["*", "create", "a"], ["*", "update", "b"], ["*", "delete", "b"]]
    assert await heard(listeners[1], 3) == everything
    both = await heard(listeners[0], 5)
    assert [each for each in both if each[0] == "*"] == everything
    assert [each for each in both if each[0] == id] == [[id, "update", "b"], [id, "delete", "b"]]


async def test_who_signs_in_hears_what_their_rule_lets_them_hear(open_tab: OpenTab) -> None:
    page, writer = await open_tab(), await open_tab()
    await page.evaluate(LISTEN, "*")
    id = await page.evaluate(
        """async () => {
            const account = {email: 'ann@example.com', password: '1234567890', passwordConfirm: '1234567890'};
            await pb.collection('users').create(account);
            const {record} = await pb.collection('users').authWithPassword(account.email, account.password);
            return record.id;
        }"""
    )
    await make(writer, text="before", owner=id)
    await make(writer, text="everyone's")
    assert await heard(page, 1) == [["*", "create", "everyone's"]]
    # The next change of subscriptions binds the stream to her.
    await page.evaluate(LISTEN, "nothing")
    await make(writer, text="of another", owner="another")
    await make(writer, text="hers", owner=id)
    assert await heard(page, 2) == [["*", "create", "everyone's"], ["*", "create", "hers"]]


async def test_tabs_come_back_by_themselves_when_their_worker_is_killed(
    served: LiveServer, open_tab: OpenTab
) -> None:
    writer, *listeners = [await open_tab() for _ in range(3)]
    for page in listeners:
        await page.evaluate(LISTEN, "*")
        await page.evaluate("() => { window.before = pb.realtime.clientId; }")
    workers = served.pids("groundplane-web")
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    # Of which worker a stream was is not seen from outside.
    if not await any_lost(listeners, 1.5):
        async with asyncio.timeout(LIMIT_S):
            while len(served.pids("groundplane-web")) < 2:  # noqa: ASYNC110  # it is another process
                await asyncio.sleep(0.1)
        os.kill(workers[1], signal.SIGKILL)
        assert await any_lost(listeners, LIMIT_S)
    for page in listeners:
        await page.wait_for_function("() => pb.realtime.isConnected")
        # The subscriptions follow the connection.
        await page.evaluate(LISTEN, "nothing")
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                await make(writer, text="after")
                break
            except PageError:
                continue  # the connection that the tab kept was the dead worker's
    for page in listeners:
        assert ["*", "create", "after"] in await heard(page, 1)


async def any_lost(pages: list[Page], limit_s: float) -> bool:
    try:
        async with asyncio.timeout(limit_s):
            while True:
                for page in pages:
                    if await page.evaluate("() => pb.realtime.clientId !== before"):
                        return True
                await asyncio.sleep(0.05)
    except TimeoutError:
        return False
