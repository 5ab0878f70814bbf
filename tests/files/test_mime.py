"""Types by content."""

from __future__ import annotations

import io
import zipfile

import pytest

from groundplane.files.mime import accepts, detect

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 20


def archive(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name, content in files.items():
            made.writestr(name.replace("__", "/"), content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "name", "extension"),
    [
        (b"", "text/plain; charset=utf-8", ".txt"),
        (b"plain words", "text/plain; charset=utf-8", ".txt"),
        ("späße".encode(), "text/plain; charset=utf-8", ".txt"),
        ("späße".encode("latin-1"), "text/plain; charset=utf-8", ".txt"),
        (b"BM is a short name", "text/plain; charset=utf-8", ".txt"),
        (b"MZ too", "text/plain; charset=utf-8", ".txt"),
        (PNG, "image/png", ".png"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "image/jpeg", ".jpg"),
        (b"GIF89a\x01\x00", "image/gif", ".gif"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp", ".webp"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "audio/wav", ".wav"),
        (b"BM\x36\x00\x00\x00", "image/bmp", ".bmp"),
        (b"%PDF-1.7\n", "application/pdf", ".pdf"),
        (b"\x00\x00\x00\x18ftypmp42\x00\x00", "video/mp4", ".mp4"),
        (b"\x00\x00\x00\x18ftypqt  \x00\x00", "video/quicktime", ".mov"),
        (b"\x00\x00\x00\x18ftypavif\x00\x00", "image/avif", ".avif"),
        (b"\x1a\x45\xdf\xa3\x00\x00webm", "video/webm", ".webm"),
        (b"ID3\x03\x00\x00", "audio/mpeg", ".mp3"),
        (b"<svg xmlns='x'></svg>", "image/svg+xml", ".svg"),
        (b"<?xml version='1.0'?>\n<!-- c --><svg >", "image/svg+xml", ".svg"),
        (b"<?xml version='1.0'?><a/>", "text/xml; charset=utf-8", ".xml"),
        (b"  <!DOCTYPE html><html>", "text/html; charset=utf-8", ".html"),
        (b"<script>alert(1)</script>", "text/html; charset=utf-8", ".html"),
        (b'{"a": [1, 2]}', "application/json", ".json"),
        (b"{not json", "text/plain; charset=utf-8", ".txt"),
        (b"\xff\xfeh\x00i\x00", "text/plain; charset=utf-16le", ".txt"),
        (b"\x1f\x8b\x08\x00", "application/gzip", ".gz"),
        (archive(a=b"1"), "application/zip", ".zip"),
        (
            archive(**{"[Content_Types].xml": b"", "word__document.xml": b""}),
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            ".docx",
        ),
        (b"PK\x03\x04 broken", "application/zip", ".zip"),
        (b"\x00\x01\x02\x03\x04", "application/octet-stream", ""),
    ],
)
def test_the_content_decides(content: bytes, name: str, extension: str) -> None:
    file = io.BytesIO(content)
    assert detect(file) == (name, extension)
    assert file.tell() == 0


@pytest.mark.parametrize(
    ("listed", "name", "answer"),
    [
        (["image/png"], "image/png", True),
        (["image/jpg"], "image/jpeg", True),
        (["IMAGE/PNG "], "image/png", True),
        (["text/plain"], "text/plain; charset=utf-8", True),
        (["text/plain; charset=utf-8"], "text/plain", True),
        (["audio/mp3"], "audio/mpeg", True),
        (["image/png", "image/gif"], "image/svg+xml", False),
        (["image/*"], "image/png", False),
        (["text/html"], "text/plain; charset=utf-8", False),
    ],
)
def test_aliases_and_parameters_make_no_difference(listed: list[str], name: str, answer: bool) -> None:
    assert accepts(listed, name) is answer
