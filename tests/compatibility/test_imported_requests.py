"""Requests over an imported installation that depend on the envelope: parameters, headers, bodies, tokens, files."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio
from tests.compatibility.imported import GENERIC, NO_HEADERS, NOT_FOUND, Imported, imported_copy

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEMO2 = "/api/collections/demo2/records"
DEMO3 = "/api/collections/demo3/records"
ONE = f"{DEMO2}/llvuca81nly1qls"
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
UNSUPPORTED = '"message":"Unsupported Content-Type."'
WHOLE_NUMBERS = {
    "1": 200,
    "%2B1": 200,
    "-5": 200,
    "0": 200,
    "007": 200,
    "": 200,
    "1.0": 400,
    "x": 400,
    "9223372036854775807": 200,
    "9223372036854775808": 400,
    "-9223372036854775808": 200,
    "-9223372036854775809": 400,
    "%201": 400,
    "1%20": 400,
    "1_000": 400,
    "0x1": 400,
    "%D9%A1": 400,
    "1e3": 400,
    "--1": 400,
}
SORTS = {
    "title": 200,
    "-title": 200,
    "%2Btitle": 200,
    "%20title": 200,
    "title,": 400,
    ",": 400,
    "-%20title": 400,
    "--title": 400,
    "-%2Btitle": 400,
    "@now": 400,
    "true": 400,
    "1": 400,
    "geoDistance(1,2,3,4)": 400,
    "@rowid": 200,
    "-@rowid": 200,
    "@random": 200,
    "title:lower": 200,
    "title:length": 200,
    "title:nope": 400,
    "title,-created,%2Bid,updated,active,title,id,title": 200,
    "title,title,title,title,title,title,title,title,title": 400,
    "a" * 256: 400,
    "TITLE": 400,
    "collectionId": 400,
    "expand": 400,
    "_row": 400,
    "_rowid_": 400,
    "ctid": 400,
    "title.x": 400,
    "@request.method": 403,
    "@collection.demo1.id": 403,
    "title%20desc": 400,
    "title'": 400,
}
UNPARSABLE = [
    b"  ",
    b'\xef\xbb\xbf{"title":"abc"}',
    b'{"title":1e999}',
    b'{"title":"a',
    b'"x"',
    b"12",
    b"[]",
    b'{"title":NaN}',
    b"{'title':1}",
    b'{"title":01}',
    b'{"title":"a\nb"}',
    b"[" * 100_000,
    b'{"title":' + b"[" * 100_000,
]
BODIES: list[tuple[bytes, Mapping[str, str], int, str]] = [
    (b'{"title":"abc"}', {"Content-Type": "text/plain"}, 400, UNSUPPORTED),
    (b'{"title":"abc"}', {"Content-Type": "APPLICATION/JSON"}, 400, UNSUPPORTED),
    (b"", {"Content-Type": "text/plain"}, 400, "validation_required"),
    (b"null", JSON, 400, "validation_required"),
    (b'{"title":"z1","title":"z2"} {{{', {"Content-Type": "application/jsonx"}, 200, '"title":"z2"'),
    (b'{"title":"bad\xff"}', JSON, 200, '"title":"bad\ufffd"'),
    (b'{"title":"lone\\ud800x"}', JSON, 200, '"title":"lone\ufffdx"'),
    (b'{"title":"<&>\\u2028"}', JSON, 200, '"title":"\\u003c\\u0026\\u003e\\u2028"'),
    (b'{"title":1e21}', JSON, 200, '"title":"1000000000000000000000"'),
    (b'{"title":1e-7}', JSON, 200, '"title":"0.0000001"'),
    (b'{"title":true}', JSON, 200, '"title":"true"'),
    (b'{"title":["abc"]}', JSON, 400, "validation_required"),
    (b'{"title+":"abc"}', JSON, 400, "validation_required"),
    (b'{"title:autogenerate":"pre"}', JSON, 200, '"title":"pre"'),
    (b"title=f1&active=true&x=1", FORM, 200, '"active":true'),
    (b"title=f2&title=f3", FORM, 400, "validation_required"),
    (b"title=0012", FORM, 200, '"title":"0012"'),
    (b"title=1.10", FORM, 200, '"title":"1.10"'),
    (b"title=9007199254740993", FORM, 200, '"title":"9007199254740993"'),
    (b'title=zz&@jsonPayload={"title":"pay"}', FORM, 200, '"title":"pay"'),
    (b"title=zz&@jsonPayload=[]", FORM, 400, GENERIC),
    (b"title=zz&@jsonPayload=", FORM, 400, GENERIC),
    (b"x", {"Content-Type": "multipart/form-data"}, 400, GENERIC),
    (b"x", {"Content-Type": "multipart/form-data; boundary=abc"}, 400, GENERIC),
]
BATCH_URLS = {
    "/api/collections/demo2/records?": 200,
    "/api/collections/dem%6f2/records?fields=id": 200,
    "/api/collections/demo2/records/": 400,
    "api/collections/demo2/records": 400,
    "//api/collections/demo2/records": 400,
    "/api/collections//records": 400,
    "/api/collections/demo2/records/x": 400,
    "http://x/api/collections/demo2/records": 400,
    "/x/api/collections/demo2/records": 400,
    " /api/collections/demo2/records": 400,
    "/api/collections/demo2/recordsx": 400,
    "/API/collections/demo2/records": 400,
}
BATCH_BODIES = [
    (b"", "requests"),
    (b"null", "requests"),
    (b'{"requests":[]}', "requests"),
    (b'{"requests":null}', "requests"),
    (b'{"requests":[{}]}', '"method":{"code":"validation_required"'),
    (b'{"requests":[{"method":"post","url":"/x"}]}', '"method":{"code":"validation_in_invalid"'),
    (b'{"requests":{}}', "Failed to read the submitted batch data."),
    (b'{"requests":[1]}', "Failed to read the submitted batch data."),
    (b"[]", "Failed to read the submitted batch data."),
    (b'{"requests":[{"method":"POST","url":"/x","body":[]}]}', "Failed to read the submitted batch data."),
    (
        b'{"requests":[{"method":"POST","url":"/x","headers":{"a":1}}]}',
        "Failed to read the submitted batch data.",
    ),
]
STORED_NAMES = {
    "MyPhoto (1).JPG": r"my_photo_1_R\.JPG",
    "db.dump.tar.gz": r"db_dump_R\.tar\.gz",
    "отчёт.pdf": r"R_R\.pdf",
    "x": r"xR_R\.txt",
    ".htaccess": r"R_R\.htaccess",
    "foo.": r"foo_R\.txt",
    "HTMLParser2Foo.txt": r"htmlparser2_foo_R\.txt",
    "Über.txt": r"ber_R\.txt",
    "v1.2.3-beta.zip": r"v1_2_R\.3-beta\.zip",
    "a/b\\c.txt": r"b_c_R\.txt",
    "../../../etc/passwd": r"passwd_R\.txt",
    "..": r"R_R\.txt",
    "<img>.svg": r"img_R\.svg",
    "a" * 300 + ".txt": r"a{100}_R\.txt",
    "x." + "e" * 40: r"xR_R\.e{20}",
}
HIDDEN_PATHS = [
    "/api/files/users/4q1xlclmfloku33/300_1SEi6Q6U72.png.attrs",
    "/api/files/users/4q1xlclmfloku33/..%2f..%2f..%2fdata.db",
    "/api/files/users/4q1xlclmfloku33/%2e%2e",
    "/api/files/users/..%2f/x",
    "/api/files/users/4q1xlclmfloku33/a%00b",
    "/api/files/demo1/84nmscqy84lsi1t/test_d61b33QdDU.txt",
    f"{DEMO2}/%00",
    f"{DEMO2}/%ff",
    f"{DEMO2}/a%2Fb",
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def imported(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Imported]:
    async for copy in imported_copy(postgres_url, tmp_path_factory.mktemp("requests")):
        yield copy


@pytest.mark.parametrize("name", ["page", "perPage"])
@pytest.mark.parametrize(("value", "status"), WHOLE_NUMBERS.items())
async def test_a_page_number(imported: Imported, name: str, value: str, status: int) -> None:
    assert (await imported.send("GET", f"{DEMO2}?{name}={value}")).status_code == status


@pytest.mark.parametrize(
    ("value", "total"),
    [(word, -1) for word in ["1", "t", "T", "TRUE", "true", "True"]]
    + [(word, 3) for word in ["0", "f", "F", "FALSE", "false", "False"]],
)
async def test_skip_total(imported: Imported, value: str, total: int) -> None:
    answer = await imported.send(
        "GET", f"/api/collections/view1/records?skipTotal={value}", caller="superuser"
    )
    assert answer.json()["totalItems"] == total


@pytest.mark.parametrize("value", ["yes", "no", "2", "tRUE"])
async def test_another_word_for_skip_total_is_refused(imported: Imported, value: str) -> None:
    answer = await imported.send("GET", f"{DEMO2}?skipTotal={value}")
    assert (answer.status_code, GENERIC in answer.text) == (400, True)


@pytest.mark.parametrize(("sort", "status"), SORTS.items())
async def test_a_sort(imported: Imported, sort: str, status: int) -> None:
    answer = await imported.send("GET", f"{DEMO2}?sort={sort}")
    assert answer.status_code == status
    assert status == 200 or '"data":{}' in answer.text


@pytest.mark.parametrize("path", [DEMO2, ONE, "/api/batch", "/nope", "/api/collections/nope/records"])
async def test_a_preflight_is_answered_on_any_path(imported: Imported, path: str) -> None:
    asked = {"Origin": "http://x.io", "Access-Control-Request-Headers": "authorization,x-a"}
    answer = await imported.send("OPTIONS", path, headers=asked)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-methods"] == "GET,HEAD,PUT,PATCH,POST,DELETE"
    assert answer.headers["access-control-allow-headers"] == "authorization,x-a"
    assert answer.headers["vary"] == "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
    bare = await imported.send("OPTIONS", path)
    assert (bare.status_code, "access-control-allow-methods" in bare.headers) == (204, False)


@pytest.mark.parametrize(
    "path", [DEMO2, ONE, f"{DEMO2}/missing", "/api/health", "/api/nope", "/api/settings"]
)
async def test_head_is_get_without_a_body(imported: Imported, path: str) -> None:
    got, head = await imported.send("GET", path), await imported.send("HEAD", path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    for answer in (got, head):
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["vary"] == "Origin"
        assert answer.headers["x-xss-protection"] == "1; mode=block"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "SAMEORIGIN"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", ONE),
        ("POST", ONE),
        ("PATCH", DEMO2),
        ("DELETE", DEMO2),
        ("GET", f"{ONE}/"),
        ("GET", "/api/batch"),
        ("POST", "/api/health"),
        ("DELETE", "/api/settings"),
    ],
)
async def test_an_unknown_route_is_a_404(imported: Imported, method: str, path: str) -> None:
    answer = await imported.send(method, path)
    assert (answer.status_code, NOT_FOUND in answer.text) == (404, True)


@pytest.mark.parametrize("body", UNPARSABLE)
async def test_an_unparsable_body_is_refused(imported: Imported, body: bytes) -> None:
    answer = await imported.send("POST", DEMO2, body=body, headers=JSON)
    assert (answer.status_code, GENERIC in answer.text) == (400, True)


@pytest.mark.parametrize(("body", "headers", "status", "has"), BODIES)
async def test_a_body(
    imported: Imported, body: bytes, headers: Mapping[str, str], status: int, has: str
) -> None:
    answer = await imported.send("POST", DEMO2, body=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert has in answer.text
    if status == 200:
        made = answer.json()["id"]
        gone = await imported.send("DELETE", f"{DEMO2}/{made}")
        assert (gone.status_code, gone.content, "content-type" in gone.headers) == (204, b"", False)


@pytest.mark.parametrize(("url", "status"), BATCH_URLS.items())
async def test_the_url_of_a_batch_item(imported: Imported, url: str, status: int) -> None:
    items = [{"method": "POST", "url": url, "body": {"title": f"batch {url}"}}]
    answer = await imported.send("POST", "/api/batch", body={"requests": items})
    assert answer.status_code == status
    assert status == 200 or GENERIC + ',"status":400}}}}' in answer.text


@pytest.mark.parametrize(("body", "has"), BATCH_BODIES)
async def test_a_batch_that_is_not_run(imported: Imported, body: bytes, has: str) -> None:
    answer = await imported.send("POST", "/api/batch", body=body, headers=JSON)
    assert (answer.status_code, has in answer.text) == (400, True), answer.text


@pytest.mark.parametrize("headers", [NO_HEADERS, {"Authorization": "forged"}])
async def test_an_upsert_of_a_record_that_is_another_s_changes_nothing(
    imported: Imported, headers: Mapping[str, str]
) -> None:
    item: dict[str, Any] = {
        "method": "PUT",
        "url": "/api/collections/users/records",
        "body": {"id": "oap640cot4yru2s", "name": "taken"},
        "headers": dict(headers),
    }
    answer = await imported.send("POST", "/api/batch", body={"requests": [item]})
    assert (answer.status_code, NOT_FOUND + ',"status":404' in answer.text) == (400, True)


@pytest.mark.parametrize(("name", "stored"), STORED_NAMES.items())
async def test_an_upload_is_stored_under_a_safe_name(imported: Imported, name: str, stored: str) -> None:
    quoted = name.replace("\\", "\\\\").encode()
    body = (
        b'--B\r\nContent-Disposition: form-data; name="files"; filename="'
        + quoted
        + b'"\r\n\r\nhello\r\n--B--\r\n'
    )
    answer = await imported.send(
        "POST", DEMO3, caller="client", body=body, headers={"Content-Type": "multipart/form-data; boundary=B"}
    )
    assert answer.status_code == 200, answer.text
    (kept,) = answer.json()["files"]
    assert re.fullmatch(stored.replace("R", "[a-z0-9]{10}"), kept), kept
    file = await imported.send("GET", f"/api/files/demo3/{answer.json()['id']}/{kept}")
    assert (file.status_code, file.content) == (200, b"hello")


@pytest.mark.parametrize("path", HIDDEN_PATHS)
async def test_a_path_that_is_not_for_the_caller_is_not_found(imported: Imported, path: str) -> None:
    answer = await imported.send("GET", path)
    assert (answer.status_code, NOT_FOUND in answer.text) == (404, True)


async def test_a_file_token_signs_nobody_in(imported: Imported) -> None:
    token = (await imported.send("POST", "/api/files/token", caller="superuser")).json()["token"]
    path = "/api/files/demo1/84nmscqy84lsi1t/test_d61b33QdDU.txt"
    assert (await imported.send("GET", f"{path}?token={token}")).status_code == 200
    answer = await imported.send("GET", "/api/collections", headers={"Authorization": token})
    assert answer.status_code == 401
    assert (await imported.send("GET", path, caller="superuser")).status_code == 404


async def test_a_view_may_cast_to_a_blob_and_shows_its_text(imported: Imported) -> None:
    query = "select id, cast(title as blob) as b from demo2 where title = 'test1'"
    answer = await imported.send(
        "POST", "/api/collections/meta/dry-run-view", caller="superuser", body={"query": query}
    )
    assert answer.status_code == 200, answer.text
    assert [field["type"] for field in answer.json()["fields"]] == ["text", "json"]
    assert [row["b"] for row in answer.json()["sample"]] == ["test1"]
