"""Interface of a stage: which jobs of a category are due, and how a job runs.

A stage is a module of `pipelines.stages` that defines a `Stage`. `pipelines.stages.runner.STAGES` lists the stages in
order, and everything that names stages is derived from that list: progress bars, run.json, the columns of `--dry-run`.
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
    """A unit of work of a stage: an immutable object that is sent to a Ray task and holds all that the task needs."""

    @property
    def category(self) -> str:
        """Category that the job belongs to."""

    @property
    def backbone(self) -> str | None:
        """Backbone of the member that the job belongs to; None for a job of a whole category."""

    @property
    def size(self) -> int:
        """Steps by which the progress bar advances when the job is done."""


J = TypeVar("J", bound=Job)
Progress = Callable[[int, int], None]  # called with (steps done, total steps)


class Counted(StrEnum):
    """Unit that the progress bar of a stage counts.

    Attributes:
        IMAGES: One step per image.
        MEMBERS: One step per member, that is, per category and backbone.
        CATEGORIES: One step per category.
    """

    IMAGES = "images"
    MEMBERS = "members"
    CATEGORIES = "categories"


@dataclass(frozen=True, kw_only=True)
class JobFailure:
    """Reason why a job failed or left out an image.

    Attributes:
        category: Category of the job.
        backbone: Backbone of the member that the job belongs to; None for a job of a whole category.
        image_path: Image that could not be read; None if the job itself failed.
        error: Error message in one line.
        store_unavailable: Whether an object store could not return a file; the file itself may be intact.
    """

    category: str
    backbone: str | None = None
    image_path: str | None = None
    error: str
    store_unavailable: bool = False

    @property
    def sentence(self) -> str:
        """Error message, preceded by the path of the image if there is one."""
        return self.error if self.image_path is None else f"{self.image_path}: {self.error}"


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """Result of a job.

    Attributes:
        seconds: Wall time of the job in seconds.
        peak_bytes: Largest resident size of the job's process while it ran, in bytes.
        detail: Figures of a member's job for run.json, by name.
        failures: Reasons why the job or some of its images failed; empty if all succeeded.
        warnings: Warnings for the user, one sentence each.
        metrics: Rows of metrics.parquet that the job computed.
    """

    seconds: float = 0.0
    peak_bytes: int = 0
    detail: dict[str, Any] = field(default_factory=dict)
    failures: tuple[JobFailure, ...] = ()
    warnings: tuple[str, ...] = ()
    metrics: tuple[MetricsRow, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Crew:
    """Resources for the jobs of a stage that launches them itself.

    Attributes:
        context: Configuration and stores of the run.
        workers: Largest number of jobs that run at the same time.
        report: Called repeatedly with the stage's progress, in steps of its progress bar.
    """

    context: RunContext
    workers: int
    report: Callable[[float], None]


@dataclass(frozen=True, kw_only=True)
class Stage(Generic[J]):
    """A stage of a run.

    Attributes:
        name: Name of the stage in run.json, progress bars and options.
        counted: Unit of the progress bar.
        on_device: Whether the jobs use the GPU if the run has one, and the CPU threads of idle workers; the jobs of
            other stages use one worker's threads and no GPU.
        due: Returns the jobs of a category that have to run.
        run: Runs one job in the process that received it.
        pending: Returns those of the due jobs whose results do not exist yet; None if every due job runs.
        launch: Distributes jobs over the cluster, for stages that use Ray Data or Ray Train; None for one Ray task per
            job.
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
    """A job together with the arguments of the process that runs it.

    Attributes:
        run: `Stage.run` of the job's stage.
        job: The job.
        context: Configuration and stores of the run.
        progress: Called after every small step with (steps done, total steps).
        threads: Number of CPU threads that the job may use.
    """

    run: Callable[[J, RunContext, Progress], StageResult]
    job: J
    context: RunContext
    progress: Progress
    threads: int


@gives_gpu_back
def run_job(task: JobTask[J]) -> StageResult:
    """Run a job in this process and measure its wall time and memory.

    Args:
        task: Job with its arguments.

    Returns:
        Result of the job, with `seconds` and `peak_bytes` set.
    """
    use_threads(task.threads)
    with measured() as usage:
        result = task.run(task.job, task.context, task.progress)
    return replace(result, seconds=usage.seconds, peak_bytes=usage.peak_bytes)


def no_progress(done: int, total: int) -> None:
    """Ignore the progress, for jobs that are too short to report it.

    Args:
        done: Number of steps done.
        total: Total number of steps.
    """
