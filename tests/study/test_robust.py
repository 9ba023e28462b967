"""Tests of the removal of isolated bank entries; the distances are checked with plain loops."""

from __future__ import annotations

import numpy as np

from study.robust import isolation, supported


def test_isolation_is_the_distance_to_the_nearest_patch_of_another_image() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(6 * 5, 4)).astype(np.float16)
    picked = np.array([3, 29, 11, 12, 0])
    distances = isolation(rows[picked].astype(np.float32), picked // 5, rows, 5)
    for entry, distance in zip(picked, distances, strict=True):
        elsewhere = [row for row in range(30) if row // 5 != entry // 5]
        expected = min(np.linalg.norm(rows[entry].astype(float) - rows[other].astype(float)) for other in elsewhere)
        np.testing.assert_allclose(distance, expected, rtol=1e-4)


def test_with_a_single_image_all_distances_are_infinite() -> None:
    rows = np.eye(4, dtype=np.float32)
    assert np.isinf(isolation(rows[:2], np.zeros(2, np.int64), rows, 4)).all()


def test_the_farthest_entries_are_removed_and_at_least_one_remains() -> None:
    assert supported(np.array([0.3, 9.0, 0.1, 0.2], np.float32), 0.25).tolist() == [True, False, True, True]
    assert supported(np.array([0.3, 9.0], np.float32), 0.99).tolist() == [True, False]
    assert supported(np.array([0.3, 9.0], np.float32), 0.0).all()
