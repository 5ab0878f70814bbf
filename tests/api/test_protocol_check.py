"""What we lean on in uvicorn is there, and where it is not, uvicorn answers by itself."""

from __future__ import annotations

from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from groundplane import web_worker
from groundplane.http_protocol import BoundedProtocol
from groundplane.protocol_check import otherwise


class NoBody(HttpToolsProtocol):
    def on_body(self, body: bytes) -> None:
        pass


class OtherParameters(HttpToolsProtocol):
    def _start_asgi_task(self, cycle: Any, app: Any, context: Any = None) -> None:
        super()._start_asgi_task(cycle, app)


class OtherOrder(HttpToolsProtocol):
    def on_headers_complete(self) -> None:
        pass

    def on_message_complete(self) -> None:
        super().on_headers_complete()
        super().on_message_complete()


class OtherNames(HttpToolsProtocol):
    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        del self.flow


def test_the_installed_uvicorn_is_made_as_we_expect() -> None:
    assert otherwise() == ""


@pytest.mark.parametrize(
    ("base", "said"),
    [
        (NoBody, "a body"),
        (OtherParameters, "_start_asgi_task has other parameters"),
        (OtherOrder, "ValueError"),
        (OtherNames, "AttributeError"),
    ],
)
def test_a_uvicorn_that_is_made_otherwise_is_noticed(base: type[Any], said: str) -> None:
    assert said in otherwise(base)


def test_where_uvicorn_is_made_otherwise_its_own_protocol_is_taken(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert web_worker.http_protocol() is BoundedProtocol
    monkeypatch.setattr(web_worker, "otherwise", lambda: "a body")
    assert web_worker.http_protocol() is HttpToolsProtocol
    assert "not made as expected (a body)" in caplog.text
