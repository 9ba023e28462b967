"""What the morning wants to know of every category, what wants attention first."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pipelines.drift import read_drift
from pipelines.progress import Screen
from pipelines.registry import WORK, Registry
from pipelines.rundir import NIGHT_FILE
from pipelines.storage import Store, side_by_side
from pipelines.tables import rows_if_there
from pipelines.tasks import sentence_of
from pipelines.usage import UsageError
from reconpatch.drift import DRIFTED

_COLUMNS = ("category", "attention", "model", "days", "learned", "judged", "images", "anomalies", "unreadable", "ks")
_OF_NIGHT = ("learned", "judged", "reasons", "images", "anomalies", "unreadable")
_OF_DRIFT = ("ks", "ks_p_value", "above_threshold", "rare")
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
    work = found.store.below(WORK)
    try:
        night = rows_if_there(work, NIGHT_FILE)
    except (OSError, UsageError) as error:
        screen.warn(f"{error} What the last night has told is not shown.")
        night = []
    rows = rows_of(found, night, datetime.now(UTC))
    if not rows:
        raise UsageError(f"--registry {registry}: holds no model and no night.")
    if as_json:
        screen.say(json.dumps(rows, indent=2, ensure_ascii=False))
        return 0
    screen.table(_COLUMNS, [[_cell(row[name]) for name in _COLUMNS] for row in rows])
    for row in rows:
        if row["reasons"]:
            screen.say(f"{row['category']}: {row['reasons']}")
    return 0


def rows_of(registry: Registry, night: Sequence[Mapping[str, Any]], now: datetime) -> list[dict[str, Any]]:
    """A row a category, sorted by what wants attention, then by name.

    `attention` says what that is: one of `URGENCY`. A category whose files are damaged has failed.

    Args:
        night: rows of the last night.
    """
    told = {row["category"]: row for row in night}

    def row_of(category: str) -> dict[str, Any]:
        try:
            return _row(registry, category, told.get(category, {}), now)
        except Exception as error:
            nothing = dict.fromkeys(("model", "days", "status", *_OF_NIGHT, *_OF_DRIFT))
            return {"category": category, **nothing, "reasons": sentence_of(error), "attention": "failed"}

    rows = side_by_side(row_of, sorted({*registry.categories(), *told}))
    return sorted(rows, key=lambda row: (URGENCY.index(row["attention"]), row["category"]))


def _row(registry: Registry, category: str, told: Mapping[str, Any], now: datetime) -> dict[str, Any]:
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
        **{name: told.get(name) for name in _OF_NIGHT},
        **{name: drift.get(name) for name in _OF_DRIFT},
    }
    return row | {"attention": attention(row)}


def attention(row: Mapping[str, Any]) -> str:
    """What a category's morning wants looked at: one of `URGENCY`, the empty word for nothing."""
    told = (row["learned"], row["judged"])
    for word in ("failed", "refused", "held back", "deferred"):
        if word in told:
            return word
    if row["ks_p_value"] is not None and row["ks_p_value"] < DRIFTED:
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
