"""Schemas of the Parquet files, and the rows of those whose fields are known as dataclasses beside them.

`pipelines.storage.parquet.write_rows` writes such rows as well as dicts. The row of the image index is
`pipelines.data.records.ImageRecord`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Self, get_args, get_type_hints

import pyarrow as pa

_SCORED: list[tuple[str, pa.DataType]] = [
    ("run_id", pa.string()),
    ("model_version", pa.string()),
    ("scored_at", pa.timestamp("us", tz="UTC")),
]
_IMAGE: list[tuple[str, pa.DataType]] = [
    ("category", pa.string()),
    ("image_path", pa.string()),
    ("split", pa.string()),
    ("part", pa.string()),
    ("defect", pa.string()),
    ("label", pa.int8()),
]
_PEAK: list[tuple[str, pa.DataType]] = [
    ("peak_row", pa.int32()),
    ("peak_col", pa.int32()),
    ("nearest_backbone", pa.string()),
    ("nearest_image", pa.string()),
    ("nearest_row", pa.int32()),
    ("nearest_col", pa.int32()),
]


# The column of a field of a row with a type.
_COLUMN_TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


@dataclass(frozen=True)
class Row:
    """Base of rows with a type: its fields are the columns of a Parquet file."""

    def row(self) -> dict[str, Any]:
        """Return the row as a dict, column by column."""
        return dict(vars(self))

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Return the row of a Parquet file as an object.

        Args:
            row: has a value for every field; other columns are ignored.

        Raises:
            KeyError: a column is missing.
        """
        return cls(**{field.name: row[field.name] for field in fields(cls)})


def schema_of(row: type[Row]) -> pa.Schema:
    """Return the schema of a row whose fields are text, numbers, flags or None: a column a field, in their order."""
    hints = get_type_hints(row)
    kinds = {field.name: get_args(hints[field.name]) or (hints[field.name],) for field in fields(row)}
    return pa.schema([(name, _COLUMN_TYPES[kind[0]]) for name, kind in kinds.items()])


@dataclass(frozen=True)
class Provenance:
    """Which run scored a row, and when; every scored row carries it beside the version of its model.

    Attributes:
        run_id: 32 hexadecimal digits.
        scored_at: when the run began, UTC.
    """

    run_id: str
    scored_at: datetime

    def columns(self, model_version: str) -> dict[str, Any]:
        """Return the columns of a row scored by a model of that version."""
        return {"run_id": self.run_id, "model_version": model_version, "scored_at": self.scored_at}


