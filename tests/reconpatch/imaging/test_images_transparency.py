"""Transparent parts of an image are blended with white."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from reconpatch.imaging.images import read_image
from tests.reconpatch.picture_files import deep, encode, noise, png, see_through


def over_white(color: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """Return 8-bit colors blended with white, in [0, 1]."""
    return (color * opacity[:, :, None] + 255.0 * (1 - opacity[:, :, None])) / 255


@pytest.mark.parametrize("fmt", ["PNG", "WEBP", "TIFF"])
def test_transparent_parts_are_blended_with_white(fmt):
    pixels = noise(9, 8, 4)
    found = read_image(encode(Image.fromarray(pixels), fmt, **({"exact": True} if fmt == "WEBP" else {})))
    np.testing.assert_allclose(found, over_white(pixels[:, :, :3], pixels[:, :, 3] / 255.0), atol=1e-6)


@pytest.mark.parametrize("fmt", ["PNG", "WEBP", "TIFF"])
def test_a_fully_opaque_image_is_bitwise_the_image_without_opacity(fmt):
    pixels = noise(9, 8, 3)
    picture = Image.fromarray(pixels)
    opaque = picture.copy()
    opaque.putalpha(255)
    np.testing.assert_array_equal(read_image(encode(opaque, fmt)), read_image(encode(picture, fmt)))


def test_the_color_of_transparent_pixels_has_no_effect():
    pixels = noise(9, 8, 4)
    pixels[:, :, 3] = np.where(pixels[:, :, 3] > 127, 255, 0)
    other = pixels.copy()
    other[pixels[:, :, 3] == 0, :3] = 7
    one, two = (read_image(encode(Image.fromarray(values), "PNG")) for values in (pixels, other))
    np.testing.assert_array_equal(one, two)
    assert (one[pixels[:, :, 3] == 0] == 1.0).all()


def test_an_image_that_varies_only_in_opacity_is_read():
    opacity = noise(9, 8)
    picture = Image.merge("LA", (Image.new("L", (8, 9), 0), Image.fromarray(opacity)))
    np.testing.assert_allclose(read_image(encode(picture, "PNG"))[:, :, 0], 1 - opacity / 255.0, atol=1e-6)


def test_a_palettes_transparent_entry_and_a_transparent_color_are_white():
    picture = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    picture.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    expected = np.array([[[255, 255, 255], [40, 50, 60], [70, 80, 90]]]) / 255
    np.testing.assert_allclose(read_image(see_through(picture, 0)), expected, atol=1e-6)
    np.testing.assert_allclose(read_image(see_through(picture.convert("RGB"), (10, 20, 30))), expected, atol=1e-6)
    layers = Image.fromarray(np.array([[3, 4]], np.uint8))
    np.testing.assert_allclose(read_image(see_through(layers, 3))[0, :, 0], [1.0, 4 / 255], atol=1e-6)


def test_16_bit_opacity_keeps_its_precision():
    values = np.zeros((2, 3, 4), np.uint16)
    values[:, :, 3] = [[0, 1, 300], [32768, 65534, 65535]]
    np.testing.assert_allclose(read_image(deep(values, "by hand"))[:, :, 0], 1 - values[:, :, 3] / 65535, atol=1e-7)
    gray_alpha = values[:, :, 2:]
    np.testing.assert_array_equal(read_image(deep(gray_alpha, "by hand")), read_image(deep(values, "by hand")))


def test_a_transparent_16_bit_gray_value_is_white():
    chunk = struct.pack(">I", 2) + b"tRNS" + struct.pack(">H", 500)
    chunk += struct.pack(">I", zlib.crc32(b"tRNS" + struct.pack(">H", 500)))
    data = png(2, 1, 16, 0, body=b"\0" + struct.pack(">HH", 500, 501))
    place = data.index(b"IDAT") - 4
    np.testing.assert_allclose(read_image(data[:place] + chunk + data[place:])[0, :, 0], [1, 501 / 65535], rtol=1e-6)
