"""Mask rule on masks whose truth is drawn by hand, and compared with a loop over pixels."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from reconpatch.imaging.mask_rule import Mask, mask_of

Bools = NDArray[np.bool_]


def spots(*values: float, background: float = 0, dtype: type = np.uint8) -> tuple[NDArray, Bools]:
    """Return a mask with one spot of 4 x 4 pixels per value, which do not touch, and the pixels of the spots."""
    mask = np.full((6, 6 * len(values)), background, dtype)
    drawn = np.zeros(mask.shape, bool)
    for number, value in enumerate(values):
        area = np.s_[1:5, 6 * number + 1 : 6 * number + 5]
        mask[area], drawn[area] = value, True
    return mask, drawn


def defective(values: NDArray, bits: int = 8, lossy: bool = False) -> Bools:
    """Return the defective pixels of a mask in which no pixel is ignored."""
    mask = mask_of(values, bits=bits, lossy=lossy)
    assert not mask.ignored.any()
    return mask.defective


@pytest.mark.parametrize(
    ("values", "bits", "dtype"),
    [
        ((255,), 8, np.uint8),
        ((1,), 8, np.uint8),
        ((7,), 8, np.uint8),
        ((1,), 1, np.uint8),
        ((1, 2, 3), 8, np.uint8),
        ((1, 4, 8), 8, np.uint8),
        (tuple(range(1, 16)), 8, np.uint8),
        ((255, 254, 253), 8, np.uint8),
        ((64, 128, 255), 8, np.uint8),
        ((65535,), 16, np.uint16),
        ((1000, 2000, 3000), 16, np.uint16),
        ((1, 40000), 32, np.int32),
        ((1.0,), 32, np.float32),
        ((0.25, 0.5), 64, np.float64),
    ],
)
def test_every_class_is_defective(values, bits, dtype):
    mask, drawn = spots(*values, dtype=dtype)
    np.testing.assert_array_equal(defective(mask, bits), drawn)
    assert mask_of(mask, bits=bits, lossy=False).values == (0, *sorted(values))


def test_the_background_without_a_0_is_the_most_frequent_value():
    mask, drawn = spots(2, background=1)  # MATLAB counts from 1
    np.testing.assert_array_equal(defective(mask), drawn)
    mask, drawn = spots(240, 250, background=200)
    np.testing.assert_array_equal(defective(mask), drawn)


@pytest.mark.parametrize(("value", "expected"), [(0, False), (1, True), (255, True)])
def test_a_single_value_marks_all_pixels_or_none(value, expected):
    for lossy in (False, True):
        mask = mask_of(np.full((3, 4), value, np.uint8), bits=8, lossy=lossy)
        assert (mask.defective == expected).all()
        assert not mask.ignored.any()
        assert mask.values == (value,)


def test_more_than_16_values_are_gray_levels():
    few = np.repeat(np.arange(16, dtype=np.uint8) * 17, 8).reshape(8, 16)
    many = np.repeat(np.arange(17, dtype=np.uint8) * 15, 8).reshape(8, 17)
    assert len(mask_of(few, bits=8, lossy=False).values) == 16
    assert mask_of(many, bits=8, lossy=False).values == ()
    np.testing.assert_array_equal(defective(many), many > 127)


@pytest.mark.parametrize(("bits", "half"), [(8, 127), (10, 511), (12, 2047), (16, 32767)])
def test_gray_levels_are_compared_with_half_of_the_bit_depth(bits, half):
    values = np.array([[0, 1, half, half + 1]], np.uint16)
    np.testing.assert_array_equal(defective(values, bits, lossy=True), [[False, False, False, True]])


def test_gray_levels_in_floating_point_are_compared_with_half_of_their_maximum():
    values = np.linspace(0, 0.8, 41, dtype=np.float32)[None]
    np.testing.assert_array_equal(defective(values, 32), values > np.float32(0.4))


def test_nan_counts_as_0():
    values = np.array([[np.nan, 0.0, 1.0, np.nan]], np.float32)
    np.testing.assert_array_equal(defective(values, 32), [[False, False, True, False]])
    assert not defective(np.full((2, 2), np.nan, np.float32), 32).any()


def test_negative_values_are_not_defective():
    mask, drawn = spots(1, -1, dtype=np.int32)
    np.testing.assert_array_equal(defective(mask, 32), drawn & (mask == 1))


def test_a_soft_edge_is_defective_where_it_is_above_half():
    mask = np.zeros((9, 9), np.uint8)
    mask[1:8, 1:8], mask[2:7, 2:7], mask[3:6, 3:6] = 60, 140, 255
    np.testing.assert_array_equal(defective(mask), mask > 127)


def test_neighbors_are_eight():
    mask, drawn = spots(255)
    mask[0, 0] = 40  # touches the corner of the spot
    np.testing.assert_array_equal(defective(mask), drawn)


def test_a_class_that_touches_a_larger_one_is_defective():
    mask = np.zeros((6, 12), np.uint8)
    mask[1:5, 1:6], mask[1:5, 6:11] = 1, 2
    np.testing.assert_array_equal(defective(mask), mask > 0)


def test_noise_around_a_spot_is_not_defective():
    mask = np.zeros((6, 20), np.uint8)
    mask[2, 2:14] = [22, 176, 43, 41, 11, 1, 2, 3, 5, 6, 39, 42]
    np.testing.assert_array_equal(defective(mask), mask == 176)


@pytest.mark.parametrize("classes", [(1,), (1, 2, 4), (31,)])
def test_255_beside_class_indices_is_ignored(classes):
    mask, drawn = spots(*classes)
    mask[0], mask[1:5, 0] = 255, 255
    read = mask_of(mask, bits=8, lossy=False)
    np.testing.assert_array_equal(read.defective, drawn)
    np.testing.assert_array_equal(read.ignored, mask == 255)
    assert read.values == (0, *classes, 255)


def test_a_class_that_is_all_border_keeps_its_pixels():
    mask = np.zeros((5, 5), np.uint8)
    mask[1:4, 1:4], mask[2, 2] = 255, 1  # one pixel, surrounded by the border
    read = mask_of(mask, bits=8, lossy=False)
    np.testing.assert_array_equal(read.defective, mask == 1)
    np.testing.assert_array_equal(read.ignored, mask == 255)


@pytest.mark.parametrize("values", [(255,), (32, 255), (1, 64, 255), (1, 254, 255)])
def test_255_without_class_indices_is_defective(values):
    mask, drawn = spots(*values)
    np.testing.assert_array_equal(defective(mask), drawn)


def test_255_on_a_background_of_1_is_defective():
    mask, drawn = spots(255, background=1)
    np.testing.assert_array_equal(defective(mask), drawn)


def plain(values: NDArray, bits: int) -> Mask:
    """Return the mask by the rule as it is written, pixel by pixel."""
    height, width = values.shape
    counts = Counter(values.ravel().tolist())
    distinct = tuple(sorted(counts))
    background = 0 if 0 in counts else min(v for v in counts if counts[v] == max(counts.values()))
    classes = [v for v in distinct if v not in (background, 255)]
    border = 255 in counts and bool(classes) and all(v <= 31 for v in distinct if v != 255)
    counted = {v for v in distinct if v > (2**bits - 1) / 2}
    for row in range(height):
        for col in range(width):
            near = values[max(row - 1, 0) : row + 2, max(col - 1, 0) : col + 2].ravel().tolist()
            if all(v <= values[row, col] or (border and v == 255) for v in near):
                counted.add(int(values[row, col]))
    counted -= {background, 255} if border else {background}
    return Mask(np.isin(values, list(counted)), (values == 255) & border, distinct)


@pytest.mark.parametrize("seed", range(40))
def test_masks_of_few_values_equal_the_rule_pixel_by_pixel(seed):
    rng = np.random.default_rng(seed)
    levels = rng.choice([0, 0, 1, 2, 5, 31, 60, 110, 140, 254, 255], size=rng.integers(3, 6), replace=False)
    mask = np.kron(rng.choice(levels, (7, 6)), np.ones((2, 2), int)).astype(np.uint8)
    mask[rng.random(mask.shape) < 0.1] = levels[0]
    read, expected = mask_of(mask, bits=8, lossy=False), plain(mask, 8)
    np.testing.assert_array_equal(read.defective, expected.defective)
    np.testing.assert_array_equal(read.ignored, expected.ignored)
    assert read.values == expected.values
