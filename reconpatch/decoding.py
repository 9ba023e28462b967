"""From a file's bytes to a decoded picture, upright; a broken or foreign one becomes one sentence."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

from PIL import Image

from reconpatch.arrays import Array

_FORMATS = ("PNG", "JPEG", "MPO", "BMP", "TIFF", "WEBP")  # MPO is Pillow's name for a JPEG of several frames
_MEGAPIXELS = 200
_ORIENTATION = 0x0112  # tag of EXIF and of TIFF
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageError(ValueError):
    """A file that cannot be read: one sentence, what is wrong and how to mend it. The path is the caller's to add."""


_reading = threading.Lock()
_readers = 0
_pillow_limit: int | None = None


@contextmanager
def _limit_lifted() -> Iterator[None]:
    """Pillow's limit on pixels, a global that warns at 89 and raises at 179 megapixels, is off while we read."""
    global _readers, _pillow_limit
    with _reading:
        if _readers == 0:
            _pillow_limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        _readers += 1
    try:
        yield
    finally:
        with _reading:
            _readers -= 1
            if _readers == 0:
                Image.MAX_IMAGE_PIXELS = _pillow_limit


@contextmanager
def opened(data: bytes) -> Iterator[Image.Image]:
    """The picture, header read, of a format, size and number of frames that are read."""
    if not data:
        raise ImageError("The file is empty; copy or export it again.")
    with _limit_lifted():
        try:
            picture: Image.Image = Image.open(BytesIO(data))
        except MemoryError:
            raise
        except Exception as error:  # Pillow's readers raise nearly everything on a broken header
            raise ImageError(
                "The file is not a picture that can be recognised, or it is cut off within its header; "
                "export it again as PNG, JPEG, BMP, TIFF or WebP."
            ) from error
        with picture:
            if picture.format not in _FORMATS:
                raise ImageError(f"{picture.format} pictures are not read; save it as PNG, JPEG, BMP, TIFF or WebP.")
            width, height = picture.size
            if width * height > _MEGAPIXELS * 1_000_000:
                raise ImageError(
                    f"The picture has {width} x {height} pixels, above the limit of {_MEGAPIXELS} megapixels; "
                    "scale it down or cut it into tiles."
                )
            yield picture


@contextmanager
def damage_named() -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # as in `opened`
        reason = str(error) or type(error).__name__
        raise ImageError(
            f"The picture is damaged or cut off and cannot be decoded ({reason}); copy or export it again."
        ) from error


def stored_bits(picture: Image.Image, data: bytes) -> int:
    """Bits a channel as stored: of 16-bit colour Pillow reads the high byte and calls the result RGB."""
    if picture.format == "PNG" and data[12:16] == b"IHDR":
        return data[24]
    if picture.format == "TIFF":
        return max(tiff_tag(picture, 0x0102) or (8,))
    return 8


def tiff_tag(picture: Image.Image, tag: int) -> Array:
    return picture.tag_v2.get(tag)  # type: ignore[attr-defined]


def decode(picture: Image.Image) -> Image.Image:
    with damage_named():
        picture.load()
    return picture


def orientation(picture: Image.Image) -> int:
    try:
        # Not the PNG reader's own getexif: it decodes the pixels first.
        return int(Image.Image.getexif(picture).get(_ORIENTATION, 1))
    except Exception:  # a broken EXIF block is no reason to refuse the pixels: every viewer shows them as they are
        return 1


def upright(picture: Image.Image) -> Image.Image:
    """The decoded picture as shown. (Of a TIFF Pillow has done this in decoding, and taken the tag away.)"""
    turn = _UPRIGHT.get(orientation(picture))
    return picture if turn is None else picture.transpose(turn)
