"""Images for reports: sizes, colors, outlines, close-ups and histograms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconpatch.imaging.rendering import close_up, colored, counts, outlines, small, small_size


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 600))
def test_a_thumbnail_keeps_the_aspect_ratio_and_is_never_enlarged(height: int, width: int, side: int) -> None:
    rows, cols = small_size(height, width, side)
    assert 1 <= rows <= max(1, min(side, height))
    assert 1 <= cols <= max(1, min(side, width))
    assert max(rows, cols) == min(side, max(height, width))
    assert abs(rows - height * max(rows, cols) / max(height, width)) <= 1


def test_every_pixel_of_a_thumbnail_is_the_mean_of_the_pixels_it_covers() -> None:
    pixels = np.random.default_rng(0).random((40, 60, 3), dtype=np.float32)
    means = pixels.reshape(20, 2, 30, 2, 3).mean(axis=(1, 3))
    assert np.abs(small(pixels, 30).astype(float) - 255 * means).max() <= 0.5 + 1e-3


def test_gray_images_with_a_shared_channel_are_supported() -> None:
    gray = np.broadcast_to(np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4, 1), (3, 4, 3))
    assert small(gray, 4).shape == (3, 4, 3)


def test_higher_values_are_brighter_and_more_opaque_within_the_scale() -> None:
    line = colored(np.array([[-5.0, 0.0, 1.0, 2.0, 4.0, 9.0, np.nan]], np.float32), 0.0, 4.0)[0].astype(int)
    brightness = line[:, :3].sum(axis=1)
    assert (np.diff(brightness[1:5]) > 0).all()
    assert (np.diff(line[1:5, 3]) > 0).all()
    assert (line[0] == line[1]).all()
    assert (line[4] == line[5]).all()
    assert (line[6] == line[1]).all()
    assert (line[1, 3], line[4, 3]) == (0, 255)


def test_an_empty_color_scale_raises() -> None:
    with pytest.raises(ValueError, match="its end must be above its start"):
        colored(np.zeros((2, 2), np.float32), 1.0, 1.0)


def area(polygon: np.ndarray) -> float:
    """Return the area of a polygon."""
    x, y = polygon.T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 4)])
@pytest.mark.parametrize("corner", [(0, 0), (3, 7)])
def test_an_outline_is_a_sixth_of_a_pixel_inside_its_region(shape: tuple[int, int], corner: tuple[int, int]) -> None:
    mask = np.zeros((10, 12), bool)
    mask[corner[0] : corner[0] + shape[0], corner[1] : corner[1] + shape[1]] = True
    (polygon,) = outlines(mask)
    assert np.allclose(polygon.min(axis=0), [corner[1] + 1 / 6, corner[0] + 1 / 6])
    assert np.allclose(polygon.max(axis=0), [corner[1] + shape[1] - 1 / 6, corner[0] + shape[0] - 1 / 6])


def test_each_region_and_each_hole_has_an_outline() -> None:
    mask = np.zeros((20, 20), bool)
    mask[2:12, 2:12] = True
    mask[5:8, 5:8] = False
    mask[15:18, 15:18] = True
    areas = sorted(area(polygon) for polygon in outlines(mask))
    assert len(areas) == 3
    assert areas[2] == pytest.approx((10 - 1 / 3) ** 2)
    assert outlines(np.zeros((4, 4), bool)) == []


def test_a_tolerance_reduces_corners_and_bounds_the_deviation() -> None:
    rows, cols = np.mgrid[:200, :200]
    mask = np.hypot(rows - 100, cols - 100) < 80
    (fine,), (coarse,) = outlines(mask), outlines(mask, tolerance=2.0)
    assert len(coarse) < len(fine) / 2
    distance = np.abs(np.hypot(coarse[:, 0] - 100.5, coarse[:, 1] - 100.5) - 80)
    assert distance.max() <= 3.0


@pytest.mark.parametrize("position", [(50, 60), (0, 0), (99, 119), (3, 118)])
def test_a_close_up_contains_the_position(position: tuple[int, int]) -> None:
    pixels = np.zeros((100, 120, 3), np.float32)
    pixels[position] = 1.0
    seen = close_up(pixels, *position, side=20, size=20)
    assert seen.max() == 255
    assert (seen[:, :, 0] == 255).sum() == 1


def test_a_close_up_is_gray_outside_of_a_smaller_image() -> None:
    seen = close_up(np.ones((4, 30, 3), np.float32), 2, 15, side=10, size=10)
    assert (seen[3:7] == 255).all()
    assert (seen[:3] == 128).all()
    assert (seen[7:] == 128).all()


def test_scores_outside_of_the_range_count_in_the_outermost_bins() -> None:
    scores = np.array([-3.0, 0.0, 0.1, 0.5, 1.0, 7.0])
    assert counts(scores, 0.0, 1.0, 4).tolist() == [3, 0, 1, 2]
    assert counts(np.empty(0), 0.0, 1.0, 4).tolist() == [0, 0, 0, 0]
    assert counts(np.array([2.0, 2.0]), 2.0, 2.0, 3).sum() == 2
