"""Decoding of the strips and tiles of a TIFF image, with bounded memory and without missing data."""

from __future__ import annotations

import lzma
import math
from typing import Any

import numpy as np

from reconpatch.arrays import Array
from reconpatch.exceptions import ImageError
from reconpatch.imaging.formats.headers import jpeg2000_header, jpeg_frame, jpegxl_header, require_jpeg_end
from reconpatch.imaging.formats.samples import MEGAPIXELS, require_few_scans, unsupported

JPEG = 7
_LZW = 5
_BYTES = {1: "", _LZW: "lzw", 8: "deflate", 32946: "deflate", 32773: "packbits", 34925: "lzma", 50000: "zstd"}
_FAX = (2, 3, 4)
_JPEG2000 = (33003, 33004, 33005, 34712)
_WEBP = (50001, 34927)
_JPEG_XL = (50002, 52546)
_LZMA_MEMORY = 1 << 28  # bytes; the dictionary of the strongest setting of encoders has 64 MB


def is_decoded(compression: int) -> bool:
    """Return whether a compression is supported.

    Args:
        compression: Value of the TIFF tag.
    """
    return compression in (*_BYTES, *_FAX, JPEG, *_JPEG2000, *_WEBP, *_JPEG_XL)


def is_lossy(page: Any, data: bytes) -> bool:
    """Return whether the compression of a TIFF image can change values.

    Args:
        page: tifffile's page.
        data: Content of the file.
    """
    if page.compression in _JPEG2000:
        return not jpeg2000_header(_segment(page, data, 0)).reversible
    if page.compression in _WEBP:
        return b"VP8 " in _segment(page, data, 0)[:64]
    return int(page.compression) == JPEG


def require_bounded(page: Any) -> None:
    """Raise ImageError if the tiles are much larger than the image.

    Args:
        page: tifffile's page.

    Raises:
        ImageError: A tile has more than 200 megapixels.
    """
    if page.is_tiled and page.tilewidth * page.tilelength > MEGAPIXELS * 1_000_000:
        raise ImageError(
            f"The image is stored in tiles of {page.tilewidth} x {page.tilelength} pixels, above the limit of "
            f"{MEGAPIXELS} megapixels; save it without tiles."
        )


def decoded(page: Any, data: bytes) -> Array:
    """Return the stored samples of a TIFF image.

    Args:
        page: tifffile's page, of a supported compression.
        data: Content of the file.

    Returns:
        (H, W, C) as stored, of any byte order and not necessarily contiguous.

    Raises:
        ImageError: The image is of a variant that is not supported.
        ValueError: Strips or tiles are missing or damaged.
    """
    height, width, channels = page.imagelength, page.imagewidth, page.samplesperpixel
    separate = page.planarconfig == 2 and channels > 1
    planes, inner = (channels, 1) if separate else (1, channels)
    rows, cols = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, width)
    down, across = math.ceil(height / rows), math.ceil(width / cols)
    if len(page.dataoffsets) < planes * down * across:
        raise ValueError(f"{len(page.dataoffsets)} of {planes * down * across} strips or tiles")
    if page.compression == _LZW and page.bitspersample in (8, 16) and page.tags.valueof(262) in (0, 1, 2):
        # libtiff is twice as fast as imagecodecs' own LZW, and checks that no data are missing.
        values = _imagecodecs().tiff_decode(data, index=0)
        return values.transpose(1, 2, 0) if separate else values.reshape(height, width, channels)
    contiguous = None if separate or page.is_tiled else _contiguous(page, data)
    if contiguous is not None:
        return contiguous
    result: Array = None
    for index in range(planes * down * across):
        plane, row, col = index // (down * across), index // across % down * rows, index % across * cols
        shown = rows if page.is_tiled else min(rows, height - row)
        values = _decoded_segment(page, _segment(page, data, index), index, (shown, cols, inner))
        if planes * down * across == 1 and values.shape == (height, width, inner):
            return values
        if result is None:
            result = np.empty((planes, height, width, inner), values.dtype.newbyteorder("="))
        part = result[plane, row : row + rows, col : col + cols]
        part[:] = values[: part.shape[0], : part.shape[1]]
    return result[..., 0].transpose(1, 2, 0) if separate else result[0]


def _segment(page: Any, data: bytes, index: int) -> bytes:
    """Return the bytes of a strip or tile."""
    start = int(page.dataoffsets[index])
    size = int(page.databytecounts[index]) if index < len(page.databytecounts) else 0
    if start <= 0 or size <= 0 or start + size > len(data):
        kind = "tile" if page.is_tiled else "strip"
        raise ValueError(f"{kind} {index + 1} of {len(page.dataoffsets)} is missing or truncated")
    return data[start : start + size]


