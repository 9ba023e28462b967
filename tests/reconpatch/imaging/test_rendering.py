"""Images for reports: sizes, colors, outlines, close-ups and histograms."""

from __future__ import annotations

import matplotlib as mpl
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


def mean_of(line: np.ndarray, start: float, end: float) -> float:
    """Return the mean of a line of pixels between two positions, where pixel i covers [i, i + 1)."""
    covered = [max(0.0, min(end, i + 1) - max(start, i)) for i in range(len(line))]
    return sum(share * value for share, value in zip(covered, line, strict=True)) / (end - start)


@pytest.mark.parametrize(("shape", "side", "expected"), [((7, 5), 3, (3, 2)), ((5, 9), 8, (4, 8)), ((1, 6), 4, (1, 4))])
def test_a_pixel_that_is_covered_in_part_counts_with_the_covered_share(
    shape: tuple[int, int], side: int, expected: tuple[int, int]
) -> None:
    pixels = np.random.default_rng(1).random((*shape, 3), dtype=np.float32)
    seen = small(pixels, side)
    assert seen.shape == (*expected, 3)
    height, width = shape[0] / expected[0], shape[1] / expected[1]
    for row, col, channel in np.ndindex(seen.shape):
        lines = [mean_of(line, col * width, (col + 1) * width) for line in pixels[:, :, channel]]
        assert abs(seen[row, col, channel] - 255 * mean_of(lines, row * height, (row + 1) * height)) <= 0.5 + 1e-3


def test_gray_images_with_a_shared_channel_are_reduced_like_all_others() -> None:
    gray = np.broadcast_to(np.random.default_rng(2).random((30, 40, 1), dtype=np.float32), (30, 40, 3))
    assert small(gray, 40).shape == (30, 40, 3)
    assert (small(gray, 12) == small(gray.copy(), 12)).all()


def test_higher_values_are_brighter_and_more_opaque_within_the_scale() -> None:
    line = colored(np.array([[-5.0, 0.0, 1.0, 2.0, 4.0, 9.0, np.nan]], np.float32), 0.0, 4.0)[0].astype(int)
    brightness = line[:, :3].sum(axis=1)
    assert (np.diff(brightness[1:5]) > 0).all()
    assert (np.diff(line[1:5, 3]) > 0).all()
    assert (line[0] == line[1]).all()
    assert (line[4] == line[5]).all()
    assert (line[6] == line[1]).all()
    assert (line[1, 3], line[4, 3]) == (0, 255)


def test_the_colors_are_those_of_inferno_and_their_brightness_increases() -> None:
    levels = np.arange(256, dtype=np.float32)[None]
    colors = colored(levels, 0.0, 255.0)[0, :, :3].astype(float)
    assert np.abs(colors - 255 * mpl.colormaps["inferno"](np.arange(256))[:, :3]).max() <= 2
    linear = np.where(colors <= 10, colors / 255 / 12.92, ((colors / 255 + 0.055) / 1.055) ** 2.4)
    assert (np.diff(linear @ [0.2126, 0.7152, 0.0722]) > 0).all()


def test_an_empty_color_scale_raises() -> None:
    with pytest.raises(ValueError, match="its end must be above its start"):
        colored(np.zeros((2, 2), np.float32), 1.0, 1.0)


def area(polygon: np.ndarray) -> float:
    """Return the area of a polygon."""
    x, y = polygon.T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (2, 3), (5, 4)])
@pytest.mark.parametrize("corner", [(0, 0), (3, 7), (5, 8)])
def test_an_outline_is_a_sixth_of_a_pixel_inside_its_region(shape: tuple[int, int], corner: tuple[int, int]) -> None:
    mask = np.zeros((10, 12), bool)
    (top, left), (bottom, right) = corner, (corner[0] + shape[0], corner[1] + shape[1])
    mask[top:bottom, left:right] = True
    (polygon,) = outlines(mask)
    # Each side runs between the centers of its first and its last pixel; the corners are cut off.
    expected = {(x, y) for x in (left + 1 / 6, right - 1 / 6) for y in (top + 0.5, bottom - 0.5)}
    expected |= {(x, y) for x in (left + 0.5, right - 0.5) for y in (top + 1 / 6, bottom - 1 / 6)}
    assert {tuple(np.round(point, 9)) for point in polygon} == {tuple(np.round(point, 9)) for point in expected}
    assert len(polygon) == len(expected)


