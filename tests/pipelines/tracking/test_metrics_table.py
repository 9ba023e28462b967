"""Metrics as a table for people and as CSV for spreadsheets."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from pipelines.storage.schemas import MetricsRow
from pipelines.tracking.console import Console
from pipelines.tracking.metrics_table import csv_of, show_metrics

ODD = ["part[a]", ":star:", "[/a]", "[bold]x", "[link=http://x]y"]


def test_names_in_the_table_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    show_metrics(Console(), [MetricsRow(category=name, model="ensemble", n_good=1, n_defect=1) for name in ODD])
    written = capsys.readouterr().out
    assert all(written.count(name) == 1 for name in ODD)


def test_a_category_is_named_once_and_apart_from_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        MetricsRow(category=category, model=model, image_auroc=0.5, n_good=3, n_defect=4)
        for category in ("bolt", "nut")
        for model in ("ensemble", "lite0")
    ]
    show_metrics(Console(), rows)
    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]
    figures = ["0.5000", *"-------", "3", "4"]
    assert cells == [
        [category, model, *figures]
        for category, model in (("bolt", "ensemble"), ("", "lite0"), ("nut", "ensemble"), ("", "lite0"))
    ]
    assert sum(line.startswith("├") for line in lines) == 1  # between the two


def test_a_spreadsheet_runs_no_text_of_a_csv(tmp_path: Path) -> None:
    texts = ["=cmd|' /C calc'!A0", "+x", "@SUM(1)", "-1", "\tx", "\rx", "plain"]
    rows = [{"category": text, "aupro": -0.5, "n_good": None} for text in texts]
    (tmp_path / "metrics.csv").write_bytes(csv_of(rows, ["category", "aupro", "n_good"]))
    read = pd.read_csv(tmp_path / "metrics.csv", lineterminator="\n")
    assert list(read["category"]) == [*(f"'{text}" for text in texts[:-1]), "plain"]
    assert list(read["aupro"]) == [-0.5] * len(texts)
    assert read["n_good"].isna().all()
