"""`reconpatch-run status`: print the state of every category in a registry, the most urgent first."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from pipelines.data.folders import existing_folder
from pipelines.errors import UsageError
from pipelines.registry.attention import states_of
from pipelines.registry.night_table import read_night
from pipelines.registry.registry import WORK, Registry
from pipelines.tracking.console import Console

_COLUMNS = ("category", "attention", "model", "days", "learned", "judged", "images", "anomalies", "unreadable", "ks")
_OPTIONAL = ("unreadable", "judged", "days", "learned")  # `attention` shows what is urgent in them


def status(console: Console, *, registry: str, as_json: bool) -> int:
    """Print one row per category: its active model, the results of the last nightly run, and its drift.

    Args:
        console: Console for the table and warnings.
        registry: Path or URI of the registry.
        as_json: Whether to print JSON instead of a table.

    Returns:
        The exit code, always 0.

    Raises:
        UsageError: The registry holds neither a model nor a nightly run.
    """
    models = Registry(existing_folder("--registry", registry))
    try:
        night = read_night(models.store.below(WORK))
    except (OSError, UsageError) as error:
        console.warn(f"{error} The results of the last nightly run are not shown.")
        night = {}
    states = states_of(models, night, datetime.now(UTC))
    if not states:
        raise UsageError(
            f"--registry {registry} holds neither a model nor a nightly run. Give the folder of a registry."
        )
    if as_json:
        console.say(json.dumps([state.to_json() for state in states], indent=2, ensure_ascii=False))
        return 0
    lines = [[_cell(getattr(state, name)) for name in _COLUMNS] for state in states]
    left_out = console.table(_COLUMNS, lines, names=6, optional=_OPTIONAL)
    if left_out:
        console.say(f"Not shown in {console.width} columns: {', '.join(left_out)}. --json prints everything.")
    for state in states:
        if state.reasons:
            console.say(f"{state.category}: {state.reasons}")
    return 0


def _cell(value: Any) -> str:
    """Return the text of a table cell."""
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
