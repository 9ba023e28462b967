"""What a run reports: run.json and what reads it, and the files and lines at its end."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipelines.config.presets import DEMO_BACKBONES, resolve_members
from pipelines.config.run_config import RunConfig
from pipelines.errors import UsageError
from pipelines.storage.parquet import read_rows
from pipelines.storage.schemas import MetricsRow
from pipelines.storage.store import Store
from pipelines.tracking.console import Console
from pipelines.tracking.run_record import (
    IndexOrigin,
    RunInfo,
    RunRecord,
    RunStatus,
    StageCost,
    Weights,
    read_index_origin,
    read_run,
)

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
# As an earlier release wrote it, with the names of that release in its configuration.
STORED: dict[str, Any] = {
    "run_id": "77f2c8963d744d099303dda93ae37833",
    "status": "complete",
    "started_at": "2026-01-02T03:04:05.678901+00:00",
    "seconds": 46.908,
    "command": ["reconpatch-run", "ensemble", "--data", "data", "--out", "run"],
    "config": {
        "command": "ensemble",
        "data": "/data",
        "members": [{"backbone": "lite0", "levels": [2, 3]}],
        "bit_depth": 16,
    },
    "weights": {"lite0": {"source": "package", "sha256": "ac73"}},
    "versions": {"python": "3.11.7"},
    "stages": {"index": {"seconds": 2.447, "peak_bytes": 681996288}},
    "units": {"nut/lite0": {"score": {"seconds": 0.173, "images": 18, "kept": 0}}},
    "failed": {"bolt": "index: train has no image that can be read."},
    "origin": {"images": "/data"},
    "warnings": ["nut: odd."],
}


def new_record(out: Path) -> RunRecord:
    return RunRecord(CONFIG, Store.of(str(out)), Console(), {}, "id", datetime.now(UTC))


def files_of(record: RunRecord) -> set[str]:
    return {record.out.name_of(info) for info in record.out.files()}


def test_every_field_of_run_json_is_read(tmp_path: Path) -> None:
    store = Store.of(str(tmp_path))
    assert read_run(store) is None
    store.write_json("run.json", STORED)
    info = read_run(store)
    assert info is not None
    assert (info.status, info.weights["lite0"]) == (RunStatus.COMPLETE, Weights("package", "ac73"))
    assert info.stages == {"index": StageCost(2.447, 681996288)}
    assert json.loads(json.dumps(info.to_json())) == STORED
    assert list(info.to_json()) == list(STORED)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"seconds": None}, "it lacks seconds"),
        ({"place": {}}, "it has the unknown field place"),
        ({"config": "x"}, "the value of config is of another type"),
        ({"warnings": {}}, "the value of warnings is of another type"),
        ({"status": "done"}, "a value in status, weights or stages is not understood .*'done'"),
        ({"weights": {"lite0": {"source": "x"}}}, "a value in status, weights or stages is not understood .*sha256"),
        ({"stages": {"index": {"second": 1.0}}}, "a value in status, weights or stages is not understood .*second"),
    ],
)
def test_a_field_that_is_missing_unknown_or_wrong_is_named(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    store = Store.of(str(tmp_path))
    value = {name: value for name, value in {**STORED, **changes}.items() if value is not None}
    store.write_json("run.json", value)
    with pytest.raises(UsageError, match=rf"run.json: is not a run's, {reason}.*; give another folder"):
        read_run(store)


def test_json_that_is_no_object_is_no_run() -> None:
    with pytest.raises(UsageError, match="it is no JSON object"):
        RunInfo.from_json([STORED])


def test_how_an_index_was_read_is_known_of_runs_and_of_nightly_runs(tmp_path: Path) -> None:
    store = Store.of(str(tmp_path))
    assert read_index_origin(store) is None
    for value in (STORED, {"run_id": "x", "config": {"data": "/data", "bit_depth": 16}, "finished": []}):
        store.write_json("run.json", value)
        assert read_index_origin(store) == IndexOrigin("/data", 16)
    for value in ([], {"config": {}}, {"config": "x"}):
        store.write_json("run.json", value)
        assert read_index_origin(store) is None
    store.write("run.json", b"{")
    assert read_index_origin(store) is None


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
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


def test_a_run_that_is_evaluated_keeps_its_command_and_times(tmp_path: Path) -> None:
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


def test_a_run_leaves_its_metrics_and_names_its_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = new_record(tmp_path)
    record.category_failed("cog", "index", "train has no image that can be read.")
    record.close(METRICS)
    assert files_of(record) == {"run.json", "failures.parquet", "metrics.parquet", "metrics.csv"}
    assert record.out.read_json("run.json")["status"] == "partial"
    assert read_rows(record.out, "metrics.parquet") == [row.row() for row in METRICS]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[-4:]] == ["scores", "models", "metrics", "failures"]
    assert sum(line.startswith("│") for line in lines) == len(METRICS)


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
def test_an_image_that_is_left_out_counts_once(
    tmp_path: Path, *, strict: bool, store_unavailable: bool, ended: RunStatus, exit_code: int
) -> None:
    record = replace(new_record(tmp_path), config=replace(CONFIG, strict=strict))
    for stage in ("index", "extract"):
        record.image_unreadable("nut", stage, "nut/1.png", "damaged", store_unavailable=store_unavailable)
    (row,) = record.failures
    assert (row.stage, row.image_path, row.error) == ("index", "nut/1.png", "damaged")
    assert (record.ended, record.exit_code) == (ended, exit_code)


def test_a_category_that_fails_makes_the_run_partial(tmp_path: Path) -> None:
    record = new_record(tmp_path)
    record.category_failed("nut", "fit", "no memory", "lite0")
    record.category_failed("nut", "score", "no bank")
    assert record.failed == {"nut": "fit: no memory"}
    assert [(row.backbone, row.stage, row.image_path) for row in record.failures] == [
        ("lite0", "fit", None),
        (None, "score", None),
    ]
    assert (record.ended, record.exit_code) == (RunStatus.PARTIAL, 1)


def test_run_json_of_version_0_1_0_is_read_whole() -> None:
    store = Store.of(str(Path(__file__).parents[2] / "data" / "first_round" / "run"))
    info = read_run(store)
    assert info is not None
    assert json.loads(json.dumps(info.to_json())) == store.read_json("run.json")
