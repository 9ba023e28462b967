"""Tests that a fault in one category does not affect the others."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import ray

from pipelines.config.run_context import RunContext
from pipelines.planning.batches import ImageBatch
from pipelines.planning.jobs import MemberJob
from pipelines.planning.stage import Crew, Progress, StageResult
from pipelines.runtime.unit_queue import FitResult
from pipelines.stages import extract, fit
from pipelines.storage.store import Store
from tests.faults.commands import outcome_of
from tests.pipelines.processes import children, start_alone, wait_for_process
from tests.pipelines.runs import BACKBONES, Finished, call, make_category, save, texture, with_defect

ONE_MEMBER = ("--backbone", BACKBONES[0], "--image-size", "96", "--coreset", "0.05")


def metrics(out: Path) -> dict[str, dict]:
    """Return category -> row of the ensemble in metrics.parquet.

    Args:
        out: Run directory.
    """
    rows = pq.read_table(out / "metrics.parquet").to_pylist()
    return {row["category"]: row for row in rows if row["model"] == "ensemble"}


@pytest.fixture(scope="module")
def incomplete(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A run with trained adapters on categories without test images, good images or readable images."""
    root = tmp_path_factory.mktemp("incomplete")
    data = root / "data"
    make_category(data / "one_image", seed=1, train=1, good=2, defects=2)
    make_category(data / "no_test", seed=2, train=3, good=0, defects=0)
    make_category(data / "only_good", seed=3, train=3, good=3, defects=0)
    make_category(data / "only_bad", seed=4, train=3, good=0, defects=3)
    make_category(data / "no_good", seed=5, train=0, good=2, defects=2)
    save(data / "sizes" / "train" / "good" / "tall.png", texture(6, 200, 40))
    save(data / "sizes" / "train" / "good" / "wide.png", texture(7, 33, 210))
    save(data / "sizes" / "train" / "good" / "tiny.png", texture(8, 9, 8))
    save(data / "sizes" / "test" / "good" / "plain.png", texture(9, 90, 170))
    blotted, mask = with_defect(texture(10, 150, 90), 60, 40)
    save(data / "sizes" / "test" / "blot" / "small_mask.png", blotted)
    save(data / "sizes" / "ground_truth" / "blot" / "small_mask_mask.png", mask[::2, ::2].copy())
    (data / "broken" / "train" / "good").mkdir(parents=True)
    (data / "broken" / "train" / "good" / "000.png").write_text("not an image")
    folders = ("--data", str(data), "--out", str(root / "run"))
    return call("ensemble", *folders, *ONE_MEMBER, "--max-steps", "5", "--maps")


def test_categories_without_a_good_image_fail_and_the_others_complete(incomplete: Finished) -> None:
    out = incomplete.out
    assert incomplete.code == 1
    assert "Traceback" not in incomplete.stderr
    run = json.loads((out / "run.json").read_text())
    assert run["status"] == "partial"
    assert set(run["failed"]) == {"no_good", "broken"}
    assert set(metrics(out)) == {"one_image", "no_test", "only_good", "only_bad", "sizes"}
    failures = pq.read_table(out / "failures.parquet").to_pylist()
    assert {row["category"] for row in failures if row["image_path"] is None} == {"no_good", "broken"}
    assert {row["image_path"] for row in failures} - {None} == {"broken/train/good/000.png"}
    for category in ("no_good", "broken"):
        assert not (out / "models" / category).exists()
        assert f"warning: {category}: failed in index: {category}/train/good has no readable image" in incomplete.stderr
    assert "warning: one_image: no calibration images are held out, so there is no threshold." in incomplete.stderr


def test_metrics_that_are_not_defined_are_null(incomplete: Finished) -> None:
    table = metrics(incomplete.out)
    names = ("image_auroc", "image_ap", "image_f1max", "d_prime", "pixel_auroc", "pixel_ap", "pixel_f1max", "aupro")
    assert [table["no_test"][name] for name in names] == [None] * 8
    assert [table["only_good"][name] for name in names] == [None] * 8
    assert (table["only_good"]["n_good"], table["only_good"]["n_defect"]) == (3, 0)
    assert [table["only_bad"][name] for name in names[:4]] == [None] * 4
    assert 0.5 < table["only_bad"]["pixel_auroc"] <= 1
    assert (table["only_bad"]["n_good"], table["only_bad"]["n_defect"]) == (0, 3)


def test_one_good_image_is_enough_for_a_model(incomplete: Finished) -> None:
    assert metrics(incomplete.out)["one_image"]["image_auroc"] == 1.0
    assert (incomplete.out / "models" / "one_image" / "model.json").exists()


