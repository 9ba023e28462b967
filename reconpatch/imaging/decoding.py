"""Decoding of image files: the stored samples of every format that is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reconpatch.arrays import Array
from reconpatch.imaging.formats import codec_reader
from reconpatch.imaging.formats.headers import jpeg_frame
from reconpatch.imaging.formats.kinds import format_of
from reconpatch.imaging.formats.netpbm import read_netpbm
from reconpatch.imaging.formats.pillow_reader import read_with_pillow
from reconpatch.imaging.formats.png_chunks import without_metadata
from reconpatch.imaging.formats.samples import Kind, Samples, unsupported
from reconpatch.imaging.formats.tiff import read_tiff

_HIERARCHICAL = (5, 6, 7, 13, 14, 15)  # processes of JPEG that no common decoder supports


@dataclass(frozen=True)
class StoredImage:
    """The samples of an image file as shown, which are not scaled.

    Attributes:
        values: (H, W, C) as stored, with C = 1 or 3: unsigned integers; signed or floating-point ones in masks. In a
            gray image whose value 0 is white, the values are inverted, so that larger ones are whiter.
        kind: Whether the values are gray levels, indices of the palette or colors.
        bits: Bits per channel.
        palette: Colors of the palette, (n, 3) float32 in [0, 1]; None without a palette.
        opacity: (H, W) float32 in [0, 1]; None without opacity, and for one that is 0 everywhere.
        lossy: Whether the compression can change values.
        frames: Number of images in the file, at most 65,536; only the first one is read.
    """

    values: Array
    kind: Kind
    bits: int
    palette: npt.NDArray[np.float32] | None
    opacity: npt.NDArray[np.float32] | None
    lossy: bool
    frames: int


def read_samples(data: bytes, mask: bool = False) -> Samples:
    """Read the samples of an image file; its content decides how.

    Args:
        data: Content of the file.
        mask: Whether signed and floating-point values and more than 16 bits are read, as masks can have them.

    Raises:
        ImageError: The file is empty, damaged, not an image, above 200 megapixels, or of a kind that is not supported,
            or decoding it takes much more memory or time than its number of pixels requires.
    """
    match format_of(data):
        case "TIFF":
            return read_tiff(data, mask)
        case "PNG" if data[24:26] in (b"\x10\2", b"\x10\4", b"\x10\6"):  # 16 bits, and color or opacity
            return codec_reader.read_deep_png(without_metadata(data))
        case "PNG":
            return read_with_pillow(without_metadata(data), "PNG")
        case "JPEG":
            return _read_jpeg(data)
        case "PNM":
            return read_netpbm(data)
        case "JPEG 2000":
            return codec_reader.read_jpeg2000(data)
        case "JPEG XL":
            return codec_reader.read_jpegxl(data)
        case "AVIF":
            return codec_reader.read_avif(data)
        case name:
            return read_with_pillow(data, name, lossy=name == "WebP" and b"VP8 " in data[:4096])


def _read_jpeg(data: bytes) -> Samples:
    """Read a JPEG or JPEG-LS file."""
    frame = jpeg_frame(data)
    if frame is not None and frame.process in _HIERARCHICAL:
        raise unsupported("the hierarchical process of JPEG", "save it as a baseline JPEG")
    if frame is not None and frame.process == 55:
        return codec_reader.read_jpegls(data, frame)
    if frame is not None and frame.bits != 8:
        return codec_reader.read_jpeg(data, frame)
    return read_with_pillow(data, "JPEG", lossy=frame is None or frame.process != 3)


def stored_values(data: bytes) -> StoredImage:
    """Return the samples of an image file as shown: unscaled, with the orientation applied.

    Args:
        data: Content of the file.

    Raises:
        ImageError: As for `read_samples`.
    """
    samples = read_samples(data, mask=True)
    values, opacity = samples.rows(slice(0, samples.height))
    if samples.inverted:
        values = values.dtype.type(samples.full) - values
    turned = turn(samples.orientation)
    return StoredImage(
        values=turned(values),
        kind=samples.kind,
        bits=samples.bits,
        palette=samples.palette,
        opacity=None if opacity is None else turned(opacity)[:, :, 0],
        lossy=samples.lossy,
        frames=samples.frames,
    )


def turn(orientation: int) -> Callable[[Array], Array]:
    """Return a function that applies an EXIF orientation to an array of rows and columns, as a view.

    Args:
        orientation: 1 to 8; other values leave the array as it is.
    """
    return {
        2: lambda values: values[:, ::-1],
        3: lambda values: values[::-1, ::-1],
        4: lambda values: values[::-1],
        5: lambda values: values.swapaxes(0, 1),
        6: lambda values: np.rot90(values, -1),
        7: lambda values: values[::-1, ::-1].swapaxes(0, 1),
        8: lambda values: np.rot90(values, 1),
    }.get(orientation, lambda values: values)
