"""Tests of `run_job`: it passes the arguments, sets the threads, measures the job and returns its result."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch

from pipelines.config.run_context import RunContext
from pipelines.planning.stage import JobFailure, JobTask, Progress, StageResult, no_progress, run_job
from pipelines.stages.runner import Runner
from pipelines.storage.schemas import MetricsRow


@dataclass(frozen=True)
class Named:
    """A job without content."""

    category: str
    backbone: str | None = None
    size: int = 1


Run = Callable[[Named, RunContext, Progress], StageResult]
FAILURE = JobFailure(category="nut", backbone="lite0", image_path="nut/a.png", error="It is empty.")


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def task_of(runner: Runner) -> Callable[..., JobTask[Named]]:
    """Return a function that makes the task of a `run` function."""

    def make(run: Run, *, progress: Progress = no_progress, threads: int = 1) -> JobTask[Named]:
        return JobTask(run=run, job=Named("nut"), context=runner.context, progress=progress, threads=threads)

    return make


def test_a_job_receives_context_and_progress(task_of: Callable[..., JobTask[Named]], runner: Runner) -> None:
    steps: list[tuple[int, int]] = []

    def run(job: Named, context: RunContext, progress: Progress) -> StageResult:
        progress(1, 2)
        return StageResult(detail={"category": job.category, "same": context is runner.context})

    result = run_job(task_of(run, progress=lambda done, total: steps.append((done, total))))
    assert result.detail == {"category": "nut", "same": True}
    assert steps == [(1, 2)]


def test_time_and_memory_of_a_job_are_measured(task_of: Callable[..., JobTask[Named]]) -> None:
    def run(job: Named, context: RunContext, progress: Progress) -> StageResult:
        time.sleep(0.05)
        return StageResult(seconds=1e9, peak_bytes=-1)

    result = run_job(task_of(run))
    assert 0.05 <= result.seconds < 60
    assert result.peak_bytes > 10_000_000  # torch alone takes more


@pytest.mark.parametrize("count", [1, 2])
def test_a_job_has_the_threads_of_its_task(task_of: Callable[..., JobTask[Named]], count: int) -> None:
    """A reused worker process still has the setting of its previous job."""

    def run(job: Named, context: RunContext, progress: Progress) -> StageResult:
        return StageResult(detail={"threads": torch.get_num_threads()})

    assert run_job(task_of(run, threads=count)).detail == {"threads": count}


def test_failures_warnings_and_metrics_are_passed_on(task_of: Callable[..., JobTask[Named]]) -> None:
    metrics = (MetricsRow(category="nut", model="ensemble"),)
    result = run_job(task_of(lambda *_: StageResult(failures=(FAILURE,), warnings=("It is narrow.",), metrics=metrics)))
    assert (result.failures, result.warnings, result.metrics) == ((FAILURE,), ("It is narrow.",), metrics)


def test_an_exception_of_a_job_is_raised(task_of: Callable[..., JobTask[Named]]) -> None:
    def run(job: Named, context: RunContext, progress: Progress) -> StageResult:
        raise ValueError("no good image")

    with pytest.raises(ValueError, match="no good image"):
        run_job(task_of(run))


def test_the_sentence_of_a_failure_has_the_image_path() -> None:
    assert FAILURE.sentence == "nut/a.png: It is empty."
    assert JobFailure(category="nut", error="A worker died.").sentence == "A worker died."


def test_a_result_can_be_pickled() -> None:
    result = StageResult(seconds=1.5, peak_bytes=7, detail={"entries": 3}, failures=(FAILURE,), warnings=("w",))
    assert pickle.loads(pickle.dumps(result)) == result
