"""Tests of the table of a member's scores, and of the maps that are read back from it."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.data.records import ImageRecord
from pipelines.stages.member_scores import ShardScores, as_member_scores, member_table
from pipelines.stages.score import MemberScorer
from pipelines.storage.feature_shards import Shard
from pipelines.storage.schemas import MEMBER_SCORES
from reconpatch.evaluation.outliers import Unexplained
from reconpatch.neighbors.memory_bank import MemoryBank
from tests.pipelines.stages.hand_made import PROVENANCE

NAN = float("nan")
IMAGES = [
    ImageRecord("nut", "train", "good", "a.png", label=0, part="fit", content_sha256="aa"),
    ImageRecord("nut", "test", "bent", "b.png", label=1, content_sha256="bb"),
]
SCORED = ShardScores(
    [np.array([1, NAN, 3, 2, 0, 0], np.float32), np.arange(6, dtype=np.float32)],
    [np.array([4, -1, 0, 1, 2, 3]), np.arange(6)],
    [Unexplained(2.5, 4, 1), None],
)
COLUMNS = PROVENANCE.columns("rows-key")


def test_maps_are_read_back_as_they_were_computed() -> None:
    read = as_member_scores(member_table(IMAGES, SCORED, (2, 3), COLUMNS))
    assert (read.maps.shape, read.maps.dtype) == ((2, 2, 3), np.float32)
    np.testing.assert_array_equal(read.maps.reshape(2, -1), np.stack(SCORED.scores))
    np.testing.assert_array_equal(read.nearest.reshape(2, -1), np.stack(SCORED.nearest))
    assert set(MEMBER_SCORES.names) - set(read.table.column_names) == {"patch_scores", "patch_nearest"}


def test_missing_scores_and_entries_are_null() -> None:
    table = member_table(IMAGES, SCORED, (2, 3), COLUMNS)
    assert table["patch_scores"].to_pylist() == [[1, None, 3, 2, 0, 0], [0, 1, 2, 3, 4, 5]]
    assert table["patch_nearest"].to_pylist() == [[4, None, 0, 1, 2, 3], [0, 1, 2, 3, 4, 5]]


def test_rows_have_the_columns_of_image_score_audit_and_provenance() -> None:
    table = member_table(IMAGES, SCORED, (2, 3), COLUMNS)
    assert table.schema.equals(MEMBER_SCORES)
    first, second = table.drop_columns(["patch_scores", "patch_nearest"]).to_pylist()
    assert first == {
        "category": "nut",
        "image_path": "a.png",
        "split": "train",
        "part": "fit",
        "defect": "good",
        "label": 0,
        "score": 3.0,  # the largest patch score; patches without a score are ignored
        "grid_height": 2,
        "grid_width": 3,
        "unexplained": 2.5,
        "unexplained_row": 1,  # patch 4 of a grid with 3 columns
        "unexplained_col": 1,
        "unexplained_nearest": 1,
        "content_sha256": "aa",
        **COLUMNS,
    }
    assert (second["image_path"], second["score"], second["label"]) == ("b.png", 5.0, 1)
    assert {second[name] for name in second if name.startswith("unexplained")} == {None}


@pytest.mark.parametrize("patches", [1, 4])
def test_the_only_entry_of_a_bank_has_no_leave_one_out_score(patches: int) -> None:
    """Its own entry is excluded and there is no other entry to compare with."""
    features = np.random.default_rng(0).normal(size=(patches, 6)).astype(np.float16)
    bank = MemoryBank(features[:1].astype(np.float32), 1)
    scorer = MemberScorer(bank=bank, weight=None, own={"a.png": [(0, 0, 0)]}, threads=1)
    scored = scorer.score(Shard(["a.png"], [features], (1, patches)), audited=["a.png"])
    table = member_table(IMAGES[:1], scored, (1, patches), COLUMNS)
    (row,) = table.to_pylist()
    distances = np.linalg.norm(features[1:].astype(np.float32) - features[:1].astype(np.float32), axis=1)
    assert row["patch_scores"][0] is None
    assert row["patch_scores"][1:] == pytest.approx(distances.tolist(), rel=1e-5)
    assert row["patch_nearest"] == [None, *[0] * (patches - 1)]
    assert row["score"] == (pytest.approx(distances.max(), rel=1e-5) if patches > 1 else None)
    assert (row["unexplained"], row["unexplained_nearest"]) == (None, None)
    assert np.isnan(as_member_scores(table).maps[0, 0, 0])
