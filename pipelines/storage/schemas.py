"""Schemas of the Parquet files, and dataclasses for the rows of some of them.

`pipelines.storage.parquet.write_rows` writes these rows as well as dicts. The row of the image index is
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


# Type of a field -> type of its column.
_COLUMN_TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


@dataclass(frozen=True)
class Row:
    """Base class of typed rows; the fields of a subclass are the columns of a Parquet file."""

    def row(self) -> dict[str, Any]:
        """Return the row as a dict, column by column."""
        return dict(vars(self))

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Return the row of a Parquet file as an object.

        Args:
            row: Column -> value, with a value for every field. Other columns are ignored.

        Returns:
            Instance of the class.

        Raises:
            KeyError: A column is missing.
        """
        return cls(**{field.name: row[field.name] for field in fields(cls)})


def schema_of(row: type[Row]) -> pa.Schema:
    """Return the schema of a typed row, with one column per field, in the order of the fields.

    Args:
        row: Class whose fields have the type str, int, float or bool, each optionally with None.

    Returns:
        Schema of the Parquet file.
    """
    hints = get_type_hints(row)
    kinds = {field.name: get_args(hints[field.name]) or (hints[field.name],) for field in fields(row)}
    return pa.schema([(name, _COLUMN_TYPES[kind[0]]) for name, kind in kinds.items()])


@dataclass(frozen=True)
class Provenance:
    """Origin of scores: every row with scores contains it, together with the model version.

    Attributes:
        run_id: Identifier of the run that scored the row, 32 hexadecimal digits.
        scored_at: Start time of the run, UTC.
    """

    run_id: str
    scored_at: datetime

    def columns(self, model_version: str) -> dict[str, Any]:
        """Return the columns of a row that record its origin.

        Args:
            model_version: Version of the model that scored the row.

        Returns:
            Values of the columns `run_id`, `model_version` and `scored_at`.
        """
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
    """Metrics of one member or of the ensemble on the labeled test images of a category; a row of metrics.parquet.

    Attributes:
        category: Name of the category.
        model: Name of the member's backbone, or 'ensemble'.
        image_auroc, image_ap, image_f1max: Area under the ROC curve, average precision and largest F1 of the anomaly
            scores, 0 to 1; None without good or without defective test images.
        d_prime: Separation d' of good and defective scores, equation 12, 0 or more; None as for `image_auroc`.
        pixel_auroc, pixel_ap, pixel_f1max, aupro: The same metrics of the anomaly maps' pixels, and the area under the
            per-region overlap curve, 0 to 1; None without masks.
        n_good, n_defect: Numbers of good and of defective test images.
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
    """An image that could not be read or a category without scores; a row of failures.parquet.

    Attributes:
        category: Name of the category.
        backbone: Backbone of the member that failed; None if the failure does not belong to one member.
        stage: Stage in which the failure occurred.
        image_path: Path of the image that could not be read; None if the whole category failed.
        error: Reason in one line, without credentials.
    """

    category: str
    backbone: str | None = None
    stage: str
    image_path: str | None = None
    error: str


FAILURES = schema_of(FailureRow)


@dataclass(frozen=True, kw_only=True)
class DriftRow(Row):
    """Comparison of the scores of new images with those of the calibration images; a row of drift.parquet.

    Attributes:
        category: Name of the category.
        run_id, model_version, scored_at: Origin of the scores, see `Provenance`.
        images, holdout: Numbers of new images and of calibration images.
        quantiles, holdout_quantiles: 10, 50 and 90 % quantiles of their scores.
        ks, ks_p_value: Kolmogorov-Smirnov distance of the two distributions, 0 to 1, and its p-value.
        above_threshold: Share of new images that score above the threshold, 0 to 1; None without a threshold.
        rare: Share of new images with a p-value below 0.05, 0 to 1; None without p-values.
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
    """Score and verdict of the ensemble for an image; a row of scores/fused.

    Attributes:
        category, image_path, split, part, defect, label: As in the image index, see `ImageRecord`.
        score: Anomaly score of the ensemble.
        p_value, threshold, is_anomaly: p-value of the score, threshold, and whether the image is flagged; None for
            training images and without calibration images.
        peak_row, peak_col: Pixel of the original image at the center of the highest-scoring patch.
        nearest_backbone: Backbone of the member with the largest normalized score at this patch.
        nearest_image, nearest_row, nearest_col: Good image, and row and column in its patch grid, of the bank entry
            with which this member compared the patch; None if there is no such entry.
        member_scores: Backbone -> largest normalized score of the member, stored as a column score_<backbone> each.
        run_id, model_version, scored_at: Origin of the score, see `Provenance`.
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
        backbones: Backbones of the members, in order. Each has a column score_<backbone> with the largest normalized
            score of the member.

    Returns:
        Schema of the Parquet file.
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
