"""Names and contents that want to do harm: they are refused, or stored and sent as harmless ones."""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from groundplane.config import Config
from groundplane.testing.file_storage import keys_of
from groundplane.testing.server import INSTALLED, Server, own_database, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

SAFE = re.compile(r"[a-z0-9_]+_[a-z0-9]{10}(\.[A-Za-z0-9_.*\-+=#]{1,20})?")
NAMES = [
    "../../../etc/passwd",
    "..\\..\\windows\\system32\\cmd.exe",
    "/etc/shadow",
    "C:\\boot.ini",
    "....//....//secret",
    "%2e%2e%2f%2e%2e%2fsecret",
    "a\x00.png",
    "photo.png\x00.html",
    "harmless\u202egpj.exe",
    "\u2066\u202dinvisible\u2069.png",
    "\u200bzero\ufeffwidth.png",
    "CON.png",
    "aux",
    "LPT9.txt.exe",
    "name.txt::$DATA",
    "trailing. . .",
    "~",
    "\ud800lone.png",
    "CON",
    "nul.txt",
    "COM1.png",
    ".htaccess",
    "...",
    "",
    " ",
    "-rf *",
    "$(reboot).png",
    "`id`.txt",
    "a;b|c&d.txt",
    'quote".png',
    "line\r\nSet-Cookie: a=b.png",
    "x.attrs",
    "a.png.attrs",
    "thumbs_a",
    "name." + "x" * 300,
    "n" * 5000 + ".png",
    "\u00e9\u4e2d\U0001f600.pdf",
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """One server for all of it: whatever is sent leaves it as it was, but for the files that were taken."""
    folder = tmp_path_factory.mktemp("hostile")
    fields = [{"name": "file", "type": "file", "maxSize": 1_000_000, "thumbs": ["10x10"]}]
    async for url in own_database(postgres_url, INSTALLED):
        async with running(Config(data_dir=str(folder / "data")), url) as server:
            await server.services.collections.create(
                {"name": "docs", "type": "base", "fields": fields, "createRule": "", "viewRule": ""}
            )
            yield server


def multipart(name: str, content: bytes) -> tuple[bytes, str]:
    """A body whose file name is written as it is, as no honest client would."""
    edge = "edge-of-the-parts"
    shown = name.replace("\\", "\\\\").replace('"', '\\"').encode("utf-8", "surrogatepass")
    body = (
        b"--"
        + edge.encode()
        + b'\r\nContent-Disposition: form-data; name="file"; filename="'
        + shown
        + b'"\r\n'
    )
    body += b"Content-Type: image/png\r\n\r\n" + content + b"\r\n--" + edge.encode() + b"--\r\n"
    return body, f"multipart/form-data; boundary={edge}"


async def send(app: Server, name: str, content: bytes) -> tuple[int, dict[str, str]]:
    body, kind = multipart(name, content)
    answer = await app.client.post(
        "/api/collections/docs/records", content=body, headers={"Content-Type": kind}
    )
    return answer.status_code, answer.json()


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:30])
async def test_a_hostile_name_is_refused_or_made_harmless(app: Server, name: str) -> None:
    before = await keys_of(app.services.files.storage)
    status, record = await send(app, name, b"plain text")
    assert status in (200, 400)
    keys = [key for key in await keys_of(app.services.files.storage) if key not in before]
    if status == 400 or not record["file"]:
        assert keys == []
        return
    assert SAFE.fullmatch(record["file"])
    assert keys == [f"{record['collectionId']}/{record['id']}/{record['file']}"]
    root = Path(app.services.config.files_folder)
    outside = [path for path in root.parent.rglob("*") if path.is_file() and root not in path.parents]
    assert not [path for path in outside if "passwd" in path.name or "secret" in path.name]
    answer = await app.client.get(f"/api/files/docs/{record['id']}/{record['file']}")
    assert answer.content == b"plain text"
    assert answer.headers["content-disposition"] == f"attachment; filename={record['file']}"
    assert "set-cookie" not in answer.headers


def png_of(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(9)))
        + chunk(b"IEND", b"")
    )


