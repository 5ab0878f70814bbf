"""Requests that no client sends: whatever they hold, the answer is one of the known refusals."""

from __future__ import annotations

import random
from typing import Any

import pytest

from groundplane.testing.server import Server

PARTS = [
    "api", "collections", "users", "_superusers", "_mfas", "records", "batch", "files", "token", "settings",
    "health", "impersonate", "auth-with-password", "auth-refresh", "auth-methods", "request-otp", "meta", "import",
    "truncate", "scaffolds", "%00", "%ff", "%2F", "%2e%2e", "a" * 3000, "%F0%9F%98%80", "%", "%zz", "'", '"', ";",
    "\\", "$1", "{", "*", "", ".", "..", "%ED%A0%80",
]  # fmt: skip
ROUTES = [
    ("GET", "/api/collections/users/records"), ("POST", "/api/collections/users/records"),
    ("PATCH", "/api/collections/users/records/x"), ("DELETE", "/api/collections/users/records/x"),
    ("POST", "/api/collections/users/auth-with-password"), ("POST", "/api/collections/users/auth-refresh"),
    ("POST", "/api/collections/_superusers/auth-with-password"), ("POST", "/api/collections/_superusers/auth-refresh"),
    ("POST", "/api/collections/users/impersonate/x"), ("GET", "/api/collections/users/auth-methods"),
    ("GET", "/api/settings"), ("PATCH", "/api/settings"), ("POST", "/api/batch"), ("HEAD", "/api/health"),
    ("POST", "/api/settings/apple/generate-client-secret"),
]  # fmt: skip
METHODS = ["GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS", "PURGE"]
TYPES = [
    "application/json", "multipart/form-data; boundary=x", "multipart/form-data", "text/plain", "", "text/xml",
    "application/x-www-form-urlencoded", "application/json\xff", "multipart/form-data; boundary=\xff\xfe",
]  # fmt: skip
BODIES = [
    b"", b"{}", b"[]", b"null", b"{", b'{"identity":"a\\u0000","password":"\\ud800"}', b"\xff\xfe", b"[" * 5000,
    b'{"identity":"a@b.co","password":"x","mfaId":"\\u0000"}', b"--x\r\n\r\n\r\n--x--\r\n", b"a=%00&b=%ff&@jsonPayload={}",
    b'{"identity":{"a":1}}', b'{"id":"\\u0000","email":"\\u0000"}', b'{"duration":1e999}', b'{"duration":99999999999999}',
    b'{"requests":[{"method":"GET","url":"\\u0000"}]}', b'{"meta":{"appName":"\\u0000"}}', b'{"superuserIPs":["\\ud800"]}',
]  # fmt: skip
HEADERS: list[dict[str, bytes]] = [
    {}, {"Authorization": b"Bearer x.y.z"}, {"Authorization": b"\xff\xfe"}, {"Authorization": b"x" * 9000},
    {"Origin": b"\xff"}, {"Origin": b"x" * 9000, "Access-Control-Request-Headers": b"\xff, y"},
    {"Content-Length": b"-1"}, {"Content-Length": b"9" * 30}, {"Content-Length": b"x"}, {"Content-Length": b"\xb2"},
    {"If-Match": b"\xff"}, {"Idempotency-Key": b"\xff\x00"}, {"User-Agent": b"\xff" * 500}, {"X-Real-IP": b"\xff, ::1%x"},
]  # fmt: skip
QUERIES = [
    b"", b"?expand=a.b.c&fields=x:y(", b"?filter=%00", b"?filter=(((", b"?page=%00", b"?sort=%ff", b"?%zz=%",
    b"?mfaId=%00", b"?fields=" + b"a," * 2000, b"?token=%ff", b"?a=" + b"&a=" * 3000,
]  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
async def test_no_request_is_an_unexpected_failure(server: Server, seed: int) -> None:
    choose = random.Random(seed)
    root = (await server.superuser_token()).encode()
    await server.services.settings.change(
        {"trustedProxy": {"headers": ["X-Real-IP"]}, "batch": {"enabled": True}}
    )
    for _ in range(150):
        method, path = choose.choice(ROUTES)
        if choose.random() < 0.25:
            method = choose.choice(METHODS)
            path = "/" + "/".join(choose.choice(PARTS) for _ in range(choose.randint(1, 6)))
        headers = dict(choose.choice(HEADERS))
        if choose.random() < 0.5:
            headers["Authorization"] = root
        content_type, body, query = choose.choice(TYPES), choose.choice(BODIES), choose.choice(QUERIES)
        status, sent = await ask(server, method, path, query, headers, content_type, body)
        assert status < 500, (method, path, query, headers, content_type, body)
        assert method != "HEAD" or sent == b""


async def ask(
    server: Server,
    method: str,
    path: str,
    query: bytes,
    headers: dict[str, bytes],
    content_type: str,
    body: bytes,
) -> tuple[int, bytes]:
    """Send a request straight to the application: an HTTP client would refuse to write most of these."""
    scope: Any = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "server": ("server.test", 80),
        "root_path": "",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query[1:],
        "headers": [(name.lower().encode(), value) for name, value in headers.items()]
        + [(b"content-type", content_type.encode("latin-1"))],
        "client": ("127.0.0.1", 1),
        "state": {},
    }
    messages: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        messages.append(message)

    await server.application(scope, receive, send)
    sent = b"".join(message.get("body", b"") for message in messages[1:])
    return messages[0]["status"], sent
