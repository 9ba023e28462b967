"""Run the stages of categories: a loop over the jobs of each stage that are due."""

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

# In the order in which they are done. Everything that names stages is derived from this.
STAGES: tuple[Stage[Any], ...] = (EXTRACT, FIT, SELECT, SCORE, FUSE)

_J = TypeVar("_J", bound=Job)
Rows = list[MetricsRow]


def scratch_of(config: RunConfig, out: Store) -> Store:
    """Return where features are kept: in the run directory, or in a folder of the run's own below `--scratch`."""
    if config.scratch is None:
        return out.below(SCRATCH)
    return Store.of(config.scratch).below(f"reconpatch-{key_of([out.uri, out.root])[:12]}")


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Runs jobs on Ray, shows how far they are, and records what became of them.

    Attributes:
        context: of the run.
        record: what the run reports.
        console: where it is shown.
        workers: how many jobs run at once.
    """

    context: RunContext
    record: RunRecord
    console: Console
    workers: int

    @property
    def cpu_workers(self) -> int:
        """How many tasks run at once that need no GPU: where jobs have one, as many as have CPUs beside it."""
        return self.workers * (cpus_per_job(self.context.config) // self.context.config.threads_per_unit)

    def bring_up_to_date(self, plans: Sequence[CategoryPlan], label: str = "") -> dict[str, Rows]:
        """Do every job that is due, stage by stage; a category of which a job fails is left out from then on.

        Args:
            plans: of categories whose features fit scratch together.
            label: of this group of categories, for people.

        Returns:
            Category -> rows of metrics.parquet, of the categories that were fused.
        """
        metrics: dict[str, Rows] = {}
        for stage in STAGES:
            alive = [plan for plan in plans if plan.category not in self.record.failed]
            jobs = [job for plan in alive for job in stage.due(plan)]
            for category, rows in self.do(stage, jobs, label):
                metrics[category] = rows
        return metrics

    def do(self, stage: Stage[_J], jobs: Sequence[_J], label: str = "") -> list[tuple[str, Rows]]:
        """Do jobs of one stage; a failure is recorded as its category's.

        Args:
            stage: what is done.
            jobs: of any categories.
            label: of these jobs, for people.

        Returns:
            Category and rows of metrics.parquet of each job that has made some.
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
        """Write the shards that are not there yet; a category of which an image cannot be read has failed."""
        self.do(EXTRACT, batches, label)

    def run_stage(
        self, stage: Stage[_J], jobs: Sequence[_J], label: str = ""
    ) -> Iterator[tuple[_J, StageResult | Exception]]:
        """Do jobs of one stage and record their cost; what becomes of failures is the caller's matter.

        Args:
            stage: what is done.
            jobs: of any categories; those that the stage no longer counts as pending are left out.
            label: of these jobs, for people.

        Yields:
            A job and its result, or the exception that ended it, in the order of finishing.
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
        self.record.cost(stage.name, result.peak_bytes)
        if result.detail and job.backbone is not None:
            self.record.note((job.category, job.backbone), stage.name, result.seconds, result.detail)
        for sentence in result.warnings:
            self.record.warn(sentence)

    def _in_tasks(
        self, stage: Stage[_J], jobs: Sequence[_J], bar: ProgressBar
    ) -> Iterator[tuple[_J, StageResult | Exception]]:
        """One Ray task a job."""
        config = self.context.config
        threads = threads_for(config, self.workers, len(jobs)) if stage.on_device else config.threads_per_unit
        # Starting the actor takes longer than fusing most categories.
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
        """Return how Ray tasks are run: as many at once as there are workers, or `cpu_workers`.

        Args:
            name: of the tasks.
            threads: of a task; by default those of a worker.
            on_device: whether they compute where networks do.
            alone: whether they run one after the other.
            on_wait: called while none has finished, now and then.
        """
        config = self.context.config
        options: dict[str, float] = {"num_cpus": threads or config.threads_per_unit}
        if on_device and config.gpus_per_actor:
            options["num_gpus"] = config.gpus_per_actor
        at_once = 1 if alone else self.workers if on_device else self.cpu_workers
        return TaskPool(name=name, at_once=at_once, options=options, on_wait=on_wait)

    def category_failed(self, category: str, stage: str, error: Exception, backbone: str | None = None) -> None:
        """Record an exception as its category's failure; the others go on.

        Args:
            category: that failed.
            stage: in which.
            error: why.
            backbone: the member, if it is one's.
        """
        self.record.category_failed(category, stage, error_line(error), backbone=backbone)

    def report(self, failures: Sequence[JobFailure], warnings: Sequence[str], stage: str) -> None:
        """Record unreadable images, failed categories and warnings.

        Args:
            failures: of images, and of whole categories.
            warnings: sentences for the user.
            stage: in which they were found.
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
        """Remove the features of categories that are done, unless they are to be kept."""
        if not self.context.config.keep_features:
            for category in categories:
                self.context.scratch.remove_folder(shards_folder(category))

    def clean_scratch(self) -> None:
        """Leave nothing in scratch but features that are to be kept."""
        if self.context.config.keep_features:
            remove_partial_files(self.context.scratch)
        else:
            self.context.scratch.remove_folder()

    @contextmanager
    def progress(self, name: str, label: str, total: int, counted: str) -> Iterator[ProgressBar]:
        """Show a progress bar while the block runs, and record what the stage took.

        Args:
            name: of the stage.
            label: of this part of it, for people.
            total: where the bar ends.
            counted: what it counts.
        """
        start = time.perf_counter()
        with self.console.progress(f"{name}{label}", total, counted) as bar:
            yield bar
        self.record.took(name, time.perf_counter() - start)
