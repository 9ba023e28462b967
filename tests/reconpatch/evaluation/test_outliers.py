"""Training outliers: distances to the bank entries of other images, and the images that are flagged."""

from __future__ import annotations

import numpy as np
import pytest

from reconpatch.evaluation.outliers import outlier_scores, outlier_threshold, unexplained
from reconpatch.neighbors.memory_bank import MemoryBank


def unexplained_by_loops(features: np.ndarray, entries: np.ndarray, own: list[int]) -> tuple[float, int, int]:
    """Return distance, patch and entry of the patch that is farthest from the entries of other images."""
    best = (-1.0, 0, -1)
    for patch, row in enumerate(features):
        distances = [np.inf if number in own else np.linalg.norm(row - entry) for number, entry in enumerate(entries)]
        nearest = int(np.argmin(distances))
        if distances[nearest] > best[0]:
            best = (float(distances[nearest]), patch, nearest)
    return best


@pytest.mark.parametrize("seed", range(5))
def test_the_largest_distance_to_an_entry_of_another_image_equals_that_of_loops(seed: int) -> None:
    random = np.random.default_rng(seed)
    features = random.normal(size=(40, 6)).astype(np.float32)
    foreign = random.normal(size=(25, 6)).astype(np.float32)
    own_patches = random.choice(40, 5, replace=False)
    entries = np.concatenate([foreign[:10], features[own_patches], foreign[10:]])
    own = list(range(10, 15))
    bank = MemoryBank(entries)
    own_entry = np.full(40, -1)
    own_entry[own_patches] = own
    result = unexplained(features, bank.query(features, own_entry).nearest, bank, np.array(own))
    distance, patch, entry = unexplained_by_loops(features, entries, own)
    assert result.distance == pytest.approx(distance, rel=1e-5)
    assert (result.patch, result.entry) == (patch, entry)


def test_the_distance_of_a_calibration_image_is_its_largest_patch_score() -> None:
    random = np.random.default_rng(0)
    features, entries = random.normal(size=(9, 4)).astype(np.float32), random.normal(size=(7, 4)).astype(np.float32)
    bank = MemoryBank(entries, 1)
    query = bank.query(features)
    result = unexplained(features, query.nearest, bank, np.empty(0, np.int64))
    assert result.distance == pytest.approx(float(query.scores.max()))


def test_without_entries_of_other_images_there_is_no_distance() -> None:
    features = np.eye(3, dtype=np.float32)
    bank = MemoryBank(features[:1])
    result = unexplained(features, np.array([-1, 0, 0]), bank, np.array([0]))
    assert np.isnan(result.distance)
    assert result.entry == -1


def test_only_the_image_with_a_much_larger_distance_is_an_outlier() -> None:
    random = np.random.default_rng(0)
    distances = random.normal(10.0, 1.0, size=(3, 200))
    distances[:, 17] += 12.0
    distances[1, 17] += 3.0
    result = outlier_scores(distances)
    assert np.flatnonzero(result.is_outlier).tolist() == [17]
    assert result.scores[17] > outlier_threshold(200)
    assert result.members[17] == 1


@pytest.mark.parametrize("n", [10, 30, 100, 500])
def test_two_in_a_thousand_ordinary_images_are_flagged(n: int) -> None:
    random = np.random.default_rng(n)
    flagged = [outlier_scores(random.gumbel(size=(1, n))).is_outlier.mean() for _ in range(30_000 // n)]
    assert np.mean(flagged) == pytest.approx(0.002, abs=0.0015)


def test_equal_distances_give_no_outlier_and_a_missing_distance_gives_nan() -> None:
    assert outlier_scores(np.ones((2, 4))).scores.tolist() == [0.0] * 4
    result = outlier_scores([[1.0, 2.0, 3.0, np.nan]])
    assert np.isnan(result.scores[3])
    assert np.isfinite(result.scores[:3]).all()
    assert not result.is_outlier.any()
