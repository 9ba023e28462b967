"""Anomaly maps at the size of the backbone's input and at the size of the image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from torch.nn.functional import interpolate

from reconpatch.imaging.anomaly_maps import anomaly_map, to_original
from reconpatch.imaging.geometry import Geometry


def naive_map(scores: np.ndarray, size: int, sigma: float) -> np.ndarray:
    """Return the map of patch scores by interpolation and SciPy's filter, in float64."""
    fine = interpolate(torch.from_numpy(scores).double()[None, None], size=(size, size), mode="bilinear")[0, 0]
    return gaussian_filter(fine.numpy(), sigma) if sigma else fine.numpy()


def random_scores(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).gamma(2.0, size=shape).astype(np.float32)


@pytest.mark.parametrize(("grid", "size"), [((28, 28), 224), ((60, 60), 480), ((7, 20), 56), ((1, 1), 9), ((30, 2), 5)])
@pytest.mark.parametrize("sigma", [0.0, 1.5, 4.0, 30.0])
def test_a_map_equals_interpolation_followed_by_a_gaussian_filter(grid, size, sigma):
    scores = random_scores(*grid)
    result = anomaly_map(scores, size, sigma)
    assert result.shape == (size, size)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, naive_map(scores, size, sigma), rtol=2e-6, atol=1e-6)


def test_equal_scores_give_a_uniform_map():
    np.testing.assert_allclose(anomaly_map(np.full((28, 28), 1e4, np.float32), 224), 1e4, rtol=1e-6)


def test_a_map_is_bitwise_equal_in_any_batch():
    scores = random_scores(5, 28, 28)
    together = anomaly_map(scores, 224)
    assert together.shape == (5, 224, 224)
    for i in range(5):
        np.testing.assert_array_equal(anomaly_map(scores[i], 224), together[i])
        np.testing.assert_array_equal(anomaly_map(scores[i : i + 2], 224)[0], together[i])
    assert anomaly_map(scores[:0], 224).shape == (0, 224, 224)


def test_the_kind_of_the_result_is_the_kind_of_the_input():
    scores = random_scores(28, 28)
    result = anomaly_map(torch.from_numpy(scores).half(), 224)
    assert isinstance(result, torch.Tensor)
    assert result.dtype == torch.float32
    assert isinstance(anomaly_map(scores.astype(np.float64), 224), np.ndarray)
    geometry = Geometry.of(50, 40, 224)
    assert isinstance(to_original(result, geometry), torch.Tensor)
    assert isinstance(to_original(result.numpy(), geometry), np.ndarray)


def test_a_nan_score_is_filled_in_from_its_neighbors():
    scores = np.full((28, 28), 3.0, np.float32)
    scores[4, 5] = np.nan
    np.testing.assert_allclose(anomaly_map(scores, 224), 3.0, rtol=1e-5)
    assert np.isnan(anomaly_map(np.full((4, 4), np.nan, np.float32), 32)).all()


@pytest.mark.parametrize(
    ("shape", "size", "sigma"),
    [((28,), 224, 4.0), ((0, 3), 224, 4.0), ((3, 3), 0, 4.0), ((3, 3), 9, -1.0), ((3, 3), 9, np.nan)],
)
def test_invalid_arguments_of_a_map_raise(shape, size, sigma):
    with pytest.raises(ValueError, match=r"expected \(H, W\)|at least"):
        anomaly_map(np.zeros(shape, np.float32), size, sigma)


def naive_original(network_map: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Return the map at the size of the image, pixel by pixel from the four map values around each pixel center."""
    result = np.full((geometry.height, geometry.width), np.nan)
    last = geometry.crop - 1
    for i in range(geometry.height):
        for j in range(geometry.width):
            y = (i + 0.5) * geometry.resize / geometry.height - geometry.offset
            x = (j + 0.5) * geometry.resize / geometry.width - geometry.offset
            if not (-1e-9 <= y < geometry.crop - 1e-9 and -1e-9 <= x < geometry.crop - 1e-9):
                continue
            y, x = min(max(y - 0.5, 0), last), min(max(x - 0.5, 0), last)
            top, left = int(y), int(x)
            below, right = min(top + 1, last), min(left + 1, last)
            v, u = y - top, x - left
            upper = (1 - u) * network_map[top, left] + u * network_map[top, right]
            lower = (1 - u) * network_map[below, left] + u * network_map[below, right]
            result[i, j] = (1 - v) * upper + v * lower
    return result


@settings(max_examples=60)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 40), st.booleans())
def test_the_map_is_sampled_at_the_pixel_centers_of_the_image(height, width, size, full_frame):
    geometry = Geometry.of(height, width, size, full_frame)
    values = random_scores(size, size)
    result = to_original(values, geometry)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, naive_original(values, geometry), rtol=1e-5, atol=1e-6)


def test_nan_is_exactly_outside_of_the_crop():
    result = to_original(np.ones((224, 224), np.float32), Geometry.of(1024, 512, 224))
    looked = np.zeros((1024, 512), bool)
    looked[64:960, 32:480] = True  # 16 of 256 pixels are cut off on each side
    np.testing.assert_array_equal(~np.isnan(result), looked)
    assert (result[looked] == 1).all()
    full = to_original(np.ones((224, 224), np.float32), Geometry.of(1024, 512, 224, full_frame=True))
    assert (full == 1).all()


def test_a_linear_ramp_keeps_its_values():
    geometry = Geometry.of(700, 300, 224)
    rows, cols = geometry.to_original(np.arange(224) + 0.5, np.arange(224) + 0.5)
    inside = tuple(slice(part.start + 4, part.stop - 4) for part in geometry.looked_at())
    down = to_original(np.repeat(rows[:, None], 224, 1), geometry)[inside]
    across = to_original(np.repeat(cols[None, :], 224, 0), geometry)[inside]
    np.testing.assert_allclose(down, np.broadcast_to((np.arange(700) + 0.5)[inside[0], None], down.shape), rtol=1e-5)
    np.testing.assert_allclose(across, np.broadcast_to((np.arange(300) + 0.5)[inside[1]], across.shape), rtol=1e-5)


def test_a_map_of_another_size_raises():
    with pytest.raises(ValueError, match=r"expected \(224, 224\)"):
        to_original(np.zeros((28, 28), np.float32), Geometry.of(100, 100, 224))
