"""Decoding of image files, with EXIF orientation; a damaged or unknown file is an ImageError of one sentence."""

from __future__ import annotations

import re
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

from PIL import Image

from reconpatch.arrays import Array
from reconpatch.exceptions import ImageError

# The only readers of Pillow's in use: some others decode while opening, or take seconds to reject a file.
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
_FOREIGN = {
    "GIF": rb"GIF8",
    "PPM": rb"P[1-7]\s",
    "ICO": rb"\0\0[\1\2]\0",
    "EPS": rb"%!PS|\xc5\xd0\xd3\xc6",
    "PDF": rb"%PDF",
    "PSD": rb"8BPS",
    "JPEG 2000": rb"\0\0\0\x0cjP|\xff\x4f\xff\x51",
    "AVIF": rb"....ftypavi[fs]",
    "HEIF": rb"....ftyp(?:hei|hev|mif|msf)",
}
_MEGAPIXELS = 200
_SCANS = 500  # limit of a JPEG's scans, each a pass over all pixels; encoders write about ten
_FRAMES = 1 << 16  # frames of a TIFF that are counted at most
_TILE = (0x0142, 0x0143)  # TIFF tags of a tile's width and length
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


_reading = threading.Lock()
_readers = 0
_pillow_limit: int | None = None


@contextmanager
def _limit_lifted() -> Iterator[None]:
    """Turn off Pillow's global limit on pixels, which warns at 89 and raises at 179 megapixels."""
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
    """Open an image, reading its header and not its pixels; Pillow's own limit on pixels is off meanwhile.

    Args:
        data: content of the file.

    Raises:
        ImageError: the file is empty, not an image, of another format, above 200 megapixels, or stored in a way that
            takes far more memory or time than its pixels.
    """
    if not data:
        raise ImageError("The file is empty; copy or export it again.")
    with _limit_lifted():
        try:
            picture: Image.Image = Image.open(BytesIO(data), formats=_FORMATS)
        except MemoryError:
            raise
        except Exception as error:  # Pillow's readers raise nearly everything on a broken header
            kind = next((name for name, start in _FOREIGN.items() if re.match(start, data, re.DOTALL)), None)
            if kind is not None:
                raise ImageError(f"{kind} pictures are not read; save it as PNG, JPEG, BMP, TIFF or WebP.") from error
            raise ImageError(
                "The file is not a picture that can be recognized, or it is cut off within its header; "
                "export it again as PNG, JPEG, BMP, TIFF or WebP."
            ) from error
        with picture:
            _require_bounded(picture, data)
            yield picture


def _require_bounded(picture: Image.Image, data: bytes) -> None:
    """Raise an ImageError where decoding would take far more memory or time than the pixels justify."""
    most = _MEGAPIXELS * 1_000_000
    width, height = picture.size
    if width * height > most:
        raise ImageError(
            f"The picture has {width} x {height} pixels, above the limit of {_MEGAPIXELS} megapixels; "
            "scale it down or cut it into tiles."
        )
    if picture.format == "TIFF":
        tile = [tiff_tag(picture, tag) for tag in _TILE]  # of any size, whatever the picture's is
        if all(isinstance(side, int) for side in tile) and tile[0] * tile[1] > most:
            raise ImageError(
                f"The picture is stored in tiles of {tile[0]} x {tile[1]} pixels, above the limit of {_MEGAPIXELS} "
                "megapixels; save it without tiles."
            )
    if picture.format in ("JPEG", "MPO") and (scans := data.count(b"\xff\xda")) > _SCANS:
        raise ImageError(f"The JPEG has {scans} scans, above the limit of {_SCANS}; save it again, not progressive.")


@contextmanager
def damage_named() -> Iterator[None]:
    """Turn what Pillow raises, except for a MemoryError, into an ImageError that says the file is damaged."""
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
    """Return the stored bits per channel; of 16-bit color Pillow reads only the high byte and reports RGB.

    Args:
        picture: the opened image.
        data: content of its file.
    """
    if picture.format == "PNG" and data[12:16] == b"IHDR":
        return data[24]
    if picture.format == "TIFF":
        return max(tiff_tag(picture, 0x0102) or (8,))
    return 8


def tiff_tag(picture: Image.Image, tag: int) -> Array:
    """Return the value of a tag of a TIFF, one number or several; None where the tag is missing."""
    return picture.tag_v2.get(tag)  # type: ignore[attr-defined]


def frame_count(picture: Image.Image, data: bytes) -> int:
    """Return the number of images in the file; of a TIFF at most 65,536 are counted.

    Args:
        picture: the opened image.
        data: content of its file.
    """
    if picture.format != "TIFF":
        return int(getattr(picture, "n_frames", 1))
    # Pillow reads every directory completely, in a time quadratic in their number.
    order, big = "<" if data[:2] == b"II" else ">", 43 in data[2:4]
    link, number, entry = (f"{order}Q", f"{order}Q", 20) if big else (f"{order}I", f"{order}H", 12)
    position, seen = 8 if big else 4, set[int]()
    try:
        while len(seen) < _FRAMES:
            (start,) = struct.unpack_from(link, data, position)
            if start == 0 or start in seen:
                break
            (entries,) = struct.unpack_from(number, data, start)
            position = start + struct.calcsize(number) + entry * entries
            seen.add(start)
    except (struct.error, OverflowError):  # it leads out of the file
        pass
    return max(1, len(seen))


def decode(picture: Image.Image) -> Image.Image:
    """Decode an image's pixels and return the image.

    Args:
        picture: the opened image.

    Raises:
        ImageError: the pixels are damaged or cut off.
    """
    with damage_named():
        picture.load()
    return picture


def orientation(picture: Image.Image) -> int:
    """Return EXIF's number for how the stored pixels are rotated or mirrored, 1 to 8; 1 (not at all) without EXIF."""
    try:
        # Not the PNG reader's own getexif: it decodes the pixels first.
        return int(Image.Image.getexif(picture).get(_ORIENTATION, 1))
    except Exception:  # a broken EXIF block is no reason to refuse the pixels: every viewer shows them as they are
        return 1


def upright(picture: Image.Image) -> Image.Image:
    """Return the decoded image with its EXIF orientation applied. (Pillow has already done so for a TIFF.)"""
    turn = _UPRIGHT.get(orientation(picture))
    return picture if turn is None else picture.transpose(turn)
