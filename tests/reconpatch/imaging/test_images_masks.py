"""Masks: the defective pixels in files of every mode, and the mask at the size of the backbone's input."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from reconpatch.exceptions import ImageError
from reconpatch.imaging.geometry import Geometry
from reconpatch.imaging.images import preprocess_mask, read_mask, read_mask_file
from tests.reconpatch.picture_files import REFUSED, deep, encode, noise, see_through, tiff_of, tiff_rgb16


@pytest.mark.parametrize("top", [1, 255])
def test_two_values_and_noisy_gray_levels(top):
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


def test_a_palette_mask_is_read_by_its_indices():
    picture = Image.fromarray(np.array([[0, 1, 0, 2]], np.uint8))
    picture.putpalette([255, 255, 255, 128, 0, 0, 20, 0, 0])
    for fmt in ("PNG", "TIFF", "GIF"):
        np.testing.assert_array_equal(read_mask(encode(picture, fmt)), [[False, True, False, True]])


def test_a_color_mask_is_read_by_its_largest_channel():
    colors = np.array([[[0, 0, 128], [0, 0, 0], [255, 0, 0], [0, 0, 0], [0, 1, 0]]], np.uint8)
    np.testing.assert_array_equal(read_mask(encode(Image.fromarray(colors), "PNG")), [[True, False, True, False, True]])
    np.testing.assert_array_equal(read_mask_file(encode(Image.fromarray(colors), "PNG")).values, [0, 1, 128, 255])


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


def test_16_bit_color_masks_are_read():
    values = np.zeros((2, 4, 3), np.uint16)
    values[0, 1, 2] = 40_000
    values[1, 3] = 300
    for data in (tiff_rgb16(values), deep(values, "by hand")):
        np.testing.assert_array_equal(read_mask(data), values.max(axis=2) > 0)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("bits", [1, 8, 16])
def test_masks_in_which_0_is_white_are_read_the_right_way_round(order, bits):
    marked = np.zeros((5, 16), bool)
    marked[1:3, 4:9] = True
    stored = np.where(marked, 0, 2**bits - 1)
    body = np.packbits(stored.astype(np.uint8), axis=1) if bits == 1 else stored.astype(f"{order}u{bits // 8}")
    data = tiff_of(body.tobytes(), 16, 5, order=order, tags={258: bits, 262: 0})
    np.testing.assert_array_equal(read_mask(data), marked)


def test_class_indices_and_a_border_to_ignore():
    values = np.zeros((9, 12), np.uint8)
    values[1:4, 1:4], values[5:8, 6:9], values[1:4, 8:11] = 1, 2, 255
    for data in (encode(Image.fromarray(values), "PNG"), encode(Image.fromarray(values), "TIFF")):
        mask = read_mask_file(data)
        np.testing.assert_array_equal(mask.defective, (values == 1) | (values == 2))
        np.testing.assert_array_equal(mask.ignored, values == 255)
        assert mask.values == (0.0, 1.0, 2.0, 255.0)


def test_half_of_the_bit_depth_counts_in_a_mask_that_is_compressed_with_loss():
    values = np.full((16, 16), 100, np.uint8)
    assert not read_mask(encode(Image.fromarray(np.where(np.eye(16) > 0, 90, values).astype(np.uint8)), "JPEG")).any()
    values[4:12, 4:12] = 250
    mask = read_mask(encode(Image.fromarray(values), "JPEG"))
    np.testing.assert_array_equal(mask, values == 250)


def test_the_value_of_a_pixel_is_multiplied_by_its_opacity():
    pixels = np.full((3, 4, 4), 255, np.uint8)
    pixels[:, :, 3] = [[0, 127, 128, 255]] * 3
    assert read_mask_file(encode(Image.fromarray(pixels), "PNG")).values == (0.0, 127.0, 128.0, 255.0)
    pixels[:, :, 3] = 0  # an opacity that is 0 everywhere is ignored
    assert read_mask(encode(Image.fromarray(pixels), "PNG")).all()


def test_unreadable_masks_raise():
    for case in ("empty", "text", "icon", "too large"):
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
