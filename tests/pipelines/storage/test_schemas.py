"""Typed rows have the columns of their schema."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from pipelines.storage.schemas import (
    DRIFT,
    FAILURES,
    METRICS,
    DriftRow,
    FailureRow,
    MetricsRow,
    Provenance,
    Row,
    fused_schema,
)

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ROWS: list[tuple[Row, pa.Schema]] = [
    (MetricsRow(category="nut", model="ensemble", image_auroc=0.5, n_good=3, n_defect=4), METRICS),
    (FailureRow(category="nut", stage="index", image_path="nut/1.png", error="damaged"), FAILURES),
    (
        DriftRow(
            category="nut",
            **Provenance("r", NOW).columns("v"),
            images=3,
            holdout=2,
            quantiles=[0.1, 0.2, 0.3],
            holdout_quantiles=[0.1, 0.2, 0.3],
            ks=0.5,
            ks_p_value=0.01,
            above_threshold=None,
            rare=0.0,
        ),
        DRIFT,
    ),
]


@pytest.mark.parametrize(("row", "schema"), ROWS, ids=lambda value: type(value).__name__)
def test_a_row_is_read_from_a_table_as_it_was_written(row: Row, schema: pa.Schema) -> None:
    assert [field.name for field in fields(row)] == schema.names
    (stored,) = pa.Table.from_pylist([row.row()], schema=schema).to_pylist()
    assert type(row).from_row(stored) == row
    assert type(row).from_row({**stored, "added_later": 1}) == row


def test_a_row_with_a_missing_column_is_an_error() -> None:
    with pytest.raises(KeyError, match="stage"):
        FailureRow.from_row({"category": "nut", "backbone": None, "image_path": None, "error": "x"})


def test_fused_scores_have_a_column_per_member() -> None:
    names = fused_schema(["a", "b"]).names
    assert [name for name in names if name.startswith("score_")] == ["score_a", "score_b"]
    assert names[-3:] == ["run_id", "model_version", "scored_at"]
