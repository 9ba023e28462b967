"""Colors of TIFF images: palettes, CMYK, and YCbCr with and without subsampling."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from reconpatch.arrays import Array
from reconpatch.imaging.formats import tiff_segments

_CMYK, _YCBCR = 5, 6
_LUMA = (0.299, 0.587, 0.114)  # weights of red, green and blue in the luminance of YCbCr
_REFERENCE = (0, 255, 128, 255, 128, 255)  # black and white of Y, Cb and Cr


def palette(page: Any, bits: int) -> npt.NDArray[np.float32]:
    """Return the colors of a palette, (2^bits, 3) in [0, 1].

    The specification asks for 16-bit colors. Some writers store 8-bit colors without scaling them, which no other
    palette than an almost black one looks like, and others multiply them by 256 instead of 257.

    Args:
        page: tifffile's page.
        bits: Bits per index.

    Raises:
        ValueError: The palette has another number of colors.
    """
    colors = np.asarray(page.tags.valueof(320, ()), np.uint16)
    if colors.size != 3 << bits:
        raise ValueError(f"{colors.size // 3} of {1 << bits} colors of the palette")
    colors = colors.reshape(3, -1).T
    if colors.max() <= 255:
        return colors.astype(np.float32) / np.float32(255)
    if not (colors & 255).any():
        return (colors >> 8).astype(np.float32) / np.float32(255)
    return colors.astype(np.float32) / np.float32(65535)


def conversion(page: Any, photometric: int) -> Callable[[Array], Array] | None:
    """Return a function that converts stored values (H, W, C) to RGB; None if they need no conversion.

    Args:
        page: tifffile's page.
        photometric: Meaning of the samples, as in the TIFF tag.
    """
    if photometric == _CMYK:
        return lambda values: cmyk_to_rgb(values, int(page.bitspersample))
    # JPEG data are converted while they are decoded, unless each plane is stored for itself.
    if photometric != _YCBCR or (page.compression == tiff_segments.JPEG and page.planarconfig == 1):
        return None
    luma, reference = (_rational(page, tag, default) for tag, default in ((529, _LUMA), (532, _REFERENCE)))
    return lambda values: ycbcr_to_rgb(values, luma, reference)


def _rational(page: Any, tag: int, default: Sequence[float]) -> Sequence[float]:
    """Return the values of a tag of fractions."""
    stored = page.tags.valueof(tag)
    if stored is None or len(stored) != 2 * len(default):
        return default
    return [top / bottom for top, bottom in zip(stored[::2], stored[1::2], strict=True)]


def cmyk_to_rgb(values: Array, bits: int) -> Array:
    """Return (1 - color) (1 - black) for each of cyan, magenta and yellow, rounded as Pillow does.

    Args:
        values: (H, W, 4) unsigned.
        bits: Bits per channel.

    Returns:
        (H, W, 3) of the same dtype.
    """
    full = np.uint32(2**bits - 1)
    light = full - values[:, :, 3:].astype(np.uint32)
    ink = (values[:, :, :3].astype(np.uint32) * light + full // np.uint32(2)) // full
    return (light - ink).astype(values.dtype.newbyteorder("="))


def ycbcr_to_rgb(values: Array, luma: Sequence[float] = _LUMA, reference: Sequence[float] = _REFERENCE) -> Array:
    """Return RGB values of 8-bit YCbCr values, as the TIFF specification defines them.

    Args:
        values: (H, W, 3) uint8.
        luma: Weights of red, green and blue in the luminance.
        reference: Values of black and white of Y, Cb and Cr.

    Returns:
        (H, W, 3) uint8, rounded.
    """
    low, high = (np.asarray(reference[start::2], np.float32) for start in (0, 1))
    coded = (values - low) * (np.array([255, 127, 127], np.float32) / np.maximum(high - low, 1))
    light = coded[:, :, 0]
    red = light + coded[:, :, 2] * np.float32(2 - 2 * luma[0])
    blue = light + coded[:, :, 1] * np.float32(2 - 2 * luma[2])
    green = (light - np.float32(luma[0]) * red - np.float32(luma[2]) * blue) / np.float32(luma[1])
    return np.clip(np.rint(np.stack([red, green, blue], axis=2)), 0, 255).astype(np.uint8)


def is_subsampled(page: Any, photometric: int) -> bool:
    """Return whether blocks of pixels share their color, in a compression that does not undo it.

    Args:
        page: tifffile's page.
        photometric: Meaning of the samples, as in the TIFF tag.
    """
    return photometric == _YCBCR and page.compression != tiff_segments.JPEG and _factors(page) != (1, 1)


def subsampled(page: Any, data: bytes) -> Array:
    """Return the values (H, W, 3) uint8 of a YCbCr image in which blocks of pixels share Cb and Cr.

    Args:
        page: tifffile's page.
        data: Content of the file.

    Raises:
        ValueError: Strips or tiles are missing or damaged, or the variant is unknown.
    """
    across, down = _factors(page)
    if page.planarconfig == 2 or page.predictor != 1 or across not in (1, 2, 4) or down not in (1, 2, 4):
        raise ValueError(f"YCbCr with the subsampling {across}, {down} in this arrangement")
    height, width = int(page.imagelength), int(page.imagewidth)
    rows, cols = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, width)
    result = np.empty((height, width, 3), np.uint8)
    places = [(row, col) for row in range(0, height, rows) for col in range(0, width, cols)]
    for index, (row, col) in enumerate(places):
        shown = rows if page.is_tiled else min(rows, height - row)
        blocks = math.ceil(shown / down), math.ceil(cols / across), across * down + 2
        raw = tiff_segments.segment_bytes(page, data, index, math.prod(blocks))
        block = np.frombuffer(raw, np.uint8).reshape(blocks)
        part = result[row : row + rows, col : col + cols]
        light = block[:, :, :-2].reshape(blocks[0], blocks[1], down, across).transpose(0, 2, 1, 3)
        part[:, :, 0] = light.reshape(blocks[0] * down, -1)[: part.shape[0], : part.shape[1]]
        color = block[:, :, -2:].repeat(down, axis=0).repeat(across, axis=1)
        part[:, :, 1:] = color[: part.shape[0], : part.shape[1]]
    return result


def _factors(page: Any) -> tuple[int, int]:
    """Return how many columns and rows share their color."""
    across, down = page.tags.valueof(530, (2, 2))
    return int(across), int(down)
