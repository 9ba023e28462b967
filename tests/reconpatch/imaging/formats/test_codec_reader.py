"""Formats that imagecodecs decodes: no bit is lost, orientation and opacity are applied, and other kinds are named."""

from __future__ import annotations

import io
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from reconpatch.exceptions import ImageError
from reconpatch.imaging.decoding import stored_values
from reconpatch.imaging.images import read_picture
from tests.reconpatch.picture_files import png

HEIGHT, WIDTH = 21, 34
RNG = np.random.default_rng(4)


def values_of(bits: int, channels: int) -> np.ndarray:
    """Return random values, (H, W) for one channel, else (H, W, C)."""
    shape = (HEIGHT, WIDTH) if channels == 1 else (HEIGHT, WIDTH, channels)
    return RNG.integers(0, 2**bits, shape).astype(np.uint8 if bits <= 8 else np.uint16)


def shown(values: np.ndarray, bits: int) -> np.ndarray:
    """Return values of gray or color, perhaps with opacity, as (H, W, 3) over white."""
    share = values.reshape(*values.shape[:2], -1) / (2**bits - 1)
    if share.shape[2] in (2, 4):
        share = share[:, :, :-1] * share[:, :, -1:] + 1 - share[:, :, -1:]
    return np.broadcast_to(share, (*share.shape[:2], 3))


def assert_shows(data: bytes, values: np.ndarray, bits: int) -> None:
    """Check pixels, bits and channels of a file."""
    found = read_picture(data)
    np.testing.assert_allclose(found.pixels, shown(values, bits), atol=3e-7)
    assert (found.bits, found.channels) == (bits, 1 if values.ndim == 2 else values.shape[2])
    assert not found.alpha_ignored


# ---- PNG


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_png_of_16_bits(channels):
    values = values_of(16, channels)
    assert_shows(imagecodecs.png_encode(values), values, 16)
    if channels != 3:
        values[:, :, -1] = 0
        found = read_picture(imagecodecs.png_encode(values))
        assert found.alpha_ignored
        np.testing.assert_allclose(found.pixels, shown(values[:, :, :-1], 16), atol=3e-7)


def test_a_transparent_16_bit_color_is_white_where_all_16_bits_agree():
    body = b"\0" + struct.pack(">9H", 500, 501, 502, 500, 501, 503, 0, 0, 0)
    key = b"tRNS" + struct.pack(">3H", 500, 501, 502)
    chunk = struct.pack(">I", 6) + key + struct.pack(">I", zlib.crc32(key))
    data = png(3, 1, 16, 2, body=body)
    place = data.index(b"IDAT") - 4
    found = read_picture(data[:place] + chunk + data[place:]).pixels[0] * 65535
    np.testing.assert_allclose(found, [[65535] * 3, [500, 501, 503], [0, 0, 0]], atol=0.01)


def test_interlaced_png_of_16_bits():
    """Adam7 by hand: the passes of an image of 5 x 3 pixels."""
    values = RNG.integers(0, 65536, (3, 5, 3)).astype(np.uint16)
    starts = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    body = b""
    for row, col, down, across in starts:
        part = values[row::down, col::across]
        body += b"".join(b"\0" + line.astype(">u2").tobytes() for line in part if part.size)
    data = bytearray(png(5, 3, 16, 2, body=body))
    data[28] = 1
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    np.testing.assert_allclose(read_picture(bytes(data)).pixels, values / 65535, atol=1e-7)


# ---- JPEG


