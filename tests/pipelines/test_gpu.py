"""Tests of runs on a GPU: results agree with those of a CPU, are reproducible and survive killed processes.

They are skipped on machines without a GPU.
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
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
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
    command = EnsembleCommand(data, str(root / "run"), more)
    finish(command)
    return command


def _scores(files: Iterable[Path]) -> dict[str, float]:
    return {Path(row["image_path"]).as_posix(): row["score"] for file in files for row in rows_of(file)}


def test_scores_and_metrics_agree_with_those_of_a_cpu(on_cpu: EnsembleCommand, on_gpu: EnsembleCommand) -> None:
    """Rounding errors grow with each training step, so the scores are close but not equal."""
    gpu_scores, cpu_scores = (_scores(Path(run.out).glob("scores/fused/*.parquet")) for run in (on_gpu, on_cpu))
    assert gpu_scores.keys() == cpu_scores.keys()
    found, expected = (np.array([scores[name] for name in sorted(scores)]) for scores in (gpu_scores, cpu_scores))
    print("largest difference", np.abs(found - expected).max(), "at a standard deviation of", expected.std())
    assert np.corrcoef(found, expected)[0, 1] > 0.999
    for on_gpu_row, on_cpu_row in zip(
        *(rows_of(Path(run.out) / "metrics.parquet") for run in (on_gpu, on_cpu)), strict=True
    ):
        assert on_gpu_row["image_auroc"] == pytest.approx(on_cpu_row["image_auroc"], abs=0.02)


def test_two_workers_that_share_a_gpu_give_bit_identical_results(
    data: str, on_gpu: EnsembleCommand, tmp_path: Path
) -> None:
    shared = _finished(data, tmp_path, "--gpus-per-actor", "0.5")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["config"]["gpus_per_actor"] == 0.5
    found, expected = shared.outcome(), on_gpu.outcome()
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []


def test_killed_processes_do_not_change_the_results(data: str, on_gpu: EnsembleCommand, tmp_path: Path) -> None:
    interrupted = EnsembleCommand(data, str(tmp_path / "run"), ON_GPU)
    kill_processes(interrupted, tmp_path / "run", ("extract", "fit", "select", "score"))
    assert interrupted.outcome() == on_gpu.outcome()


def test_after_a_killed_driver_the_next_call_resumes(data: str, on_gpu: EnsembleCommand, tmp_path: Path) -> None:
    interrupted = EnsembleCommand(data, str(tmp_path / "run"), ON_GPU)
    running = interrupted.start()
    os.kill(interrupted.wait_for_stage(running, "fit"), signal.SIGKILL)
    interrupted.wait_for_stage(running, "fit")
    running.kill()
    running.communicate(timeout=60)
    finish(interrupted)
    assert interrupted.outcome() == on_gpu.outcome()


def test_new_images_get_the_scores_of_the_run_on_a_gpu(data: str, on_gpu: EnsembleCommand, tmp_path: Path) -> None:
    given = ("score", "--model", on_gpu.out, "--images", f"{data}/bolt/test", "--category", "bolt")
    done = call_alone(*given, "--out", str(tmp_path / "new"), *ON_GPU)
    assert done.code == 0, done.stderr
    found = _scores(done.out.glob("scores/fused/bolt/*.parquet"))
    expected = _scores(Path(on_gpu.out).glob("scores/fused/bolt.parquet"))
    assert found == {name.removeprefix("bolt/test/"): expected[name] for name in expected if "/test/" in name}
