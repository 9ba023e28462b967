"""Drift by category: one small file a night or a score run, in the registry beside the models; nothing is rewritten."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pyarrow as pa

from pipelines.registry import Registry
from pipelines.rundir import DRIFT, folder_name
from pipelines.score import Stamp
from pipelines.storage import Store, read_rows, read_table, write_rows
from reconpatch.drift import drift_of
from reconpatch.model import Model

_FOLDER = "drift"
_KEPT = 400  # a year of nights, and some


def compare(out: Store, model: Model, stamp: Stamp) -> dict[str, Any] | None:
    """A row of `DRIFT`: a category's rows in `out` beside the model's held-out scores; None where either has none."""
    table = _scores(out, model.category)
    p_values = table["p_value"].to_numpy(zero_copy_only=False)
    drift = drift_of(table["score"].to_numpy(), model.holdout_scores, model.threshold, p_values)
    if drift is None:
        return None
    return {"category": model.category, **stamp.columns(model.version), **asdict(drift)}


def count_anomalies(out: Store, category: str) -> int:
    return sum(each is True for each in _scores(out, category)["is_anomaly"].to_pylist())


def append(registry: Registry, row: dict[str, Any], stamp: Stamp) -> None:
    """Write a comparison down; the oldest go."""
    place = registry.of(row["category"]).below(_FOLDER)
    for info in place.files():
        if info.path.endswith(f"-{stamp.run_id[:12]}.parquet"):  # of the same night, before it was cut off
            place.remove(place.name_of(info))
    write_rows(place, f"{stamp.scored_at:%Y%m%dT%H%M%S}-{stamp.run_id[:12]}.parquet", [row], DRIFT)
    for info in place.files()[:-_KEPT]:
        place.remove(place.name_of(info))


def read_drift(registry: Registry, category: str, last: int = _KEPT) -> list[dict[str, Any]]:
    """The last comparisons of a category, oldest first."""
    place = registry.of(category).below(_FOLDER)
    return [row for info in place.files()[-last:] for row in read_rows(place, place.name_of(info))]


def _scores(out: Store, category: str) -> pa.Table:
    folder = f"scores/fused/{folder_name(category)}"
    columns = ["score", "p_value", "is_anomaly"]
    return pa.concat_tables([read_table(out, out.name_of(info), columns) for info in out.files(folder)])
