"""Tests of repeated calls: valid results are kept, and only missing or outdated results are computed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.pipelines.runs import (
    BACKBONES,
    Finished,
    call,
    ensemble,
    files,
    lasting_rows,
    make_category,
    rows_of,
    save,
    texture,
)


def stages(run: Finished) -> list[str]:
    names = ("index", "extract", "fit", "select", "score", "fuse")
    return [line.split()[0] for line in run.stdout.splitlines() if line.split() and line.split()[0] in names]


def test_an_identical_second_call_computes_nothing(finished: Finished, data: Path, copied: Path) -> None:
    before = files(copied)
    again = ensemble(data, copied, "--maps", "--workers", "1")
    assert again.code == 0, again.stderr
    assert "reused   4 of 4 members" in again.stdout
    # Only the two damaged files are read again, because the index has no rows for them.
    assert stages(again) == ["index"]
    assert files(copied) == before
    assert rows_of(copied / "metrics.parquet") == rows_of(finished.out / "metrics.parquet")
    for warning in ("cut.png", "calibration images guarantee"):
        assert warning in again.stderr
    stored, first = (json.loads((run / "run.json").read_text()) for run in (copied, finished.out))
    assert stored["status"] == "complete"
    assert stored["units"] == first["units"]


def test_another_false_positive_rate_repeats_only_the_fusion(data: Path, copied: Path) -> None:
    before = files(copied)
    again = ensemble(data, copied, "--maps", "--workers", "1", "--false-alarms", "0.5")
    assert again.code == 0, again.stderr
    assert stages(again) == ["index", "fuse"]
    changed = {name for name, provenance in files(copied).items() if before[name] != provenance}
    assert {name for name in changed if not name.startswith(("scores/fused", "maps/"))} == {
        f"models/{folder}/{name}"
        for folder in ("cloth", "a%3Db x%2520y")
        for name in ("model.json", "train.parquet", "audit.parquet")
    }
    model = json.loads((copied / "models" / "cloth" / "model.json").read_text())
    assert model["threshold"] < max(model["holdout_scores"])


def add_and_remove_an_image(data: Path) -> None:
    save(data / "cloth" / "test" / "good" / "zz_new.png", texture(4242))
    (data / "cloth" / "test" / "good" / "000.png").unlink()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """A dataset after one image was added and one removed, and a run on it that keeps its patch features."""
    root = tmp_path_factory.mktemp("whole")
    make_category(root / "data" / "cloth", seed=0)
    add_and_remove_an_image(root / "data")
    options = ("--epochs", "0", "--keep-features")
    return root / "data", ensemble(root / "data", root / "run", *options, backbones=BACKBONES[:1])


def test_a_second_call_follows_added_and_removed_images(whole: tuple[Path, Finished], tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "run"
    make_category(data / "cloth", seed=0)
    first = ensemble(data, out, "--epochs", "0", backbones=BACKBONES[:1])
    assert first.code == 0, first.stderr
    kept = {row["image_path"]: row for row in rows_of(out / f"scores/members/cloth/{BACKBONES[0]}.parquet")}
    add_and_remove_an_image(data)
    second = ensemble(data, out, "--epochs", "0", backbones=BACKBONES[:1])
    assert second.code == 0, second.stderr
    assert "extract  1/1 images" in second.stdout
    assert stages(second) == ["index", "extract", "score", "fuse"]
    rows = rows_of(out / f"scores/members/cloth/{BACKBONES[0]}.parquet")
    paths = [row["image_path"] for row in rows]
    assert len(paths) == len(set(paths)) == 22
    assert "cloth/test/good/zz_new.png" in paths
    assert "cloth/test/good/000.png" not in paths
    assert all(row == kept[row["image_path"]] for row in rows if row["image_path"] in kept)
    assert [row["image_path"] for row in rows_of(out / "scores/fused/cloth.parquet")] == paths
    for name in (f"scores/members/cloth/{BACKBONES[0]}.parquet", "scores/fused/cloth.parquet"):
        assert lasting_rows(out / name) == lasting_rows(whole[1].out / name)


def test_a_run_that_died_resumes_from_its_patch_features(whole: tuple[Path, Finished]) -> None:
    """The shards of an unfinished wave are used again and removed at the end of the wave."""
    data, kept = whole
    out = kept.out
    assert kept.code == 0, kept.stderr
    assert list((out / "_scratch" / "features").rglob("*.arrow"))
    shutil.rmtree(out / "models")
    again = ensemble(data, out, "--epochs", "0", backbones=BACKBONES[:1])
    assert again.code == 0, again.stderr
    assert stages(again) == ["select", "score", "fuse"]
    assert not (out / "_scratch").exists()


def test_fresh_replaces_a_run_and_keeps_other_files(copied: Path, data: Path) -> None:
    (copied / "notes.txt").write_text("mine")
    again = ensemble(data, copied, "--epochs", "0", "--fresh", "--category", "cloth", backbones=BACKBONES[:1])
    assert again.code == 0, again.stderr
    assert (copied / "notes.txt").read_text() == "mine"
    assert sorted(path.name for path in (copied / "models").iterdir()) == ["cloth"]
    assert not (copied / "maps").exists()


def test_a_call_for_one_category_keeps_the_results_of_the_others(finished: Finished, data: Path, copied: Path) -> None:
    again = ensemble(data, copied, "--maps", "--workers", "1", "--category", "cloth", "--rehash")
    assert again.code == 0, again.stderr
    assert rows_of(copied / "metrics.parquet") == rows_of(finished.out / "metrics.parquet")
    paths = {row["image_path"] for row in rows_of(copied / "index.parquet")}
    assert paths == {row["image_path"] for row in rows_of(finished.out / "index.parquet")}


def test_a_dry_run_prints_the_planned_work_and_writes_nothing(data: Path, copied: Path, tmp_path: Path) -> None:
    before = files(copied)
    same = ensemble(data, copied, "--maps", "--workers", "1", "--dry-run")
    assert same.code == 0, same.stderr
    assert "members  4, of which 4 are reused" in same.stdout
    other = ensemble(data, copied, "--maps", "--workers", "1", "--dry-run", "--coreset", "0.1")
    assert "members  4, of which 0 are reused; 1 wave\n" in other.stdout
    assert files(copied) == before
    new = ensemble(data, tmp_path / "new", "--dry-run")
    assert "members  4, of which 0 are reused" in new.stdout
    assert not (tmp_path / "new").exists()


def test_a_run_directory_in_use_is_an_error(data: Path, copied: Path) -> None:
    from pipelines.storage.lease import leased
    from pipelines.storage.store import Store

    with leased(Store.of(str(copied))):
        for arguments in (
            ("ensemble", "--data", str(data), "--out", str(copied), "--backbone", BACKBONES[0]),
            ("evaluate", "--run", str(copied)),
        ):
            rejected = call(*arguments)
            assert rejected.code == 2
            assert "is in use by process" in rejected.stderr
            assert rejected.stderr.count("\n") == 1
