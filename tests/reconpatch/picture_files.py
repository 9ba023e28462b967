"""Image files in every format, mode and orientation, for the tests that read them."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

# EXIF orientation → the transformation of an upright image before it is stored, the inverse of the orientation.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}
ORIENTABLE = ["PNG", "JPEG", "TIFF", "TIFF-LZW", "WEBP"]


def encode(picture: Image.Image, fmt: str, orientation: int = 1, **options) -> bytes:
    """Return the content of a file in a format, which may end in a compression ("TIFF-LZW")."""
    fmt, _, compression = fmt.partition("-")
    if compression:
        options["compression"] = "tiff_lzw"
    if fmt == "WEBP":
        options["lossless"] = True
    if fmt == "JPEG":
        options |= {"quality": 97, "subsampling": 0}
    if orientation != 1:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    data = io.BytesIO()
    picture.save(data, fmt, **options)
    return data.getvalue()


def noise(height: int, width: int, *channels: int) -> np.ndarray:
    """Return random 8-bit pixels."""
    return np.random.default_rng(0).integers(0, 256, (height, width, *channels), dtype=np.uint8)


def png(width: int, height: int, depth: int, color: int, *, body: bytes = b"", extra: bytes = b"") -> bytes:
    """Return a PNG file built from its chunks, which can have 16-bit color or a size that Pillow cannot write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(body))
        + extra
        + chunk(b"IEND", b"")
    )


def tiff_rgb16(values: np.ndarray, orientation: int = 1) -> bytes:
    """Return a TIFF file with 16-bit color, which Pillow cannot write."""
    height, width = values.shape[:2]
    pixels = values.astype("<u2").tobytes()
    entries = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, 0), (259, 3, 1, 1), (262, 3, 1, 2)]
    entries += [(273, 4, 1, 0), (274, 3, 1, orientation), (277, 3, 1, 3), (278, 3, 1, height), (279, 4, 1, len(pixels))]
    after = 8 + 2 + 12 * len(entries) + 4
    places = {258: after, 273: after + 6}
    rows = b"".join(struct.pack("<HHII", tag, kind, n, places.get(tag, value)) for tag, kind, n, value in entries)
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return head + rows + bytes(4) + struct.pack("<HHH", 16, 16, 16) + pixels


def gray(mode: str) -> Image.Image:
    """Return a small gray image, converted to a mode."""
    return Image.fromarray(noise(6, 5)).convert(mode)


def see_through(picture: Image.Image, transparency: int | tuple[int, ...]) -> bytes:
    """Return a PNG file in which one palette index, gray value or color is transparent."""
    return encode(picture, "PNG", transparency=transparency)


def frames(fmt: str) -> bytes:
    """Return a file with two images."""
    data = io.BytesIO()
    gray("RGB").save(data, fmt, save_all=True, append_images=[Image.fromarray(255 - noise(6, 5)).convert("RGB")])
    return data.getvalue()


# Case → content of a file that cannot be read, and part of the error message.
REFUSED = {
    "empty": (b"", "The file is empty; copy or export it again."),
    "text": (b"version https://git-lfs.github.com/spec/v1\n", "not an image of a known format"),
    "header cut": (encode(gray("L"), "PNG")[:20], "its header is truncated"),
    "gif": (encode(gray("L"), "GIF"), "GIF images are not supported; convert the file to PNG"),
    "ppm": (encode(gray("L"), "PPM"), "PPM images are not supported"),
    "32-bit tiff": (
        encode(Image.fromarray(np.ones((3, 3), np.int32)), "TIFF"),
        "32 bits per channel; save it with 16 or 8.",
    ),
    "float": (encode(gray("F"), "TIFF"), "floating-point values; scale them and save it as 8-bit gray"),
    "lab": (encode(Image.new("LAB", (3, 3)), "TIFF"), "mode LAB; convert it to RGB"),
    "too large": (png(20_000, 10_001, 8, 0), "20000 x 10001 pixels, above the limit of 200 megapixels; scale it down"),
}


def deep(values: np.ndarray, kind: str) -> bytes:
    """Return a file of 16-bit values, (H, W) or (H, W, C), written by Pillow, or as a PNG by `png` for "by hand"."""
    if kind in ("PNG", "TIFF", "TIFF-LZW"):
        return encode(Image.fromarray(values), kind)
    height, width = values.shape[:2]
    channels = values.reshape(height, width, -1)
    body = b"".join(b"\0" + row.astype(">u2").tobytes() for row in channels)
    return png(width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels.shape[2]], body=body)
