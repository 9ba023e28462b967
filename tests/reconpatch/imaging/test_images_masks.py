"""Masks: the defective pixels in files of every mode, and the mask at the size of the backbone's input."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from reconpatch.exceptions import ImageError
from reconpatch.imaging.geometry import Geometry
from reconpatch.imaging.images import preprocess_mask, read_mask
from tests.reconpatch.picture_files import REFUSED, encode, noise, png, see_through, tiff_rgb16


@pytest.mark.parametrize("top", [1, 2, 128, 255])
def test_pixels_above_half_of_the_maximum_are_defective(top):
    values = (noise(9, 7).astype(int) % (top + 1)).astype(np.uint8)
    values[0, 0] = top
    np.testing.assert_array_equal(read_mask(encode(Image.fromarray(values), "PNG")), values > top / 2)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16", "I", "F", "CMYK", "YCbCr"])
def test_masks_of_any_mode(mode):
    marked = np.zeros((9, 7), bool)
    marked[2:5, 1:3] = True
    for top in (1, 255):
        values = marked.astype(np.uint8) * top
        if mode == "1":
            picture = Image.fromarray(marked)
        elif mode in ("I;16", "I"):
            picture = Image.fromarray(values.astype(np.uint16 if mode == "I;16" else np.int32) * 257)
        else:
            picture = Image.fromarray(values).convert(mode)
        assert picture.mode == mode
        data = encode(picture, "TIFF" if mode in ("F", "CMYK", "I", "YCbCr") else "PNG")
        mask = read_mask(data)
        assert mask.dtype == bool
        np.testing.assert_array_equal(mask, marked)


def test_a_colored_palette_mask_is_read_by_its_luminance():
    picture = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    picture.putpalette([0, 0, 0, 128, 0, 0, 20, 0, 0])
    np.testing.assert_array_equal(read_mask(encode(picture, "PNG")), [[False, True, False]])


def test_transparent_pixels_are_not_defective():
    pixels = np.full((2, 3, 4), 255, np.uint8)
    pixels[0, :, 3] = 0
    np.testing.assert_array_equal(read_mask(encode(Image.fromarray(pixels), "PNG")), [[False] * 3, [True] * 3])
    data = see_through(Image.fromarray(np.array([[0, 255]], np.uint8)), 255)
    np.testing.assert_array_equal(read_mask(data), [[False, False]])


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.int32, np.float32])
def test_a_mask_of_zeros_has_no_defect(dtype):
    data = encode(Image.fromarray(np.zeros((4, 3), dtype)), "TIFF")
    assert not read_mask(data).any()
    assert read_mask(data).shape == (4, 3)


def test_nan_in_a_mask_is_not_defective():
    values = np.array([[np.nan, 0.0, 1.0]], np.float32)
    np.testing.assert_array_equal(read_mask(encode(Image.fromarray(values), "TIFF")), [[False, False, True]])


@pytest.mark.parametrize("data", [png(2, 1, 16, 2, body=bytes(13)), tiff_rgb16(np.zeros((1, 2, 3), np.uint16))])
def test_a_16_bit_color_mask_raises(data):
    with pytest.raises(ImageError, match=r"16 bits per color channel; save it as gray\."):
        read_mask(data)


def test_unreadable_masks_raise():
    for case in ("empty", "text", "gif", "too large"):
        with pytest.raises(ImageError):
            read_mask(REFUSED[case][0])


@pytest.mark.parametrize("size", [(300, 500), (40, 30), (1, 1), (224, 224)])
@pytest.mark.parametrize("full_frame", [False, True])
def test_masks_are_sampled_without_interpolation(size, full_frame):
    mask = noise(*size) > 127
    geometry = Geometry.of(*size, 224, full_frame)
    result = preprocess_mask(mask, geometry)
    assert result.shape == (224, 224)
    assert result.dtype == bool
    for i in range(0, 224, 13):
        for j in range(0, 224, 17):
            row, col = geometry.to_original(i + 0.5, j + 0.5)
            assert result[i, j] == mask[int(row + 1e-9), int(col + 1e-9)]


def test_a_mask_of_another_size_raises():
    with pytest.raises(ValueError, match=r"the geometry expects \(8, 6\)"):
        preprocess_mask(np.zeros((6, 8), bool), Geometry.of(8, 6, 224))
