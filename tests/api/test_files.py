"""Downloads over HTTP."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from PIL import Image

from groundplane.files.outbox import Doomed
from groundplane.testing.file_storage import chunks, keys_of
from groundplane.testing.server import Server

NOT_FOUND = {"data": {}, "message": "The requested resource wasn't found.", "status": 404}
PUBLIC = dict.fromkeys(("listRule", "viewRule", "createRule", "updateRule", "deleteRule"), "")
PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 20
PASSWORD = {"password": "12345678", "passwordConfirm": "12345678"}


@pytest.fixture
async def app(server: Server) -> Server:
    fields = [
        {"name": "open", "type": "file", "maxSelect": 5, "thumbs": ["70x50"], "maxSize": 20_000_000},
        {"name": "kept", "type": "file", "protected": True},
        {"name": "owner", "type": "text"},
    ]
    collections = server.services.collections
    await collections.create({"name": "docs", "type": "base", "fields": fields, **PUBLIC})
    query = "select id, open as shown, kept from docs"
    await collections.create({"name": "seen", "type": "view", "viewQuery": query, "viewRule": None})
    return server


async def make(app: Server, key: str, name: str, content: bytes, **data: str) -> tuple[str, str]:
    """Create a record with a file; returns its id and the file's name."""
    answer = await app.client.post("/api/collections/docs/records", data=data, files=[(key, (name, content))])
    record = answer.json()
    assert answer.status_code == 200, answer.text
    value = record[key]
    return record["id"], value[0] if isinstance(value, list) else value


async def test_a_file_is_sent_with_the_headers_of_the_contract(app: Server) -> None:
    record_id, name = await make(app, "open", "my file.txt", b"hello")
    collection_id = app.services.schema.current.find("docs").id
    for collection in ("docs", "DOCS", collection_id):
        answer = await app.client.get(f"/api/files/{collection}/{record_id}/{name}")
        assert (answer.status_code, answer.content) == (200, b"hello")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["content-disposition"] == f"attachment; filename={name}"
    assert answer.headers["content-security-policy"] == (
        "default-src 'none'; media-src 'self'; style-src 'unsafe-inline'; sandbox"
    )
    assert answer.headers["cache-control"] == "max-age=2592000, stale-while-revalidate=86400"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-length"] == "5"
    assert answer.headers["last-modified"].endswith("GMT")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "x-frame-options" not in answer.headers
    assert "etag" not in answer.headers
    head = await app.client.head(f"/api/files/docs/{record_id}/{name}")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "5")


@pytest.mark.parametrize(
    ("name", "content", "query", "kind", "place"),
    [
        ("a.png", PNG, "", "image/png", "inline"),
        ("a.png", PNG, "?download=1", "image/png", "attachment"),
        ("a.png", PNG, "?download=yes", "image/png", "inline"),
        ("a.txt", PNG, "", "image/png", "inline"),
        ("a.pdf", b"%PDF-1.4", "", "application/pdf", "inline"),
        ("a.svg", b"<svg ></svg>", "", "image/svg+xml", "attachment"),
        ("a.html", b"<html><script>", "", "text/html; charset=utf-8", "attachment"),
        ("a.css", b"p {}", "", "text/css", "attachment"),
        ("a.CSS", b"p {}", "", "text/plain; charset=utf-8", "attachment"),
        ("a.js", b"x", "", "text/javascript", "attachment"),
        ("a.js", PNG, "", "text/javascript", "inline"),
    ],
)
async def test_what_a_browser_may_show_depends_on_the_content(
    app: Server, name: str, content: bytes, query: str, kind: str, place: str
) -> None:
    record_id, stored = await make(app, "open", name, content)
    answer = await app.client.get(f"/api/files/docs/{record_id}/{stored}{query}")
    assert answer.headers["content-type"] == kind
    assert answer.headers["content-disposition"].startswith(f"{place}; ")