def smooth(bits: int, channels: int) -> np.ndarray:
    """Return ramps, which JPEG hardly changes."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    planes = np.stack([x / WIDTH, y / HEIGHT, 1 - x / WIDTH][:channels], axis=2)
    values = np.rint(planes * (2**bits - 1)).astype(np.uint8 if bits <= 8 else np.uint16)
    return values[:, :, 0] if channels == 1 else values


@pytest.mark.parametrize("channels", [1, 3])
def test_12_bit_jpeg(channels):
    values = smooth(12, channels)
    found = read_picture(imagecodecs.jpeg8_encode(values, level=100, bitspersample=12, subsampling="444"))
    assert (found.bits, found.channels) == (12, channels)
    np.testing.assert_allclose(found.pixels, shown(values, 12), atol=6 / 4095)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_lossless_jpeg(bits, channels):
    values = values_of(bits, channels)
    data = imagecodecs.jpeg8_encode(values, lossless=True, bitspersample=bits)
    assert_shows(data, values, bits)
    assert not stored_values(data).lossy


def test_exif_orientation_of_a_12_bit_jpeg():
    values = smooth(12, 1)
    exif = Image.Exif()
    exif[0x0112] = 6
    block = exif.tobytes()
    data = imagecodecs.jpeg8_encode(values, level=100, bitspersample=12)
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]
    found = read_picture(data)
    np.testing.assert_allclose(found.pixels, np.rot90(shown(values, 12), -1), atol=6 / 4095)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpegls(bits, channels):
    values = values_of(bits, channels)
    data = imagecodecs.jpegls_encode(values)
    assert_shows(data, values, bits)
    assert not stored_values(data).lossy
    assert stored_values(imagecodecs.jpegls_encode(values, level=2)).lossy


def test_a_bit_depth_is_the_divisor_of_a_jpegls_of_16_bits():
    values = values_of(12, 1)
    found = read_picture(imagecodecs.jpegls_encode(values), 12)
    np.testing.assert_allclose(found.pixels, shown(values, 12), atol=3e-7)


# ---- JPEG 2000, JPEG XL, AVIF


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("codec", ["jp2", "j2k"])
def test_jpeg_2000(bits, channels, codec):
    values = values_of(bits, channels)
    data = imagecodecs.jpeg2k_encode(values, level=0, codecformat=codec, bitspersample=bits)
    assert_shows(data, values, bits)
    assert not stored_values(data).lossy
    assert stored_values(imagecodecs.jpeg2k_encode(values, level=40, reversible=False)).lossy


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("container", [False, True])
def test_jpeg_xl(bits, channels, container):
    values = values_of(bits, channels)
    data = imagecodecs.jpegxl_encode(values, lossless=True, bitspersample=bits, usecontainer=container)
    assert_shows(data, values, bits)


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_avif(bits, channels):
    values = values_of(bits, channels)
    data = imagecodecs.avif_encode(values, level=100, bitspersample=bits)
    found = read_picture(data)
    assert found.bits == bits
    np.testing.assert_allclose(found.pixels, shown(values, bits), atol=2e-7 if channels > 1 else 1.01 / (2**bits - 1))


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_orientation_of_avif(orientation):
    shown_values = smooth(8, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = io.BytesIO()
    Image.fromarray(shown_values).save(data, "AVIF", quality=100, subsampling="4:4:4", exif=exif)
    turned = {3: shown_values[::-1, ::-1], 6: np.rot90(shown_values, -1), 8: np.rot90(shown_values)}[orientation]
    np.testing.assert_allclose(read_picture(data.getvalue()).pixels, turned / 255, atol=0.03)


def test_frames_of_an_avif_sequence():
    data = io.BytesIO()
    first = Image.fromarray(smooth(8, 3))
    first.save(data, "AVIF", save_all=True, append_images=[first.rotate(180)], quality=100)
    found = read_picture(data.getvalue())
    assert found.frames == 2
    np.testing.assert_allclose(found.pixels, np.asarray(first) / 255, atol=0.1)


# ---- refusals


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (imagecodecs.jpegxl_encode(np.ones((4, 5), np.float32)), "floating-point values"),
        (imagecodecs.jpegxl_encode(np.ones((2, 4, 5), np.uint8), photometric="gray"), "several frames in JPEG XL"),
        (imagecodecs.jpeg2k_encode(np.ones((4, 5), np.int16)), "signed values"),
        (imagecodecs.jpeg2k_encode(np.ones((4, 5), np.uint32)), "bits per channel; save it with 16 or 8."),
    ],
)
def test_other_kinds_are_refused_by_name(data, message):
    with pytest.raises(ImageError) as refused:
        read_picture(data)
    assert message in str(refused.value)
    assert "damaged" not in str(refused.value)


@pytest.mark.parametrize(
    "data",
    [
        imagecodecs.png_encode(values_of(16, 3)),
        imagecodecs.jpegls_encode(values_of(12, 1)),
        imagecodecs.jpeg2k_encode(values_of(16, 3), level=0),
        imagecodecs.jpegxl_encode(values_of(16, 3), lossless=True),
        imagecodecs.avif_encode(values_of(10, 3), level=100, bitspersample=10),
        imagecodecs.jpeg8_encode(values_of(12, 1), lossless=True, bitspersample=12),
    ],
    ids=["png", "jpegls", "jpeg2000", "jpegxl", "avif", "ljpeg"],
)
def test_truncated_files_are_never_decoded_in_part(data):
    whole, refused = read_picture(data).pixels, 0
    for length in range(0, len(data), max(1, len(data) // 60)):
        try:
            part = read_picture(data[:length]).pixels
        except ImageError:
            refused += 1
        else:
            np.testing.assert_array_equal(part, whole)
    assert refused > 40
