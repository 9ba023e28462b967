"""The mapping from an image to the backbone's input, and its inverse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reconpatch.imaging.geometry import Geometry, resize_for


def test_the_side_of_patches_in_pixels_of_the_image():
    geometry = Geometry.of(512, 1024, 224)  # 4 pixels of the longer side become 1 pixel of the resized image
    assert geometry.patches_side(1, (28, 28)) == 32.0
    assert geometry.patches_side(5, (28, 28)) == 160.0


def test_resize_for():
    assert [resize_for(s) for s in (224, 320, 480, 448, 7)] == [256, 366, 512, 512, 8]
    assert all(resize_for(s) >= s for s in range(1, 2000))
    with pytest.raises(ValueError, match="at least 1"):
        resize_for(0)


@pytest.mark.parametrize("size", [224, 320, 480, 225, 21, 47])
def test_the_crop_equals_that_of_torchvision(size):
    transforms = pytest.importorskip("torchvision.transforms.functional")
    geometry = Geometry.of(100, 80, size)
    numbers = torch.arange(geometry.resize**2).reshape(1, geometry.resize, geometry.resize)
    cut = transforms.center_crop(numbers, [size, size])
    assert divmod(int(cut[0, 0, 0]), geometry.resize) == (geometry.offset, geometry.offset)


def test_full_frame_crops_nothing():
    geometry = Geometry.of(100, 80, 224, full_frame=True)
    assert (geometry.resize, geometry.crop, geometry.offset) == (224, 224, 0)
    assert geometry.looked_at() == (slice(0, 100), slice(0, 80))
    assert geometry.to_original(224, 224) == (100, 80)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 600), st.booleans())
def test_to_original_inverts_to_network(height, width, size, full_frame):
    geometry = Geometry.of(height, width, size, full_frame)
    rows, cols = geometry.to_network(np.array([0.0, 0.5, height]), np.array([0.0, width / 3, width]))
    np.testing.assert_allclose([rows[0], rows[-1]], [-geometry.offset, geometry.resize - geometry.offset])
    np.testing.assert_allclose([cols[0], cols[-1]], [-geometry.offset, geometry.resize - geometry.offset])
    back = geometry.to_original(rows, cols)
    np.testing.assert_allclose(back[0], [0.0, 0.5, height], atol=1e-9 * height)
    np.testing.assert_allclose(back[1], [0.0, width / 3, width], atol=1e-9 * width)


@given(
    height=st.integers(1, 3000),
    width=st.integers(1, 3000),
    size=st.sampled_from([28, 224, 320, 480]),
    cells=st.integers(1, 80),
    data=st.data(),
)
def test_patch_center_is_the_pixel_that_contains_the_center(*, height, width, size, cells, data):
    geometry = Geometry.of(height, width, size)
    row, col = data.draw(st.integers(0, cells - 1)), data.draw(st.integers(0, cells - 1))
    pixel = geometry.patch_center(row, col, (cells, cells))
    exact = geometry.to_original((row + 0.5) * size / cells, (col + 0.5) * size / cells)
    for side, index, center in zip((height, width), pixel, exact, strict=True):
        assert 0 <= index < side
        assert index - 1e-6 <= center <= index + 1 + 1e-6


@given(st.integers(1, 900), st.integers(1, 900), st.sampled_from([28, 224, 320]))
def test_looked_at_returns_the_pixels_whose_centers_are_in_the_crop(height, width, size):
    geometry = Geometry.of(height, width, size)
    for side, seen in zip((height, width), geometry.looked_at(), strict=True):
        for i in range(side):
            twice = (
                2 * i + 1
            ) * geometry.resize - 2 * side * geometry.offset  # 2 · side · coordinate in the backbone's input
            assert (seen.start <= i < seen.stop) == (0 <= twice < 2 * side * size)


@pytest.mark.parametrize("sides", [(0, 5, 8, 7), (5, 0, 8, 7), (5, 5, 8, 0), (5, 5, 7, 8)])
def test_an_invalid_geometry_raises(sides):
    with pytest.raises(ValueError, match="is not valid; each side must be at least 1, and crop must not exceed resize"):
        Geometry(*sides)
