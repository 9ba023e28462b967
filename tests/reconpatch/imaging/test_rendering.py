"""What people are shown: sizes, colors, borders and places are where they should be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconpatch.imaging.rendering import close_up, colored, counts, outlines, small, small_size


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 600))
def test_a_small_picture_keeps_its_shape_and_is_never_enlarged(height: int, width: int, side: int) -> None:
    rows, cols = small_size(height, width, side)
    assert 1 <= rows <= max(1, min(side, height))
    assert 1 <= cols <= max(1, min(side, width))
    assert max(rows, cols) == min(side, max(height, width))
    assert abs(rows - height * max(rows, cols) / max(height, width)) <= 1


def test_every_pixel_is_the_mean_of_those_it_stands_for() -> None:
    pixels = np.random.default_rng(0).random((40, 60, 3), dtype=np.float32)
    means = pixels.reshape(20, 2, 30, 2, 3).mean(axis=(1, 3))
    assert np.abs(small(pixels, 30).astype(float) - 255 * means).max() <= 0.5 + 1e-3


def test_grey_of_one_channel_seen_three_times_can_be_shown() -> None:
    grey = np.broadcast_to(np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4, 1), (3, 4, 3))
    assert small(grey, 4).shape == (3, 4, 3)


def test_higher_is_lighter_and_more_opaque_and_beyond_the_scale_nothing_changes() -> None:
    line = colored(np.array([[-5.0, 0.0, 1.0, 2.0, 4.0, 9.0, np.nan]], np.float32), 0.0, 4.0)[0].astype(int)
    brightness = line[:, :3].sum(axis=1)
    assert (np.diff(brightness[1:5]) > 0).all()
    assert (np.diff(line[1:5, 3]) > 0).all()
    assert (line[0] == line[1]).all()
    assert (line[4] == line[5]).all()
    assert (line[6] == line[1]).all()
    assert (line[1, 3], line[4, 3]) == (0, 255)


def test_a_scale_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="its end must be above its start"):
        colored(np.zeros((2, 2), np.float32), 1.0, 1.0)


def area(polygon: np.ndarray) -> float:
    x, y = polygon.T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 4)])
@pytest.mark.parametrize("corner", [(0, 0), (3, 7)])
def test_an_outline_lies_a_sixth_of_a_pixel_inside_its_region(shape: tuple[int, int], corner: tuple[int, int]) -> None:
    mask = np.zeros((10, 12), bool)
    mask[corner[0] : corner[0] + shape[0], corner[1] : corner[1] + shape[1]] = True
    (polygon,) = outlines(mask)
    assert np.allclose(polygon.min(axis=0), [corner[1] + 1 / 6, corner[0] + 1 / 6])
    assert np.allclose(polygon.max(axis=0), [corner[1] + shape[1] - 1 / 6, corner[0] + shape[0] - 1 / 6])


def test_regions_and_holes_have_an_outline_each() -> None:
    mask = np.zeros((20, 20), bool)
    mask[2:12, 2:12] = True
    mask[5:8, 5:8] = False
    mask[15:18, 15:18] = True
    areas = sorted(area(polygon) for polygon in outlines(mask))
    assert len(areas) == 3
    assert areas[2] == pytest.approx((10 - 1 / 3) ** 2)
    assert outlines(np.zeros((4, 4), bool)) == []


def test_a_tolerance_saves_corners_and_stays_near() -> None:
    rows, cols = np.mgrid[:200, :200]
    mask = np.hypot(rows - 100, cols - 100) < 80
    (fine,), (coarse,) = outlines(mask), outlines(mask, tolerance=2.0)
    assert len(coarse) < len(fine) / 2
    distance = np.abs(np.hypot(coarse[:, 0] - 100.5, coarse[:, 1] - 100.5) - 80)
    assert distance.max() <= 3.0


@pytest.mark.parametrize("place", [(50, 60), (0, 0), (99, 119), (3, 118)])
def test_a_close_up_shows_the_place(place: tuple[int, int]) -> None:
    pixels = np.zeros((100, 120, 3), np.float32)
    pixels[place] = 1.0
    seen = close_up(pixels, *place, side=20, size=20)
    assert seen.max() == 255
    assert (seen[:, :, 0] == 255).sum() == 1


def test_what_lies_beyond_a_smaller_picture_is_grey() -> None:
    seen = close_up(np.ones((4, 30, 3), np.float32), 2, 15, side=10, size=10)
    assert (seen[3:7] == 255).all()
    assert (seen[:3] == 128).all()
    assert (seen[7:] == 128).all()


def test_scores_beyond_the_ends_count_in_the_outermost_steps() -> None:
    scores = np.array([-3.0, 0.0, 0.1, 0.5, 1.0, 7.0])
    assert counts(scores, 0.0, 1.0, 4).tolist() == [3, 0, 1, 2]
    assert counts(np.empty(0), 0.0, 1.0, 4).tolist() == [0, 0, 0, 0]
    assert counts(np.array([2.0, 2.0]), 2.0, 2.0, 3).sum() == 2
