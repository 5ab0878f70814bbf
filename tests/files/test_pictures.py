"""Scaling pictures: sizes, modes, colours, and what is refused."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image

from groundplane.files.pictures import BadPicture, scaled

LIMIT = 10_000_000
RED, GREEN, BLUE = (250, 0, 0), (0, 250, 0), (0, 0, 250)


def picture(width: int, height: int, kind: str = "PNG", mode: str = "RGB", **options: object) -> bytes:
    out = io.BytesIO()
    Image.effect_noise((width, height), 40).convert(mode).save(out, kind, **options)
    return out.getvalue()


def stripes(kind: str = "PNG", *, exif: Image.Exif | None = None) -> bytes:
    """90x30: the left third red, the middle green, the right blue."""
    found = Image.new("RGB", (90, 30), GREEN)
    found.paste(RED, (0, 0, 30, 30))
    found.paste(BLUE, (60, 0, 90, 30))
    out = io.BytesIO()
    found.save(out, kind, **({"exif": exif} if exif else {}), **({"quality": 95} if kind == "JPEG" else {}))
    return out.getvalue()


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def is_near(content: bytes, place: tuple[int, int], wanted: tuple[int, int, int]) -> bool:
    found = opened(content).convert("RGB").getpixel(place)
    return all(abs(one - other) < 30 for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize(
    ("size", "result"),
    [
        ("100x100", (100, 100)),
        ("70x50", (70, 50)),
        ("70x50t", (70, 50)),
        ("70x50b", (70, 50)),
        ("70x50f", (70, 46)),
        ("50x70f", (50, 33)),
        ("400x400f", (300, 200)),
        ("70x0", (70, 47)),
        ("0x50", (75, 50)),
        ("70x0f", (70, 47)),
        ("600x0", (600, 400)),
        ("600x600", (600, 600)),
        ("1x1", (1, 1)),
    ],
)
def test_a_thumb_has_the_size_of_the_contract(size: str, result: tuple[int, int]) -> None:
    assert opened(scaled(picture(300, 200), size, LIMIT)[0]).size == result


@pytest.mark.parametrize(
    ("kind", "result", "content_type"),
    [
        ("JPEG", "JPEG", "image/jpeg"),
        ("PNG", "PNG", "image/png"),
        ("GIF", "GIF", "image/gif"),
        ("WEBP", "PNG", "image/png"),
        ("AVIF", "PNG", "image/png"),
    ],
)
def test_jpeg_and_gif_keep_their_format_and_all_else_becomes_png(
    kind: str, result: str, content_type: str
) -> None:
    thumb, found = scaled(picture(64, 48, kind), "10x10", LIMIT)
    assert (opened(thumb).format, found) == (result, content_type)


def test_a_wide_picture_is_cut_in_the_middle() -> None:
    thumb, _ = scaled(stripes(), "30x30", LIMIT)
    for place in ((2, 2), (15, 15), (27, 27)):
        assert is_near(thumb, place, GREEN)


@pytest.mark.parametrize(("size", "wanted"), [("30x30t", RED), ("30x30", GREEN), ("30x30b", BLUE)])
def test_a_tall_picture_keeps_its_top_middle_or_bottom(size: str, wanted: tuple[int, int, int]) -> None:
    tall = io.BytesIO()
    opened(stripes()).transpose(Image.Transpose.ROTATE_270).save(tall, "PNG")
    thumb, _ = scaled(tall.getvalue(), size, LIMIT)
    assert is_near(thumb, (15, 15), wanted)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_is_turned_as_the_camera_says_and_says_nothing_else(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    exif[0x010F] = "the maker of the camera"
    thumb, _ = scaled(stripes(kind, exif=exif), "10x0", LIMIT)
    assert opened(thumb).size == (10, 30)
    assert is_near(thumb, (5, 3), RED)
    assert is_near(thumb, (5, 27), BLUE)
    assert dict(opened(thumb).getexif()) == {}
    assert b"maker" not in thumb


def test_a_large_jpeg_is_turned_and_cut_as_a_small_one() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    opened(stripes()).resize((3600, 1200)).save(out, "JPEG", exif=exif)
    thumb, _ = scaled(out.getvalue(), "20x20t", LIMIT)
    assert opened(thumb).size == (20, 20)
    assert is_near(thumb, (10, 10), RED)


def test_only_the_first_picture_of_an_animation_is_shown() -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in (RED, BLUE)]
    for kind in ("GIF", "WEBP", "PNG"):
        out = io.BytesIO()
        frames[0].save(out, kind, save_all=True, append_images=frames[1:], duration=100)
        thumb, _ = scaled(out.getvalue(), "10x10", LIMIT)
        assert is_near(thumb, (5, 5), RED)
        assert getattr(opened(thumb), "n_frames", 1) == 1


def test_transparency_stays() -> None:
    clear = Image.new("RGBA", (40, 40), (0, 250, 0, 0))
    clear.paste((250, 0, 0, 255), (0, 0, 20, 40))
    for kind in ("PNG", "WEBP", "GIF"):
        out = io.BytesIO()
        clear.save(out, kind)
        thumb = opened(scaled(out.getvalue(), "20x20", LIMIT)[0]).convert("RGBA")
        assert thumb.getpixel((18, 10))[3] == 0
        assert thumb.getpixel((2, 10))[3] == 255


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("JPEG", "CMYK"),
        ("JPEG", "L"),
        ("PNG", "1"),
        ("PNG", "P"),
        ("PNG", "LA"),
        ("PNG", "I;16"),
        ("GIF", "L"),
    ],
)
def test_every_kind_of_colour_is_read(kind: str, mode: str) -> None:
    out = io.BytesIO()
    grey = Image.new("L", (30, 30), 128)
    found = (
        grey.convert("I").point(lambda value: value * 257).convert("I;16")
        if mode == "I;16"
        else grey.convert(mode)
    )
    found.save(out, kind)
    thumb = opened(scaled(out.getvalue(), "10x10", LIMIT)[0]).convert("L")
    assert mode == "1" or 118 <= thumb.getpixel((5, 5)) <= 138


def png_of(width: int, height: int) -> bytes:
    """A PNG that only says how large it is: a few bytes that would unpack to gigabytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    lines = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no picture at all",
        b"GIF89a",
        picture(64, 64)[:200],
        picture(64, 64, "JPEG")[:300],
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n",
        b"<svg xmlns='http://www.w3.org/2000/svg' width='10' height='10'/>",
        png_of(50_000, 50_000),
        png_of(1, 2_000_000_000),
        png_of(0, 5),
    ],
    ids=lambda content: repr(content[:16]),
)
def test_a_damaged_too_large_or_foreign_picture_is_refused(content: bytes) -> None:
    with pytest.raises(BadPicture):
        scaled(content, "100x100", LIMIT)


