"""Modified z-scores (eq. 11) and the fusion of maps, compared with direct computations in float64."""

import math
import statistics

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reconpatch.detector.fusion import (
    find_peaks,
    fuse_maps,
    image_scores,
    largest_scores,
    modified_z_score,
    score_statistics,
)


def naive_statistics(scores):
    """Return the median and the MAD of the scores that are not NaN."""
    values = [float(score) for score in np.ravel(scores) if score == score]
    median = statistics.median(values)
    return median, statistics.median(abs(value - median) for value in values)


@pytest.mark.parametrize("n", [3, 4, 1001])
def test_median_and_mad(n):
    scores = np.random.default_rng(n).gamma(4.0, size=n).astype(np.float32)
    computed = score_statistics(scores)
    assert (computed.median, computed.mad) == pytest.approx(naive_statistics(scores))
    assert (computed.beta, computed.fallback) == (1.4826, False)


def test_nan_is_ignored_and_the_shape_does_not_matter():
    scores = np.array([[1.0, np.nan, 2.0], [4.0, 8.0, np.nan]], np.float32)
    computed = score_statistics(scores)
    assert (computed.median, computed.mad) == (3.0, 1.5)
    assert score_statistics(torch.from_numpy(scores)) == computed
    assert score_statistics(scores.astype(np.float16)) == computed


def test_a_very_small_mad_is_replaced_by_the_mean_absolute_deviation():
    scores = np.concatenate([np.full(600, 0.5), np.linspace(1.0, 5.0, 400)])
    computed = score_statistics(scores)
    assert computed.fallback
    assert computed.beta == 1.2533
    assert computed.median == 0.5
    assert computed.mad == pytest.approx(sum(abs(score - 0.5) for score in scores) / 1000)


@pytest.mark.parametrize(("width", "fallback"), [(0.99e-3, True), (1.01e-3, False)])
def test_the_limit_of_the_mad_is_a_thousandth_of_the_99th_percentile(width, fallback):
    # The scores are 1 ± width, so the MAD is the width. The 99th percentile is 1 + width, except for 1e-5.
    scores = np.array([1.0 - width, 1.0 + width] * 500 + [1.0] * 3) / (1.0 + width)
    computed = score_statistics(scores)
    assert computed.fallback is fallback
    if not fallback:
        assert computed.mad == pytest.approx(width / (1.0 + width), rel=1e-3)


def test_if_most_scores_are_zero_the_mean_absolute_deviation_is_used():
    computed = score_statistics(np.array([0.0] * 999 + [1.0]))  # the 99th percentile is 0 as well
    assert computed.fallback
    assert computed.mad == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([], "There are no scores"),
        ([np.nan], "There are no scores"),
        ([0.1] * 7, "without spread"),
        ([0.0], "without spread"),
        ([1, np.inf], "infinite"),
    ],
)
def test_scores_without_statistics_are_errors(scores, message):
    with pytest.raises(ValueError, match=message):
        score_statistics(np.array(scores))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_modified_z_score_is_equation_11(dtype):
    scores = np.array([[0.5, 2.0], [np.nan, 7.25]], dtype)
    z_scores = modified_z_score(scores, 2.0, 0.5)
    expected = [[(float(s) - 2.0) / (1.4826 * 0.5) for s in row] for row in scores]
    np.testing.assert_allclose(z_scores, expected, rtol=1e-6)
    assert z_scores.dtype == (np.float64 if dtype == np.float64 else np.float32)
    tensor = modified_z_score(torch.from_numpy(scores), np.float64(2.0), np.float32(0.5), beta=1.2533)
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_allclose(tensor.numpy(), np.array(expected) * 1.4826 / 1.2533, rtol=1e-6)


@pytest.mark.parametrize(("mad", "beta"), [(0.0, 1.4826), (-1.0, 1.4826), (np.nan, 1.4826), (np.inf, 1.0), (1.0, 0.0)])
def test_a_denominator_that_is_not_positive_is_an_error(mad, beta):
    with pytest.raises(ValueError, match="positive"):
        modified_z_score(np.ones(2), 0.0, mad, beta)


@settings(max_examples=100)
@given(st.lists(st.integers(0, 1000), min_size=3, max_size=40), st.integers(1, 100), st.integers(0, 100))
def test_z_scores_do_not_depend_on_scale_and_offset(scores, scale, offset):
    scores = np.array(scores, np.float64)
    _, mad = naive_statistics(scores)
    if mad < 2e-3 * (offset + scale * 1000.0):
        return  # the limit of the fallback is relative to the scores, so it depends on the offset
    moved = scale * scores + offset

    def z_scores(values):
        computed = score_statistics(values)
        return modified_z_score(values, computed.median, computed.mad, computed.beta)

    np.testing.assert_allclose(z_scores(moved), z_scores(scores), atol=1e-9)
    assert np.median(z_scores(scores)) == pytest.approx(0.0, abs=1e-12)


