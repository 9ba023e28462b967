"""Decoding of image files, with EXIF orientation. Every damaged or unsupported file raises an ImageError."""

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

# The only readers of Pillow that are used. Some of the others decode an image while they open it, or take seconds to
# reject a file.
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
# Unsupported format → regular expression for the first bytes of its files, for the error message.
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
_SCANS = 500  # limit of scans in a JPEG; each is a pass over all pixels, and encoders write about ten
_FRAMES = 1 << 16  # limit of frames that are counted in a TIFF
_TILE = (0x0142, 0x0143)  # TIFF tags: width and length of a tile
_ORIENTATION = 0x0112  # EXIF and TIFF tag
_UPRIGHT = {  # EXIF orientation → the operation that undoes it
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
    """Disable Pillow's global pixel limit, which warns at 89 and raises at 179 megapixels; restore it afterwards."""
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
    """Open an image as a context manager: read its header, but not its pixels.

    Pillow's global pixel limit is disabled inside the context; the limits of this module apply instead.

    Args:
        data: Content of the file.

    Yields:
        The opened image.

    Raises:
        ImageError: The file is empty, not an image, of an unsupported format, or above 200 megapixels, or decoding it
            takes much more memory or time than its number of pixels requires.
    """
    if not data:
        raise ImageError("The file is empty; copy or export it again.")
    with _limit_lifted():
        try:
            picture: Image.Image = Image.open(BytesIO(data), formats=_FORMATS)
        except MemoryError:
            raise
        except Exception as error:  # for damaged headers, Pillow's readers raise exceptions of almost any type
            kind = next((name for name, start in _FOREIGN.items() if re.match(start, data, re.DOTALL)), None)
            if kind is not None:
                raise ImageError(
                    f"{kind} images are not supported; convert the file to PNG, JPEG, BMP, TIFF or WebP."
                ) from error
            raise ImageError(
                "The file is not an image of a known format, or its header is truncated; "
                "export it again as PNG, JPEG, BMP, TIFF or WebP."
            ) from error
        with picture:
            _require_bounded(picture, data)
            yield picture


def _require_bounded(picture: Image.Image, data: bytes) -> None:
    """Raise ImageError if decoding would take much more memory or time than the number of pixels requires."""
    most = _MEGAPIXELS * 1_000_000
    width, height = picture.size
    if width * height > most:
        raise ImageError(
            f"The image has {width} x {height} pixels, above the limit of {_MEGAPIXELS} megapixels; "
            "scale it down or cut it into tiles."
        )
    if picture.format == "TIFF":
        tile = [tiff_tag(picture, tag) for tag in _TILE]  # a tile can be larger than its image
        if all(isinstance(side, int) for side in tile) and tile[0] * tile[1] > most:
            raise ImageError(
                f"The image is stored in tiles of {tile[0]} x {tile[1]} pixels, above the limit of {_MEGAPIXELS} "
                "megapixels; save it without tiles."
            )
    if picture.format in ("JPEG", "MPO") and (scans := data.count(b"\xff\xda")) > _SCANS:
        raise ImageError(f"The JPEG has {scans} scans, above the limit of {_SCANS}; save it as a baseline JPEG.")


@contextmanager
def damage_named() -> Iterator[None]:
    """Convert any exception of Pillow, except MemoryError, into an ImageError about a damaged file.

    Raises:
        ImageError: The code inside the context raised an exception.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # as in `opened`
        reason = str(error) or type(error).__name__
        raise ImageError(
            f"The image is damaged or truncated and cannot be decoded ({reason}); copy or export it again."
        ) from error


def stored_bits(picture: Image.Image, data: bytes) -> int:
    """Return the number of bits per channel that the file stores.

    Pillow does not report this number for 16-bit color: it reads only the high bytes and reports the mode RGB.

    Args:
        picture: The opened image.
        data: Content of its file.

    Returns:
        Bits per channel; the largest number if the channels differ.
    """
    if picture.format == "PNG" and data[12:16] == b"IHDR":
        return data[24]
    if picture.format == "TIFF":
        return max(tiff_tag(picture, 0x0102) or (8,))
    return 8


def tiff_tag(picture: Image.Image, tag: int) -> Array:
    """Return the value of a tag of a TIFF file.

    Args:
        picture: The opened TIFF image.
        tag: Number of the tag.

    Returns:
        One number or a tuple of numbers; None if the tag is missing.
    """
    return picture.tag_v2.get(tag)  # type: ignore[attr-defined]


def frame_count(picture: Image.Image, data: bytes) -> int:
    """Return the number of images in the file, at least 1; in a TIFF, counting stops at 65,536.

    Args:
        picture: The opened image.
        data: Content of its file.
    """
    if picture.format != "TIFF":
        return int(getattr(picture, "n_frames", 1))
    # Pillow reads each directory completely, and its time grows with the square of their number. This loop reads only
    # the links between the directories.
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
    except (struct.error, OverflowError):  # the link points outside of the file
        pass
    return max(1, len(seen))


def decode(picture: Image.Image) -> Image.Image:
    """Decode the pixels of an image and return the image.

    Args:
        picture: The opened image.

    Raises:
        ImageError: The pixels are damaged or truncated.
    """
    with damage_named():
        picture.load()
    return picture


def orientation(picture: Image.Image) -> int:
    """Return the EXIF orientation of an image: how its stored pixels are rotated or mirrored.

    Args:
        picture: The opened image.

    Returns:
        The value of the EXIF tag, 1 to 8 in a valid file; 1 (not changed) if the tag is missing or cannot be read.
    """
    try:
        # The method of the base class is called because that of the PNG reader decodes the pixels first.
        return int(Image.Image.getexif(picture).get(_ORIENTATION, 1))
    except Exception:  # a damaged EXIF block does not make the pixels unreadable; image viewers ignore it as well
        return 1


def upright(picture: Image.Image) -> Image.Image:
    """Return an image with its EXIF orientation applied. (In a TIFF, Pillow applies it when it decodes the pixels.)

    Args:
        picture: The decoded image.
    """
    turn = _UPRIGHT.get(orientation(picture))
    return picture if turn is None else picture.transpose(turn)
