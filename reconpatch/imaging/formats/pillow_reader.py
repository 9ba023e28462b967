"""Reader of the formats that Pillow decodes without a loss of bits: PNG, JPEG, BMP, WebP, GIF, TGA and JPEG 2000."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from reconpatch.arrays import Array
from reconpatch.exceptions import ImageError
from reconpatch.imaging.formats.headers import require_jpeg_end
from reconpatch.imaging.formats.samples import (
    FRAMES,
    Opacity,
    Rows,
    Samples,
    damage_named,
    require_few_scans,
    require_size,
    transparent_level,
)

_PLUGINS = {"BMP": "BMP", "WebP": "WEBP", "JPEG 2000": "JPEG2000"}  # where Pillow's name differs from the format's
_UNSUPPORTED = re.compile(r"unsupported|not supported|cannot handle|unknown|unrecognized", re.IGNORECASE)
_ORIENTATION = 0x0112  # EXIF tag
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
_pillow_warnings: warnings.catch_warnings[None] | None = None


@contextmanager
def _pillow_set() -> Iterator[None]:
    """Disable Pillow's pixel limit (`samples` has its own) and its warnings; restore both after the last reader.

    Pillow warns about large images and about damaged EXIF blocks, which image viewers ignore as well.
    """
    global _readers, _pillow_limit, _pillow_warnings
    with _reading:
        if _readers == 0:
            _pillow_limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            _pillow_warnings = warnings.catch_warnings()
            _pillow_warnings.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")
        _readers += 1
    try:
        yield
    finally:
        with _reading:
            _readers -= 1
            if _readers == 0 and _pillow_warnings is not None:
                Image.MAX_IMAGE_PIXELS = _pillow_limit
                _pillow_warnings.__exit__(None, None, None)


@contextmanager
def opened(data: bytes, name: str) -> Iterator[Image.Image]:
    """Open an image as a context manager: read its header, but not its pixels.

    Pillow's global pixel limit is disabled inside the context; the limits of this package apply instead.

    Args:
        data: Content of the file.
        name: Its format, as `format_of` returns it.

    Yields:
        The opened image.

    Raises:
        ImageError: The header is damaged, or the image is too large or of a variant that is not supported.
    """
    with _pillow_set():
        plugin = _PLUGINS.get(name, name)
        if plugin not in Image.OPEN:
            Image.preinit()
        if plugin not in Image.OPEN:
            Image.init()
        try:
            picture = Image.OPEN[plugin][0](BytesIO(data), "")  # `Image.open` hides the reason of a failure
        except (ImageError, MemoryError):
            raise
        except Exception as error:  # for damaged headers, Pillow's readers raise exceptions of almost any type
            reason = " ".join(str(error).split()) or type(error).__name__
            if _UNSUPPORTED.search(reason):
                raise ImageError(
                    f"The {name} file is of a variant that is not supported ({reason}); save it as 8- or 16-bit PNG."
                ) from error
            raise ImageError(
                f"The {name} file is damaged, or its header is truncated ({reason}); copy or export it again."
            ) from error
        with picture:
            require_size(*picture.size)
            if name == "JPEG":
                require_few_scans(data)
            yield picture


def read_with_pillow(data: bytes, name: str, lossy: bool = False) -> Samples:
    """Read a file of at most 8 bits per channel, or a gray PNG of 16 bits.

    Args:
        data: Content of the file.
        name: Its format, as `format_of` returns it.
        lossy: Whether the compression can change values.

    Raises:
        ImageError: The file is damaged, too large, or of a variant that is not supported.
    """
    with opened(data, name) as picture:
        with damage_named():
            if name == "JPEG":  # Pillow fills up what is missing if zeros or other bytes follow a truncated image
                require_jpeg_end(data)
            frames = _gif_frames(data) if name == "GIF" else min(int(getattr(picture, "n_frames", 1)), FRAMES)
            picture.load()
        with damage_named():
            channels = len(picture.getbands())
            if name == "TGA" and data[16] == 32 and data[2] in (2, 10) and not data[17] & 15:
                picture = picture.convert("RGB")  # the header states that the fourth channel is not opacity
            bits = data[24] if name == "PNG" else 1 if picture.mode == "1" else 8
            return _samples(upright(picture), bits, channels=channels, frames=frames, lossy=lossy)


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
    """Return an image with its EXIF orientation applied.

    Args:
        picture: The decoded image.
    """
    turn = _UPRIGHT.get(orientation(picture))
    return picture if turn is None else picture.transpose(turn)


def _samples(picture: Image.Image, bits: int, **fields: Any) -> Samples:
    """Return the samples of a decoded image that needs no further rotation.

    Args:
        picture: The image.
        bits: Bits per channel that the file stores.
        **fields: Further fields of the samples.
    """
    if picture.mode == "LAB":
        raise ImageError("The image has the unsupported mode LAB; convert it to RGB.")
    mode, key = picture.mode, picture.info.get("transparency")
    if mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    elif mode == "1":
        picture = picture.convert("L")
    palette, entries = _palette(picture) if mode == "P" else (None, None)
    width, height = picture.size
    if entries is not None:
        rows, ignored = _palette_rows(picture, entries)
    elif picture.mode in ("LA", "RGBA"):
        rows, ignored = _alpha_rows(picture)
    else:
        # Pillow scales fewer than 8 bits to 8.
        rows, ignored = _plain_rows(picture, 255 // (2**bits - 1) if picture.mode == "L" else 1), False
        if isinstance(key, int | tuple) and mode != "P":
            rows, ignored = transparent_level(rows, key, height)
    return Samples(
        height=height,
        width=width,
        kind="palette" if palette is not None else "gray" if picture.mode in ("L", "LA", "I;16") else "color",
        mode="L" if mode == "I;16" else mode,
        bits=bits,
        full=2**bits - 1,
        rows=rows,
        palette=palette,
        alpha_ignored=ignored,
        **fields,
    )


def _plain_rows(picture: Image.Image, factor: int = 1) -> Rows:
    """Return a function that reads rows of all channels, divided by a factor."""

    def rows(part: slice) -> tuple[Array, None]:
        stored = np.asarray(picture.crop((0, part.start, picture.width, part.stop)))
        if factor > 1:
            stored = stored // np.uint8(factor)
        return stored.reshape(part.stop - part.start, picture.width, -1), None

    return rows


def _alpha_rows(picture: Image.Image) -> tuple[Rows, bool]:
    """Return rows of an image whose last channel is opacity, and whether it is 0 everywhere and left out."""
    plain, ignored = _plain_rows(picture), picture.getextrema()[-1][1] == 0  # type: ignore[index]

    def rows(part: slice) -> tuple[Array, Opacity | None]:
        stored = plain(part)[0]
        return stored[:, :, :-1], None if ignored else stored[:, :, -1:].astype(np.float32) / np.float32(255)

    return rows, ignored


def _palette_rows(picture: Image.Image, entries: Opacity) -> tuple[Rows, bool]:
    """Return rows of indices whose palette has opacity, and whether it is 0 everywhere and left out."""
    plain = _plain_rows(picture)
    used = [index for index, count in enumerate(picture.histogram()[:256]) if count]
    ignored = not entries[used].any()

    def rows(part: slice) -> tuple[Array, Opacity | None]:
        stored = plain(part)[0]
        return stored, None if ignored else np.asarray(np.take(entries, stored, mode="clip"), np.float32)

    return rows, ignored


def _palette(picture: Image.Image) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
    """Return the colors of a palette, (256, 3) in [0, 1], and the opacity (256,) of its entries unless all are 1."""
    colors = np.zeros((256, 3), np.float32)
    entries = np.asarray(picture.getpalette("RGB"), np.float32).reshape(-1, 3)[:256] / np.float32(255)
    colors[: len(entries)] = entries
    key = picture.info.get("transparency")
    alpha = np.full(256, 255, np.uint8)
    if isinstance(key, bytes):
        alpha[: len(key)] = np.frombuffer(key[:256], np.uint8)
    elif isinstance(key, int):
        alpha[key] = 0
    elif picture.palette is not None and picture.palette.mode == "RGBA":
        stored = np.asarray(picture.getpalette("RGBA"), np.uint8)[3::4][:256]
        alpha[: len(stored)] = stored
    opacity: npt.NDArray[np.float32] = alpha.astype(np.float32)
    opacity /= 255
    return colors, None if (alpha == 255).all() else opacity


def _gif_frames(data: bytes) -> int:
    """Return the number of images in a GIF file without decoding them."""
    place, count = 13, 0
    place += 3 << ((data[10] & 7) + 1) if data[10] & 0x80 else 0
    while count < FRAMES and place < len(data):
        if data[place] == 0x2C and place + 10 <= len(data):
            flags = data[place + 9]
            place += 11 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)  # descriptor, local palette and code size
            count += 1
        elif data[place] == 0x21:
            place += 2
        else:
            break
        while place < len(data) and data[place]:
            place += 1 + data[place]
        place += 1
    return max(count, 1)
