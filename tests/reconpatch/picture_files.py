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


def bmp32(values: np.ndarray) -> bytes:
    """Return a 32-bit bitmap with masks of red, green, blue and opacity, built by hand from (H, W, 4) uint8."""
    height, width = values.shape[:2]
    body = np.ascontiguousarray(values[::-1, :, [2, 1, 0, 3]]).tobytes()
    header = struct.pack("<IiiHHIIiiII", 124, width, height, 1, 32, 3, len(body), 2835, 2835, 0, 0)
    header += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs"
    return b"BM" + struct.pack("<IHHI", 138 + len(body), 0, 0, 138) + header.ljust(124, b"\0") + body


def tiff_of(
    body: bytes, width: int, height: int, *, order: str = "<", tags: dict[int, int | tuple[int, ...]] | None = None
) -> bytes:
    """Return a TIFF file of one strip, built by hand: 8-bit gray where the tags do not say otherwise."""
    fields: dict[int, int | tuple[int, ...]] = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 0, 277: 1}
    fields |= {278: height, 279: len(body)} | (tags or {})
    after = 8 + 2 + 12 * len(fields) + 4
    entries, extra = b"", b""
    fields[273] = after + sum(
        2 * len(value) for value in fields.values() if isinstance(value, tuple) and len(value) > 2
    )
    for tag, value in sorted(fields.items()):
        if isinstance(value, int):
            entries += struct.pack(f"{order}HHII", tag, 4, 1, value)
            continue
        numbers = struct.pack(f"{order}{len(value)}H", *value)
        inline = len(numbers) <= 4
        place = numbers.ljust(4, b"\0") if inline else struct.pack(f"{order}I", after + len(extra))
        entries += struct.pack(f"{order}HHI", tag, 3, len(value)) + place
        extra += b"" if inline else numbers
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}IH", 8, len(fields))
    return head + entries + bytes(4) + extra + body


def tiff_rgb16(values: np.ndarray, orientation: int = 1) -> bytes:
    """Return a TIFF file with 16-bit color, which Pillow cannot write."""
    tags = {258: (16, 16, 16), 262: 2, 274: orientation, 277: 3}
    return tiff_of(values.astype("<u2").tobytes(), values.shape[1], values.shape[0], tags=tags)


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
    "icon": (encode(gray("L"), "ICO"), "ICO images are not supported; convert the file to PNG"),
    "pcx": (encode(gray("L"), "PCX"), "PCX images are not supported"),
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
