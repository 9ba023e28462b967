"""Tests of run.json: what is read from it, and the errors for invalid contents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import UsageError
from pipelines.storage.store import Store
from pipelines.tracking.run_info import (
    IndexOrigin,
    RunInfo,
    RunStatus,
    StageCost,
    Weights,
    read_index_origin,
    read_run,
)

# A run.json of an earlier release, with that release's field names in the configuration.
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
    "failed": {"bolt": "index: The split 'train' has no readable image. Add good training images."},
    "origin": {"images": "/data"},
    "warnings": ["nut: odd."],
}


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
        ({"seconds": None}, "missing field: seconds"),
        ({"place": {}}, "unknown field: place"),
        ({"config": "x"}, "config has a value of the wrong type"),
        ({"warnings": {}}, "warnings has a value of the wrong type"),
        ({"status": "done"}, "status, weights or stages has an invalid value .*'done'"),
        ({"weights": {"lite0": {"source": "x"}}}, "status, weights or stages has an invalid value .*sha256"),
        ({"stages": {"index": {"second": 1.0}}}, "status, weights or stages has an invalid value .*second"),
    ],
)
def test_the_error_names_a_missing_unknown_or_invalid_field(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    store = Store.of(str(tmp_path))
    value = {name: value for name, value in {**STORED, **changes}.items() if value is not None}
    store.write_json("run.json", value)
    with pytest.raises(UsageError, match=rf"run.json is not from a run: {reason}.*\. Give another folder"):
        read_run(store)


def test_json_that_is_not_an_object_is_an_error() -> None:
    with pytest.raises(UsageError, match="it is not a JSON object"):
        RunInfo.from_json([STORED])


def test_the_settings_of_an_index_are_read_from_runs_and_nightly_runs(tmp_path: Path) -> None:
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


def test_run_json_of_version_0_1_0_is_read_completely() -> None:
    store = Store.of(str(Path(__file__).parents[2] / "data" / "first_round" / "run"))
    info = read_run(store)
    assert info is not None
    assert json.loads(json.dumps(info.to_json())) == store.read_json("run.json")
