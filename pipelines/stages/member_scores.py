"""Table of a member's scores for a category: conversion from the scores of a shard, and back to maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.data.records import ImageRecord
from pipelines.storage.schemas import MEMBER_SCORES
from reconpatch.detector.fusion import largest_scores
from reconpatch.evaluation.outliers import Unexplained


@dataclass(frozen=True)
class ShardScores:
    """Scores of the images of a shard by one member; each list has one item per image.

    Attributes:
        scores: (H·W,) float32 patch scores per image; NaN for a patch without a score.
        nearest: (H·W,) int64 bank entries that the patches of each image were compared with; -1 for none.
        audits: The patch of each image that the other good images explain worst; None for images that are not audited.
    """

    scores: list[np.ndarray]
    nearest: list[np.ndarray]
    audits: list[Unexplained | None]


def member_table(
    images: Sequence[ImageRecord], scored: ShardScores, grid: tuple[int, int], provenance: Mapping[str, Any]
) -> pa.Table:
    """Return the rows of scores/members for the images of a shard.

    Args:
        images: Images in the order of the shard.
        scored: Scores of these images.
        grid: (H, W), the rows and columns of patches.
        provenance: Column name -> value, for the columns that are the same in every row.

    Returns:
        Table with the schema `MEMBER_SCORES` and one row per image.
    """
    lists = {"patch_scores": (scored.scores, pa.float32()), "patch_nearest": (scored.nearest, pa.int32())}
    # If the bank has a single entry, that patch has no leave-one-out score and does not count in its image's maximum.
    largest = largest_scores(np.stack(scored.scores)[:, None])
    rows = [image.row() | _audit(audit, grid) for image, audit in zip(images, scored.audits, strict=True)]
    columns: list[pa.Array] = []
    for field in MEMBER_SCORES:
        if field.name in lists:
            columns.append(_list_column(*lists[field.name]))
        elif field.name == "score":
            columns.append(pa.array(largest.astype(np.float64), field.type, mask=np.isnan(largest)))
        elif field.name in ("grid_height", "grid_width"):
            columns.append(pa.array([grid[field.name == "grid_width"]] * len(rows), field.type))
        elif field.name in provenance:
            columns.append(pa.array([provenance[field.name]] * len(rows), field.type))
        else:
            columns.append(pa.array([row.get(field.name) for row in rows], field.type))
    return pa.Table.from_arrays(columns, schema=MEMBER_SCORES)


def _audit(audit: Unexplained | None, grid: tuple[int, int]) -> dict[str, Any]:
    """Return the columns of the audit; none for an image that is not audited or that no other image can explain."""
    if audit is None or audit.entry < 0:
        return {}
    row, col = divmod(audit.patch, grid[1])
    return {
        "unexplained": audit.distance,
        "unexplained_row": row,
        "unexplained_col": col,
        "unexplained_nearest": audit.entry,
    }


def _list_column(arrays: list[np.ndarray], kind: pa.DataType) -> pa.ListArray:
    """Return a list column in which NaN scores and entries of -1 are null."""
    values = np.concatenate(arrays) if arrays else np.empty(0)
    missing = np.isnan(values) if values.dtype.kind == "f" else values < 0
    offsets = np.cumsum([0, *(len(array) for array in arrays)])
    cells = pa.array(values.astype(kind.to_pandas_dtype()), kind, mask=missing)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), cells)


@dataclass(frozen=True)
class MemberScores:
    """Scores of B images of a category by one member.

    Attributes:
        table: Rows of scores/members without the list columns.
        maps: (B, H, W) float32 patch scores; NaN for a patch without a score.
        nearest: (B, H, W) integer bank entries that the patches were compared with; -1 for none.
    """

    table: pa.Table
    maps: np.ndarray
    nearest: np.ndarray


def as_member_scores(table: pa.Table) -> MemberScores:
    """Return the maps of a table of scores/members.

    Args:
        table: Rows of scores/members, at least one.

    Returns:
        The scores, with one map per row.
    """
    height, width = table["grid_height"][0].as_py(), table["grid_width"][0].as_py()
    scores = table["patch_scores"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    nearest = table["patch_nearest"].combine_chunks().flatten().fill_null(-1).to_numpy()
    return MemberScores(
        table.drop_columns(["patch_scores", "patch_nearest"]),
        scores.astype(np.float32).reshape(-1, height, width),
        nearest.reshape(-1, height, width),
    )
