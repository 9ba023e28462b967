"""Comparison of our figures with the published ones: the rows of tables.parquet and the printed tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Any

import pyarrow as pa

from pipelines.commands.paper.published import CATEGORIES, GROUPS, MEAN, PaperTable
from pipelines.storage.schemas import MetricsRow, Row
from pipelines.tracking.console import Console

COMPARED = pa.schema(
    [
        ("table", pa.int8()),
        ("row", pa.string()),
        ("category", pa.string()),
        ("metric", pa.string()),
        ("published", pa.float64()),
        ("ours", pa.float64()),
        ("run", pa.string()),
    ]
)

# A run's metrics: category → its row of metrics.parquet.
Measured = Mapping[str, MetricsRow]


@dataclass(frozen=True, kw_only=True)
class ComparedFigure(Row):
    """A published figure and ours: a row of tables.parquet.

    Attributes:
        table: Number of the table in the paper (1-6).
        label: Name of the table's row; stored in the column `row`.
        category: Name of the category, or 'mean of n' for a mean over n categories.
        metric: Name of the metric, as a column of metrics.parquet.
        published: Figure of the paper in percent; None if the paper has none.
        ours: Our figure in percent; None if the run has none.
        run: Name of the folder of the run.
    """

    table: int
    label: str
    category: str
    metric: str
    published: float | None
    ours: float | None
    run: str

    def row(self) -> dict[str, Any]:
        """Return the columns of `COMPARED`."""
        columns = dict(vars(self))
        return {"row": columns.pop("label"), **columns}


def compared_rows(
    table: PaperTable, measured: Mapping[str, Measured], categories: Sequence[str], holders: Mapping[str, str]
) -> list[ComparedFigure]:
    """Return the rows of tables.parquet for one table: every category, then the means.

    Our mean is over the categories for which every row of the table has the metric. If the paper prints categories, the
    published mean is over the same categories.

    Args:
        table: Table of the paper.
        measured: Name of a run → its metrics.
        categories: Categories of the runs, in the order of the paper.
        holders: Name of a run → name of the folder that its metrics come from.

    Returns:
        The rows, grouped by metric and by row of the table.
    """
    figures = []
    for metric in table.metrics:
        ours = {row.label: _percent(measured[row.run], metric) for row in table.rows}
        complete = [category for category in categories if all(category in values for values in ours.values())]
        for row in table.rows:
            make = partial(ComparedFigure, table=table.number, label=row.label, metric=metric, run=holders[row.run])
            published, values = row.published.get(metric, {}), ours[row.label]
            figures += [
                make(category=category, published=published.get(category), ours=values.get(category))
                for category in categories
            ]
            for group, members in _groups(table).items():
                counted = [category for category in complete if category in members]
                if counted or group == MEAN:
                    mean = _published_mean(table, published, group, counted)
                    ours_mean = fmean(values[category] for category in counted) if counted else None
                    figures.append(make(category=_label(table, group, counted), published=mean, ours=ours_mean))
    return figures


def _percent(measured: Measured, metric: str) -> dict[str, float]:
    """Return category → metric in percent, for the categories that have the metric."""
    values = {category: getattr(row, metric) for category, row in measured.items()}
    return {category: 100 * value for category, value in values.items() if value is not None}


def _groups(table: PaperTable) -> dict[str, tuple[str, ...]]:
    """Return the groups of categories that the table has a mean of."""
    return {**(GROUPS if table.by_category else {}), MEAN: CATEGORIES}


def _published_mean(
    table: PaperTable, published: Mapping[str, float], group: str, counted: Sequence[str]
) -> float | None:
    """Return the published mean, computed from the published figures if only some categories are counted."""
    if not published:
        return None
    if not table.by_category or len(counted) == len(_groups(table)[group]):
        return published[group]
    return fmean(published[category] for category in counted) if counted else None


def _label(table: PaperTable, group: str, counted: Sequence[str]) -> str:
    """Return the name of a mean, with the number of categories."""
    label = f"{MEAN} of {len(counted)}"
    if group != MEAN:
        return f"{group}: {label}"
    return label if table.by_category or len(counted) == len(CATEGORIES) else f"{label}, published of {len(CATEGORIES)}"


def show(console: Console, table: PaperTable, compared: Sequence[ComparedFigure], with_what: Sequence[str]) -> None:
    """Print a table with one line per category if the paper prints categories, else one line per row.

    Args:
        console: Console for the table.
        table: Table of the paper.
        compared: Rows of the table, from `compared_rows`.
        with_what: Backbones of our runs, and the settings that differ from the paper.
    """

    def position(figure: ComparedFigure) -> tuple[str, str]:
        return (figure.category, figure.label) if table.by_category else (figure.label, figure.metric)

    shown = [figure for figure in compared if table.by_category or figure.category.startswith(MEAN)]
    cells = {position(figure): figure for figure in shown}
    lines = list(dict.fromkeys(line for line, _ in cells))
    columns = [
        (name, side)
        for name in dict.fromkeys(column for _, column in cells)
        for side in ("published", "ours")
        if side == "ours" or any(cells[line, name].published is not None for line in lines)
    ]
    header = [_header(table, name, side, cells[lines[0], name].category) for name, side in columns]
    console.say(f"\nTable {table.number}: {table.title}. AUROC in percent; ours: {'; '.join(with_what)}.")
    console.table(
        ["category" if table.by_category else "row", *header],
        [[line, *(_cell(getattr(cells[line, name], side)) for name, side in columns)] for line in lines],
    )
    if table.note:
        console.say(table.note)


def _header(table: PaperTable, name: str, side: str, label: str) -> str:
    """Return the header of a column."""
    if table.by_category:
        return f"{name}\n{side}"
    mean = label.partition(",")[0] if side == "ours" else f"{MEAN} of {len(CATEGORIES)}"
    return f"{name.replace('_auroc', ' AUROC')}\n{side}, {mean}"


def _cell(value: float | None) -> str:
    """Return the text of a table cell."""
    return "-" if value is None else f"{value:.2f}"
