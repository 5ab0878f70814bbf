"""Scales a picture to the size of a thumb (contract, files §6); imported only by the process that does it."""

from __future__ import annotations

import io
import math
import re
from typing import NamedTuple

from PIL import Image, ImageOps

SIZE = re.compile(r"(\d{1,9})x(\d{1,9})(t|b|f)?")
# What we decode; Pillow knows many formats more, and each is a parser of bytes from strangers.
FORMATS = ("AVIF", "GIF", "JPEG", "PNG", "WEBP")
# Everything else becomes a PNG, as in PocketBase.
KEPT_FORMATS = {"JPEG": "image/jpeg", "GIF": "image/gif"}
QUALITY = 90  # of JPEG
MAX_PROFILE_BYTES = 4096  # a colour profile that is larger than this would outweigh the thumb
SIDEWAYS = frozenset({5, 6, 7, 8})  # orientations that exchange width and height
ORIENTATION = 0x0112  # the EXIF tag

Pair = tuple[int, int]


class BadPicture(Exception):
    """The picture is not made: it is damaged, too large, or of a format that we do not read."""


class Scaling(NamedTuple):
    """Which part (left, upper, right, lower) of the upright original becomes which size."""

    box: tuple[float, float, float, float]
    size: Pair


def scaled(content: bytes, size: str, max_pixels: int) -> tuple[bytes, str]:
    """Return the thumb and its media type; raises BadPicture.

    `size` is `WxH` with an optional `t`, `b` or `f`. `max_pixels` limits what is decoded and what is made.
    """
    Image.MAX_IMAGE_PIXELS = None  # our own limit, with our own exception
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
            return make(opened, size, max_pixels)
    except BadPicture:
        raise
    # Damaged files end in almost any exception (SyntaxError among them), and all mean the same.
    except Exception as error:
        raise BadPicture(f"{type(error).__name__}: {error}") from error


def practise() -> None:
    """Make a small thumb of every format, so that all that Pillow loads late is loaded."""
    small = Image.new("RGBA", (8, 8))
    for kind in FORMATS:
        out = io.BytesIO()
        small.convert("RGB" if kind == "JPEG" else "RGBA").save(out, kind)
        scaled(out.getvalue(), "4x4", 64)


def make(opened: Image.Image, size: str, max_pixels: int) -> tuple[bytes, str]:
    kind = opened.format or ""
    if kind != "JPEG" or opened.info.get("progressive"):
        # Before anything else is asked of it: to find the orientation, a PNG is decoded as a whole. Other
        # JPEGs can be decoded smaller than they are; of a progressive one, all is in memory even then.
        check_pixels(opened, max_pixels)
    orientation = opened.getexif().get(ORIENTATION, 1)
    width, height = opened.size
    if orientation in SIDEWAYS:
        width, height = height, width
    scaling = scaling_of((width, height), size)
    if scaling.size[0] * scaling.size[1] > max_pixels:
        raise BadPicture("the thumb would be too large")
    shrink_while_decoding(opened, scaling, orientation)
    check_pixels(opened, max_pixels)
    opened.seek(0)
    picture = with_plain_colours(opened)
    if orientation != 1:
        picture = ImageOps.exif_transpose(picture)
    # A smaller version may have been decoded, and its size is rounded.
    part = (picture.size[0] / width, picture.size[1] / height)
    left, upper, right, lower = scaling.box
    box = (left * part[0], upper * part[1], right * part[0], lower * part[1])
    picture = picture.resize(scaling.size, Image.Resampling.BILINEAR, box=box, reducing_gap=3.0)
    return written(picture, kind)


def check_pixels(opened: Image.Image, max_pixels: int) -> None:
    if opened.size[0] * opened.size[1] > max_pixels:
        raise BadPicture(f"it has more than {max_pixels} pixels")


def scaling_of(original: Pair, size: str) -> Scaling:
    """What a thumb of this size shows of a picture; raises BadPicture for a size that is none."""
    match = SIZE.fullmatch(size)
    if match is None:
        raise BadPicture("the size is not readable")
    width, height, mode = int(match[1]), int(match[2]), match[3]
    (original_width, original_height), whole = original, (0.0, 0.0, float(original[0]), float(original[1]))
    if original_width < 1 or original_height < 1 or (width == 0 and height == 0):
        raise BadPicture("nothing is left of it")
    if width == 0:
        return Scaling(whole, (max(1, math.floor(original_width * height / original_height + 0.5)), height))
    if height == 0:
        return Scaling(whole, (width, max(1, math.floor(original_height * width / original_width + 0.5))))
    if mode == "f":
        return Scaling(whole, fitted(original, (width, height)))
    # Cover the size and cut off what is too much.
    scale = max(width / original_width, height / original_height)
    part_width = min(width / scale, float(original_width))
    part_height = min(height / scale, float(original_height))
    left = (original_width - part_width) / 2
    upper = {"t": 0.0, "b": original_height - part_height}.get(
        mode or "", (original_height - part_height) / 2
    )
    return Scaling((left, upper, left + part_width, upper + part_height), (width, height))


def fitted(original: Pair, limits: Pair) -> Pair:
    """The size inside the limits, never larger than the original; the computed side is cut, not rounded."""
    (width, height), (max_width, max_height) = original, limits
    if width <= max_width and height <= max_height:
        return original
    if width * max_height > max_width * height:
        return (max_width, max(1, height * max_width // width))
    return (max(1, width * max_height // height), max_height)


def shrink_while_decoding(opened: Image.Image, scaling: Scaling, orientation: int) -> None:
    """Have a JPEG decoded at a half, a quarter or an eighth where that is still large enough."""
    left, upper, right, lower = scaling.box
    factor = max(scaling.size[0] / (right - left), scaling.size[1] / (lower - upper))
    # Twice as large as needed: resizing smooths better than the decoder.
    wanted = tuple(max(1, math.ceil(side * factor * 2)) for side in opened.size)
    if all(want < side for want, side in zip(wanted, opened.size, strict=True)):
        opened.draft(None, (wanted[0], wanted[1]))


def with_plain_colours(picture: Image.Image) -> Image.Image:
    """Decode into grey, colour, or colour with transparency, of eight bits each."""
    mode = picture.mode
    if mode in ("L", "RGB", "RGBA"):
        picture.load()
        return picture
    if mode.startswith("I"):
        # 16 bits of grey, which `convert` would cut off at white instead of scaling.
        return picture.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    if mode in ("LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        return picture.convert("RGBA")
    return picture.convert("L" if mode == "1" else "RGB")


def written(picture: Image.Image, kind: str) -> tuple[bytes, str]:
    """Encode it, without the original's metadata (where it was taken, above all) but with its colours."""
    profile = picture.info.get("icc_profile")
    picture.info = {}
    keeps = (
        picture.mode in ("RGB", "RGBA") and isinstance(profile, bytes) and len(profile) <= MAX_PROFILE_BYTES
    )
    options = {"icc_profile": profile} if keeps else {}
    out = io.BytesIO()
    if kind == "JPEG":
        picture.convert(picture.mode if picture.mode == "L" else "RGB").save(
            out, "JPEG", quality=QUALITY, optimize=True, **options
        )
    elif kind == "GIF":
        picture.save(out, "GIF")
    else:
        picture.save(out, "PNG", **options)
    return out.getvalue(), KEPT_FORMATS.get(kind, "image/png")
