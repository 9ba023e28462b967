"""What a stage of a run is: the jobs of a category that are due, and how one job is done.

A stage is a module of `pipelines.stages` that defines a `Stage`; `pipelines.stages.runner.STAGES` lists them in order.
Everything that names stages is derived from that list: the progress bars, run.json, the columns of `--dry-run`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar

from pipelines.config.run_context import RunContext
from pipelines.planning.jobs import CategoryPlan
from pipelines.runtime.resources import gives_gpu_back, measured, use_threads
from pipelines.storage.schemas import MetricsRow


class Job(Protocol):
    """A piece of work: frozen, with all that is needed to do it; travels to a Ray task whole."""

    @property
    def category(self) -> str:
        """The category that the job belongs to."""

    @property
    def backbone(self) -> str | None:
        """The member that the job belongs to; None for a job of the whole category."""

    @property
    def size(self) -> int:
        """How far the progress bar moves when the job is done."""


J = TypeVar("J", bound=Job)
Progress = Callable[[int, int], None]  # called with (steps done, steps in all)


class Counted(StrEnum):
    """What the progress bar of a stage counts."""

    IMAGES = "images"
    MEMBERS = "members"
    CATEGORIES = "categories"


@dataclass(frozen=True, kw_only=True)
class JobFailure:
    """Why a job did not do all of its work.

    Attributes:
        category: the category of the job.
        backbone: the member of the job, or None.
        image_path: the image that could not be read, or None where the job itself failed.
        error: one line.
        store_unavailable: whether an object store could not return a file, which says nothing about the file.
    """

    category: str
    backbone: str | None = None
    image_path: str | None = None
    error: str
    store_unavailable: bool = False

    @property
    def sentence(self) -> str:
        """The error, with the image it is about."""
        return self.error if self.image_path is None else f"{self.image_path}: {self.error}"


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """What a job has done.

    Attributes:
        seconds: wall time of the job.
        peak_bytes: largest resident size of its process while it ran.
        detail: what run.json reports of a member's job.
        failures: what could not be done; empty where all was.
        warnings: sentences for the user.
        metrics: rows of metrics.parquet.
    """

    seconds: float = 0.0
    peak_bytes: int = 0
    detail: dict[str, Any] = field(default_factory=dict)
    failures: tuple[JobFailure, ...] = ()
    warnings: tuple[str, ...] = ()
    metrics: tuple[MetricsRow, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Crew:
    """Who does the jobs of a stage.

    Attributes:
        context: of the run.
        workers: how many jobs run at once.
        report: called now and then with how far the stage is, in units of its bar.
    """

    context: RunContext
    workers: int
    report: Callable[[float], None]


@dataclass(frozen=True, kw_only=True)
class Stage(Generic[J]):
    """One stage of a run.

    Attributes:
        name: what it is called everywhere.
        counted: what its progress bar counts.
        on_device: whether its jobs compute where networks do (a GPU if there is one) and share idle workers' threads;
            others take one worker's threads and no GPU.
        due: the jobs of a category that have to be done.
        run: does one job, in the process that it was sent to.
        pending: of due jobs, those whose result is not there yet; None where all are done again.
        launch: spreads jobs over the cluster, for stages that run on Ray Data or Ray Train; None for a Ray task a job.
    """

    name: str
    counted: Counted
    on_device: bool = True
    due: Callable[[CategoryPlan], Sequence[J]]
    run: Callable[[J, RunContext, Progress], StageResult]
    pending: Callable[[Sequence[J], RunContext], Sequence[J]] | None = None
    launch: Callable[[Sequence[J], Crew], Iterator[tuple[J, StageResult]]] | None = None


@dataclass(frozen=True, kw_only=True)
class JobTask(Generic[J]):
    """A job on its way to the process that does it.

    Attributes:
        run: of the job's stage.
        job: what is to be done.
        context: of the run.
        progress: called after every small step.
        threads: CPU threads that the job may use.
    """

    run: Callable[[J, RunContext, Progress], StageResult]
    job: J
    context: RunContext
    progress: Progress
    threads: int


@gives_gpu_back
def run_job(task: JobTask[J]) -> StageResult:
    """Do one job in this process and measure it."""
    use_threads(task.threads)
    with measured() as usage:
        result = task.run(task.job, task.context, task.progress)
    return replace(result, seconds=usage.seconds, peak_bytes=usage.peak_bytes)


def no_progress(done: int, total: int) -> None:
    """Report nothing: for jobs that take less time than a look at them."""