TRAIN = pa.schema(
    [("category", pa.string()), ("image_path", pa.string()), ("content_sha256", pa.string()), ("part", pa.string())]
)
TRAINING = pa.schema(
    [
        ("category", pa.string()),
        ("backbone", pa.string()),
        ("step", pa.int32()),
        ("loss", pa.float32()),
        ("weight", pa.float32()),
        ("distance", pa.float32()),
        ("rank", pa.float32()),
    ]
)
BANK_INDEX = pa.schema(
    [("category", pa.string()), ("image_path", pa.string()), ("row", pa.int32()), ("col", pa.int32())]
)
MEMBER_SCORES = pa.schema(
    [
        *_IMAGE,
        ("score", pa.float64()),
        ("grid_height", pa.int32()),
        ("grid_width", pa.int32()),
        ("patch_scores", pa.list_(pa.float32())),
        ("patch_nearest", pa.list_(pa.int32())),
        ("unexplained", pa.float64()),
        ("unexplained_row", pa.int32()),
        ("unexplained_col", pa.int32()),
        ("unexplained_nearest", pa.int32()),
        ("content_sha256", pa.string()),
        *_SCORED,
    ]
)
AUDIT = pa.schema(
    [
        ("category", pa.string()),
        ("image_path", pa.string()),
        ("part", pa.string()),
        ("suspicion", pa.float64()),
        ("is_suspicious", pa.bool_()),
        *_PEAK,
    ]
)
MAPS = pa.schema(
    [
        ("category", pa.string()),
        ("image_path", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("map", pa.list_(pa.float32())),
        *_SCORED,
    ]
)


@dataclass(frozen=True, kw_only=True)
class MetricsRow(Row):
    """Metrics of a category's labelled test images, of one member or of the ensemble; a row of metrics.parquet.

    Attributes:
        category: the category.
        model: a backbone, or 'ensemble'.
        image_auroc, image_ap, image_f1max, d_prime: metrics of image scores; None where a kind of image is missing.
        pixel_auroc, pixel_ap, pixel_f1max, aupro: metrics of pixel scores; None without masks.
        n_good, n_defect: numbers of good and of defective test images.
    """

    category: str
    model: str
    image_auroc: float | None = None
    image_ap: float | None = None
    image_f1max: float | None = None
    d_prime: float | None = None
    pixel_auroc: float | None = None
    pixel_ap: float | None = None
    pixel_f1max: float | None = None
    aupro: float | None = None
    n_good: int | None = None
    n_defect: int | None = None


METRICS = schema_of(MetricsRow)


@dataclass(frozen=True, kw_only=True)
class FailureRow(Row):
    """An image that was left out or a category without scores; a row of failures.parquet.

    Attributes:
        category: the category.
        backbone: the member that failed; None where the failure is not one member's.
        stage: in which it failed.
        image_path: the image that could not be read; None where a whole category failed.
        error: one line, without credentials.
    """

    category: str
    backbone: str | None = None
    stage: str
    image_path: str | None = None
    error: str


FAILURES = schema_of(FailureRow)


@dataclass(frozen=True, kw_only=True)
class DriftRow(Row):
    """Scores of new images beside those of the model's held-out good images; a row of drift.parquet.

    Attributes:
        category: the category.
        run_id, model_version, scored_at: see `Provenance`.
        images, holdout: numbers of scored and of held-out images.
        quantiles, holdout_quantiles: of their scores, at 10, 50 and 90 %.
        ks, ks_p_value: Kolmogorov-Smirnov distance of the two distributions, and its p-value.
        above_threshold: share of images above the threshold; None without a threshold.
        rare: share of images with a p-value below 0.05.
    """

    category: str
    run_id: str
    model_version: str
    scored_at: datetime
    images: int
    holdout: int
    quantiles: Sequence[float]
    holdout_quantiles: Sequence[float]
    ks: float
    ks_p_value: float
    above_threshold: float | None
    rare: float | None


DRIFT = pa.schema(
    [
        ("category", pa.string()),
        *_SCORED,
        ("images", pa.int64()),
        ("holdout", pa.int64()),
        ("quantiles", pa.list_(pa.float64())),
        ("holdout_quantiles", pa.list_(pa.float64())),
        ("ks", pa.float64()),
        ("ks_p_value", pa.float64()),
        ("above_threshold", pa.float64()),
        ("rare", pa.float64()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class FusedRow(Row):
    """What an ensemble says of an image; a row of scores/fused.

    Attributes:
        category, image_path, split, part, defect, label: as in the image index.
        score: fused image score.
        p_value, threshold, is_anomaly: the verdict; None for training images, and where nothing is held out.
        peak_row, peak_col: the image's own pixel under the center of the highest-scoring patch.
        nearest_backbone: the member whose normalized score is largest there.
        nearest_image, nearest_row, nearest_col: the good patch that this member compared it with.
        member_scores: backbone -> the member's largest normalized score; a column score_<backbone> each.
        run_id, model_version, scored_at: provenance.
    """

    category: str
    image_path: str
    split: str
    part: str | None
    defect: str | None
    label: int | None
    score: float
    p_value: float | None = None
    threshold: float | None = None
    is_anomaly: bool | None = None
    peak_row: int
    peak_col: int
    nearest_backbone: str
    nearest_image: str | None
    nearest_row: int | None
    nearest_col: int | None
    member_scores: Mapping[str, float]
    run_id: str
    model_version: str
    scored_at: datetime

    def row(self) -> dict[str, Any]:
        """Return the row as a dict, column by column."""
        columns = dict(vars(self))
        scores: Mapping[str, float] = columns.pop("member_scores")
        return columns | {f"score_{backbone}": score for backbone, score in scores.items()}


def fused_schema(backbones: Sequence[str]) -> pa.Schema:
    """Return the schema of scores/fused for an ensemble.

    Args:
        backbones: of the members, in order; each has a column score_<backbone>, the member's largest normalized score.
    """
    return pa.schema(
        [
            *_IMAGE,
            ("score", pa.float64()),
            ("p_value", pa.float64()),
            ("threshold", pa.float64()),
            ("is_anomaly", pa.bool_()),
            *_PEAK,
            *((f"score_{backbone}", pa.float64()) for backbone in backbones),
            *_SCORED,
        ]
    )
