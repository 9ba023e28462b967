"""Drift records of each category, beside its models: one file per nightly run or `score` run, never changed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict

import pyarrow as pa

from pipelines.registry.registry import Registry
from pipelines.storage.parquet import read_rows, read_table, write_rows
from pipelines.storage.paths import fused_parts
from pipelines.storage.schemas import DRIFT, DriftRow, Provenance
from pipelines.storage.store import Store
from reconpatch.detector.model import Model
from reconpatch.evaluation.drift import drift_of

_FOLDER = "drift"
_KEPT = 400  # files per category: more than a year of nightly runs


def read_scores(out: Store, category: str) -> pa.Table:
    """Return scores, p-values and verdicts of a category's new images.

    Args:
        out: Folder of the run that scored the images.
        category: Name of the category.

    Returns:
        Table with the columns score, p_value and is_anomaly, one row per image.
    """
    columns = ["score", "p_value", "is_anomaly"]
    return pa.concat_tables([read_table(out, out.name_of(info), columns) for info in out.files(fused_parts(category))])


def drift_row(scores: pa.Table, model: Model, provenance: Provenance) -> DriftRow | None:
    """Compare the scores of new images with the held-out scores of the model.

    Args:
        scores: Table that `read_scores` returns.
        model: Model that scored the images.
        provenance: Run that scored the images.

    Returns:
        The comparison; None if there are no new or no held-out scores.

    Raises:
        ValueError: A score is not finite.
    """
    p_values = scores["p_value"].to_numpy(zero_copy_only=False)
    drift = drift_of(scores["score"].to_numpy(), model.holdout_scores, model.threshold, p_values)
    if drift is None:
        return None
    return DriftRow(category=model.category, **provenance.columns(model.version), **asdict(drift))


def note_drift(registry: Registry, row: DriftRow, provenance: Provenance) -> None:
    """Write a drift comparison to the registry, and remove the oldest files beyond `_KEPT`.

    A comparison that the same run wrote before it was interrupted is replaced.

    Args:
        registry: Registry that holds the model.
        row: Drift comparison.
        provenance: Run that scored the images; its time and id are part of the file name.
    """
    folder, run = registry.of(row.category).below(_FOLDER), provenance.run_id[:12]
    for info in folder.files():
        if info.path.endswith(f"-{run}.parquet"):  # written by this run before it was interrupted
            folder.remove(folder.name_of(info))
    write_rows(folder, f"{provenance.scored_at:%Y%m%dT%H%M%S}-{run}.parquet", [row], DRIFT)
    for info in folder.files()[:-_KEPT]:
        folder.remove(folder.name_of(info))


def read_drift(registry: Registry, category: str, last: int = _KEPT) -> list[DriftRow]:
    """Return the last drift comparisons of a category, oldest first. Damaged files are skipped.

    Args:
        registry: Registry of the models.
        category: Name of the category.
        last: Number of files to read, at least 1.
    """
    folder = registry.of(category).below(_FOLDER)
    rows: list[DriftRow] = []
    for info in folder.files()[-last:]:
        with suppress(ValueError, KeyError):
            rows += [DriftRow.from_row(row) for row in read_rows(folder, folder.name_of(info))]
    return rows
