"""Ours beside the figures that the paper prints: rows of tables.parquet, and the tables on the screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import pyarrow as pa

from pipelines.paper_values import CATEGORIES, GROUPS, MEAN, PaperTable, Row
from pipelines.progress import Screen

# `published` and `ours` are percent; `category` is one, or says of a mean over how many it is; `run` is the folder.
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

# A run's figures: category → its row of metrics.parquet.
Measured = Mapping[str, Mapping[str, Any]]


def compared_rows(
    table: PaperTable, measured: Mapping[str, Measured], categories: Sequence[str], holders: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Rows of tables.parquet: every category, then the means.

    A mean of ours is over the categories for which every row of the table has the metric. Where the paper prints
    categories, the published mean is over the same ones.

    Args:
        measured: run → its figures.
        holders: run → the folder that they came from.
    """
    rows = []
    for metric in table.metrics:
        ours = {row.label: _percent(measured[row.run], metric) for row in table.rows}
        complete = [category for category in categories if all(category in each for each in ours.values())]
        for row in table.rows:
            place = {"table": table.number, "row": row.label, "metric": metric, "run": holders[row.run]}
            published, mine = row.published.get(metric, {}), ours[row.label]
            rows += [
                {**place, "category": category, "published": published.get(category), "ours": mine.get(category)}
                for category in categories
            ]
            for group, members in _groups(table).items():
                counted = [category for category in complete if category in members]
                if not counted and group != MEAN:
                    continue
                mean = fmean(mine[category] for category in counted) if counted else None
                figures = {"published": _published_mean(table, row, metric, group, counted), "ours": mean}
                rows.append({**place, "category": _label(table, group, counted), **figures})
    return rows


def _percent(measured: Measured, metric: str) -> dict[str, float]:
    return {category: 100 * each[metric] for category, each in measured.items() if each[metric] is not None}


def _groups(table: PaperTable) -> dict[str, tuple[str, ...]]:
    return {**(GROUPS if table.by_category else {}), MEAN: CATEGORIES}


def _published_mean(table: PaperTable, row: Row, metric: str, group: str, counted: Sequence[str]) -> float | None:
    """The printed mean; of some of the categories, the mean of their printed figures where there are any."""
    published = row.published.get(metric)
    if published is None:
        return None
    if not table.by_category or len(counted) == len(_groups(table)[group]):
        return published[group]
    return fmean(published[category] for category in counted) if counted else None


def _label(table: PaperTable, group: str, counted: Sequence[str]) -> str:
    label = f"{MEAN} of {len(counted)}"
    if group != MEAN:
        return f"{group}: {label}"
    return label if table.by_category or len(counted) == len(CATEGORIES) else f"{label}, published of {len(CATEGORIES)}"


def show(screen: Screen, table: PaperTable, compared: Sequence[Mapping[str, Any]], with_what: Sequence[str]) -> None:
    """Print a table: a line a category where the paper has them, else a line a row.

    Args:
        compared: its rows, of `compared_rows`.
        with_what: networks, and what else was not the paper's.
    """
    line, column = ("category", "row") if table.by_category else ("row", "metric")
    shown = [each for each in compared if table.by_category or each["category"].startswith(MEAN)]
    cells = {(each[line], each[column]): each for each in shown}
    lines = list(dict.fromkeys(each[line] for each in shown))
    columns = [
        (name, side)
        for name in dict.fromkeys(each[column] for each in shown)
        for side in ("published", "ours")
        if side == "ours" or any(cells[each, name][side] is not None for each in lines)
    ]
    header = [_header(table, name, side, cells[lines[0], name]["category"]) for name, side in columns]
    screen.say(f"\nTable {table.number}: {table.title}. AUROC in percent; ours: {'; '.join(with_what)}.")
    screen.table(
        [line, *header], [[each, *(_cell(cells[each, name][side]) for name, side in columns)] for each in lines]
    )
    if table.note:
        screen.say(table.note)


def _header(table: PaperTable, name: str, side: str, label: str) -> str:
    if table.by_category:
        return f"{name}\n{side}"
    mean = label.partition(",")[0] if side == "ours" else f"{MEAN} of {len(CATEGORIES)}"
    return f"{name.replace('_auroc', ' AUROC')}\n{side}, {mean}"


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