def test_a_picture_that_is_too_large_is_refused_before_it_is_unpacked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image.core, "new", lambda *_: pytest.fail("memory was taken for it"))
    for content in (png_of(50_000, 50_000), png_of(1, 2_000_000_000)):
        with pytest.raises(BadPicture, match="pixels"):
            scaled(content, "100x100", LIMIT)


def test_a_jpeg_that_can_be_decoded_smaller_than_it_is_may_be_larger_than_the_limit() -> None:
    assert opened(scaled(picture(800, 600, "JPEG"), "50x50", 100_000)[0]).size == (50, 50)
    with pytest.raises(BadPicture, match="pixels"):
        scaled(picture(800, 600, "JPEG", progressive=True), "50x50", 100_000)


def test_formats_that_we_do_not_read_are_refused() -> None:
    for kind in ("TIFF", "BMP", "ICO", "PPM"):
        with pytest.raises(BadPicture):
            scaled(picture(64, 64, kind), "10x10", LIMIT)


@pytest.mark.parametrize(
    "size", ["100000x100000", "0x100000", "", "x", "10", "-1x5", "0x0", "10x10z", "1x1 "]
)
def test_a_size_that_is_none_or_too_large_is_refused(size: str) -> None:
    with pytest.raises(BadPicture):
        scaled(picture(64, 64), size, LIMIT)


def test_a_very_flat_picture_keeps_at_least_one_line() -> None:
    assert opened(scaled(picture(1000, 2), "10x10f", LIMIT)[0]).size == (10, 1)
    assert opened(scaled(picture(1000, 2), "10x0", LIMIT)[0]).size == (10, 1)