def naive_bilinear(grid, height, width):
    """Resize a map bilinearly with align_corners=False.

    Cell i of n covers [i/n, (i + 1)/n). Outside the centers of the outer cells, the value of the outer cell is used.
    """
    result = np.empty((height, width))
    for row in range(height):
        for col in range(width):
            y = min(max((row + 0.5) * grid.shape[0] / height - 0.5, 0.0), grid.shape[0] - 1.0)
            x = min(max((col + 0.5) * grid.shape[1] / width - 0.5, 0.0), grid.shape[1] - 1.0)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, grid.shape[0] - 1), min(left + 1, grid.shape[1] - 1)
            down, across = y - top, x - left
            upper = (1 - across) * grid[top, left] + across * grid[top, right]
            lower = (1 - across) * grid[bottom, left] + across * grid[bottom, right]
            result[row, col] = (1 - down) * upper + down * lower
    return result


@pytest.mark.parametrize("grids", [[(4, 6)], [(4, 6), (4, 6)], [(2, 3), (5, 7), (1, 1)], [(6, 6), (3, 3)]])
def test_the_fused_map_is_the_mean_on_the_finest_grid(grids):
    random = np.random.default_rng(0)
    maps = [random.standard_normal((2, *grid)).astype(np.float32) for grid in grids]
    height, width = max(grids, key=lambda grid: grid[0] * grid[1])
    fused = fuse_maps(maps)
    assert fused.dtype == np.float32
    for image in range(2):
        members = [naive_bilinear(member[image].astype(float), height, width) for member in maps]
        np.testing.assert_allclose(fused[image], sum(members) / len(members), atol=1e-6)


def test_fused_maps_keep_type_and_precision():
    maps = [np.ones((1, 2, 2), np.float32), np.ones((1, 4, 4)) / 3.0]
    assert fuse_maps(maps).dtype == np.float64
    np.testing.assert_allclose(fuse_maps(maps), 2.0 / 3.0, rtol=1e-15)
    assert isinstance(fuse_maps([torch.from_numpy(member) for member in maps]), torch.Tensor)
    assert fuse_maps([member[:0] for member in maps]).shape == (0, 4, 4)


def test_fusion_does_not_change_its_input():
    member = np.ones((1, 2, 2), np.float32)
    fuse_maps([member, member])[:] = 5.0
    fuse_maps([member])[:] = 5.0
    assert member.tolist() == [[[1.0, 1.0], [1.0, 1.0]]]


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ([], "at least one map"),
        ([np.ones((2, 2))], "at least one map"),
        ([np.ones((1, 0, 2))], "at least one map"),
        ([np.ones((1, 2, 2)), np.ones((2, 2, 2))], "same number of images"),
    ],
)
def test_maps_that_cannot_be_fused_are_errors(maps, message):
    with pytest.raises(ValueError, match=message):
        fuse_maps(maps)


def plain_peak(fused, members, image):
    """Return the first maximum of a fused map, the highest-scoring member there, and its cell that contains the center.

    The result is (row, col, member, member_row, member_col).
    """
    height, width = fused[image].shape
    best = max((value, -row, -col) for (row, col), value in np.ndenumerate(fused[image]) if not np.isnan(value))
    row, col = -best[1], -best[2]
    cells = [
        (math.floor((row + 0.5) * own.shape[1] / height + 1e-9), math.floor((col + 0.5) * own.shape[2] / width + 1e-9))
        for own in members
    ]
    values = [
        -np.inf if np.isnan(own[image][cell]) else own[image][cell] for own, cell in zip(members, cells, strict=True)
    ]
    highest = int(np.argmax(values))
    return row, col, highest, *cells[highest]


@pytest.mark.parametrize("grids", [[(5, 7)], [(4, 4), (4, 4)], [(6, 8), (3, 4), (2, 2)], [(2, 3), (5, 7)]])
def test_the_member_of_a_peak_is_the_highest_scoring_one_there(grids):
    random = np.random.default_rng(5)
    members = [random.integers(0, 6, (9, *grid)).astype(np.float32) for grid in grids]
    members[0][3, 1, 1] = np.nan
    fused = fuse_maps([np.nan_to_num(member) for member in members])
    peaks = find_peaks(fused, members)
    for image in range(9):
        peak = tuple(int(getattr(peaks, name)[image]) for name in ("row", "col", "member", "member_row", "member_col"))
        assert peak == plain_peak(fused, members, image)


def test_the_largest_score_ignores_patches_without_a_score():
    maps = np.array([[[1.0, np.nan], [3.0, 2.0]], [[np.nan, np.nan], [np.nan, np.nan]]], np.float32)
    largest = largest_scores(maps)
    assert largest[0] == 3.0
    assert np.isnan(largest[1])
    assert isinstance(largest_scores(torch.from_numpy(maps)), torch.Tensor)


def test_an_image_score_is_the_maximum_of_the_fused_map_or_the_mean_of_the_maxima_of_the_members():
    members = [
        np.array([[[1.0, 5.0]], [[2.0, 0.0]]], np.float32),
        np.array([[[3.0, 1.0]], [[np.nan, 1.0]]], np.float32),
    ]
    assert image_scores(fuse_maps(members), members, "patch").tolist() == [3.0, 0.5]
    scores = image_scores(fuse_maps(members), members, "image")
    assert scores.tolist() == [4.0, 1.5]
    assert scores.dtype == np.float64
