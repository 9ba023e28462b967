"""Pasted defects: seen, bounded, and the same for a seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from reconpatch.imaging.synthetic_defects import KINDS, paste_defect


def picture(height: int, width: int, seed: int) -> np.ndarray:
    """A bright part on a dark ground, with some texture."""
    random = np.random.default_rng(seed)
    grey = 0.1 + 0.02 * random.random((height, width))
    grey[height // 4 : -height // 4, width // 4 : -width // 4] = 0.6
    grey += 0.1 * gaussian_filter(random.normal(size=(height, width)), 2)
    return np.repeat(np.clip(grey, 0, 1).astype(np.float32)[:, :, None], 3, axis=2)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(height=st.integers(16, 160), width=st.integers(16, 160), seed=st.integers(0, 10**6))
def test_a_defect_is_where_its_mask_is_and_can_be_seen(kind: str, height: int, width: int, seed: int) -> None:
    image = picture(height, width, seed)
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


def test_a_seed_makes_one_defect_and_seeds_make_all_kinds() -> None:
    image = picture(120, 90, 0)
    first, second = paste_defect(image, 5), paste_defect(image, 5)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    assert not np.array_equal(first[1], paste_defect(image, 6)[1])


def test_it_lies_on_the_part_more_often_than_chance_would_have_it() -> None:
    image = picture(128, 128, 1)
    image[:32] = image[-32:] = image[:, :32] = image[:, -32:] = 0.1
    on_part = [paste_defect(image, seed)[1][32:96, 32:96].any() for seed in range(60)]
    assert np.mean(on_part) > 0.7


def test_even_a_blank_picture_gets_one() -> None:
    for value in (0.0, 0.5, 1.0):
        changed, mask = paste_defect(np.full((64, 64, 3), value, np.float32), 3, "patch")
        assert np.abs(changed - np.float32(value))[mask].mean() >= 0.03


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16 pixels"):
        paste_defect(np.zeros((8, 64, 3), np.float32), 0)
    with pytest.raises(ValueError, match="kind is 'dent'"):
        paste_defect(np.zeros((64, 64, 3), np.float32), 0, "dent")
