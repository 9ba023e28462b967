"""Tests of the audit: audit.parquet ranks good images by how poorly the other good images explain them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.stages.audit_images import write_audit
from pipelines.storage.parquet import read_rows
from pipelines.storage.paths import AUDIT_FILE
from pipelines.storage.store import Store
from reconpatch.detector.fusion import BETA
from reconpatch.evaluation.outliers import Unexplained, outlier_threshold
from tests.pipelines.stages.hand_made import GRID, IMAGES, MadeUp, image, scored_images

GOOD = tuple(image(f"{number:02d}", part="fit" if number % 3 else "holdout") for number in range(12))
TESTS = IMAGES[-2:]
DISTANCES = np.random.default_rng(0).normal((10, 20), 1, (12, 2)).T  # one row per member


@pytest.fixture
def folder(tmp_path: Path) -> Store:
    return Store.of(str(tmp_path / "model"))


def members_of(distances: np.ndarray, entry: int = 0) -> list[MadeUp]:
    """Return members whose audits have these distances at patch 5; two test images at the end have no audit."""
    zeros = np.zeros((distances.shape[1] + len(TESTS), *GRID), np.float32)
    return [
        MadeUp(zeros, zeros.astype(np.int64), [*(Unexplained(float(value), 5, entry) for value in row), None, None])
        for row in distances
    ]


def test_rows_are_sorted_by_suspicion_and_exclude_test_images(folder: Store) -> None:
    assert write_audit(scored_images(folder, members_of(DISTANCES), GOOD + TESTS)) == []
    rows = read_rows(folder, AUDIT_FILE)
    medians = np.median(DISTANCES, axis=1, keepdims=True)
    mads = np.median(np.abs(DISTANCES - medians), axis=1, keepdims=True)
    suspicions = ((DISTANCES - medians) / (BETA * mads)).mean(0)
    assert [row["image_path"] for row in rows] == [GOOD[number].image_path for number in np.argsort(-suspicions)]
    assert [row["suspicion"] for row in rows] == pytest.approx(sorted(suspicions, reverse=True))
    assert {row["image_path"]: row["part"] for row in rows} == {image.image_path: image.part for image in GOOD}


def test_warning_names_outliers(folder: Store) -> None:
    distances = DISTANCES.copy()
    distances[:, 7] += 100
    distances[:, 3] += 200
    (sentence,) = write_audit(scored_images(folder, members_of(distances), GOOD + TESTS))
    assert sentence.startswith("nut: training outliers (2 of 12 good images)")
    assert ": nut/train/03.png, nut/train/07.png. Check them for defects; audit.parquet has the details." in sentence
    suspicious = {row["image_path"]: row["suspicion"] for row in read_rows(folder, AUDIT_FILE) if row["is_suspicious"]}
    assert list(suspicious) == ["nut/train/03.png", "nut/train/07.png"]
    assert min(suspicious.values()) > outlier_threshold(12)


def test_peak_and_nearest_patch_come_from_the_highest_scoring_member(folder: Store) -> None:
    distances = DISTANCES.copy()
    distances[1, 4] += 100
    write_audit(scored_images(folder, members_of(distances, entry=2), GOOD + TESTS))
    first = read_rows(folder, AUDIT_FILE)[0]
    assert first["image_path"] == "nut/train/04.png"
    assert (first["peak_row"], first["peak_col"]) == (72, 80)  # center of patch 5, the last of 2 x 3 on 96 x 96 pixels
    assert [first[f"nearest_{name}"] for name in ("backbone", "image", "row", "col")] == ["b", "102.png", 2, 4]


def test_the_only_image_of_a_category_has_no_row(folder: Store) -> None:
    members = [
        replace(made_up, audits=[Unexplained(float("nan"), 0, -1), None, None])
        for made_up in members_of(DISTANCES[:, :1])
    ]
    assert write_audit(scored_images(folder, members, GOOD[:1] + TESTS)) == []
    assert read_rows(folder, AUDIT_FILE) == []
