"""Output of the metrics of a run: a table in the terminal, and CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pipelines.storage.schemas import MetricsRow
from pipelines.tracking.console import Console

# Column of metrics.parquet -> its heading.
_IMAGE_COLUMNS = {
    "image_auroc": "image\nAUROC",
    "image_ap": "image\nAP",
    "image_f1max": "image\nF1-max",
    "d_prime": "d'",
    "n_good": "good",
    "n_defect": "defect",
}
_PIXEL_COLUMNS = {
    "pixel_auroc": "pixel\nAUROC",
    "pixel_ap": "pixel\nAP",
    "pixel_f1max": "pixel\nF1-max",
    "aupro": "AUPRO",
}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet treats a cell that starts with one of these as a formula


def show_metrics(console: Console, rows: Sequence[MetricsRow]) -> None:
    """Print the metrics of images and, if any category has masks, those of pixels.

    Each category has a row for the ensemble and one for each member. The two tables fit a terminal of 80 columns.

    Args:
        console: Console to which the tables are written.
        rows: Rows of metrics.parquet, grouped by category.
    """
    _show(console, rows, _IMAGE_COLUMNS)
    if any(getattr(row, name) is not None for row in rows for name in _PIXEL_COLUMNS):
        _show(console, rows, _PIXEL_COLUMNS)
    console.say("")


def _show(console: Console, rows: Sequence[MetricsRow], columns: Mapping[str, str]) -> None:
    """Print one table: category, model and some columns of the rows under other names."""
    lines: list[list[str]] = []
    previous = None
    for row in rows:
        if previous is not None and row.category != previous:
            lines.append([])
        category = row.category if row.category != previous else ""
        previous = row.category
        lines.append([category, row.model, *(_figure(getattr(row, name)) for name in columns)])
    console.say("")
    console.table(["category", "model", *columns.values()], lines, names=2)


def _figure(value: float | int | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def csv_of(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> bytes:
    """Return rows as CSV that is safe to open in a spreadsheet: a text that looks like a formula is prefixed with '.

    Args:
        rows: Rows, column name -> value. A missing column gives an empty cell.
        columns: Names of the columns, in order.

    Returns:
        The CSV file with a header, UTF-8.
    """
    cells = [{name: _cell(row.get(name)) for name in columns} for row in rows]
    return pd.DataFrame(cells, columns=list(columns)).to_csv(index=False).encode()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
