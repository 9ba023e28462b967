"""Initial linear maps, compared with direct computations from their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconpatch.adapter.initialization import INITIALIZATIONS, initial_map


def features(images: int, per_image: int, channels: int, seed: int = 0) -> np.ndarray:
    """Return features with correlated channels of very different scales and a small offset per image."""
    random = np.random.default_rng(seed)
    mixed = random.normal(size=(images, per_image, channels)) @ random.normal(size=(channels, channels))
    mixed += random.normal(size=(images, 1, channels))
    return (mixed.reshape(-1, channels) * np.logspace(-1, 1, channels) + 3.0).astype(np.float32)


def covariance(rows: np.ndarray) -> np.ndarray:
    return np.cov(np.asarray(rows, np.float64).T, bias=True).reshape(rows.shape[1], rows.shape[1])


def inverse_root(matrix: np.ndarray) -> np.ndarray:
    shrunk = matrix + 0.01 * np.trace(matrix) / len(matrix) * np.eye(len(matrix))
    values, vectors = np.linalg.eigh(shrunk)
    return vectors @ np.diag(values**-0.5) @ vectors.T


def assert_equal_up_to_scale(actual: np.ndarray, expected: np.ndarray) -> None:
    actual, expected = actual / np.linalg.norm(actual), expected / np.linalg.norm(expected)
    np.testing.assert_allclose(actual, expected, atol=1e-5, rtol=0.0)


def test_raw_is_the_identity() -> None:
    np.testing.assert_array_equal(initial_map(features(3, 4, 5), "raw", per_image=4), np.eye(5))


def test_standard_divides_every_channel_by_its_deviation() -> None:
    rows = features(4, 20, 6)
    assert_equal_up_to_scale(initial_map(rows, "standard", per_image=20), np.diag(1.0 / rows.std(axis=0)))


def test_white_is_the_inverse_root_of_the_covariance() -> None:
    rows = features(4, 50, 6)
    assert_equal_up_to_scale(initial_map(rows, "white", per_image=50), inverse_root(covariance(rows)))


def test_neighbors_is_the_inverse_root_of_the_scatter_to_the_nearest_patch_of_another_image() -> None:
    rows, per_image = features(6, 10, 4), 10
    anchors = np.random.default_rng(7).permutation(6)[:3]
    pool = [row for row in range(60) if row // per_image not in anchors]
    scatter = np.zeros((4, 4))
    for row in range(60):
        if row // per_image in anchors:
            nearest = min(pool, key=lambda other: float(((rows[row] - rows[other]) ** 2).sum()))
            difference = (rows[row] - rows[nearest]).astype(np.float64)
            scatter += np.outer(difference, difference) / 30
    assert_equal_up_to_scale(initial_map(rows, "neighbors", per_image=per_image, seed=7), inverse_root(scatter))


def test_with_one_image_every_second_row_is_treated_as_another_image() -> None:
    rows = features(1, 40, 3)
    scatter = np.zeros((3, 3))
    for row in rows[::2]:
        difference = (row - min(rows[1::2], key=lambda other: float(((row - other) ** 2).sum()))).astype(np.float64)
        scatter += np.outer(difference, difference) / 20
    assert_equal_up_to_scale(initial_map(rows, "neighbors", per_image=40), inverse_root(scatter))


@pytest.mark.parametrize("kind", INITIALIZATIONS)
@settings(max_examples=25)
@given(images=st.integers(1, 5), per_image=st.integers(1, 6), channels=st.integers(1, 5), seed=st.integers(0, 99))
def test_the_total_variance_stays_and_everything_is_finite(
    kind: str, *, images: int, per_image: int, channels: int, seed: int
) -> None:
    rows = features(images, per_image, channels, seed)
    matrix = initial_map(rows, kind, per_image=per_image, seed=seed)
    assert matrix.dtype == np.float32
    assert matrix.shape == (channels, channels)
    assert np.isfinite(matrix).all()
    before = np.trace(covariance(rows))
    np.testing.assert_allclose(np.trace(covariance(rows.astype(np.float64) @ matrix.T)), before, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("kind", INITIALIZATIONS)
def test_equal_patches_give_the_identity_and_a_constant_channel_a_finite_map(kind: str) -> None:
    same = np.full((12, 3), 0.5, np.float32)
    np.testing.assert_array_equal(initial_map(same, kind, per_image=4), np.eye(3))
    rows = features(3, 4, 3)
    rows[:, 1] = 2.0
    assert np.isfinite(initial_map(rows, kind, per_image=4)).all()


def test_the_same_seed_gives_the_same_map_for_float16_features() -> None:
    rows = features(5, 8, 4).astype(np.float16)
    first, second = (initial_map(rows, "neighbors", per_image=8, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_an_unknown_kind_and_incomplete_images_are_errors() -> None:
    with pytest.raises(ValueError, match="Unknown init 'best'"):
        initial_map(features(2, 4, 3), "best", per_image=4)
    with pytest.raises(ValueError, match="Got 8 rows with per_image 3"):
        initial_map(features(2, 4, 3), "raw", per_image=3)
