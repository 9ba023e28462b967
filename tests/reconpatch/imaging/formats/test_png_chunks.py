"""Metadata of PNG files do not matter, and interlaced files of 16 bits are read as written and without a message."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reconpatch.exceptions import ImageError
from reconpatch.imaging.formats.png_chunks import is_interlaced, without_metadata
from reconpatch.imaging.images import read_image

# The order of the passes in an 8 x 8 block, as the PNG specification draws it.
BLOCK = np.array(
    [
        [1, 6, 4, 6, 2, 6, 4, 6],
        [7, 7, 7, 7, 7, 7, 7, 7],
        [5, 6, 5, 6, 5, 6, 5, 6],
        [7, 7, 7, 7, 7, 7, 7, 7],
        [3, 6, 4, 6, 3, 6, 4, 6],
        [7, 7, 7, 7, 7, 7, 7, 7],
        [5, 6, 5, 6, 5, 6, 5, 6],
        [7, 7, 7, 7, 7, 7, 7, 7],
    ]
)


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def with_chunk(data: bytes, name: bytes, content: bytes) -> bytes:
    """Return a PNG file with a further chunk after its header."""
    return data[:33] + chunk(name, content) + data[33:]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        (b"iCCP", b"profile\0\0" + zlib.compress(b"x" * 3_000_000)),
        (b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 3_000_000)),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(np.random.default_rng(0).bytes(2_000_000)))),
        (b"iCCP", b"p\0\0" + zlib.compress(b"too short")),
        (b"pHYs", b"\0"),
        (b"cHRM", b"\0"),
        (b"gAMA", b""),
    ],
)
def test_an_image_with_large_or_malformed_metadata_is_read(name: bytes, content: bytes, bits: int) -> None:
    values = np.random.default_rng(0).integers(0, 2**bits, (9, 7, 3), dtype=np.uint16)
    body = b"".join(b"\0" + row.astype(">u2" if bits == 16 else "u1").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", 7, 9, bits, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(body)), chunk(b"IEND", b"")
    data = b"\x89PNG\r\n\x1a\n" + b"".join(parts)
    assert without_metadata(data) is data
    assert without_metadata(with_chunk(data, name, content)) == data
    np.testing.assert_allclose(read_image(with_chunk(data, name, content)), values / (2**bits - 1), atol=1e-6)


def test_what_changes_the_pixels_stays() -> None:
    buffer = BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.save(buffer, "PNG", transparency=1, exif=exif)
    data = buffer.getvalue()
    assert without_metadata(data) == data
    np.testing.assert_allclose(
        read_image(data)[:, 0], np.array([[10, 20, 30], [255] * 3, [70, 80, 90]]) / 255, atol=1e-6
    )


def interlaced(values: np.ndarray, color: int) -> bytes:
    """Return a PNG file of (H, W, C) uint16 values, row by row of each pass, without filters."""
    height, width, _ = values.shape
    number = np.tile(BLOCK, (height // 8 + 1, width // 8 + 1))[:height, :width]
    body = b""
    for step in range(1, 8):
        for row in range(height):
            if (number[row] == step).any():
                body += b"\0" + values[row, number[row] == step].astype(">u2").tobytes()
    header = struct.pack(">IIBBBBB", width, height, 16, color, 0, 0, 1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(body)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, content) for name, content in chunks)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2), (8, 8), (13, 21)])
def test_an_interlaced_image_is_read_as_written(size: tuple[int, int]) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (*size, 3), dtype=np.uint16)
    data = interlaced(values, 2)
    assert is_interlaced(data)
    np.testing.assert_allclose(read_image(data), values / 65535, atol=1e-6)


def test_opacity_is_blended_with_white() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (9, 7, 2), dtype=np.uint16)
    gray, opacity = (values[:, :, channel : channel + 1] / 65535 for channel in range(2))
    expected = np.repeat(gray * opacity + 1 - opacity, 3, axis=2)
    np.testing.assert_allclose(read_image(interlaced(values, 4)), expected, atol=1e-6)


def test_a_truncated_image_is_an_error() -> None:
    data = interlaced(np.random.default_rng(0).integers(0, 65536, (40, 40, 3), dtype=np.uint16), 2)
    with pytest.raises(ImageError, match="damaged or truncated"):
        read_image(data[: len(data) // 2])


def test_nothing_is_printed(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(interlaced(np.zeros((9, 9, 3), np.uint16), 2))
    program = (
        "import sys; from pathlib import Path; from reconpatch import read_image; "
        "read_image(Path(sys.argv[1]).read_bytes())"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "a.png"], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")
