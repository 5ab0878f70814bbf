"""The media type of a file by its content, never by what its name or its sender says."""

from __future__ import annotations

import json
import re
import zipfile
from typing import BinaryIO, NamedTuple

HEAD_BYTES = 3072  # as much of the beginning as the signatures below need
UNKNOWN = "application/octet-stream"


class MediaType(NamedTuple):
    """`name` may have a charset parameter; `extension` has its dot and is "" when there is no usual one."""

    name: str
    extension: str


# (offset, bytes, type, extension); the first that fits wins, so longer ones stand before what they contain.
SIGNATURES: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png", ".png"),
    (0, b"\xff\xd8\xff", "image/jpeg", ".jpg"),
    (0, b"GIF87a", "image/gif", ".gif"),
    (0, b"GIF89a", "image/gif", ".gif"),
    (0, b"BM", "image/bmp", ".bmp"),
    (0, b"\x00\x00\x01\x00", "image/x-icon", ".ico"),
    (0, b"II*\x00", "image/tiff", ".tiff"),
    (0, b"MM\x00*", "image/tiff", ".tiff"),
    (0, b"8BPS", "image/vnd.adobe.photoshop", ".psd"),
    (0, b"\xff\x0a", "image/jxl", ".jxl"),
    (0, b"\x00\x00\x00\x0cJXL \r\n\x87\n", "image/jxl", ".jxl"),
    (0, b"%PDF-", "application/pdf", ".pdf"),
    (0, b"%!PS-Adobe-", "application/postscript", ".ps"),
    (0, b"\x1f\x8b\x08", "application/gzip", ".gz"),
    (0, b"BZh", "application/x-bzip2", ".bz2"),
    (0, b"\xfd7zXZ\x00", "application/x-xz", ".xz"),
    (0, b"\x28\xb5\x2f\xfd", "application/zstd", ".zst"),
    (0, b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed", ".7z"),
    (0, b"Rar!\x1a\x07", "application/x-rar-compressed", ".rar"),
    (257, b"ustar", "application/x-tar", ".tar"),
    (0, b"fLaC", "audio/flac", ".flac"),
    (0, b"MThd", "audio/midi", ".midi"),
    (0, b"ID3", "audio/mpeg", ".mp3"),
    (0, b"\xff\xfb", "audio/mpeg", ".mp3"),
    (0, b"\xff\xf3", "audio/mpeg", ".mp3"),
    (0, b"\xff\xf2", "audio/mpeg", ".mp3"),
    (0, b"\xff\xf1", "audio/aac", ".aac"),
    (0, b"\xff\xf9", "audio/aac", ".aac"),
    (0, b".snd", "audio/basic", ".au"),
    (0, b"#!AMR", "audio/amr", ".amr"),
    (0, b"FLV\x01", "video/x-flv", ".flv"),
    (0, b"\x00\x00\x01\xba", "video/mpeg", ".mpeg"),
    (0, b"\x00\x00\x01\xb3", "video/mpeg", ".mpeg"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video/x-ms-asf", ".asf"),
    (0, b"\x7fELF", "application/x-elf", ""),
    (0, b"MZ", "application/vnd.microsoft.portable-executable", ".exe"),
    (0, b"\x00asm", "application/wasm", ".wasm"),
    (0, b"\xca\xfe\xba\xbe", "application/x-java-applet", ".class"),
    (0, b"SQLite format 3\x00", "application/vnd.sqlite3", ".sqlite"),
    (0, b"wOFF", "font/woff", ".woff"),
    (0, b"wOF2", "font/woff2", ".woff2"),
    (0, b"OTTO\x00", "font/otf", ".otf"),
    (0, b"\x00\x01\x00\x00\x00", "font/ttf", ".ttf"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage", ""),
    (0, b"PAR1", "application/vnd.apache.parquet", ".parquet"),
    (0, b"{\\rtf", "text/rtf", ".rtf"),
)

# Types of the ISO base media family by their brand.
BRANDS: dict[bytes, tuple[str, str]] = {
    b"avif": ("image/avif", ".avif"),
    b"avis": ("image/avif", ".avif"),
    b"heic": ("image/heic", ".heic"),
    b"heix": ("image/heic", ".heic"),
    b"mif1": ("image/heif", ".heif"),
    b"heim": ("image/heif", ".heif"),
    b"M4A ": ("audio/x-m4a", ".m4a"),
    b"M4B ": ("audio/x-m4a", ".m4a"),
    b"M4V ": ("video/x-m4v", ".m4v"),
    b"qt  ": ("video/quicktime", ".mov"),
}
OFFICE = {
    "word/": ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", ".docx"),
    "xl/": ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", ".xlsx"),
    "ppt/": ("application/vnd.openxmlformats-officedocument.presentationml.presentation", ".pptx"),
}
MAX_ZIP_NAMES = 2000

# Other names of a type, as sets; two types in one set are the same when a field lists what it accepts.
SAME = (
    {"image/jpeg", "image/jpg"},
    {"image/bmp", "image/x-bmp", "image/x-ms-bmp"},
    {"image/x-icon", "image/vnd.microsoft.icon"},
    {"image/vnd.adobe.photoshop", "image/x-psd", "application/photoshop"},
    {"application/pdf", "application/x-pdf"},
    {"application/zip", "application/x-zip", "application/x-zip-compressed"},
    {"application/gzip", "application/x-gzip", "application/x-gunzip", "application/gzipped"},
    {"application/x-rar-compressed", "application/x-rar"},
    {"application/json", "text/json"},
    {"text/xml", "application/xml"},
    {"text/javascript", "application/javascript", "application/x-javascript"},
    {"text/rtf", "application/rtf"},
    {"audio/mpeg", "audio/x-mpeg", "audio/mp3"},
    {"audio/wav", "audio/x-wav", "audio/vnd.wave", "audio/wave"},
    {"audio/flac", "audio/x-flac"},
    {"audio/midi", "audio/mid", "audio/sp-midi", "audio/x-mid", "audio/x-midi"},
    {"audio/ogg", "application/ogg", "application/x-ogg"},
    {"audio/aiff", "audio/x-aiff"},
    {"audio/mp4", "audio/x-mp4a", "audio/x-m4a"},
    {"video/x-msvideo", "video/avi", "video/msvideo"},
    {"video/webm", "audio/webm"},
    {"application/vnd.sqlite3", "application/x-sqlite3"},
    {"application/vnd.microsoft.portable-executable", "application/x-msdownload"},
)

TEXT_MARKS: tuple[tuple[re.Pattern[bytes], str, str], ...] = (
    (re.compile(rb"<!doctype html|<(html|head|body|script|iframe|h1|div|font|table|a|style|title|b|br|p)[\s>]", re.IGNORECASE),
     "text/html; charset=utf-8", ".html"),
    (re.compile(rb"#!.*\b(python[0-9.]*)\b"), "text/x-python", ".py"),
    (re.compile(rb"#!.*\bperl\b"), "text/x-perl", ".pl"),
    (re.compile(rb"#!.*\b(node|nodejs)\b"), "text/javascript", ".js"),
    (re.compile(rb"#!.*\b(ba|da|z|k)?sh\b"), "text/x-shellscript", ".sh"),
    (re.compile(rb"<\?php"), "text/x-php", ".php"),
    (re.compile(rb"BEGIN:VCARD\r?\n"), "text/vcard", ".vcf"),
    (re.compile(rb"BEGIN:VCALENDAR\r?\n"), "text/calendar", ".ics"),
    (re.compile(rb"WEBVTT(\s|$)"), "text/vtt", ".vtt"),
)  # fmt: skip
# A byte that no text has: controls other than tab, line feed, form feed, return and escape.
BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
SVG = re.compile(rb"<svg[\s>]", re.IGNORECASE)
PLAIN = MediaType("text/plain; charset=utf-8", ".txt")


def detect(file: BinaryIO) -> MediaType:
    """Tell the type of a file from its content; leaves the file at its start."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    kind = detect_head(head)
    if kind.name == "application/zip":
        kind = inside_zip(file) or kind
    file.seek(0)
    return kind


def detect_head(head: bytes) -> MediaType:
    """Tell the type from the first bytes; an empty file is plain text."""
    for offset, mark, name, extension in SIGNATURES:
        # Marks of two or three letters begin ordinary texts as well; their formats have other bytes soon.
        if head.startswith(mark, offset) and (len(mark) > 3 or not mark.isascii() or BINARY.search(head)):
            return MediaType(name, extension)
    return container(head) or as_text(head) or by_database(head)


def container(head: bytes) -> MediaType | None:
    """Formats that say in a second place what they contain."""
    if head.startswith(b"RIFF"):
        match head[8:12]:
            case b"WEBP":
                return MediaType("image/webp", ".webp")
            case b"WAVE":
                return MediaType("audio/wav", ".wav")
            case b"AVI ":
                return MediaType("video/x-msvideo", ".avi")
    if head.startswith(b"FORM") and head[8:12] in (b"AIFF", b"AIFC"):
        return MediaType("audio/aiff", ".aiff")
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand.startswith(b"3g"):
            return MediaType("video/3gpp", ".3gp")
        return MediaType(*BRANDS.get(brand, ("video/mp4", ".mp4")))
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return (
            MediaType("video/webm", ".webm")
            if b"webm" in head[:64]
            else MediaType("video/x-matroska", ".mkv")
        )
    if head.startswith(b"OggS"):
        return MediaType("video/ogg", ".ogv") if b"theora" in head[:64] else MediaType("audio/ogg", ".oga")
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return MediaType("application/zip", ".zip")
    return None


def inside_zip(file: BinaryIO) -> MediaType | None:
    """Look at the names in an archive for the document formats that are zip files."""
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()[:MAX_ZIP_NAMES]
            if infos and infos[0].filename == "mimetype" and infos[0].file_size < 128:
                name = archive.read(infos[0]).decode("ascii", "replace").strip()
                if name == "application/epub+zip":
                    return MediaType(name, ".epub")
                if name.startswith("application/vnd.oasis.opendocument."):
                    return MediaType(name, "")
            names = [info.filename for info in infos]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError):
        return None
    if "[Content_Types].xml" in names:
        for folder, kind in OFFICE.items():
            if any(name.startswith(folder) for name in names):
                return MediaType(*kind)
    if "META-INF/MANIFEST.MF" in names:
        return MediaType("application/jar", ".jar")
    return None


def as_text(head: bytes) -> MediaType | None:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        order = "le" if head.startswith(b"\xff\xfe") else "be"
        return MediaType(f"text/plain; charset=utf-16{order}", ".txt")
    head = head.removeprefix(b"\xef\xbb\xbf")
    if BINARY.search(head):
        return None
    text = head.lstrip(b" \t\r\n\x0c")
    for pattern, name, extension in TEXT_MARKS:
        if pattern.match(text):
            return MediaType(name, extension)
    if text.startswith(b"<"):
        if SVG.search(text):
            return MediaType("image/svg+xml", ".svg")
        if text.startswith(b"<?xml"):
            return MediaType("text/xml; charset=utf-8", ".xml")
        if text.startswith(b"<!--"):
            return MediaType("text/html; charset=utf-8", ".html")
    if text[:1] in (b"{", b"[") and looks_like_json(text):
        return MediaType("application/json", ".json")
    return PLAIN


def looks_like_json(text: bytes) -> bool:
    """Whether a text is JSON; one that was cut off must at least begin like it."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        if len(text) < HEAD_BYTES - 64:
            return False
        return re.match(rb'\{\s*"(\\.|[^"\\])*"\s*:|\[\s*[\[{"\d-]', text) is not None
    return True


def by_database(head: bytes) -> MediaType:
    """Ask puremagic about what the rules above do not know."""
    import puremagic  # with its tables, a megabyte that few files need

    try:
        found = puremagic.magic_string(head)
    except (puremagic.PureError, ValueError, IndexError):
        return MediaType(UNKNOWN, "")
    for each in found:
        # Its short marks match by chance, and text was decided above.
        if each.mime_type and len(each.byte_match or b"") >= 4 and not each.mime_type.startswith("text/"):
            return MediaType(each.mime_type, each.extension)
    return MediaType(UNKNOWN, "")


def bare(name: str) -> str:
    """A type without its parameters, in lower case."""
    return name.partition(";")[0].strip().lower()


def accepts(listed: list[str], name: str) -> bool:
    """Whether a detected type is among those a field lists; parameters and aliases make no difference."""
    kind = bare(name)
    names = {kind}.union(*(group for group in SAME if kind in group))
    return any(bare(each) in names for each in listed)
