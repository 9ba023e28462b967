"""The stored samples of an image file, the limits of all readers, and the error about a damaged file."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from reconpatch.arrays import Array
from reconpatch.exceptions import ImageError

MEGAPIXELS = 200
FRAMES = 1 << 16  # limit of images that are counted in a file
SCANS = 500  # limit of scans in a JPEG; each is a pass over all pixels, and encoders write about ten

Kind: TypeAlias = Literal["gray", "palette", "color"]
Opacity: TypeAlias = npt.NDArray[np.float32]
Rows: TypeAlias = Callable[[slice], tuple[Array, Opacity | None]]


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The samples of an image, which are read by rows.

    Attributes:
        height: Number of rows as stored, before the orientation is applied.
        width: Number of columns as stored.
        kind: Whether a sample is a gray level, an index of the palette, or one of three color values.
        mode: Short name of the kind of image: "L", "RGB", "P", "CMYK", …
        channels: Number of stored channels, with opacity and other extra channels.
        bits: Bits per channel that the file stores.
        full: Largest value that the file can store; 2^bits - 1, except for formats that state another one.
        rows: Function of a slice of rows. It returns the values (h, W, 1 or 3) as stored, and the opacity (h, W, 1)
            float32 in [0, 1] or None. The values are unsigned, but those of a mask can be signed or floating-point.
        palette: Colors of the palette, (n, 3) float32 in [0, 1], n larger than every index; None without a palette.
        inverted: Whether the value 0 of a gray image is white.
        premultiplied: Whether the colors are already multiplied by the opacity.
        alpha_ignored: Whether the file has an opacity that is 0 everywhere, which `rows` leaves out.
        lossy: Whether the compression can change values.
        frames: Number of images in the file, at most 65,536; the samples are those of the first one.
        orientation: EXIF orientation that is still to be applied, 1 to 8.
    """

    height: int
    width: int
    kind: Kind
    mode: str
    channels: int
    bits: int
    full: int
    rows: Rows
    palette: npt.NDArray[np.float32] | None = None
    inverted: bool = False
    premultiplied: bool = False
    alpha_ignored: bool = False
    lossy: bool = False
    frames: int = 1
    orientation: int = 1


def array_rows(values: Array, alpha: Array | None = None, full: int = 1) -> tuple[Rows, bool]:
    """Return a function that reads rows of decoded arrays, and whether an opacity of 0 everywhere is left out.

    Args:
        values: Decoded values, (H, W, 1 or 3).
        alpha: Stored opacity, (H, W), unsigned; None without opacity.
        full: Value of `alpha` that is opaque.
    """
    ignored = alpha is not None and not alpha.any()
    opacity = None if ignored else alpha

    def rows(part: slice) -> tuple[Array, Opacity | None]:
        if opacity is None:
            return values[part], None
        return values[part], opacity[part][:, :, None].astype(np.float32) / np.float32(full)

    return rows, ignored


def transparent_level(rows: Rows, level: int | tuple[int, ...], height: int) -> tuple[Rows, bool]:
    """Return rows in which one stored level or color is transparent, and whether all pixels have it.

    If all pixels have it, an image of this opacity would show nothing, and the opacity is left out.

    Args:
        rows: Function that returns the stored values.
        level: The transparent gray level, or color.
        height: Number of rows.
    """

    def with_opacity(part: slice) -> tuple[Array, Opacity]:
        values, _ = rows(part)
        return values, (values != np.asarray(level)).any(axis=2, keepdims=True).astype(np.float32)

    step = max(1, height // 16)
    parts = (slice(start, min(start + step, height)) for start in range(0, height, step))
    if any(with_opacity(part)[1].any() for part in parts):
        return with_opacity, False
    return rows, True


def require_size(width: int, height: int) -> None:
    """Raise ImageError if an image has no pixels or more than 200 megapixels.

    Args:
        width: Number of columns.
        height: Number of rows.

    Raises:
        ImageError: As described.
    """
    if width * height > MEGAPIXELS * 1_000_000:
        raise ImageError(
            f"The image has {width} x {height} pixels, above the limit of {MEGAPIXELS} megapixels; "
            "scale it down or cut it into tiles."
        )
    if width < 1 or height < 1:
        raise ImageError(f"The image has {width} x {height} pixels; copy or export it again.")


def require_few_scans(data: bytes) -> None:
    """Raise ImageError if a JPEG has more than 500 scans.

    Args:
        data: Content of the JPEG.

    Raises:
        ImageError: As described.
    """
    if (scans := data.count(b"\xff\xda")) > SCANS:
        raise ImageError(f"The JPEG has {scans} scans, above the limit of {SCANS}; save it as a baseline JPEG.")


def unsupported(what: str, remedy: str = "save it as 8- or 16-bit PNG or TIFF") -> ImageError:
    """Return the error about a valid image of a kind that is not read.

    Args:
        what: The kind of image, as in "The image has <what>".
        remedy: What to do, without a period.
    """
    return ImageError(f"The image has {what}, which is not supported; {remedy}.")


@contextmanager
def damage_named() -> Iterator[None]:
    """Convert any exception of a decoder, except ImageError and MemoryError, into an ImageError about a damaged file.

    Raises:
        ImageError: The code inside the context raised an exception.
    """
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # for damaged files, decoders raise exceptions of almost any type
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(
            f"The image is damaged or truncated and cannot be decoded ({reason}); copy or export it again."
        ) from error


_thread = threading.local()


def _is_outside(record: logging.LogRecord) -> bool:
    """Return whether a log record was made outside of `silenced`."""
    return not getattr(_thread, "silent", False)


@contextmanager
def silenced(*names: str) -> Iterator[None]:
    """Drop the log messages of libraries in this thread: this package reports what they describe as an ImageError.

    Args:
        names: Names of their loggers.
    """
    for name in names:
        logging.getLogger(name).addFilter(_is_outside)  # adding it again has no effect
    before = getattr(_thread, "silent", False)
    _thread.silent = True
    try:
        yield
    finally:
        _thread.silent = before
