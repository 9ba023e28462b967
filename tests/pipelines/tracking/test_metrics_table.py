"""Tests of the table of metrics and of the CSV for spreadsheets."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from pipelines.storage.schemas import MetricsRow
from pipelines.tracking.console import Console
from pipelines.tracking.metrics_table import csv_of, show_metrics

MARKUP = ["part[a]", ":star:", "[/a]", "[bold]x", "[link=http://x]y"]


def test_names_in_the_table_are_not_read_as_markup(capsys: pytest.CaptureFixture[str]) -> None:
    show_metrics(Console(), [MetricsRow(category=name, model="ensemble", n_good=1, n_defect=1) for name in MARKUP])
    written = capsys.readouterr().out
    assert all(written.count(name) == 1 for name in MARKUP)


def test_a_category_is_printed_once_and_separated_from_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        MetricsRow(category=category, model=model, image_auroc=0.5, n_good=3, n_defect=4)
        for category in ("bolt", "nut")
        for model in ("ensemble", "lite0")
    ]
    show_metrics(Console(), rows)
    _, _, header, rule, *lines, last = capsys.readouterr().out.splitlines()
    assert header.split() == ["category", "model", "AUROC", "AP", "F1-max", "d'", "good", "defect"]
    assert set(rule) == {"─"}
    assert last == ""
    figures = ["0.5000", *"---", "3", "4"]
    assert [line.split() for line in lines] == [
        ["bolt", "ensemble", *figures],
        ["lite0", *figures],
        [],
        ["nut", "ensemble", *figures],
        ["lite0", *figures],
    ]


def test_pixel_metrics_are_a_second_table_where_there_are_masks(capsys: pytest.CaptureFixture[str]) -> None:
    show_metrics(
        Console(), [MetricsRow(category="bolt", model="ensemble", image_auroc=0.5, pixel_auroc=0.25, aupro=0.75)]
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[-4].split() == ["category", "model", "AUROC", "AP", "F1-max", "AUPRO"]
    assert lines[-2].split() == ["bolt", "ensemble", "0.2500", "-", "-", "0.7500"]


def test_text_in_the_csv_cannot_be_a_formula(tmp_path: Path) -> None:
    texts = ["=cmd|' /C calc'!A0", "+x", "@SUM(1)", "-1", "\tx", "\rx", "plain"]
    rows = [{"category": text, "aupro": -0.5, "n_good": None} for text in texts]
    (tmp_path / "metrics.csv").write_bytes(csv_of(rows, ["category", "aupro", "n_good"]))
    read = pd.read_csv(tmp_path / "metrics.csv", lineterminator="\n")
    assert list(read["category"]) == [*(f"'{text}" for text in texts[:-1]), "plain"]
    assert list(read["aupro"]) == [-0.5] * len(texts)
    assert read["n_good"].isna().all()