def _contiguous(page: Any, data: bytes) -> Array | None:
    """Return a view of an image without compression whose strips follow one another; None for another one."""
    if page.compression != 1 or page.predictor != 1 or page.fillorder != 1 or page.bitspersample not in (8, 16, 32, 64):
        return None
    starts, sizes = page.dataoffsets, page.databytecounts
    height, width, channels = page.imagelength, page.imagewidth, page.samplesperpixel
    dtype = page.dtype.newbyteorder(page.parent.byteorder)
    size = height * width * channels * dtype.itemsize
    follows = all(start + length == after for start, length, after in zip(starts, sizes, starts[1:], strict=False))
    if not follows or starts[0] <= 0 or sum(sizes) < size:
        return None
    if starts[0] + size > len(data):
        raise ValueError(f"{len(data)} of {starts[0] + size} bytes")
    return np.frombuffer(data, dtype, height * width * channels, starts[0]).reshape(height, width, channels)


def _decoded_segment(page: Any, data: bytes, index: int, shape: tuple[int, int, int]) -> Array:
    """Return the samples of a strip or tile.

    Args:
        page: tifffile's page.
        data: Content of the strip or tile.
        index: Its number.
        shape: Its rows, columns and channels.
    """
    if page.compression in _BYTES:
        return _unpacked(page, data, shape)
    _require_as_large(page, data, (page.rowsperstrip if not page.is_tiled else shape[0], shape[1]))
    options = {"jpegtables": page.jpegtables} if page.compression == JPEG else {}
    values, _, _ = page.decode(data, index, **options)
    if values is None or values.shape[0] != 1:
        raise ValueError(f"the strip or tile {index + 1} is missing")
    return values[0].view(np.uint8) if values.dtype == bool else values[0]


def _require_as_large(page: Any, data: bytes, shape: tuple[int, int]) -> None:
    """Raise an error if a strip or tile contains an image that is much larger than the strip or tile."""
    if page.compression == JPEG:
        require_few_scans(data)
        require_jpeg_end(data)
        frame = jpeg_frame(data)
        size = (0, 0) if frame is None else (frame.width, frame.height)
    elif page.compression in _JPEG2000:
        header = jpeg2000_header(data)
        size = header.width, header.height
    elif page.compression in _JPEG_XL:
        codestream = jpegxl_header(data)
        size = codestream.width, codestream.height
    else:
        return  # fax data have no size of their own, and WebP has at most 16,383 pixels a side
    if size[0] * size[1] > 2 * shape[0] * shape[1] + 4096:
        raise ValueError(f"an image of {size[0]} x {size[1]} pixels in a strip or tile of {shape[1]} x {shape[0]}")


def _unpacked(page: Any, data: bytes, shape: tuple[int, int, int]) -> Array:
    """Return the samples of a strip or tile whose compression is one of bytes."""
    rows, cols, channels = shape
    bits = page.bitspersample
    line = (cols * channels * bits + 7) // 8
    # Some writers fill up the last strip.
    raw = _decompressed(page, data, line * rows, line * (rows if page.is_tiled else page.rowsperstrip))
    dtype = page.dtype.newbyteorder(page.parent.byteorder)
    if bits not in (8, 16, 32, 64):
        native = np.dtype(np.uint8 if bits <= 8 else page.dtype)
        values = _imagecodecs().packints_decode(raw, native, bits, runlen=cols * channels)
        return values.reshape(shape)
    values = np.frombuffer(raw, dtype).reshape(shape)
    if page.predictor == 2:
        values = values.astype(dtype.newbyteorder("="))
        return _imagecodecs().delta_decode(values, axis=1, out=values)
    return values


def segment_bytes(page: Any, data: bytes, index: int, size: int) -> bytes:
    """Return the decompressed bytes of a strip or tile whose compression is one of bytes.

    Args:
        page: tifffile's page.
        data: Content of the file.
        index: Number of the strip or tile.
        size: Number of bytes.

    Raises:
        ValueError: The strip or tile is missing, damaged or shorter.
    """
    return _decompressed(page, _segment(page, data, index), size, 2 * size + 4096)


def _decompressed(page: Any, data: bytes, size: int, longest: int) -> bytes:
    """Return the first `size` bytes of a strip or tile, of which at most `longest` are decompressed."""
    if page.fillorder == 2:
        data = _imagecodecs().bitorder_decode(data)
    name = _BYTES[page.compression]
    if name == "lzma":  # the module of Python limits the memory and reports truncated data
        data = lzma.LZMADecompressor(memlimit=_LZMA_MEMORY).decompress(data, max_length=longest)
    elif name:
        data = getattr(_imagecodecs(), f"{name}_decode")(data, out=longest)
    if len(data) < size:
        raise ValueError(f"{len(data)} of {size} bytes of a strip or tile")
    return data[:size]


def require_predictor(page: Any) -> None:
    """Raise ImageError for a predictor that is not supported.

    Args:
        page: tifffile's page.

    Raises:
        ImageError: As described.
    """
    packed = page.bitspersample not in (8, 16, 32, 64)
    if page.compression in _BYTES and (page.predictor not in (1, 2) or (page.predictor == 2 and packed)):
        raise unsupported(f"the predictor {int(page.predictor)} with {page.bitspersample} bits per channel")


def _imagecodecs() -> Any:
    """Return the package imagecodecs, which is imported on first use."""
    import imagecodecs

    return imagecodecs
