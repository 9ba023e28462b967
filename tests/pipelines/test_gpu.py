"""A run whose units have a GPU: it says what a CPU's says, is the same each time, and survives what a CPU's survives.

Skipped where there is none.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.faults.commands import EnsembleCommand, finish, kill_processes, make_data
from tests.pipelines.runs import call_alone, rows_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here"),
]

ON_GPU = ("--gpus-per-actor", "1")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_data(tmp_path_factory.mktemp("parts") / "data"))


@pytest.fixture(scope="module")
def on_cpu(data: str, tmp_path_factory: pytest.TempPathFactory) -> EnsembleCommand:
    return _finished(data, tmp_path_factory.mktemp("cpu"))


@pytest.fixture(scope="module")
def on_gpu(data: str, tmp_path_factory: pytest.TempPathFactory) -> EnsembleCommand:
    return _finished(data, tmp_path_factory.mktemp("gpu"), *ON_GPU)


def _finished(data: str, root: Path, *more: str) -> EnsembleCommand:
    place = EnsembleCommand(data, str(root / "run"), more)
    finish(place)
    return place


def _scores(files: Iterable[Path]) -> dict[str, float]:
    return {Path(row["image_path"]).as_posix(): row["score"] for file in files for row in rows_of(file)}


def test_it_says_what_a_cpu_says(on_cpu: EnsembleCommand, on_gpu: EnsembleCommand) -> None:
    """Rounding grows with each step of training: scores are near each other, not equal."""
    mine, theirs = (_scores(Path(run.out).glob("scores/fused/*.parquet")) for run in (on_gpu, on_cpu))
    assert mine.keys() == theirs.keys()
    found, expected = (np.array([scores[name] for name in sorted(scores)]) for scores in (mine, theirs))
    print("largest difference", np.abs(found - expected).max(), "of a spread of", expected.std())
    assert np.corrcoef(found, expected)[0, 1] > 0.999
    for one, other in zip(*(rows_of(Path(run.out) / "metrics.parquet") for run in (on_gpu, on_cpu)), strict=True):
        assert one["image_auroc"] == pytest.approx(other["image_auroc"], abs=0.02)


def test_two_units_that_share_a_gpu_give_the_same_to_the_bit(
    data: str, on_gpu: EnsembleCommand, tmp_path: Path
) -> None:
    shared = _finished(data, tmp_path, "--gpus-per-actor", "0.5")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["config"]["gpus_per_actor"] == 0.5
    found, expected = shared.outcome(), on_gpu.outcome()
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []


def test_killed_processes_cost_nothing(data: str, on_gpu: EnsembleCommand, tmp_path: Path) -> None:
    struck = EnsembleCommand(data, str(tmp_path / "run"), ON_GPU)
    kill_processes(struck, tmp_path / "run", ("extract", "fit", "select", "score"))
    assert struck.outcome() == on_gpu.outcome()


def test_after_a_killed_driver_the_next_call_goes_on(data: str, on_gpu: EnsembleCommand, tmp_path: Path) -> None:
    struck = EnsembleCommand(data, str(tmp_path / "run"), ON_GPU)
    running = struck.start()
    os.kill(struck.wait_for_stage(running, "fit"), signal.SIGKILL)
    struck.wait_for_stage(running, "fit")
    running.kill()
    running.communicate(timeout=60)
    finish(struck)
    assert struck.outcome() == on_gpu.outcome()


def test_new_images_are_judged_on_a_gpu_as_the_run_judged_them(
    data: str, on_gpu: EnsembleCommand, tmp_path: Path
) -> None:
    given = ("score", "--model", on_gpu.out, "--images", f"{data}/bolt/test", "--category", "bolt")
    done = call_alone(*given, "--out", str(tmp_path / "new"), *ON_GPU)
    assert done.code == 0, done.stderr
    found = _scores(done.out.glob("scores/fused/bolt/*.parquet"))
    expected = _scores(Path(on_gpu.out).glob("scores/fused/bolt.parquet"))
    assert found == {name.removeprefix("bolt/test/"): expected[name] for name in expected if "/test/" in name}
