"""The command `evaluate`: metrics, maps and verdicts are recomputed from the members' files and the masks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.pipelines.runs import Finished, call, lasting_rows

RUN_FIELDS = ("run_id", "command", "started_at", "seconds", "status")
FUSED = ("scores/fused/cloth.parquet", "scores/fused/a%3Db x%2520y.parquet")


def test_recomputed_files_are_identical(finished: Finished, copied: Path) -> None:
    for name in (*FUSED, "maps/cloth.parquet", "metrics.parquet"):
        (copied / name).unlink()
    done = call("evaluate", "--run", str(copied), "--maps")
    assert done.code == 0, done.stderr
    for name in (*FUSED, "metrics.parquet", "index.parquet", "failures.parquet", "models/cloth/train.parquet"):
        assert lasting_rows(copied / name) == lasting_rows(finished.out / name), name
    for name in ("models/cloth/model.json",):
        assert (copied / name).read_bytes() == (finished.out / name).read_bytes()
    written, expected = (
        pq.read_table(run / "maps/cloth.parquet")["map"].combine_chunks() for run in (copied, finished.out)
    )
    assert np.array_equal(written.flatten().to_numpy(), expected.flatten().to_numpy(), equal_nan=True)


def test_another_target_false_positive_rate_requires_no_training(finished: Finished, copied: Path) -> None:
    done = call("evaluate", "--run", str(copied), "--false-alarms", "0.4")
    assert done.code == 0, done.stderr
    model = json.loads((copied / "models/cloth/model.json").read_text())
    held = model["holdout_scores"]
    assert held == json.loads((finished.out / "models/cloth/model.json").read_text())["holdout_scores"]
    rank = min(int(np.ceil((len(held) + 1) * 0.6 - 1e-9)), len(held))
    assert model["threshold"] == held[rank - 1]
    assert model["false_alarm_bound"] == pytest.approx(1 - rank / (len(held) + 1))
    same = [column for column in lasting_rows(copied / FUSED[0])[0] if column not in ("threshold", "is_anomaly")]
    for row, expected in zip(lasting_rows(copied / FUSED[0]), lasting_rows(finished.out / FUSED[0]), strict=True):
        assert [row[column] for column in same] == [expected[column] for column in same]
        if row["split"] == "test":
            assert row["is_anomaly"] == (row["score"] > model["threshold"])
    assert lasting_rows(copied / "metrics.parquet") == lasting_rows(finished.out / "metrics.parquet")


def test_changed_masks_change_only_the_pixel_metrics(
    finished: Finished, data: Path, copied: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(data, moved)
    for path in (moved / "cloth" / "ground_truth" / "blot").iterdir():
        Image.fromarray(np.asarray(Image.open(path))[::-1].copy()).save(path)
    done = call("evaluate", "--run", str(copied), "--data", str(moved))
    assert done.code == 0, done.stderr
    for row, expected in zip(
        lasting_rows(copied / "metrics.parquet"), lasting_rows(finished.out / "metrics.parquet"), strict=True
    ):
        same = row["category"] != "cloth"
        assert (row["pixel_auroc"] == expected["pixel_auroc"]) == same
        assert row["image_auroc"] == expected["image_auroc"]


def test_costs_and_warnings_of_the_run_are_kept(finished: Finished, copied: Path) -> None:
    before = json.loads((copied / "run.json").read_text())
    # Only the stage index gives this warning. The command does not run that stage.
    warning = "cloth/train/good/000.png contains 2 images; only the first is used."
    (copied / "run.json").write_text(json.dumps({**before, "warnings": [*before["warnings"], warning]}))
    done = call("evaluate", "--run", str(copied))
    assert done.code == 0, done.stderr
    after = json.loads((copied / "run.json").read_text())
    assert {name: after[name] for name in RUN_FIELDS} == {name: before[name] for name in RUN_FIELDS}
    assert sorted(after["warnings"]) == sorted([*before["warnings"], warning])


def test_a_folder_without_a_run_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    done = call("evaluate", "--run", str(tmp_path))
    assert done.code == 2
    assert "holds no run" in done.stderr
