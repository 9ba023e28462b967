"""Pictures of 9 to 16 bits a channel: no bit is lost, and the factor is always the same."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image

from reconpatch.exceptions import ImageError
from reconpatch.imaging.images import read_image, read_picture
from tests.reconpatch.picture_files import STORED, deep, encode, grey, noise, tiff_rgb16


@pytest.mark.parametrize(("kind", "channels"), [("PNG", ()), ("TIFF", ()), ("TIFF-LZW", ()), ("by hand", (3,))])
def test_16_bits_are_divided_by_65535_and_no_bit_is_lost(kind, channels):
    values = np.random.default_rng(1).integers(0, 65536, (7, 9, *channels), dtype=np.uint16)
    found = read_picture(deep(values, kind))
    expected = np.broadcast_to(values.reshape(7, 9, -1), (7, 9, 3)) / 65535
    np.testing.assert_allclose(found.pixels, expected, rtol=1e-6)
    assert (found.bits, found.largest) == (16, values.max() / 65535)
    assert len(np.unique(found.pixels)) > 60


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "by hand"])
def test_a_picture_of_257_times_the_8_bit_values_is_the_8_bit_picture_to_the_bit(kind):
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    twin = read_image(deep(values.astype(np.uint16) * 257, kind))
    np.testing.assert_array_equal(twin, read_image(encode(Image.fromarray(values), "PNG")))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_of_16_bit_color_is_read_in_full_and_as_shown(orientation):
    shown = np.random.default_rng(2).integers(0, 65536, (4, 7, 3), dtype=np.uint16)
    found = read_image(tiff_rgb16(np.ascontiguousarray(STORED[orientation](shown)), orientation))
    np.testing.assert_allclose(found, shown / 65535, rtol=1e-6)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "by hand"])
def test_a_bit_depth_is_a_fixed_factor_and_what_is_above_it_is_refused(kind):
    values = np.array([[0, 1, 4095]], np.uint16)
    found = read_picture(deep(values, kind), 12)
    np.testing.assert_allclose(found.pixels[0, :, 0], [0, 1 / 4095, 1], rtol=1e-6)
    dark = read_picture(deep(values // 2, kind), 12)  # the same factor for a darker picture
    np.testing.assert_allclose(dark.pixels[0, :, 0], [0, 0, 2047 / 4095], rtol=1e-6)
    assert read_picture(deep(values, kind)).largest < 1 / 16
    with pytest.raises(ImageError, match="a value of 4095, above the 2047 of --bit-depth 11; raise it"):
        read_image(deep(values, kind), 11)


def test_8_bit_pictures_do_not_care_about_the_bit_depth():
    data = encode(Image.fromarray(noise(5, 6)), "PNG")
    np.testing.assert_array_equal(read_image(data, 12), read_image(data))


@pytest.mark.parametrize("depth", [8, 17])
def test_a_bit_depth_that_no_camera_has_is_refused(depth):
    with pytest.raises(ValueError, match="give 9 to 16"):
        read_image(encode(grey("L"), "PNG"), depth)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("fmt", ["PNG", "TIFF"])
def test_16_bit_pictures_come_as_shown(orientation, fmt):
    shown = np.arange(60, dtype=np.uint16).reshape(5, 12) * 1000
    data = encode(Image.fromarray(np.ascontiguousarray(STORED[orientation](shown))), fmt, orientation)
    np.testing.assert_allclose(read_image(data)[:, :, 1], shown / 65535, rtol=1e-6)


def test_where_a_tiffs_0_is_white_so_is_ours():
    values = np.array([[0, 100, 65535]], np.uint16)
    data = bytearray(encode(Image.fromarray(values), "TIFF"))
    place = data.index(struct.pack("<HHIH", 262, 3, 1, 1))
    data[place + 8] = 0
    np.testing.assert_allclose(read_image(bytes(data))[0, :, 0], [1.0, 65435 / 65535, 0.0], rtol=1e-6)