async def test_what_is_not_there_is_not_found(app: Server) -> None:
    record_id, name = await make(app, "open", "a.txt", b"x")
    for path in (
        f"docs/{record_id}/other.txt",
        f"docs/{record_id}/{name}.attrs",
        f"docs/missing/{name}",
        f"docs/{record_id}/..%2f{record_id}%2f{name}",
        f"docs/{record_id}/%00",
        f"docs/%00/{name}",
        "docs/%2e%2e/x",
    ):
        answer = await app.client.get(f"/api/files/{path}")
        assert (answer.status_code, answer.json()) == (404, NOT_FOUND), path
    unknown = await app.client.get(f"/api/files/nope/{record_id}/{name}")
    assert unknown.json() == NOT_FOUND | {"message": "Missing or invalid collection context."}
    collection_id = app.services.schema.current.find("docs").id
    await app.services.files.removals.remove(Doomed(collection_id, record_id, (name,)))
    assert (await app.client.get(f"/api/files/docs/{record_id}/{name}")).json() == NOT_FOUND


async def test_no_rule_is_asked_for_an_open_file(app: Server) -> None:
    record_id, name = await make(app, "open", "a.txt", b"x")
    await app.services.collections.update("docs", {"viewRule": None})
    assert (await app.client.get(f"/api/files/docs/{record_id}/{name}")).status_code == 200


async def file_token(app: Server, auth_token: str) -> str:
    answer = await app.client.post("/api/files/token", headers={"Authorization": auth_token})
    assert answer.status_code == 200
    return str(answer.json()["token"])


async def test_a_file_token_needs_an_account(app: Server) -> None:
    answer = await app.client.post("/api/files/token")
    message = "The request requires valid record authorization token."
    assert (answer.status_code, answer.json()) == (401, {"data": {}, "message": message, "status": 401})


async def test_a_protected_file_follows_the_view_rule(app: Server) -> None:
    headers = {"Authorization": await app.superuser_token()}
    user = {"email": "a@b.co", **PASSWORD}
    created = (await app.client.post("/api/collections/users/records", json=user, headers=headers)).json()
    record_id, name = await make(app, "kept", "a.txt", b"x", owner=created["id"])
    path = f"/api/files/docs/{record_id}/{name}"
    user_token = await app.token("users", "a@b.co")
    tokens = {
        "guest": "",
        "user": await file_token(app, user_token),
        "superuser": await file_token(app, headers["Authorization"]),
        "auth token": user_token,
        "nonsense": "x.y.z",
    }

    async def allowed(rule: str | None) -> set[str]:
        await app.services.collections.update("docs", {"viewRule": rule})
        answers = {who: await app.client.get(f"{path}?token={token}") for who, token in tokens.items()}
        assert all(answer.status_code in (200, 404) for answer in answers.values())
        assert (await app.client.get(path, headers=headers)).status_code == (200 if rule == "" else 404)
        return {who for who, answer in answers.items() if answer.status_code == 200}

    assert await allowed("") == set(tokens)
    assert await allowed(None) == {"superuser"}
    assert await allowed("owner = @request.auth.id && @request.context = 'protectedFile'") == {
        "user",
        "superuser",
    }


async def test_a_view_serves_the_files_of_the_records_under_it(app: Server) -> None:
    record_id, name = await make(app, "open", "a.txt", b"from below")
    answer = await app.client.get(f"/api/files/seen/{record_id}/{name}")
    assert (answer.status_code, answer.content) == (200, b"from below")
    kept_id, kept = await make(app, "kept", "b.txt", b"x")
    assert (await app.client.get(f"/api/files/seen/{kept_id}/{kept}")).status_code == 404
    await app.services.collections.update("seen", {"viewRule": ""})
    assert (await app.client.get(f"/api/files/seen/{kept_id}/{kept}")).status_code == 200


