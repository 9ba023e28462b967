"""Drift by category: one small file a nightly run or a `score` run, beside the models; no file is written again."""

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
_KEPT = 400  # files: more than a year of nightly runs


def read_scores(out: Store, category: str) -> pa.Table:
    """Return scores, p-values and verdicts of a category's new images.

    Args:
        out: the folder of the scores.
        category: the category.
    """
    columns = ["score", "p_value", "is_anomaly"]
    return pa.concat_tables([read_table(out, out.name_of(info), columns) for info in out.files(fused_parts(category))])


def drift_row(scores: pa.Table, model: Model, provenance: Provenance) -> DriftRow | None:
    """Compare new scores with the held-out scores of the model; return None where there are none of either.

    Args:
        scores: of `read_scores`.
        model: that made them.
        provenance: the run that made them.
    """
    p_values = scores["p_value"].to_numpy(zero_copy_only=False)
    drift = drift_of(scores["score"].to_numpy(), model.holdout_scores, model.threshold, p_values)
    if drift is None:
        return None
    return DriftRow(category=model.category, **provenance.columns(model.version), **asdict(drift))


def note_drift(registry: Registry, row: DriftRow, provenance: Provenance) -> None:
    """Write a comparison into the registry, and remove the oldest ones.

    Args:
        registry: that the model is from.
        row: the comparison.
        provenance: the run that made the scores.
    """
    folder, run = registry.of(row.category).below(_FOLDER), provenance.run_id[:12]
    for info in folder.files():
        if info.path.endswith(f"-{run}.parquet"):  # of the same run, before it was interrupted
            folder.remove(folder.name_of(info))
    write_rows(folder, f"{provenance.scored_at:%Y%m%dT%H%M%S}-{run}.parquet", [row], DRIFT)
    for info in folder.files()[:-_KEPT]:
        folder.remove(folder.name_of(info))


def read_drift(registry: Registry, category: str, last: int = _KEPT) -> list[DriftRow]:
    """Return the last comparisons of a category, oldest first; damaged files are skipped.

    Args:
        registry: that holds them.
        category: the category.
        last: how many files are read.
    """
    folder = registry.of(category).below(_FOLDER)
    rows: list[DriftRow] = []
    for info in folder.files()[-last:]:
        with suppress(ValueError, KeyError):
            rows += [DriftRow.from_row(row) for row in read_rows(folder, folder.name_of(info))]
    return rows
