"""A second call goes on where the first stopped: what stands is left alone, what changed is redone, nothing else."""

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


def test_an_identical_second_call_does_no_work(finished: Finished, data: Path, copied: Path) -> None:
    before = files(copied)
    again = ensemble(data, copied, "--maps", "--workers", "1")
    assert again.code == 0, again.stderr
    assert "reused   4 of 4 members" in again.stdout
    # The two broken files are the only ones that are read: nothing that is known of them could be trusted.
    assert stages(again) == ["index"]
    assert files(copied) == before
    assert rows_of(copied / "metrics.parquet") == rows_of(finished.out / "metrics.parquet")
    for warning in ("cut.png", "held-out good images guarantee"):
        assert warning in again.stderr
    told, first = (json.loads((run / "run.json").read_text()) for run in (copied, finished.out))
    assert told["status"] == "complete"
    assert told["units"] == first["units"]


def test_other_verdicts_cost_the_fusion_alone(data: Path, copied: Path) -> None:
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


def new_and_lost(data: Path) -> None:
    save(data / "cloth" / "test" / "good" / "zz_new.png", texture(4242))
    (data / "cloth" / "test" / "good" / "000.png").unlink()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """Pictures of which one is new and one is lost, and a run of them as they are; its features are kept."""
    root = tmp_path_factory.mktemp("whole")
    make_category(root / "data" / "cloth", seed=0)
    new_and_lost(root / "data")
    options = ("--epochs", "0", "--keep-features")
    return root / "data", ensemble(root / "data", root / "run", *options, backbones=BACKBONES[:1])


def test_new_and_lost_pictures_are_the_rows_of_todays_folder_once(whole: tuple[Path, Finished], tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "run"
    make_category(data / "cloth", seed=0)
    first = ensemble(data, out, "--epochs", "0", backbones=BACKBONES[:1])
    assert first.code == 0, first.stderr
    kept = {row["image_path"]: row for row in rows_of(out / f"scores/members/cloth/{BACKBONES[0]}.parquet")}
    new_and_lost(data)
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


def test_a_run_that_died_goes_on_from_its_features(whole: tuple[Path, Finished]) -> None:
    """Shards of an unfinished wave are used again, and they are gone when the wave is done."""
    data, kept = whole
    out = kept.out
    assert kept.code == 0, kept.stderr
    assert list((out / "_scratch" / "features").rglob("*.arrow"))
    shutil.rmtree(out / "models")
    again = ensemble(data, out, "--epochs", "0", backbones=BACKBONES[:1])
    assert again.code == 0, again.stderr
    assert stages(again) == ["select", "score", "fuse"]
    assert not (out / "_scratch").exists()


def test_fresh_replaces_a_run_and_leaves_what_is_not_its_own(copied: Path, data: Path) -> None:
    (copied / "notes.txt").write_text("mine")
    again = ensemble(data, copied, "--epochs", "0", "--fresh", "--category", "cloth", backbones=BACKBONES[:1])
    assert again.code == 0, again.stderr
    assert (copied / "notes.txt").read_text() == "mine"
    assert sorted(path.name for path in (copied / "models").iterdir()) == ["cloth"]
    assert not (copied / "maps").exists()


def test_a_call_for_one_category_leaves_the_others_as_they_are(finished: Finished, data: Path, copied: Path) -> None:
    again = ensemble(data, copied, "--maps", "--workers", "1", "--category", "cloth", "--rehash")
    assert again.code == 0, again.stderr
    assert rows_of(copied / "metrics.parquet") == rows_of(finished.out / "metrics.parquet")
    paths = {row["image_path"] for row in rows_of(copied / "index.parquet")}
    assert paths == {row["image_path"] for row in rows_of(finished.out / "index.parquet")}


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(data: Path, copied: Path, tmp_path: Path) -> None:
    before = files(copied)
    same = ensemble(data, copied, "--maps", "--workers", "1", "--dry-run")
    assert same.code == 0, same.stderr
    assert "members  4, of which 4 are reused" in same.stdout
    other = ensemble(data, copied, "--maps", "--workers", "1", "--dry-run", "--coreset", "0.1")
    assert "members  4, of which 0 are reused; 1 waves" in other.stdout
    assert files(copied) == before
    new = ensemble(data, tmp_path / "new", "--dry-run")
    assert "members  4, of which 0 are reused" in new.stdout
    assert not (tmp_path / "new").exists()


def test_a_directory_in_use_is_refused(data: Path, copied: Path) -> None:
    from pipelines.storage.lease import leased
    from pipelines.storage.store import Store

    with leased(Store.of(str(copied))):
        for arguments in (
            ("ensemble", "--data", str(data), "--out", str(copied), "--backbone", BACKBONES[0]),
            ("evaluate", "--run", str(copied)),
        ):
            refused = call(*arguments)
            assert refused.code == 2
            assert "is in use by process" in refused.stderr
            assert refused.stderr.count("\n") == 1
