"""Runner of the stages: it runs the due jobs of each stage on Ray and records their results."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import ray

from pipelines.config.run_config import RunConfig
from pipelines.config.run_context import RunContext
from pipelines.errors import error_line
from pipelines.planning.batches import ImageBatch
from pipelines.planning.cache_keys import key_of
from pipelines.planning.jobs import CategoryPlan
from pipelines.planning.stage import Counted, Crew, Job, JobFailure, JobTask, Stage, StageResult, no_progress, run_job
from pipelines.runtime.capacity import cpus_per_job, threads_for
from pipelines.runtime.progress_actor import ProgressActor, ProgressReporter
from pipelines.runtime.tasks import TaskPool, actor_beside_driver, run_tasks
from pipelines.stages.extract import EXTRACT
from pipelines.stages.fit import FIT
from pipelines.stages.fuse import FUSE
from pipelines.stages.score import SCORE
from pipelines.stages.select_bank import SELECT
from pipelines.storage.cleanup import remove_partial_files
from pipelines.storage.paths import SCRATCH, shards_folder
from pipelines.storage.schemas import MetricsRow
from pipelines.storage.store import Store
from pipelines.tracking.console import Console, ProgressBar
from pipelines.tracking.run_record import RunRecord

# The stages in the order in which they run. Everything that names stages is derived from this tuple.
STAGES: tuple[Stage[Any], ...] = (EXTRACT, FIT, SELECT, SCORE, FUSE)

_J = TypeVar("_J", bound=Job)
Rows = list[MetricsRow]


def scratch_of(config: RunConfig, out: Store) -> Store:
    """Return the scratch space of a run, which holds its features.

    Args:
        config: Run configuration.
        out: Run directory.

    Returns:
        A folder in the run directory; with `--scratch`, a folder below it that only this run directory uses.
    """
    if config.scratch is None:
        return out.below(SCRATCH)
    return Store.of(config.scratch).below(f"reconpatch-{key_of([out.uri, out.root])[:12]}")


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Runner of jobs on Ray, which shows their progress and records their results.

    Attributes:
        context: Configuration and stores of the run.
        record: Record of the run, to which costs, failures and warnings are added.
        console: Console that shows progress bars.
        workers: Largest number of jobs that run at the same time.
    """

    context: RunContext
    record: RunRecord
    console: Console
    workers: int

    @property
    def cpu_workers(self) -> int:
        """Largest number of tasks without a GPU that run at the same time.

        It exceeds `workers` if jobs use GPUs and the nodes have more CPUs than these jobs need.
        """
        return self.workers * (cpus_per_job(self.context.config) // self.context.config.threads_per_unit)

    def bring_up_to_date(self, plans: Sequence[CategoryPlan], label: str = "") -> dict[str, Rows]:
        """Run every due job, stage by stage; the later stages skip a category of which a job failed.

        Args:
            plans: Plans of categories whose features fit into scratch space together.
            label: Text after the stage's name in the progress bars, which identifies this group of categories.

        Returns:
            Category -> rows of metrics.parquet, for the categories that were fused.
        """
        metrics: dict[str, Rows] = {}
        for stage in STAGES:
            alive = [plan for plan in plans if plan.category not in self.record.failed]
            jobs = [job for plan in alive for job in stage.due(plan)]
            for category, rows in self.do(stage, jobs, label):
                metrics[category] = rows
        return metrics

    def do(self, stage: Stage[_J], jobs: Sequence[_J], label: str = "") -> list[tuple[str, Rows]]:
        """Run jobs of one stage and record each failure as a failure of the category.

        Args:
            stage: Stage of the jobs.
            jobs: Jobs of any categories.
            label: Text after the stage's name in the progress bar.

        Returns:
            Category and rows of metrics.parquet of each job that computed metrics.
        """
        metrics = []
        for job, result in self.run_stage(stage, jobs, label):
            if isinstance(result, Exception):
                self.category_failed(job.category, stage.name, result, job.backbone)
                continue
            for failure in result.failures:
                self.record.category_failed(failure.category, stage.name, failure.sentence, backbone=failure.backbone)
            if result.metrics:
                metrics.append((job.category, list(result.metrics)))
        return metrics

    def extract(self, batches: Sequence[ImageBatch], label: str = "") -> None:
        """Write the missing feature shards; a category fails if one of its images cannot be read.

        Args:
            batches: Image batches of any categories.
            label: Text after the stage's name in the progress bar.
        """
        self.do(EXTRACT, batches, label)

    def run_stage(
        self, stage: Stage[_J], jobs: Sequence[_J], label: str = ""
    ) -> Iterator[tuple[_J, StageResult | Exception]]:
        """Run jobs of one stage and record the costs of the successful ones; the caller handles failures.

        Args:
            stage: Stage of the jobs.
            jobs: Jobs of any categories; jobs whose results already exist (`Stage.pending`) are skipped.
            label: Text after the stage's name in the progress bar.

        Yields:
            Each job with its result, or with the exception that ended it, in the order of finishing.
        """
        if stage.pending is not None:
            jobs = stage.pending(jobs, self.context)
        if not jobs:
            return
        with self.progress(stage.name, label, sum(job.size for job in jobs), stage.counted) as bar:
            launch = stage.launch
            crew = Crew(context=self.context, workers=self.workers, report=bar.reach)
            results = self._in_tasks(stage, jobs, bar) if launch is None else launch(jobs, crew)
            finished = 0.0
            for job, result in results:
                finished += job.size
                bar.reach(finished)
                if not isinstance(result, Exception) and not result.failures:
                    self._note(stage, job, result)
                yield job, result

    def _note(self, stage: Stage[Any], job: Job, result: StageResult) -> None:
        """Record memory, duration, figures and warnings of a successful job."""
        self.record.cost(stage.name, result.peak_bytes)
        if result.detail and job.backbone is not None:
            self.record.note((job.category, job.backbone), stage.name, result.seconds, result.detail)
        for sentence in result.warnings:
            self.record.warn(sentence)

    def _in_tasks(
        self, stage: Stage[_J], jobs: Sequence[_J], bar: ProgressBar
    ) -> Iterator[tuple[_J, StageResult | Exception]]:
        """Run each job in a Ray task; yield the results in the order of finishing."""
        config = self.context.config
        threads = threads_for(config, self.workers, len(jobs)) if stage.on_device else config.threads_per_unit
        # Stages with shorter jobs report no progress within a job: starting the actor would take longer than most jobs.
        progress = actor_beside_driver(ProgressActor) if stage.counted == Counted.MEMBERS else None
        finished: list[Any] = []

        def name(job: Job) -> tuple[str, str | None]:
            return job.category, job.backbone

        def look() -> None:
            if progress is not None:
                bar.reach(ray.get(progress.reached.remote(finished)))

        def arguments(job: _J) -> tuple[JobTask[_J]]:
            reporter = no_progress if progress is None else ProgressReporter(progress, name(job))
            return (JobTask(run=stage.run, job=job, context=self.context, progress=reporter, threads=threads),)

        pool = self.pool(stage.name, threads=threads, on_device=stage.on_device, on_wait=look)
        for job, result in run_tasks(run_job, jobs, arguments, pool):
            finished.append(name(job))
            yield job, result

    def pool(
        self,
        name: str,
        *,
        threads: int | None = None,
        on_device: bool = False,
        alone: bool = False,
        on_wait: Callable[[], None] = lambda: None,
    ) -> TaskPool:
        """Return the settings with which Ray tasks run.

        Args:
            name: Name of the tasks in Ray's dashboard.
            threads: CPU threads of a task; None for the threads of a worker.
            on_device: Whether the tasks use a GPU if the run has one. At most `workers` of such tasks run at the same
                time, and at most `cpu_workers` of others.
            alone: Whether the tasks run one after the other.
            on_wait: Called about once a second while no task has finished.

        Returns:
            The settings for `run_tasks`.
        """
        config = self.context.config
        options: dict[str, float] = {"num_cpus": threads or config.threads_per_unit}
        if on_device and config.gpus_per_actor:
            options["num_gpus"] = config.gpus_per_actor
        at_once = 1 if alone else self.workers if on_device else self.cpu_workers
        return TaskPool(name=name, at_once=at_once, options=options, on_wait=on_wait)

    def category_failed(self, category: str, stage: str, error: Exception, backbone: str | None = None) -> None:
        """Record an exception as the failure of a category; other categories are not affected.

        Args:
            category: Name of the category that failed.
            stage: Name of the stage in which it failed.
            error: The exception.
            backbone: Backbone of the member that failed; None if the failure concerns the whole category.
        """
        self.record.category_failed(category, stage, error_line(error), backbone=backbone)

    def report(self, failures: Sequence[JobFailure], warnings: Sequence[str], stage: str) -> None:
        """Record unreadable images, failed categories and warnings.

        Args:
            failures: Failures of single images (with a path) and of whole categories.
            warnings: Warnings for the user, one sentence each.
            stage: Name of the stage in which they were found.
        """
        for failure in failures:
            if failure.image_path is None:
                self.record.category_failed(failure.category, stage, failure.error, backbone=failure.backbone)
            else:
                self.record.image_unreadable(
                    failure.category,
                    stage,
                    failure.image_path,
                    failure.error,
                    store_unavailable=failure.store_unavailable,
                )
        for sentence in warnings:
            self.record.warn(sentence)

    def free(self, categories: Collection[str]) -> None:
        """Remove the features of finished categories from scratch space, unless `--keep-features` is set.

        Args:
            categories: Names of the finished categories.
        """
        if not self.context.config.keep_features:
            for category in categories:
                self.context.scratch.remove_folder(shards_folder(category))

    def clean_scratch(self) -> None:
        """Remove the scratch space; with `--keep-features`, only partially written files."""
        if self.context.config.keep_features:
            remove_partial_files(self.context.scratch)
        else:
            self.context.scratch.remove_folder()

    @contextmanager
    def progress(self, name: str, label: str, total: int, counted: str) -> Iterator[ProgressBar]:
        """Show a progress bar while the `with` block runs, and record the wall time of the stage.

        Args:
            name: Name of the stage.
            label: Text after the name in the progress bar.
            total: Number of steps at which the bar is full.
            counted: Unit of the steps.

        Yields:
            The progress bar.
        """
        start = time.perf_counter()
        with self.console.progress(f"{name}{label}", total, counted) as bar:
            yield bar
        self.record.took(name, time.perf_counter() - start)
