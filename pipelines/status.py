"""What the morning wants to know of every category, what wants attention first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pipelines.config import UsageError
from pipelines.drift import read_drift
from pipelines.night import WORK
from pipelines.progress import Screen
from pipelines.registry import Registry
from pipelines.rundir import NIGHT_FILE
from pipelines.storage import Store, read_rows, side_by_side

_DRIFTED = 1e-3  # Kolmogorov-Smirnov's p-value: one in a thousand mornings without a change
_COLUMNS = ("category", "attention", "model", "days", "learned", "judged", "images", "anomalies", "unreadable", "ks")
URGENCY = (
    "failed",
    "refused",
    "held back",
    "deferred",
    "drifted",
    "unreadable images",
    "no model",
    "no images",
    "unproven",
    "",
)


def status(screen: Screen, registry: str, as_json: bool) -> int:
    """Print a row a category.

    Raises:
        UsageError: the registry is none.
    """
    found = Registry(Store.of(registry))
    rows = rows_of(found, datetime.now(UTC))
    if not rows:
        raise UsageError(f"--registry {registry}: holds no model and no night.")
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return 0
    screen.table(_COLUMNS, [[_cell(row[name]) for name in _COLUMNS] for row in rows])
    for row in rows:
        if row["reasons"]:
            screen.say(f"{row['category']}: {row['reasons']}")
    return 0


def rows_of(registry: Registry, now: datetime) -> list[dict[str, Any]]:
    """A row a category, sorted by what wants attention, then by name.

    `attention` says what that is: one of `URGENCY`.
    """
    work = registry.store.below(WORK)
    night = {row["category"]: row for row in read_rows(work, NIGHT_FILE)} if work.exists(NIGHT_FILE) else {}
    categories = sorted({*registry.categories(), *night})
    rows = side_by_side(lambda category: _row(registry, category, night, now), categories)
    return sorted(rows, key=lambda row: (URGENCY.index(row["attention"]), row["category"]))


def _row(registry: Registry, category: str, night: dict[str, dict[str, Any]], now: datetime) -> dict[str, Any]:
    told = night.get(category, {})
    current = registry.current(category)
    made = next((each for each in registry.versions(category) if each.current), None)
    last = read_drift(registry, category, last=1)
    drift = last[0] if last else {}
    row = {
        "category": category,
        "model": current,
        "days": None
        if made is None
        else round((now - datetime.fromisoformat(made.created_at)).total_seconds() / 86400),
        "status": None if made is None else made.status,
        "learned": told.get("learned"),
        "judged": told.get("judged"),
        "reasons": told.get("reasons"),
        "images": told.get("images"),
        "anomalies": told.get("anomalies"),
        "unreadable": told.get("unreadable"),
        **{name: drift.get(name) for name in ("ks", "ks_p_value", "above_threshold", "rare")},
    }
    return row | {"attention": attention(row)}


def attention(row: Mapping[str, Any]) -> str:
    """What a category's morning wants looked at: one of `URGENCY`, the empty word for nothing."""
    told = (row["learned"], row["judged"])
    for word in ("failed", "refused", "held back", "deferred"):
        if word in told:
            return word
    if row["ks_p_value"] is not None and row["ks_p_value"] < _DRIFTED:
        return "drifted"
    if row["unreadable"]:
        return "unreadable images"
    if row["status"] == "unproven":
        return "unproven"
    return row["judged"] if row["judged"] in ("no model", "no images") else ""


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
