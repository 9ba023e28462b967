"""Chunks of PNG files: metadata are left out, and the passes of interlaced files are decoded as images of their own.

Pillow rejects files with large or malformed metadata, although their pixels are intact, and libpng writes warnings
about them to standard error. It also writes one for each interlaced image that imagecodecs decodes, but none for its
passes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np

from reconpatch.arrays import Array
from reconpatch.exceptions import ImageError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Chunks that have a say in the pixels, the orientation or the number of images, besides the critical ones.
_NEEDED = frozenset({b"tRNS", b"acTL", b"fcTL", b"fdAT", b"eXIf"})
# Keywords of texts that can contain an orientation, and the largest length of such a text.
_ORIENTATION_TEXTS = (b"Raw profile type exif\0", b"Raw profile type APP1\0", b"XML:com.adobe.xmp\0")
_LONGEST_TEXT = 1 << 16
_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # color type → channels
# First column, first row, and distances of columns and rows of each pass (PNG specification, section 8.2).
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def without_metadata(data: bytes) -> bytes:
    """Return a PNG file without the chunks that do not change how it is read, such as color profiles and texts.

    Args:
        data: Content of the file; a truncated file stays truncated.
    """
    parts, position, start = [], len(_SIGNATURE), 0
    while position + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if not _is_needed(name, data[position + 8 : position + 40], length):
            parts.append(data[start:position])
            start = end
        position = end
    return b"".join([*parts, data[start:]]) if parts else data


def _is_needed(name: bytes, beginning: bytes, length: int) -> bool:
    """Return whether a chunk is critical (its name begins with a capital letter) or has a say in the result."""
    if name in (b"tEXt", b"zTXt", b"iTXt"):
        return length <= _LONGEST_TEXT and beginning.startswith(_ORIENTATION_TEXTS)
    return name[:1].isupper() or name in _NEEDED


def is_interlaced(data: bytes) -> bool:
    """Return whether a PNG file is interlaced.

    Args:
        data: Content of the file, with a complete header.
    """
    return data[28] == 1


def decode_passes(data: bytes, decode: Callable[[bytes], Array]) -> Array:
    """Decode an interlaced PNG file of 16 bits per channel.

    Args:
        data: Content of the file.
        decode: Function that decodes a PNG file that is not interlaced, into (h, w) or (h, w, C) uint16.

    Returns:
        (H, W, C) uint16 stored values.

    Raises:
        ImageError: The compressed pixels end too early.
        zlib.error: The compressed pixels are damaged.
    """
    width, height, depth, color = struct.unpack_from(">IIBB", data, 16)
    channels = _CHANNELS[color]
    sizes = [(_length(width, col, across), _length(height, row, down)) for col, row, across, down in _PASSES]
    lengths = [rows * (1 + cols * channels * 2) if cols and rows else 0 for cols, rows in sizes]
    compressed = b"".join(content for name, content in _chunks(data) if name == b"IDAT")
    pixels = zlib.decompressobj().decompress(compressed, sum(lengths))
    if len(pixels) < sum(lengths):
        raise ImageError("The image is damaged or truncated and cannot be decoded; copy or export it again.")
    values, start = np.zeros((height, width, channels), np.uint16), 0
    for (cols, rows), (col, row, across, down), length in zip(sizes, _PASSES, lengths, strict=True):
        if length:
            header = struct.pack(">IIBBBBB", cols, rows, depth, color, 0, 0, 0)
            filtered = zlib.compress(pixels[start : start + length], 0)
            image = b"".join((_SIGNATURE, _chunk(b"IHDR", header), _chunk(b"IDAT", filtered), _chunk(b"IEND", b"")))
            values[row::down, col::across] = decode(image).reshape(rows, cols, channels)
        start += length
    return values


def _length(whole: int, first: int, distance: int) -> int:
    """Return the number of columns or rows of a pass."""
    return max(0, -(-(whole - first) // distance))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of each chunk."""
    position = len(_SIGNATURE)
    while position + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        yield name, data[position + 8 : position + 8 + length]
        position += 12 + length


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
