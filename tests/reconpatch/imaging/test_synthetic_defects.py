"""Synthetic defects: visible, of limited size, and equal for equal seeds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from reconpatch.imaging.synthetic_defects import KINDS, paste_defect


def image_of_a_part(height: int, width: int, seed: int) -> np.ndarray:
    """Return an image of a bright part on a dark background, with some texture."""
    random = np.random.default_rng(seed)
    gray = 0.1 + 0.02 * random.random((height, width))
    gray[height // 4 : -height // 4, width // 4 : -width // 4] = 0.6
    gray += 0.1 * gaussian_filter(random.normal(size=(height, width)), 2)
    return np.repeat(np.clip(gray, 0, 1).astype(np.float32)[:, :, None], 3, axis=2)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(height=st.integers(16, 160), width=st.integers(16, 160), seed=st.integers(0, 10**6))
def test_a_defect_is_visible_and_inside_its_mask(kind: str, height: int, width: int, seed: int) -> None:
    image = image_of_a_part(height, width, seed)
    before = image.copy()
    changed, mask = paste_defect(image, seed, kind)
    np.testing.assert_array_equal(image, before)
    assert changed.dtype == np.float32
    assert changed.shape == image.shape
    assert mask.shape == (height, width)
    assert changed.min() >= 0.0
    assert changed.max() <= 1.0
    np.testing.assert_array_equal(changed[~mask], image[~mask])
    assert 0.0 < mask.mean() <= 0.1
    assert np.abs(changed - image)[mask].mean() >= 0.03


def test_equal_seeds_give_equal_defects() -> None:
    image = image_of_a_part(120, 90, 0)
    first, second = paste_defect(image, 5), paste_defect(image, 5)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    assert not np.array_equal(first[1], paste_defect(image, 6)[1])


def test_defects_are_on_the_part_more_often_than_by_chance() -> None:
    image = image_of_a_part(128, 128, 1)
    image[:32] = image[-32:] = image[:, :32] = image[:, -32:] = 0.1
    on_part = [paste_defect(image, seed)[1][32:96, 32:96].any() for seed in range(60)]
    assert np.mean(on_part) > 0.7


def test_an_image_of_one_color_gets_a_visible_defect() -> None:
    for value in (0.0, 0.5, 1.0):
        changed, mask = paste_defect(np.full((64, 64, 3), value, np.float32), 3, "patch")
        assert np.abs(changed - np.float32(value))[mask].mean() >= 0.03


def test_a_small_image_and_an_unknown_kind_raise() -> None:
    with pytest.raises(ValueError, match="at least 16 pixels per side"):
        paste_defect(np.zeros((8, 64, 3), np.float32), 0)
    with pytest.raises(ValueError, match="kind is 'dent'"):
        paste_defect(np.zeros((64, 64, 3), np.float32), 0, "dent")
