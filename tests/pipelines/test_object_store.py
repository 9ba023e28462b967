"""Data, scratch space and results in an object store: the same numbers as on a local disk, and no partial files."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.storage import schemas
from pipelines.storage.parquet import read_rows, read_table
from pipelines.storage.store import Store
from pipelines.storage.tensors import read_tensors
from tests.object_stores import copy_into
from tests.pipelines.runs import BACKBONES, Finished, call, ensemble

CATEGORY = "a=b x%20y"
FOLDER = "a%3Db x%2520y"
OF_THE_RUN = ("run_id", "model_version", "scored_at")


@pytest.fixture(scope="module")
def remote(data: Path, bucket: str) -> tuple[Store, Finished, str]:
    """Run on a category with special characters in its name, with data and output in an object store."""
    base, query = bucket.split("?")
    copy_into(str(data), f"{base}/data%20in?{query}", CATEGORY)
    out = f"{base}/run=1?{query}"
    done = ensemble(f"{base}/data%20in?{query}", out, backbones=BACKBONES[:1])
    return Store.of(out), done, out


def test_the_run_succeeds_and_prints_where_its_results_are(remote: tuple[Store, Finished, str]) -> None:
    out, done, _ = remote
    assert done.code == 0, done.stderr
    assert "metrics  s3://lake/runs/run=1/metrics.parquet" in done.stdout
    assert out.read_json("run.json")["status"] == "complete"


def test_the_numbers_are_the_same_as_on_a_local_disk(remote: tuple[Store, Finished, str], finished: Finished) -> None:
    out, local = remote[0], Store.of(str(finished.out))
    backbone = BACKBONES[
        0
    ]  # the local run has a second member, so of the fused scores only this member's column is equal
    kept = {
        f"models/{FOLDER}/train.parquet": schemas.TRAIN.names,
        f"scores/members/{FOLDER}/{backbone}.parquet": [
            name for name in schemas.MEMBER_SCORES.names if name not in OF_THE_RUN
        ],
        f"scores/fused/{FOLDER}.parquet": ["image_path", "split", "part", "defect", "label", f"score_{backbone}"],
    }
    for name, columns in kept.items():
        tables = [read_table(store, name).select(columns) for store in (out, local)]
        assert tables[0].equals(tables[1]), name
    bank = f"models/{FOLDER}/{backbone}/memory_bank.safetensors"
    assert (read_tensors(out, bank)["entries"] == read_tensors(local, bank)["entries"]).all()
    in_store, on_disk = (
        [row for row in read_rows(store, "metrics.parquet") if (row["category"], row["model"]) == (CATEGORY, backbone)]
        for store in (out, local)
    )
    assert len(in_store) == 1
    assert in_store == on_disk


def test_no_temporary_file_is_left(remote: tuple[Store, Finished, str]) -> None:
    names = [remote[0].name_of(info) for info in remote[0].files()]
    assert not [name for name in names if name.startswith("_scratch") or "lease" in name or ".part" in name]


def test_a_second_call_and_evaluate_reuse_the_results(remote: tuple[Store, Finished, str], bucket: str) -> None:
    out, _, uri = remote
    before = {info.path: info.mtime_ns for info in out.files("scores")}
    base, query = bucket.split("?")
    again = ensemble(f"{base}/data%20in?{query}", uri, backbones=BACKBONES[:1])
    assert again.code == 0, again.stderr
    assert "reused   1 of 1 members" in again.stdout
    assert {info.path: info.mtime_ns for info in out.files("scores")} == before
    done = call("evaluate", "--run", uri, "--false-alarms", "0.3")
    assert done.code == 0, done.stderr


def test_new_images_are_scored_with_a_model_in_the_store(
    remote: tuple[Store, Finished, str], data: Path, tmp_path: Path
) -> None:
    folder = str(data / CATEGORY / "test" / "blot")
    done = call("score", "--model", remote[2], "--images", folder, "--category", CATEGORY, "--out", str(tmp_path / "s"))
    assert done.code == 0, done.stderr
    rows = read_rows(Store.of(str(tmp_path / "s")), f"scores/fused/{FOLDER}/part-00000.parquet")
    batch = {row["image_path"]: row for row in read_rows(remote[0], f"scores/fused/{FOLDER}.parquet")}
    assert len(rows) == 5
    for row in rows:
        assert row["score"] == batch[f"{CATEGORY}/test/blot/{row['image_path']}"]["score"]


@pytest.mark.slow
def test_a_nightly_run_gives_the_same_results_in_a_store(data: Path, bucket: str, tmp_path: Path) -> None:
    """Images, registry and scores in the store: same versions and rows; the second run has nothing to do."""
    base, query = bucket.split("?")
    copy_into(str(data), f"{base}/night/data?{query}", CATEGORY)
    recipe = ("--category", CATEGORY, "--backbone", BACKBONES[0], "--image-size", "96", "--epochs", "0")
    there = ("--registry", f"{base}/night/registry?{query}", "--scores", f"{base}/night/scores?{query}")
    here = ("--registry", str(tmp_path / "registry"), "--scores", str(tmp_path / "scores"))
    for place, root in ((there, f"{base}/night/data?{query}"), (here, str(data))):
        for _ in range(2):
            done = call("nightly", "--data", root, *place, *recipe)
            assert done.code == 0, done.stderr
        assert "extract" not in done.stdout
    rows = []
    for place in (there, here):
        registry, scores = Store.of(place[1]), Store.of(place[3])
        version = registry.read(f"{FOLDER}/current").decode().strip()
        assert registry.exists(f"{FOLDER}/{version}/model.json")
        assert not [info for info in registry.files() if "lease" in info.path or "_scratch" in info.path]
        first, second = (
            read_rows(scores, f"{night}/scores/fused/{FOLDER}/part-00000.parquet") for night in scores.folders()
        )
        kept = [{name: value for name, value in row.items() if name not in ("run_id", "scored_at")} for row in first]
        assert [row["scored_at"] for row in first] == [row["scored_at"] for row in second]
        rows.append((version, kept))
    assert rows[0] == rows[1]
