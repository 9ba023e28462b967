"""Tests of the record of a run: the files and lines that it writes, the status and the exit code."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.config.presets import DEMO_BACKBONES, resolve_members
from pipelines.config.run_config import RunConfig
from pipelines.storage.parquet import read_rows
from pipelines.storage.schemas import MetricsRow
from pipelines.storage.store import Store
from pipelines.tracking.console import Console
from pipelines.tracking.run_info import RunInfo, RunStatus, StageCost, read_run
from pipelines.tracking.run_record import RunRecord
from tests.pipelines.tracking.test_run_info import STORED

CONFIG = RunConfig(
    command="ensemble",
    data="data",
    out="run",
    members=resolve_members("ensemble", DEMO_BACKBONES[:1], 224, {}),
    image_size=224,
)
METRICS = [
    MetricsRow(category=category, model=model, image_auroc=0.5, n_good=3, n_defect=4)
    for category in ("bolt", "nut")
    for model in ("ensemble", "lite0")
]


def new_record(out: Path) -> RunRecord:
    return RunRecord(CONFIG, Store.of(str(out)), Console(), {}, "id", datetime.now(UTC))


def files_of(record: RunRecord) -> set[str]:
    return {record.out.name_of(info) for info in record.out.files()}


def test_a_saved_record_can_be_read(tmp_path: Path) -> None:
    record = new_record(tmp_path)
    record.took("fit", 1.5)
    record.took("fit", 0.25)
    record.cost("fit", 200)
    record.cost("fit", 100)
    record.note(("nut", "lite0"), "fit", 1.23456, {"steps": 40})
    record.save(RunStatus.RUNNING)
    info = read_run(record.out)
    assert info is not None
    assert info.status is RunStatus.RUNNING
    assert info.stages == {"fit": StageCost(1.75, 200)}
    assert info.units == {"nut/lite0": {"fit": {"seconds": 1.235, "steps": 40}}}
    assert info.config == json.loads(json.dumps(CONFIG.as_dict()))


def test_an_evaluation_keeps_the_command_and_times_of_the_run(tmp_path: Path) -> None:
    before = RunInfo.from_json(STORED)
    replace(new_record(tmp_path), before=before).save(RunStatus.PARTIAL)
    info = read_run(Store.of(str(tmp_path)))
    assert info is not None
    assert (info.command, info.started_at, info.seconds) == (before.command, before.started_at, before.seconds)
    assert info.status is RunStatus.PARTIAL
    new_record(tmp_path).save(RunStatus.COMPLETE)
    info = read_run(Store.of(str(tmp_path)))
    assert info is not None
    assert info.seconds < 60


def test_the_end_of_a_run_writes_the_metrics_and_prints_the_locations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = new_record(tmp_path)
    record.category_failed("cog", "index", "The split 'train' has no readable image.")
    record.close(METRICS)
    assert files_of(record) == {"run.json", "failures.parquet", "metrics.parquet", "metrics.csv"}
    assert record.out.read_json("run.json")["status"] == "partial"
    assert read_rows(record.out, "metrics.parquet") == [row.row() for row in METRICS]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[-4:]] == ["scores", "models", "metrics", "failures"]
    assert sum(line.split()[-1:] == ["4"] for line in lines) == len(METRICS)  # the column of defective images


def test_scores_of_new_images_have_neither_metrics_nor_models(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = new_record(tmp_path)
    record.close()
    assert files_of(record) == {"run.json", "failures.parquet"}
    assert record.out.read_json("run.json")["status"] == "complete"
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["scores"]


@pytest.mark.parametrize(
    ("strict", "store_unavailable", "ended", "exit_code"),
    [
        (False, False, RunStatus.COMPLETE, 0),
        (True, False, RunStatus.COMPLETE, 1),
        (False, True, RunStatus.PARTIAL, 1),
    ],
)
def test_an_unreadable_image_is_recorded_once(
    tmp_path: Path, *, strict: bool, store_unavailable: bool, ended: RunStatus, exit_code: int
) -> None:
    record = replace(new_record(tmp_path), config=replace(CONFIG, strict=strict))
    for stage in ("index", "extract"):
        record.image_unreadable("nut", stage, "nut/1.png", "damaged", store_unavailable=store_unavailable)
    (row,) = record.failures
    assert (row.stage, row.image_path, row.error) == ("index", "nut/1.png", "damaged")
    assert (record.ended, record.exit_code) == (ended, exit_code)


def test_a_failed_category_makes_the_run_partial(tmp_path: Path) -> None:
    record = new_record(tmp_path)
    record.category_failed("nut", "fit", "no memory", "lite0")
    record.category_failed("nut", "score", "no bank")
    assert record.failed == {"nut": "fit: no memory"}
    assert [(row.backbone, row.stage, row.image_path) for row in record.failures] == [
        ("lite0", "fit", None),
        (None, "score", None),
    ]
    assert (record.ended, record.exit_code) == (RunStatus.PARTIAL, 1)
