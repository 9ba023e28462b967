"""Drift by category: one small file a night or a score run, in the registry beside the models; nothing is rewritten."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from pipelines.registry import Registry
from pipelines.rundir import DRIFT, Stamp, fused_parts
from pipelines.storage import Store
from pipelines.tables import read_rows, read_table, write_rows
from reconpatch.drift import drift_of
from reconpatch.model import Model

_FOLDER = "drift"
_KEPT = 400  # a year of nights, and some


def read_scores(out: Store, category: str) -> pa.Table:
    """Scores, p-values and verdicts of a category's parts."""
    columns = ["score", "p_value", "is_anomaly"]
    return pa.concat_tables([read_table(out, out.name_of(info), columns) for info in out.files(fused_parts(category))])


def drift_row(scores: pa.Table, model: Model, stamp: Stamp) -> dict[str, Any] | None:
    """A row of `DRIFT`: `read_scores` beside the model's held-out scores; None where either has none."""
    p_values = scores["p_value"].to_numpy(zero_copy_only=False)
    drift = drift_of(scores["score"].to_numpy(), model.holdout_scores, model.threshold, p_values)
    if drift is None:
        return None
    return {"category": model.category, **stamp.columns(model.version), **asdict(drift)}


def note_drift(registry: Registry, row: dict[str, Any], stamp: Stamp) -> None:
    """Write a comparison down; the oldest go."""
    place = registry.of(row["category"]).below(_FOLDER)
    for info in place.files():
        if info.path.endswith(f"-{stamp.run_id[:12]}.parquet"):  # of the same night, before it was cut off
            place.remove(place.name_of(info))
    write_rows(place, f"{stamp.scored_at:%Y%m%dT%H%M%S}-{stamp.run_id[:12]}.parquet", [row], DRIFT)
    for info in place.files()[:-_KEPT]:
        place.remove(place.name_of(info))


def read_drift(registry: Registry, category: str, last: int = _KEPT) -> list[dict[str, Any]]:
    """The last comparisons of a category, oldest first; what is damaged is passed over."""
    place = registry.of(category).below(_FOLDER)
    rows: list[dict[str, Any]] = []
    for info in place.files()[-last:]:
        with suppress(ValueError):
            rows += read_rows(place, place.name_of(info))
    return rows
