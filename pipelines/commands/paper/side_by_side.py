"""Our figures beside those that the paper prints: rows of tables.parquet, and the printed tables."""

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
    """A row of tables.parquet, whose columns have the names in parentheses.

    Attributes:
        table: number of the paper's table.
        label: of the table's row (`row`).
        category: its name, or a mean and the number of categories that it is over.
        metric: column of metrics.parquet.
        published: the paper's figure in percent; None where it prints none.
        ours: our figure in percent; None where the run has none.
        run: folder of the run.
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
    """Return the rows of tables.parquet: every category, then the means.

    Our mean is over the categories for which every row of the table has the metric. Where the paper prints categories,
    the published mean is over the same ones.

    Args:
        table: of the paper.
        measured: run → its metrics.
        categories: that the runs are about, in the paper's order.
        holders: run → the folder that its metrics are from.
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
    values = {category: getattr(row, metric) for category, row in measured.items()}
    return {category: 100 * value for category, value in values.items() if value is not None}


def _groups(table: PaperTable) -> dict[str, tuple[str, ...]]:
    return {**(GROUPS if table.by_category else {}), MEAN: CATEGORIES}


def _published_mean(
    table: PaperTable, published: Mapping[str, float], group: str, counted: Sequence[str]
) -> float | None:
    """Return the published mean; over some of the categories, the mean of their published figures if there are any."""
    if not published:
        return None
    if not table.by_category or len(counted) == len(_groups(table)[group]):
        return published[group]
    return fmean(published[category] for category in counted) if counted else None


def _label(table: PaperTable, group: str, counted: Sequence[str]) -> str:
    label = f"{MEAN} of {len(counted)}"
    if group != MEAN:
        return f"{group}: {label}"
    return label if table.by_category or len(counted) == len(CATEGORIES) else f"{label}, published of {len(CATEGORIES)}"


def show(console: Console, table: PaperTable, compared: Sequence[ComparedFigure], with_what: Sequence[str]) -> None:
    """Print a table: a line a category where the paper prints categories, else a line a row.

    Args:
        console: that the table is printed on.
        table: of the paper.
        compared: its rows, of `compared_rows`.
        with_what: networks, and what else differs from the paper.
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
    if table.by_category:
        return f"{name}\n{side}"
    mean = label.partition(",")[0] if side == "ours" else f"{MEAN} of {len(CATEGORIES)}"
    return f"{name.replace('_auroc', ' AUROC')}\n{side}, {mean}"


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