def test_images_of_any_size_have_maps_of_their_own_size(incomplete: Finished) -> None:
    rows = pq.read_table(incomplete.out / "maps" / "sizes.parquet").to_pylist()
    maps = {Path(row["image_path"]).stem: row for row in rows}
    assert {stem: (row["height"], row["width"]) for stem, row in maps.items()} == {
        "plain": (90, 170),
        "small_mask": (150, 90),
    }
    assert all(len(row["map"]) == row["height"] * row["width"] for row in maps.values())
    assert metrics(incomplete.out)["sizes"]["pixel_auroc"] > 0.8
    warning = "the mask has 45 x 75 pixels and its image 90 x 150. The mask is stretched to the size of the image"
    assert warning in incomplete.stderr


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds Ray's processes in /proc")
def test_no_process_of_ray_train_remains_after_training(incomplete: Finished) -> None:
    assert (incomplete.out / "models" / "sizes" / BACKBONES[0] / "adapter.safetensors").exists()
    names = ("TrainController", "PlacementGroupCleaner", "RayTrainWorker")
    until = time.monotonic() + 60
    while left := [command for _, command in children(os.getpid()) if any(name in command for name in names)]:
        assert time.monotonic() < until, left
        time.sleep(0.5)


def start(data: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    """Start a run with one member in a new process.

    Args:
        data: Folder of the dataset.
        out: Run directory.
        *options: Additional options.
    """
    return start_alone("ensemble", "--data", str(data), "--out", str(out), *ONE_MEMBER, *options)


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_an_interrupted_run_is_recorded_and_leaves_no_process(tmp_path: Path, sent: signal.Signals, code: int) -> None:
    make_category(tmp_path / "data" / "cloth", seed=0, train=4, good=0, defects=0)
    running = start(tmp_path / "data", tmp_path / "run", "--max-steps", "100000", "--epochs", "100000")
    wait_for_process(running, "RayTrainWorker")
    processes = [pid for pid, _ in children(running.pid)]
    running.send_signal(sent)
    _, errors = running.communicate(timeout=120)
    assert running.returncode == code
    assert "Traceback" not in errors
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "interrupted"
    until = time.monotonic() + 20
    while time.monotonic() < until and any((Path("/proc") / str(pid)).exists() for pid in processes):
        time.sleep(0.2)
    assert not [pid for pid in processes if (Path("/proc") / str(pid)).exists()]


def test_a_broken_extraction_fails_only_the_categories_that_it_has_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate(("bolt", "cloth")):
        make_category(tmp_path / "data" / name, seed=900 * number, train=12, good=2, defects=2)

    stream = extract._stream

    def break_after_bolt(batches: Sequence[ImageBatch], crew: Crew) -> Iterator[tuple[str, StageResult]]:
        yield from stream([batch for batch in batches if batch.category == "bolt"], crew)
        raise ray.exceptions.RayActorError(error_msg="The actor died: out of memory.")

    monkeypatch.setattr(extract, "_stream", break_after_bolt)
    folders = ("--data", str(tmp_path / "data"), "--out", str(tmp_path / "run"))
    done = call("ensemble", *folders, *ONE_MEMBER, "--epochs", "0", "--no-report")
    assert done.code == 1
    assert not (tmp_path / "run" / "report").exists()
    assert set(metrics(tmp_path / "run")) == {"bolt"}
    (failure,) = pq.read_table(tmp_path / "run" / "failures.parquet").to_pylist()
    assert (failure["category"], failure["stage"], failure["image_path"]) == ("cloth", "extract", None)
    assert "The actor died: out of memory." in failure["error"]


@pytest.mark.slow
@pytest.mark.fault(
    "category whose processes all exit",
    stages=("extract", "fit"),
    outcome="the category fails, the others are the same",
)
def test_a_category_that_no_process_survives_fails_and_the_others_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate(("bolt", "cloth", "nut")):
        make_category(tmp_path / "data" / name, seed=900 * number, train=12, good=2, defects=2)

    def run(out: Path) -> tuple[int, dict[str, object]]:
        folders = ("--data", str(tmp_path / "data"), "--out", str(out))
        done = call("ensemble", *folders, *ONE_MEMBER, "--max-steps", "20", "--no-report")
        results = outcome_of(Store.of(str(out)))
        return done.code, {name: result for name, result in results.items() if "cloth" in name}

    decode_row, fit_in_worker = extract.decode_row, fit._fit_in_worker

    def decode_or_die(row: dict[str, Any], give_up: Callable[[Any], str]) -> dict[str, Any]:
        def give_up_or_die(work: Any) -> str:
            reason = give_up(work)
            if pickle.loads(row["batch"]).category == "bolt" and not reason:
                os._exit(1)
            return reason

        return decode_row(row, give_up_or_die)

    def fit_or_die(job: MemberJob, context: RunContext, progress: Progress) -> FitResult:
        if job.category == "nut":
            os._exit(1)
        return fit_in_worker(job, context, progress)

    code, undisturbed = run(tmp_path / "undisturbed")
    assert code == 0
    monkeypatch.setattr(extract, "decode_row", decode_or_die)
    monkeypatch.setattr(fit, "_fit_in_worker", fit_or_die)
    code, disturbed = run(tmp_path / "disturbed")
    assert code == 1
    assert disturbed == undisturbed
    assert len(undisturbed) == 9
    failures = pq.read_table(tmp_path / "disturbed" / "failures.parquet").to_pylist()
    assert {(row["category"], row["stage"], row["backbone"]) for row in failures} == {
        ("bolt", "extract", BACKBONES[0]),
        ("nut", "fit", BACKBONES[0]),
    }
    assert all("died in all 4 attempts" in row["error"] for row in failures)
