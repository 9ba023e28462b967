"""Images with 9 to 16 bits per channel: no bit is lost, and the divisor does not depend on the values."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image

from reconpatch.exceptions import ImageError
from reconpatch.imaging.images import read_image, read_picture
from tests.reconpatch.picture_files import STORED, deep, encode, gray, noise, tiff_rgb16


@pytest.mark.parametrize(("kind", "channels"), [("PNG", ()), ("TIFF", ()), ("TIFF-LZW", ()), ("by hand", (3,))])
def test_16_bits_are_divided_by_65535_and_no_bit_is_lost(kind, channels):
    values = np.random.default_rng(1).integers(0, 65536, (7, 9, *channels), dtype=np.uint16)
    found = read_picture(deep(values, kind))
    expected = np.broadcast_to(values.reshape(7, 9, -1), (7, 9, 3)) / 65535
    np.testing.assert_allclose(found.pixels, expected, rtol=1e-6)
    assert (found.bits, found.largest) == (16, values.max() / 65535)
    assert len(np.unique(found.pixels)) > 60


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "by hand"])
def test_257_times_the_8_bit_values_give_bitwise_the_8_bit_image(kind):
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    deep_image = read_image(deep(values.astype(np.uint16) * 257, kind))
    np.testing.assert_array_equal(deep_image, read_image(encode(Image.fromarray(values), "PNG")))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_of_16_bit_color_keeps_its_precision_and_orientation(orientation):
    shown = np.random.default_rng(2).integers(0, 65536, (4, 7, 3), dtype=np.uint16)
    found = read_image(tiff_rgb16(np.ascontiguousarray(STORED[orientation](shown)), orientation))
    np.testing.assert_allclose(found, shown / 65535, rtol=1e-6)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "by hand"])
def test_a_bit_depth_sets_the_divisor_and_larger_values_raise(kind):
    values = np.array([[0, 1, 4095]], np.uint16)
    found = read_picture(deep(values, kind), 12)
    np.testing.assert_allclose(found.pixels[0, :, 0], [0, 1 / 4095, 1], rtol=1e-6)
    dark = read_picture(deep(values // 2, kind), 12)  # a darker image has the same divisor
    np.testing.assert_allclose(dark.pixels[0, :, 0], [0, 0, 2047 / 4095], rtol=1e-6)
    assert read_picture(deep(values, kind)).largest < 1 / 16
    with pytest.raises(
        ImageError, match=r"has the value 4095; --bit-depth 11 allows at most 2047\. Raise --bit-depth\."
    ):
        read_image(deep(values, kind), 11)


def test_8_bit_images_do_not_depend_on_the_bit_depth():
    data = encode(Image.fromarray(noise(5, 6)), "PNG")
    np.testing.assert_array_equal(read_image(data, 12), read_image(data))


@pytest.mark.parametrize("depth", [8, 17])
def test_a_bit_depth_out_of_range_raises(depth):
    with pytest.raises(ValueError, match="it must be 9 to 16"):
        read_image(encode(gray("L"), "PNG"), depth)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("fmt", ["PNG", "TIFF"])
def test_16_bit_images_are_read_as_displayed(orientation, fmt):
    shown = np.arange(60, dtype=np.uint16).reshape(5, 12) * 1000
    data = encode(Image.fromarray(np.ascontiguousarray(STORED[orientation](shown))), fmt, orientation)
    np.testing.assert_allclose(read_image(data)[:, :, 1], shown / 65535, rtol=1e-6)


def test_tiff_values_whose_0_is_white_are_inverted():
    values = np.array([[0, 100, 65535]], np.uint16)
    data = bytearray(encode(Image.fromarray(values), "TIFF"))
    place = data.index(struct.pack("<HHIH", 262, 3, 1, 1))
    data[place + 8] = 0
    np.testing.assert_allclose(read_image(bytes(data))[0, :, 0], [1.0, 65435 / 65535, 0.0], rtol=1e-6)