def test_each_region_and_each_hole_has_an_outline() -> None:
    mask = np.zeros((20, 20), bool)
    mask[2:12, 2:12] = True
    mask[5:8, 5:8] = False
    mask[15:18, 15:18] = True
    cut = 4 * (1 / 3) ** 2 / 2  # the four corners
    areas = sorted(area(polygon) for polygon in outlines(mask))
    assert areas == pytest.approx(
        [(3 - 1 / 3) ** 2 - cut, (3 + 1 / 3) ** 2 - 4 * (2 / 3) ** 2 / 2, (10 - 1 / 3) ** 2 - cut]
    )
    assert outlines(np.zeros((4, 4), bool)) == []


def test_regions_that_touch_at_a_corner_have_separate_outlines() -> None:
    assert len(outlines(np.eye(2, dtype=bool))) == 2


def test_a_tolerance_reduces_corners_and_bounds_the_deviation() -> None:
    rows, cols = np.mgrid[:200, :200]
    mask = np.hypot(rows - 100, cols - 100) < 80
    (fine,), (coarse,) = outlines(mask), outlines(mask, tolerance=2.0)
    assert len(coarse) < len(fine) / 2
    distance = np.abs(np.hypot(coarse[:, 0] - 100.5, coarse[:, 1] - 100.5) - 80)
    assert distance.max() <= 3.0


def distance_from(polygon: np.ndarray, point: np.ndarray) -> float:
    """Return the distance of a point from a closed polygon, sampled at 2,000 positions per side."""
    share = np.linspace(0, 1, 2000)[:, None]
    sides = zip(polygon, np.roll(polygon, -1, axis=0), strict=True)
    return min(float(np.hypot(*(start + share * (end - start) - point).T).min()) for start, end in sides)


@pytest.mark.parametrize("tolerance", [0.0, 0.5, 1.5])
def test_no_corner_of_an_irregular_region_is_farther_than_the_tolerance(tolerance: float) -> None:
    rows, cols = np.mgrid[:40, :40]
    mask = np.hypot(rows - 20, cols - 20) < 12 + 4 * np.sin(5 * np.arctan2(rows - 20, cols - 20))
    (exact,), (polygon,) = outlines(mask), outlines(mask, tolerance)
    assert {tuple(point) for point in polygon} <= {tuple(point) for point in exact}
    assert max(distance_from(polygon, point) for point in exact) <= tolerance + 0.01


@pytest.mark.parametrize("length", [1, 2, 4, 6, 12])
def test_thin_regions_are_left_out_unless_they_are_long(length: int) -> None:
    mask = np.zeros((14, 14), bool)
    mask[4, 1 : 1 + length] = True
    polygons = outlines(mask, tolerance=1.0)
    if length <= 4:
        assert polygons == []
    else:
        (polygon,) = polygons
        assert len(polygon) >= 3
        assert np.ptp(polygon[:, 0]) == pytest.approx(length - 1 / 3, abs=1.0)
        assert area(polygon) > 0
    assert len(outlines(mask)) == 1


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


def test_a_reduced_close_up_shows_means_of_pixels() -> None:
    pixels = np.random.default_rng(3).random((12, 12, 3), dtype=np.float32)
    means = pixels.reshape(4, 3, 4, 3, 3).mean(axis=(1, 3))
    assert np.abs(close_up(pixels, 6, 6, side=12, size=4) - 255 * means).max() <= 0.5 + 1e-3


def test_an_enlarged_close_up_is_interpolated_between_pixel_centers() -> None:
    pixels = np.random.default_rng(4).random((4, 4, 3), dtype=np.float32)
    seen = close_up(pixels, 2, 2, side=4, size=10)
    positions = np.clip((np.arange(10) + 0.5) * 0.4 - 0.5, 0, 3)
    for channel in range(3):
        columns = np.array([np.interp(positions, np.arange(4), line) for line in pixels[:, :, channel]])
        expected = np.array([np.interp(positions, np.arange(4), line) for line in columns.T]).T
        assert np.abs(seen[:, :, channel] - 255 * expected).max() <= 0.5 + 1e-3


def test_scores_outside_of_the_range_count_in_the_outermost_bins() -> None:
    scores = np.array([-3.0, 0.0, 0.1, 0.5, 1.0, 7.0])
    assert counts(scores, 0.0, 1.0, 4).tolist() == [3, 0, 1, 2]
    assert counts(np.empty(0), 0.0, 1.0, 4).tolist() == [0, 0, 0, 0]
    assert counts(np.array([2.0, 2.0]), 2.0, 2.0, 3).sum() == 2