def unpacking_png(side: int) -> bytes:
    """A sound picture of one bit a pixel: 50 KB that unpack to `side` squared."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    lines = zlib.compress(bytes((side // 8 + 1) * side))
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")


def unpacking_zip() -> bytes:
    """An archive whose first file says that it is small, and is not."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", bytes(30_000_000))
    content = out.getvalue()
    # Its size, in the file's own head and in the directory.
    return content.replace(struct.pack("<I", 30_000_000), struct.pack("<I", 100))


SCRIPT = b"<script>alert(document.cookie)</script>"
CONTENTS = {
    "a page": ("page.html", b"<!DOCTYPE html><html><body>" + SCRIPT),
    "a page that says it is a picture": ("page.png", b"<html>" + SCRIPT),
    "a drawing with a script": ("a.svg", b'<svg xmlns="http://www.w3.org/2000/svg">' + SCRIPT + b"</svg>"),
    "a drawing that says it is a picture": (
        "a.png",
        b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
    ),
    "a picture that is a script too": ("a.js", b"GIF89a/*" + bytes(10) + b"*/=1;alert(1)//"),
    "a picture with a page behind it": ("a.html", b"\x89PNG\r\n\x1a\n" + bytes(20) + b"<html>" + SCRIPT),
    "a document with a page behind it": ("a.htm", b"%PDF-1.4\n" + SCRIPT),
    "a page in the encoding of long ago": ("a.txt", b"+ADw-script+AD4-alert(1)+ADw-/script+AD4-"),
    "a page in wide letters": ("a.html", ("\ufeff<html>" + SCRIPT.decode()).encode("utf-16-le")),
    "a page behind spaces and a mark": ("a.txt", b"\xef\xbb\xbf \n\t<HTML>" + SCRIPT),
    "a drawing behind a document type": (
        "a.svg",
        b"<!DOCTYPE svg [<!ENTITY a 'b'>]><svg onload='x'>" + SCRIPT,
    ),
    "a style that is a page": ("a.css", b"<html>" + SCRIPT),
    "a sound that is a page": ("a.mp3", b"ID3\x03\x00\x00\x00\x00\x00\x00" + SCRIPT),
    "a picture in an archive": ("a.jar", b"\xff\xd8\xff\xe0" + bytes(20) + unpacking_zip()),
    "a picture of 50,000 by 50,000": ("bomb.png", png_of(50_000, 50_000)),
    "a picture that unpacks to 400 million": ("bomb.png", unpacking_png(20_000)),
    "an animation of 65,535 by 65,535": (
        "bomb.gif",
        b"GIF89a\xff\xff\xff\xff\x80\x00\x00" + bytes(6) + b",\0\0\0\0\xff\xff\xff\xff\0\x02\x02L\x01\0;",
    ),
    "an archive that unpacks to much": ("bomb.zip", unpacking_zip()),
}


@pytest.mark.parametrize("what", CONTENTS)
async def test_hostile_content_never_runs_in_our_name(app: Server, what: str) -> None:
    name, content = CONTENTS[what]
    status, record = await send(app, name, content)
    assert status == 200
    for query in ("", "?thumb=10x10", "?thumb=100x100", "?download=0"):
        answer = await app.client.get(f"/api/files/docs/{record['id']}/{record['file']}{query}")
        assert (answer.status_code, answer.content) == (200, content)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in answer.headers["content-security-policy"]
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        kind = answer.headers["content-type"].partition(";")[0]
        if answer.headers["content-disposition"].startswith("inline"):
            # What is said is what a browser believes; a script by its name is still no page.
            shown = (
                "image/png",
                "image/gif",
                "image/jpeg",
                "application/pdf",
                "audio/mpeg",
                "text/javascript",
            )
            assert kind.startswith(shown)
        else:
            assert answer.headers["content-disposition"].startswith("attachment; ")


async def test_the_ending_of_side_files_is_refused_with_its_reason(app: Server) -> None:
    status, answer = await send(app, "photo.attrs", b"x")
    assert status == 400
    assert answer["data"]["file"]["code"] == "validation_match_invalid"  # type: ignore[index]
