"""Interlaced PNG files of 16 bits: read as written, and without a message on standard error."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from reconpatch.exceptions import ImageError
from reconpatch.imaging.formats.png_passes import is_interlaced
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
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )


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
