"""What goes wrong in one place costs nothing elsewhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import ray

from pipelines import extract as extraction
from pipelines import fit, stages
from pipelines.chunks import Chunk
from pipelines.decode import try_chunk
from pipelines.extract import Receipt, extract
from pipelines.storage import Store
from tests.faults.places import outcome_of
from tests.pipelines.processes import children, start_alone, wait_for_process
from tests.pipelines.runs import BACKBONES, call, make_category, save, texture, with_defect

ONE_MEMBER = ("--backbone", BACKBONES[0], "--image-size", "96", "--coreset", "0.05")


def metrics(out: Path) -> dict[str, dict]:
    rows = pq.read_table(out / "metrics.parquet").to_pylist()
    return {row["category"]: row for row in rows if row["model"] == "ensemble"}


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Categories with something missing, in one run with trained adapters."""
    root = tmp_path_factory.mktemp("odd")
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
    (data / "broken" / "train" / "good" / "000.png").write_text("not a picture")
    arguments = ["ensemble", "--data", str(data), "--out", str(root / "run"), *ONE_MEMBER, "--max-steps", "5", "--maps"]
    done = call(*arguments)
    return root / "run", subprocess.CompletedProcess(arguments, done.code, done.stdout, done.stderr)


def test_categories_without_a_good_image_fail_and_the_others_complete(
    odd: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    out, done = odd
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    run = json.loads((out / "run.json").read_text())
    assert run["status"] == "partial"
    assert set(run["failed"]) == {"no_good", "broken"}
    assert set(metrics(out)) == {"one_image", "no_test", "only_good", "only_bad", "sizes"}
    failures = pq.read_table(out / "failures.parquet").to_pylist()
    assert {row["category"] for row in failures if row["image_path"] is None} == {"no_good", "broken"}
    assert {row["image_path"] for row in failures} - {None} == {"broken/train/good/000.png"}
    for category in ("no_good", "broken"):
        assert not (out / "models" / category).exists()
        assert f"warning: {category}: failed in index: {category}/train/good has no image" in done.stderr
    assert "warning: one_image: fewer than 10 good images differ; none is held out" in done.stderr


def test_metrics_that_are_not_defined_are_null(odd: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    table = metrics(odd[0])
    names = ("image_auroc", "image_ap", "image_f1max", "d_prime", "pixel_auroc", "pixel_ap", "pixel_f1max", "aupro")
    assert [table["no_test"][name] for name in names] == [None] * 8
    assert [table["only_good"][name] for name in names] == [None] * 8
    assert (table["only_good"]["n_good"], table["only_good"]["n_defect"]) == (3, 0)
    assert [table["only_bad"][name] for name in names[:4]] == [None] * 4
    assert 0.5 < table["only_bad"]["pixel_auroc"] <= 1
    assert (table["only_bad"]["n_good"], table["only_bad"]["n_defect"]) == (0, 3)


def test_one_good_image_is_enough_for_a_model(odd: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    out, _ = odd
    assert metrics(out)["one_image"]["image_auroc"] == 1.0
    assert (out / "models" / "one_image" / "model.json").exists()


def test_images_of_any_size_have_maps_of_their_own_size(odd: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    out, done = odd
    maps = {Path(row["image_path"]).stem: row for row in pq.read_table(out / "maps" / "sizes.parquet").to_pylist()}
    assert {stem: (row["height"], row["width"]) for stem, row in maps.items()} == {
        "plain": (90, 170),
        "small_mask": (150, 90),
    }
    assert all(len(row["map"]) == row["height"] * row["width"] for row in maps.values())
    assert metrics(out)["sizes"]["pixel_auroc"] > 0.8
    assert "the mask is 45 x 75 and its image 90 x 150; it is stretched over the image" in done.stderr


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds Ray's processes in /proc")
def test_when_a_wave_is_fitted_nothing_stays_of_ray_train(odd: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    assert (odd[0] / "models" / "sizes" / BACKBONES[0] / "adapter.safetensors").exists()
    names = ("TrainController", "PlacementGroupCleaner", "RayTrainWorker")
    until = time.monotonic() + 60
    while left := [command for _, command in children(os.getpid()) if any(name in command for name in names)]:
        assert time.monotonic() < until, left
        time.sleep(0.5)


def start(data: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    return start_alone("ensemble", "--data", str(data), "--out", str(out), *ONE_MEMBER, *more)


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_an_interrupted_run_says_so_and_leaves_no_process(tmp_path: Path, sent: signal.Signals, code: int) -> None:
    make_category(tmp_path / "data" / "cloth", seed=0, train=4, good=0, defects=0)
    running = start(tmp_path / "data", tmp_path / "run", "--max-steps", "100000", "--epochs", "100000")
    wait_for_process(running, "RayTrainWorker")
    family = [pid for pid, _ in children(running.pid)]
    running.send_signal(sent)
    _, errors = running.communicate(timeout=120)
    assert running.returncode == code
    assert "Traceback" not in errors
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "interrupted"
    until = time.monotonic() + 20
    while time.monotonic() < until and any((Path("/proc") / str(pid)).exists() for pid in family):
        time.sleep(0.2)
    assert not [pid for pid in family if (Path("/proc") / str(pid)).exists()]


def test_an_extraction_that_breaks_down_fails_what_it_has_not_written_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate(("bolt", "cloth")):
        make_category(tmp_path / "data" / name, seed=900 * number, train=12, good=2, defects=2)

    def breaks(chunks: Sequence[Chunk], *rest: Any) -> Iterator[Receipt]:
        yield from extract([chunk for chunk in chunks if chunk.category == "bolt"], *rest)
        raise ray.exceptions.RayActorError(error_msg="The actor died: out of memory.")

    monkeypatch.setattr(stages, "extract", breaks)
    place = ("--data", str(tmp_path / "data"), "--out", str(tmp_path / "run"))
    done = call("ensemble", *place, *ONE_MEMBER, "--epochs", "0", "--no-report")
    assert done.code == 1
    assert not (tmp_path / "run" / "report").exists()
    assert set(metrics(tmp_path / "run")) == {"bolt"}
    (failure,) = pq.read_table(tmp_path / "run" / "failures.parquet").to_pylist()
    assert (failure["category"], failure["stage"], failure["image_path"]) == ("cloth", "extract", None)
    assert "The actor died: out of memory." in failure["error"]


@pytest.mark.slow
@pytest.mark.fault(
    "a category that no process survives", stages=("extract", "fit"), outcome="fails, the others are same"
)
def test_a_category_that_no_process_survives_fails_and_the_others_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate(("bolt", "cloth", "nut")):
        make_category(tmp_path / "data" / name, seed=900 * number, train=12, good=2, defects=2)

    def learn(out: Path) -> tuple[int, dict[str, object]]:
        place = ("--data", str(tmp_path / "data"), "--out", str(out))
        done = call("ensemble", *place, *ONE_MEMBER, "--max-steps", "20", "--no-report")
        return done.code, {name: each for name, each in outcome_of(Store.of(str(out))).items() if "cloth" in name}

    def decode_or_die(row: dict[str, Any], give_up: Callable[[Any], str], **rest: Any) -> dict[str, Any]:
        def give_up_or_die(work: Any) -> str:
            sentence = give_up(work)
            if row["category"] == "bolt" and not sentence:
                os._exit(1)
            return sentence

        return try_chunk(row, give_up_or_die, **rest)

    def work_or_die(loop: dict[str, Any]) -> None:
        from pipelines import fit  # the worker's own

        fit_unit = fit._fit_unit

        def fit_unit_or_die(unit: Any, *rest: Any) -> Any:
            if unit.category == "nut":
                os._exit(1)
            return fit_unit(unit, *rest)

        fit._fit_unit = fit_unit_or_die
        fit._work(loop)

    code, calm = learn(tmp_path / "calm")
    assert code == 0
    monkeypatch.setattr(extraction, "try_chunk", decode_or_die)
    monkeypatch.setattr(fit, "_work", work_or_die)
    code, struck = learn(tmp_path / "struck")
    assert code == 1
    assert struck == calm
    assert len(calm) == 9
    failures = pq.read_table(tmp_path / "struck" / "failures.parquet").to_pylist()
    assert {(row["category"], row["stage"], row["backbone"]) for row in failures} == {
        ("bolt", "extract", BACKBONES[0]),
        ("nut", "fit", BACKBONES[0]),
    }
    assert all("ended 4 times" in row["error"] for row in failures)
