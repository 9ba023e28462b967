"""The command `evaluate`: metrics, maps and verdicts are recomputed from the members' files and the masks."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.commands.evaluate import _with_masks
from pipelines.config.run_config import RunConfig
from pipelines.data.dataset import list_images
from pipelines.data.records import mask_digest
from pipelines.storage.store import Store
from tests.pipelines.runs import MEMBER, Finished, call, lasting_rows
from tests.pipelines.trees import touch, write_csv

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


def test_a_change_of_one_of_several_masks_is_noticed(tmp_path: Path) -> None:
    touch(tmp_path, "good.png", "bad.png", "m.png", "n.png")
    rows = [("good.png", "nut", "train", "0", ""), ("bad.png", "nut", "test", "1", "m.png;n.png")]
    data = Store.of_data(str(write_csv(tmp_path / "list.csv", rows)))
    config = RunConfig(command="ensemble", data=data.uri, out="", members=(MEMBER,), image_size=96)
    indexed, _ = _with_masks(data, list_images(data).images, config)
    (bad,) = (image for image in indexed if image.label)
    assert (bad.mask_path, bad.more_masks, bad.mask_sha256) == ("m.png", ("n.png",), mask_digest([b"x", b"x"]))
    indexed = [replace(image, fingerprint="1-2") for image in indexed]
    assert _with_masks(data, indexed, config)[0] == indexed
    (tmp_path / "n.png").write_bytes(b"y")
    (bad,) = (image for image in _with_masks(data, indexed, config)[0] if image.label)
    assert (bad.mask_sha256, bad.fingerprint) == (mask_digest([b"x", b"y"]), None)
    unlisted = replace(bad, image_path="gone.png", more_masks=("gone_mask.png",), fingerprint="1-2")
    (gone,) = _with_masks(data, [unlisted], config)[0]
    assert (gone.more_masks, gone.mask_sha256, gone.fingerprint) == (("gone_mask.png",), None, None)


def test_changed_shapes_are_noticed(tmp_path: Path) -> None:
    touch(tmp_path, "good.png", "bad.png")
    data = Store.of_data(str(write_csv(tmp_path / "list.csv", [("bad.png", "nut", "test", "1", "")])))
    config = RunConfig(command="ensemble", data=data.uri, out="", members=(MEMBER,), image_size=96)
    (listed,) = list_images(data).images
    drawn = replace(listed, mask_path="bad.txt", shapes="[]", mask_sha256=mask_digest([b"[]"]), fingerprint="1-2")
    (image,) = _with_masks(data, [drawn], config)[0]  # the list names no mask any more
    assert (image.mask_path, image.shapes, image.mask_sha256, image.fingerprint) == (None, None, None, None)
    (image,) = _with_masks(data, [replace(drawn, image_path="gone.png")], config)[0]
    assert image == replace(drawn, image_path="gone.png")  # an image that is not listed any more keeps its shapes


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