@pytest.mark.parametrize(
    ("asked", "status", "content", "place"),
    [
        ("bytes=0-2", 206, b"012", "bytes 0-2/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=5-100", 206, b"56789", "bytes 5-9/10"),
        ("bytes=-100", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=10-", 416, b"invalid range", "bytes */10"),
        ("bytes=5-2", 416, b"invalid range", None),
        ("bytes=x", 416, b"invalid range", None),
        ("lines=1-2", 416, b"invalid range", None),
        ("bytes=0-9,0-9", 200, b"0123456789", None),
        ("bytes=-0", 416, b"invalid range", "bytes */10"),
        ("bytes=-", 416, b"invalid range", None),
        ("bytes=+1-2", 416, b"invalid range", None),
        ("bytes=1-2-3", 416, b"invalid range", None),
        ("bytes=0-99999999999999999999", 416, b"invalid range", None),
        ("bytes=20-30,-2", 206, b"89", "bytes 8-9/10"),
        ("bytes=,2-3,", 206, b"23", "bytes 2-3/10"),
        ("bytes=20-30,40-", 416, b"invalid range", "bytes */10"),
        # The same again and again, in any order, is not worth its work.
        ("bytes=0-1,1-2,1-2,2-3", 200, b"0123456789", None),
        ("bytes=3-3,0-4,1-1,2-2", 200, b"0123456789", None),
        ("bytes=" + ",".join(["0-0"] * 101), 416, b"invalid range", None),
    ],
)
async def test_ranges(app: Server, asked: str, status: int, content: bytes, place: str | None) -> None:
    record_id, name = await make(app, "open", "a.txt", b"0123456789")
    answer = await app.client.get(f"/api/files/docs/{record_id}/{name}", headers={"Range": asked})
    assert answer.status_code == status
    assert answer.content == content if status != 416 else answer.content.startswith(content)
    assert answer.headers.get("content-range") == place
    assert answer.headers["content-length"] == str(len(answer.content))


async def test_several_ranges_come_in_parts(app: Server) -> None:
    record_id, name = await make(app, "open", "a.txt", b"0123456789")
    answer = await app.client.get(f"/api/files/docs/{record_id}/{name}", headers={"Range": "bytes=0-1, 5-6"})
    assert answer.status_code == 206
    kind, _, boundary = answer.headers["content-type"].partition("; boundary=")
    assert kind == "multipart/byteranges"
    assert len(answer.content) == int(answer.headers["content-length"])
    parts = answer.content.split(f"--{boundary}".encode())
    assert [part.rpartition(b"\r\n\r\n")[2].strip() for part in parts[1:3]] == [b"01", b"56"]
    assert b"Content-Range: bytes 5-6/10" in parts[2]
    assert b"Content-Type: text/plain; charset=utf-8" in parts[2]
    assert parts[3] == b"--\r\n"
    # In the order in which they were asked for; two that overlap are still sent.
    path = f"/api/files/docs/{record_id}/{name}"
    answer = await app.client.get(path, headers={"Range": "bytes=8-9,0-1,1-2"})
    places = re.findall(rb"Content-Range: bytes (\S+)/10", answer.content)
    assert places == [b"8-9", b"0-1", b"1-2"]
    head = await app.client.head(path, headers={"Range": "bytes=8-9,0-1"})
    assert (head.status_code, head.content) == (206, b"")


async def test_conditions(app: Server) -> None:
    record_id, name = await make(app, "open", "a.txt", b"0123456789")
    path = f"/api/files/docs/{record_id}/{name}"
    modified = (await app.client.get(path)).headers["last-modified"]
    past = "Mon, 01 Jan 2001 00:00:00 GMT"

    async def status(**headers: str) -> int:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        answer = await app.client.get(path, headers=named)
        if answer.status_code in (304, 412):
            assert answer.content == b""
        return answer.status_code

    assert await status(If_Modified_Since=modified) == 304
    assert await status(If_Modified_Since=past) == 200
    assert await status(If_Modified_Since="nonsense") == 200
    assert await status(If_Unmodified_Since=past) == 412
    assert await status(If_Unmodified_Since=modified) == 200
    assert await status(If_None_Match="*") == 304
    assert await status(If_None_Match='"x"', If_Modified_Since=modified) == 200
    assert await status(If_Match='"x"') == 412
    assert await status(Range="bytes=0-1", If_Range=modified) == 206
    assert await status(Range="bytes=0-1", If_Range=past) == 200
    future = "Fri, 01 Jan 2100 00:00:00 GMT"
    assert await status(Range="bytes=0-1", If_Range=future) == 200
    assert await status(Range="bytes=0-1", If_Range='"tag"') == 200
    assert await status(Range="bytes=0-1", If_Range="") == 206
    assert await status(Range="bytes=0-1", If_None_Match="*") == 304
    assert await status(Range="bytes=50-", If_Unmodified_Since=past) == 412
    assert await status(Range="bytes=50-", If_Range=past) == 200
    unchanged = await app.client.get(path, headers={"If-Modified-Since": modified})
    assert "content-type" not in unchanged.headers
    assert unchanged.headers["cache-control"].startswith("max-age")


async def test_a_stored_thumb_is_sent_where_one_is_allowed(app: Server) -> None:
    record_id, name = await make(app, "open", "a.png", PNG)
    files, collection_id = app.services.files, app.services.schema.current.find("docs").id
    for size in ("70x50", "100x100", "5x5"):
        key = files.thumb_key(collection_id, record_id, name, size)
        await files.storage.put(key, chunks(b"thumb"), content_type="image/png")
    path = f"/api/files/docs/{record_id}/{name}"
    for size in ("70x50", "100x100"):
        answer = await app.client.get(f"{path}?thumb={size}")
        assert answer.content == b"thumb"
        assert answer.headers["content-disposition"] == f"inline; filename={size}_{name}"
    for size in ("5x5", "100x100t", "../x", ""):
        assert (await app.client.get(f"{path}?thumb={size}")).content == PNG


def picture(kind: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (200, 100), (0, 200, 0)).save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize(
    ("kind", "extension", "content_type"),
    [
        ("PNG", "png", "image/png"),
        ("JPEG", "jpg", "image/jpeg"),
        ("GIF", "gif", "image/gif"),
        ("WEBP", "webp", "image/png"),
        ("AVIF", "avif", "image/png"),
    ],
)
async def test_a_thumb_is_made_when_it_is_first_asked_for(
    app: Server, kind: str, extension: str, content_type: str
) -> None:
    record_id, name = await make(app, "open", f"a.{extension}", picture(kind))
    path = f"/api/files/docs/{record_id}/{name}"
    answer = await app.client.get(f"{path}?thumb=70x50")
    assert answer.headers["content-type"] == content_type
    assert answer.headers["content-disposition"] == f"inline; filename=70x50_{name}"
    assert Image.open(io.BytesIO(answer.content)).size == (70, 50)
    assert (await app.client.get(f"{path}?thumb=70x50")).content == answer.content
    assert Image.open(io.BytesIO((await app.client.get(f"{path}?thumb=100x100")).content)).size == (100, 100)
    for size in ("71x50", "70X50", "70x50f"):
        assert (await app.client.get(f"{path}?thumb={size}")).content == picture(kind)
    part = await app.client.get(f"{path}?thumb=70x50", headers={"Range": "bytes=0-9"})
    assert (part.status_code, part.content) == (206, answer.content[:10])


async def test_a_picture_that_cannot_be_read_is_sent_as_it_is(app: Server) -> None:
    record_id, name = await make(app, "open", "a.png", PNG)
    answer = await app.client.get(f"/api/files/docs/{record_id}/{name}?thumb=70x50")
    assert (answer.status_code, answer.content) == (200, PNG)
    assert answer.headers["content-disposition"] == f"inline; filename={name}"


async def test_the_thumbs_of_a_replaced_and_of_a_deleted_file_are_gone(app: Server) -> None:
    record_id, name = await make(app, "open", "a.png", picture("PNG"))
    storage, path = app.services.files.storage, f"/api/files/docs/{record_id}/{name}?thumb=70x50"
    await app.client.get(path)
    assert len(await keys_of(storage)) == 2
    await app.client.patch(f"/api/collections/docs/records/{record_id}", json={"open": []})
    assert await keys_of(storage) == []
    assert (await app.client.get(path)).status_code == 404


async def test_a_thumb_of_something_that_is_no_picture_is_the_original(app: Server) -> None:
    record_id, name = await make(app, "open", "a.txt", b"text")
    assert (await app.client.get(f"/api/files/docs/{record_id}/{name}?thumb=70x50")).content == b"text"


async def test_a_large_file_is_streamed_whole(app: Server) -> None:
    content = b"0123456789abcdef" * 100_000
    record_id, name = await make(app, "open", "a.bin", content)
    answer = await app.client.get(f"/api/files/docs/{record_id}/{name}")
    assert answer.content == content
    part = await app.client.get(
        f"/api/files/docs/{record_id}/{name}", headers={"Range": "bytes=500000-1200000"}
    )
    assert part.content == content[500_000:1_200_001]


async def test_downloads_are_rate_limited_by_their_tag(app: Server) -> None:
    record_id, name = await make(app, "open", "a.txt", b"x")
    rules: list[dict[str, Any]] = [{"label": "docs:file", "duration": 60, "maxRequests": 1}]
    await app.services.settings.change({"rateLimits": {"enabled": True, "rules": rules}})
    path = f"/api/files/docs/{record_id}/{name}"
    assert [(await app.client.get(path)).status_code for _ in range(2)] == [200, 429]
