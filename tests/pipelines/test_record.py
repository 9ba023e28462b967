"""What is left of a run when it is closed: its files, the table, and where everything lies."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.config import DEMO_BACKBONES, RunConfig, resolve_members
from pipelines.progress import Screen
from pipelines.record import Record
from pipelines.storage import Store

CONFIG = RunConfig("ensemble", "data", "run", resolve_members("ensemble", DEMO_BACKBONES[:1], 224, {}), 224)
METRICS = [
    {"category": category, "model": model, "image_auroc": 0.5, "aupro": None, "n_good": 3, "n_defect": 4}
    for category in ("bolt", "nut")
    for model in ("ensemble", "lite0")
]


def new_record(out: Path) -> Record:
    return Record(CONFIG, Store.of(str(out)), Screen(), {}, "id", datetime.now(UTC))


def left(record: Record) -> set[str]:
    return {record.out.name_of(info) for info in record.out.files()}


def test_a_run_leaves_its_metrics_and_says_where_all_lies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = new_record(tmp_path)
    record.category_failed("cog", "index", "train has no image that can be read.")
    record.close(METRICS)
    assert left(record) == {"run.json", "failures.parquet", "metrics.parquet", "metrics.csv"}
    assert record.out.read_json("run.json")["status"] == "partial"
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said[-4:]] == ["scores", "models", "metrics", "failures"]
    cells = [line.strip("│").split("│") for line in said if line.startswith("│")]
    figures = ["0.5000", *"-------", "3", "4"]
    assert [[cell.strip() for cell in line] for line in cells] == [  # a category is named in its first line alone
        [first, model, *figures]
        for first, model in (("bolt", "ensemble"), ("", "lite0"), ("nut", "ensemble"), ("", "lite0"))
    ]
    assert sum(line.startswith("├") for line in said) == 1  # between the two


def test_scores_of_new_images_have_neither_metrics_nor_models(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = new_record(tmp_path)
    record.close()
    assert left(record) == {"run.json", "failures.parquet"}
    assert record.out.read_json("run.json")["status"] == "complete"
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["scores"]
