"""What happens to every request before a handler sees it."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from litestar import Litestar, Response, Router, get, post
from litestar.exceptions import HTTPException

from groundplane.api.cors import Cors
from groundplane.api.errors import error_body, error_reply, on_exception, on_http_exception
from groundplane.api.exchange import AnyRequest, Exchange, Reply, exchange
from groundplane.api.gateway import Gateway
from groundplane.api.inside import Inside
from groundplane.api.response import json_reply
from groundplane.errors import FieldError, Forbidden, Invalid, Unavailable

NOT_FOUND = {"data": {}, "message": "The requested resource wasn't found.", "status": 404}
CRASHED = {"data": {}, "message": "Something went wrong while processing your request.", "status": 500}
SECURITY = {
    "x-xss-protection": "1; mode=block",
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
}


@get("/crash")
async def crash(request: AnyRequest) -> Response[bytes]:
    raise ZeroDivisionError("a secret")


@get("/lost")
async def lost(request: AnyRequest) -> Response[bytes]:
    raise Unavailable()


@get("/framed")
async def framed(request: AnyRequest) -> Response[bytes]:
    exchange(request).left_out.add(b"x-frame-options")
    return Response(b"x", media_type="text/plain", headers={"X-Content-Type-Options": "own"})


@post("/echo/{part:str}")
async def echo(request: AnyRequest) -> Response[bytes]:
    ask = exchange(request)
    body = json.dumps([ask.segments, ask.query, (await ask.body()).decode()])
    return Response(body.encode(), media_type="application/json")


async def records(ask: Exchange, services: Any) -> Reply:
    if ask.segments[-1] == "crash":
        raise ZeroDivisionError("a secret")
    if ask.segments[-1] == "gone":
        return Reply(204)
    return json_reply({"segments": ask.segments, "method": ask.method, "query": ask.query})


class Nobody:
    """Services for requests that need none."""

    def __init__(self) -> None:
        from groundplane.settings.values import SettingsValues

        self.settings = self
        self.current = SettingsValues()
        self.version = 0
        self.db = None
        self.schema = self
        # Nothing is read or made directly, and nobody is told of answers.
        self.records = self.quick = self.creation = self
        self.reads_are_plain = False
        self.logs = self.writer = self
        self.plugins = self.hooks = self
        self.request_finished = self.resolve_actor = None

    def seen(self, entry: object) -> None:
        """The log of requests."""


@pytest.fixture
def gateway() -> Gateway:
    inner = Litestar(
        [Router("/api/test", route_handlers=[crash, echo, framed, lost])],
        exception_handlers={HTTPException: on_http_exception, Exception: on_exception},
        openapi_config=None,
        logging_config=None,
    )
    made = Gateway(Inside(inner), records=records, batch=records)
    services: Any = Nobody()
    made.attach(services)
    return made


@pytest.fixture
async def client(gateway: Gateway) -> Any:
    transport = httpx.ASGITransport(gateway)  # type: ignore[arg-type]  # Litestar's names for the same
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as made:
        yield made


RECORDS = "/api/collections/posts/records"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/x"),
        ("POST", "/api/test/crash"),
        ("GET", "/api/test/crash/"),
        ("GET", "/api/test/echo/x"),
        ("DELETE", "/api/nothing"),
        ("TRACE", "/api/test/crash"),
        ("BREW", "/api/test/crash"),
        ("GET", "/api/test/crash%2F"),
        ("GET", "/api%2Ftest/crash"),
        ("GET", "/%00"),
        ("GET", "/schema"),
        ("GET", "/schema/openapi.json"),
    ],
)
async def test_what_is_not_there_and_a_wrong_method_are_404(client: Any, method: str, path: str) -> None:
    response = await client.request(method, path)
    assert (response.status_code, response.json()) == (404, NOT_FOUND)
    assert response.headers["content-type"] == "application/json"
    assert SECURITY.items() <= dict(response.headers).items()


async def test_every_answer_has_a_request_id_of_its_own(client: Any) -> None:
    found = set()
    for path in ("/nothing", RECORDS, f"{RECORDS}/gone", "/api/test/crash", "//x"):
        found.add((await client.get(path)).headers["x-request-id"])
    found.add((await client.options("/x")).headers["x-request-id"])
    assert len(found) == 6


async def test_a_record_path_is_split_before_it_is_decoded(client: Any) -> None:
    response = await client.get("/api/collections/a%2Fb/records/c%2Fd%00%ff?a=1&a=2&b=%zz")
    assert response.json() == {
        "segments": ["api", "collections", "a/b", "records", "c/d\0\ufffd"],
        "method": "GET",
        "query": {"a": "1"},
    }
    response = await client.post("/api/test/echo/a%2Fb?x=+%26", content=b"body")
    assert response.json() == [["api", "test", "echo", "a/b"], {"x": " &"}, "body"]


async def test_head_answers_as_get_without_a_body(client: Any) -> None:
    for path in (RECORDS, "/api/test/framed", "/nothing"):
        head, full = await client.head(path), await client.get(path)
        assert (head.status_code, head.content) == (full.status_code, b"")
    assert (await client.head("/api/test/echo/x")).status_code == 404


async def test_an_answer_without_content_has_no_type_and_no_length(client: Any) -> None:
    response = await client.delete(f"{RECORDS}/gone")
    assert response.status_code == 204
    assert "content-type" not in response.headers
    assert "content-length" not in response.headers
    assert SECURITY.items() <= dict(response.headers).items()


@pytest.mark.parametrize("path", ["/api/test/crash", f"{RECORDS}/crash"])
async def test_an_unexpected_failure_is_logged_with_its_request_and_tells_nothing(
    client: Any, path: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    response = await client.get(path)
    assert (response.status_code, response.json()) == (500, CRASHED)
    written = capsys.readouterr()
    logged = written.out + written.err + caplog.text
    assert response.headers["x-request-id"] in logged
    assert "ZeroDivisionError" in logged


async def test_a_lost_database_asks_to_come_again(client: Any) -> None:
    response = await client.get("/api/test/lost")
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert response.json()["status"] == 503


async def test_a_handler_may_leave_out_or_replace_a_general_header(client: Any) -> None:
    response = await client.get("/api/test/framed", headers={"Origin": "http://a"})
    assert "x-frame-options" not in response.headers
    assert response.headers.get_list("x-content-type-options") == ["own"]
    assert response.headers["access-control-allow-origin"] == "*"


async def test_nothing_is_answered_before_the_parts_are_there(gateway: Gateway) -> None:
    bare = Gateway(gateway.inside, records=records, batch=records)
    transport = httpx.ASGITransport(bare)  # type: ignore[arg-type]  # Litestar's names for the same
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get(RECORDS)).status_code == 503
        assert (await client.options(RECORDS)).status_code == 204


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("//x", "/x"),
        ("/a//b/?q=1&r=%20", "/a/b/?q=1&r=%20"),
        ("///", "/"),
        ("/a//../b", "/b"),
        ("//evil.example/%2e%2e", "/evil.example/%2e%2e"),
        ("/\\evil.example//x", "/%5Cevil.example/x"),
    ],
)
async def test_a_path_that_is_not_clean_is_sent_to_the_clean_one(
    gateway: Gateway, path: str, location: str
) -> None:
    sent: list[Any] = []
    raw, _, query = path.partition("?")
    scope: Any = {
        "type": "http",
        "method": "GET",
        "path": raw,
        "raw_path": raw.encode(),
        "query_string": query.encode(),
        "headers": [],
        "client": None,
    }

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    await gateway(scope, receive, send)
    assert sent[0]["status"] == 307
    assert dict(sent[0]["headers"])[b"location"] == location.encode()
    assert b"x-frame-options" not in dict(sent[0]["headers"])


# CORS

TRIPLE = [
    "Origin",
    "Access-Control-Request-Method",
    "Access-Control-Request-Headers",
]


async def test_a_preflight_is_answered_on_any_path(client: Any) -> None:
    for path in ("/nothing", RECORDS, "/api/test/crash"):
        response = await client.options(
            path, headers={"Origin": "http://a", "Access-Control-Request-Headers": "x-a, y"}
        )
        assert (response.status_code, response.content) == (204, b"")
        assert response.headers.get_list("vary") == TRIPLE
        assert response.headers["access-control-allow-origin"] == "*"
        assert response.headers["access-control-allow-methods"] == "GET,HEAD,PUT,PATCH,POST,DELETE"
        assert response.headers["access-control-allow-headers"] == "x-a, y"
        assert "x-frame-options" not in response.headers
    response = await client.options("/x", headers={"Origin": "http://a"})
    assert "access-control-allow-headers" not in response.headers


async def test_options_without_an_origin_is_bare(client: Any) -> None:
    response = await client.options(RECORDS)
    assert response.status_code == 204
    assert not [name for name in response.headers if name.startswith("access-control")]
    assert response.headers.get_list("vary") == ["Origin"]


async def test_a_simple_request_varies_by_origin(client: Any) -> None:
    plain = await client.get(RECORDS)
    assert plain.headers["vary"] == "Origin"
    assert "access-control-allow-origin" not in plain.headers
    answers = [
        await client.get(path, headers={"Origin": "http://a"}) for path in (RECORDS, "/x", "/api/test/crash")
    ]
    for response in answers:
        assert response.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-methods" not in response.headers
        assert "access-control-allow-credentials" not in response.headers


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        (["*"], "http://a", "*"),
        (["http://a", "*"], "http://b", "*"),
        (["http://a"], "http://a", "http://a"),
        (["http://a"], "http://b", None),
        (["http://a"], "https://a", None),
        (["https://*.x.io"], "https://a.x.io", "https://a.x.io"),
        (["https://*.x.io"], "https://a.b.x.io", "https://a.b.x.io"),
        (["https://*.x.io"], "https://x.io", None),
        (["https://*.x.io"], "https://evilx.io", None),
        (["https://*.x.io"], "http://a.x.io", None),
        (["http://a?.x.io"], "http://a1.x.io", "http://a1.x.io"),
        (["http://a?.x.io"], "http://a12.x.io", None),
        (["http://app-*.x.io"], "http://app-12.x.io", "http://app-12.x.io"),
        (["http://app-*.x.io"], "http://app-12.x.iox", None),
        (["http://app-*.x.io"], "http://app-12yx.io", None),
        (["http://a*"], "http://a" + "b" * 300, None),
        ([], "http://a", None),
        (["http://a"], "null", None),
    ],
)
def test_origins(origins: list[str], origin: str, allowed: str | None) -> None:
    assert Cors(origins).allowed(origin) == allowed


# Error bodies


def test_an_error_body_has_its_keys_in_order_and_its_data_sorted() -> None:
    error = Invalid(
        " failed to <create> ",
        {
            "title": FieldError("c", "must be set", {"min": 3, "a": 1}),
            "fields": {"10": {"b": FieldError("x", "Why?")}, "2": {}},
            "é": FieldError("z", "Done!"),
        },
    )
    assert error_reply(error).body.decode() == (
        '{"data":{"fields":{"10":{"b":{"code":"x","message":"Why?"}},"2":{}},'
        '"title":{"code":"c","message":"Must be set.","params":{"a":1,"min":3}},'
        '"é":{"code":"z","message":"Done!"}},"message":"Failed to \\u003ccreate\\u003e.","status":400}\n'
    )
    assert error_body(403, Forbidden.message) == {
        "data": {},
        "message": "You are not allowed to perform this request.",
        "status": 403,
    }


def test_fields_cut_every_answer_and_a_malformed_one_empties_it() -> None:
    assert json_reply({"a": 1, "b": {"c": 2, "d": 3}}, fields="b.c").body == b'{"b":{"c":2}}\n'
    assert json_reply({"a": 1}, fields="").body == b'{"a":1}\n'
    assert json_reply({"a": 1}, fields="a:unknown(").body == b""
