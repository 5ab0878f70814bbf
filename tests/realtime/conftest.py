"""A server with collections to listen to, and streams without HTTP."""

from __future__ import annotations

import pytest
from tests.realtime.streams import OPEN, OpenStream, Stream

from groundplane.context import Caller
from groundplane.testing import plugins
from groundplane.testing.server import Server

app_with = plugins.app_with


@pytest.fixture
async def posts(server: Server) -> str:
    """The path of a collection that everybody may use; `marks` is there to know that nothing else comes."""
    collections = server.services.collections
    text = {"name": "text", "type": "text"}
    await collections.create({"name": "marks", "type": "base", "fields": [text], **OPEN})
    author = {"name": "author", "type": "relation", "collectionId": "_pb_users_auth_"}
    secret = {"name": "secret", "type": "text", "hidden": True}
    await collections.create({"name": "posts", "type": "base", "fields": [text, author, secret], **OPEN})
    return "/api/collections/posts/records"


@pytest.fixture
def open_stream(server: Server, posts: str) -> OpenStream:
    async def make(*topics: str, caller: Caller | None = None, since: str = "") -> Stream:
        stream = Stream(server, await server.services.realtime.open("10.0.0.1", "10.0.0.1", since))
        assert (await stream.next()).event == "PB_CONNECT"
        if topics:
            await stream.subscribe(*topics, "marks/*", caller=caller)
        return stream

    return make
