"""Audit of a model's good images: audit.parquet ranks them by how poorly the other good images explain them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from pipelines.data.discovery import named
from pipelines.stages.explain import ScoredImages, geometry_of, nearest_patch
from pipelines.storage.parquet import write_rows
from pipelines.storage.paths import AUDIT_FILE
from pipelines.storage.schemas import AUDIT
from pipelines.storage.stored_model import read_bank_indices
from reconpatch.evaluation.outliers import outlier_scores


def write_audit(scored: ScoredImages) -> list[str]:
    """Write audit.parquet, with one row per good image, into the model's folder.

    Args:
        scored: Images of the category with their scores.

    Returns:
        A warning that names the training outliers; empty if there are none.
    """
    rows = _audit_rows(scored)
    write_rows(scored.stored.folder, AUDIT_FILE, rows, AUDIT)
    outliers = [row["image_path"] for row in rows if row["is_suspicious"]]
    if not outliers:
        return []
    good = sum(image.makes_model for image in scored.images)
    return [
        f"{scored.stored.category}: training outliers ({len(outliers)} of {good} good images): {named(outliers)}. "
        f"Check them for defects; {AUDIT_FILE} has the details."
    ]


def _audit_rows(scored: ScoredImages) -> list[dict[str, Any]]:
    """Return the rows of audit.parquet, the least explained image first."""
    stored = scored.stored
    good = [number for number, image in enumerate(scored.images) if image.makes_model]
    tables = [member.table.take(good) for member in scored.members]
    outliers = outlier_scores([table["unexplained"].to_numpy(zero_copy_only=False) for table in tables])
    bank_indices = read_bank_indices(stored)
    rows = []
    for number, image in enumerate(scored.images[position] for position in good):
        member = int(outliers.members[number])
        cell = {name: tables[member][f"unexplained_{name}"][number].as_py() for name in ("row", "col", "nearest")}
        if cell["nearest"] is None:
            continue  # no other image of the category could explain this one
        grid = scored.members[member].maps.shape[1:]
        peak_row, peak_col = geometry_of(image, stored.model).patch_center(cell["row"], cell["col"], (grid[0], grid[1]))
        nearest = nearest_patch(stored.backbones[member], bank_indices[member], cell["nearest"])
        rows.append(
            {
                "category": image.category,
                "image_path": image.image_path,
                "part": image.part,
                "suspicion": float(outliers.scores[number]),
                "is_suspicious": bool(outliers.is_outlier[number]),
                "peak_row": peak_row,
                "peak_col": peak_col,
                **asdict(nearest),
            }
        )
    rows.sort(key=lambda row: (-np.nan_to_num(row["suspicion"]), row["image_path"]))
    return rows
