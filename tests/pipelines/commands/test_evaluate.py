"""`evaluate` makes the same metrics, maps and verdicts again from the members' files and the masks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.pipelines.runs import Finished, call, lasting_rows

STORY = ("run_id", "command", "started_at", "seconds", "status")
FUSED = ("scores/fused/cloth.parquet", "scores/fused/a%3Db x%2520y.parquet")


def test_the_same_comes_out_again(finished: Finished, copied: Path) -> None:
    for name in (*FUSED, "maps/cloth.parquet", "metrics.parquet"):
        (copied / name).unlink()
    done = call("evaluate", "--run", str(copied), "--maps")
    assert done.code == 0, done.stderr
    for name in (*FUSED, "metrics.parquet", "index.parquet", "failures.parquet", "models/cloth/train.parquet"):
        assert lasting_rows(copied / name) == lasting_rows(finished.out / name), name
    for name in ("models/cloth/model.json",):
        assert (copied / name).read_bytes() == (finished.out / name).read_bytes()
    ours, theirs = (pq.read_table(run / "maps/cloth.parquet")["map"].combine_chunks() for run in (copied, finished.out))
    assert np.array_equal(ours.flatten().to_numpy(), theirs.flatten().to_numpy(), equal_nan=True)


def test_another_false_alarm_rate_needs_no_retraining(finished: Finished, copied: Path) -> None:
    done = call("evaluate", "--run", str(copied), "--false-alarms", "0.4")
    assert done.code == 0, done.stderr
    model = json.loads((copied / "models/cloth/model.json").read_text())
    held = model["holdout_scores"]
    assert held == json.loads((finished.out / "models/cloth/model.json").read_text())["holdout_scores"]
    rank = min(int(np.ceil((len(held) + 1) * 0.6 - 1e-9)), len(held))
    assert model["threshold"] == held[rank - 1]
    assert model["false_alarm_bound"] == pytest.approx(1 - rank / (len(held) + 1))
    same = [column for column in lasting_rows(copied / FUSED[0])[0] if column not in ("threshold", "is_anomaly")]
    for ours, theirs in zip(lasting_rows(copied / FUSED[0]), lasting_rows(finished.out / FUSED[0]), strict=True):
        assert [ours[column] for column in same] == [theirs[column] for column in same]
        if ours["split"] == "test":
            assert ours["is_anomaly"] == (ours["score"] > model["threshold"])
    assert lasting_rows(copied / "metrics.parquet") == lasting_rows(finished.out / "metrics.parquet")


def test_masks_that_changed_change_the_pixel_metrics_alone(
    finished: Finished, data: Path, copied: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(data, moved)
    for path in (moved / "cloth" / "ground_truth" / "blot").iterdir():
        Image.fromarray(np.asarray(Image.open(path))[::-1].copy()).save(path)
    done = call("evaluate", "--run", str(copied), "--data", str(moved))
    assert done.code == 0, done.stderr
    for ours, theirs in zip(
        lasting_rows(copied / "metrics.parquet"), lasting_rows(finished.out / "metrics.parquet"), strict=True
    ):
        same = ours["category"] != "cloth"
        assert (ours["pixel_auroc"] == theirs["pixel_auroc"]) == same
        assert ours["image_auroc"] == theirs["image_auroc"]


def test_what_the_run_took_and_found_odd_stays_the_runs(finished: Finished, copied: Path) -> None:
    told = json.loads((copied / "run.json").read_text())
    odd = "cloth/train/good/000.png: holds 2 pictures; the first is used."  # what only the index has seen
    (copied / "run.json").write_text(json.dumps({**told, "warnings": [*told["warnings"], odd]}))
    done = call("evaluate", "--run", str(copied))
    assert done.code == 0, done.stderr
    again = json.loads((copied / "run.json").read_text())
    assert {name: again[name] for name in STORY} == {name: told[name] for name in STORY}
    assert sorted(again["warnings"]) == sorted([*told["warnings"], odd])


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    done = call("evaluate", "--run", str(tmp_path))
    assert done.code == 2
    assert "holds no run" in done.stderr
