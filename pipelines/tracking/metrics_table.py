"""The metrics of a run as a table in the terminal and as CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pipelines.storage.schemas import METRICS, MetricsRow
from pipelines.tracking.console import Console

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet takes a cell that begins with one of these for a formula


def show_metrics(console: Console, rows: Sequence[MetricsRow]) -> None:
    """Show a table of metrics, per category the ensemble and its members.

    Args:
        console: where it is shown.
        rows: of metrics.parquet, category by category.
    """
    lines: list[list[str]] = []
    previous = None
    for row in rows:
        if previous is not None and row.category != previous:
            lines.append([])
        category = row.category if row.category != previous else ""
        previous = row.category
        lines.append([category, row.model, *(_figure(getattr(row, name)) for name in METRICS.names[2:])])
    console.table([name.replace("_", " ") for name in METRICS.names], lines, names=2)


def _figure(value: float | int | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def csv_of(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> bytes:
    """Return rows as CSV for spreadsheets: a text that one would take for a formula gets a ' before it.

    Args:
        rows: a missing column is an empty cell.
        columns: the header, in order.
    """
    cells = [{name: _cell(row.get(name)) for name in columns} for row in rows]
    return pd.DataFrame(cells, columns=list(columns)).to_csv(index=False).encode()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
