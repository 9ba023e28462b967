"""Training outliers: distances to other images' entries, written out; a defect among good images stands out."""

from __future__ import annotations

import numpy as np
import pytest

from reconpatch.evaluation.outliers import outlier_scores, outlier_threshold, unexplained
from reconpatch.neighbors.memory_bank import MemoryBank


def written_out(features: np.ndarray, entries: np.ndarray, own: list[int]) -> tuple[float, int, int]:
    best = (-1.0, 0, -1)
    for patch, row in enumerate(features):
        distances = [np.inf if entry in own else np.linalg.norm(row - each) for entry, each in enumerate(entries)]
        nearest = int(np.argmin(distances))
        if distances[nearest] > best[0]:
            best = (float(distances[nearest]), patch, nearest)
    return best


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_largest_distance_to_another_images_entry(seed: int) -> None:
    random = np.random.default_rng(seed)
    features = random.normal(size=(40, 6)).astype(np.float32)
    others = random.normal(size=(25, 6)).astype(np.float32)
    own_patches = random.choice(40, 5, replace=False)
    entries = np.concatenate([others[:10], features[own_patches], others[10:]])
    own = list(range(10, 15))
    bank = MemoryBank(entries)
    itself = np.full(40, -1)
    itself[own_patches] = own
    found = unexplained(features, bank.query(features, itself).nearest, bank, np.array(own))
    distance, patch, entry = written_out(features, entries, own)
    assert found.distance == pytest.approx(distance, rel=1e-5)
    assert (found.patch, found.entry) == (patch, entry)


def test_a_held_out_image_has_no_entries_of_its_own() -> None:
    random = np.random.default_rng(0)
    features, entries = random.normal(size=(9, 4)).astype(np.float32), random.normal(size=(7, 4)).astype(np.float32)
    bank = MemoryBank(entries, 1)
    query = bank.query(features)
    found = unexplained(features, query.nearest, bank, np.empty(0, np.int64))
    assert found.distance == pytest.approx(float(query.scores.max()))


def test_an_image_that_is_alone_in_the_bank_has_nobody_to_explain_it() -> None:
    features = np.eye(3, dtype=np.float32)
    bank = MemoryBank(features[:1])
    found = unexplained(features, np.array([-1, 0, 0]), bank, np.array([0]))
    assert np.isnan(found.distance)
    assert found.entry == -1


def test_one_image_that_is_unlike_the_others_stands_out_and_nothing_else_does() -> None:
    random = np.random.default_rng(0)
    distances = random.normal(10.0, 1.0, size=(3, 200))
    distances[:, 17] += 12.0
    distances[1, 17] += 3.0
    found = outlier_scores(distances)
    assert np.flatnonzero(found.is_outlier).tolist() == [17]
    assert found.scores[17] > outlier_threshold(200)
    assert found.members[17] == 1


@pytest.mark.parametrize("n", [10, 30, 100, 500])
def test_two_in_a_thousand_ordinary_images_are_flagged(n: int) -> None:
    random = np.random.default_rng(n)
    flagged = [outlier_scores(random.gumbel(size=(1, n))).is_outlier.mean() for _ in range(30_000 // n)]
    assert np.mean(flagged) == pytest.approx(0.002, abs=0.0015)


def test_distances_without_spread_flag_nobody_and_unknown_ones_stay_unknown() -> None:
    assert outlier_scores(np.ones((2, 4))).scores.tolist() == [0.0] * 4
    found = outlier_scores([[1.0, 2.0, 3.0, np.nan]])
    assert np.isnan(found.scores[3])
    assert np.isfinite(found.scores[:3]).all()
    assert not found.is_outlier.any()
