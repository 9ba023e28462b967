"""State of a nightly run in progress: options, state of the previous run, and results of each category so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar

from pipelines.config.networks import Networks
from pipelines.config.nightly_options import NightOptions
from pipelines.config.run_config import RunConfig
from pipelines.data.discovery import named
from pipelines.errors import error_line
from pipelines.nightly.budget import BudgetedQueue
from pipelines.nightly.deadline import Costs
from pipelines.nightly.night_info import INTERRUPTED, NightInfo, NightScope
from pipelines.nightly.score_parts import PreviousScores
from pipelines.nightly.steps import NightStage, NightTask
from pipelines.registry.night_table import CategoryNight, read_night, write_night
from pipelines.registry.registry import Registry
from pipelines.registry.statuses import ScoringResult, TrainingResult
from pipelines.stages.runner import Runner
from pipelines.storage.parquet import write_rows
from pipelines.storage.paths import FAILURES_FILE, RUN
from pipelines.storage.redaction import redact
from pipelines.storage.schemas import FAILURES
from pipelines.storage.store import Store, side_by_side
from pipelines.tracking.run_info import RunStatus
from pipelines.tracking.run_record import RunRecord

_R = TypeVar("_R")


@dataclass(kw_only=True)
class NightRun:
    """Nightly run in progress.

    Attributes:
        options: Options of the nightly run.
        registry: Registry of the models.
        runner: Runner of the training stages, in the work folder of the registry. Its record is that of the run.
        out: Folder of the scores, SCORES/<run_id>.
        networks: Networks of the run and of the active models that have been read.
        costs: Wall times of the categories in earlier runs.
        previous: State of the previous run.
        deadline: Time at which the run has to be finished; None without a deadline.
        categories: category -> its row of night.parquet so far.
    """

    options: NightOptions
    registry: Registry
    runner: Runner
    out: Store
    networks: Networks
    costs: Costs
    previous: NightInfo
    deadline: datetime | None
    categories: dict[str, CategoryNight] = field(default_factory=dict)

    @property
    def record(self) -> RunRecord:
        """Record of the run."""
        return self.runner.record

    @property
    def config(self) -> RunConfig:
        """Configuration of the run."""
        return self.runner.context.config

    @property
    def data(self) -> Store:
        """Root folder of the training images."""
        return self.runner.context.data

    @property
    def work(self) -> Store:
        """Run directory in the registry in which candidates are trained."""
        return self.runner.context.out

    @property
    def new_images(self) -> Store:
        """Root folder of the new images."""
        return self.data if self.options.images is None else Store.of(self.options.images)

    @property
    def scope(self) -> NightScope:
        """Scope of the run."""
        return NightScope.of(self.options, self.config, self.record.run_id)

    def row(self, category: str) -> CategoryNight:
        """Return the row of a category in night.parquet so far.

        Args:
            category: Name of the category.
        """
        return self.categories.get(category) or CategoryNight(category=category)

    def update(self, row: CategoryNight) -> None:
        """Replace the row of a category in night.parquet.

        Args:
            row: New row; its `category` selects the row that is replaced.
        """
        self.categories[row.category] = row

    def set_learned(self, category: str, result: TrainingResult) -> None:
        """Set the training result of a category.

        Args:
            category: Name of the category.
            result: Value of column `learned`.
        """
        self.update(replace(self.row(category), learned=result))

    def set_judged(self, category: str, result: ScoringResult) -> None:
        """Set the scoring result of a category.

        Args:
            category: Name of the category.
            result: Value of column `judged`.
        """
        self.update(replace(self.row(category), judged=result))

    def set_failed(self, category: str, task: NightTask) -> None:
        """Set the result of a category to failed.

        Args:
            category: Name of the category.
            task: Task that failed.
        """
        if task is NightTask.TRAIN:
            self.set_learned(category, TrainingResult.FAILED)
        else:
            self.set_judged(category, ScoringResult.FAILED)

    def defer(self, categories: Sequence[str], task: NightTask) -> None:
        """Set the result of categories to deferred, and print a warning that names them.

        Args:
            categories: Categories that do not fit before the deadline; if empty, nothing is printed.
            task: Task that is deferred.
        """
        for category in categories:
            if task is NightTask.TRAIN:
                self.set_learned(category, TrainingResult.DEFERRED)
            else:
                self.set_judged(category, ScoringResult.DEFERRED)
        if categories:
            done = "trained" if task is NightTask.TRAIN else "scored"
            names = named(categories, 20)
            self.record.warn(f"Not {done} before the deadline, deferred to the next run ({len(categories)}): {names}.")

    @contextmanager
    def guarded(self, category: str, stage: NightStage, task: NightTask | None = None) -> Iterator[None]:
        """Record an exception in the block as a failure of one category, so that the run continues with the others.

        Args:
            category: Category that the block processes.
            stage: Stage that the failure is recorded for.
            task: Task whose result is set to failed; None for neither.
        """
        try:
            yield
        except Exception as error:  # for example damaged models, missing files or changed weights
            self.record.category_failed(category, stage, error_line(error))
            if task is not None:
                self.set_failed(category, task)

    def for_each(
        self, categories: Sequence[str], work: Callable[[str], _R], stage: NightStage, task: NightTask | None = None
    ) -> dict[str, _R]:
        """Call a function for each category in parallel threads; an exception is a failure of its category alone.

        Args:
            categories: Names of the categories.
            work: Function of a category's name that mostly waits for files. It must be thread-safe.
            stage: Stage that failures are recorded for.
            task: Task whose result is set to failed if `work` raises; None for neither.

        Returns:
            category -> result of `work`, in the order given, without the categories for which `work` raised.
        """

        def attempt(category: str) -> _R | Exception:
            try:
                return work(category)
            except Exception as error:
                return error

        results: dict[str, _R] = {}
        for category, result in zip(categories, side_by_side(attempt, categories), strict=True):
            with self.guarded(category, stage, task):
                if isinstance(result, Exception):
                    raise result
                results[category] = result
        return results

    def seconds_left(self) -> float | None:
        """Return the seconds until the deadline, negative after it; None without a deadline."""
        return None if self.deadline is None else (self.deadline - datetime.now().astimezone()).total_seconds()

    def queue(self, task: NightTask, seconds_left: Callable[[], float | None]) -> BudgetedQueue:
        """Return the job queue of a task.

        Args:
            task: Task that the jobs perform.
            seconds_left: Function that returns the seconds left for the task, or None without a deadline.
        """
        return BudgetedQueue(
            task=task,
            costs=self.costs,
            store=self.work,
            scratch_bytes=self.config.scratch_gb * 1e9,
            seconds_left=seconds_left,
            deferred=self.previous.deferred.get(task, ()),
        )

    def previous_scores(self) -> PreviousScores:
        """Return the scores of the last finished run, if they can be reused.

        They are empty if that run had other images, another bit depth or another scores folder, or if its image index
        cannot be read.
        """
        scope = self.previous.last_finished(self.config.categories)
        if scope is None or not scope.has_same_images(self.scope):
            return PreviousScores(None)
        try:
            return PreviousScores(Store.of(self.options.scores).below(scope.run_id))
        except (OSError, ValueError) as error:
            self.record.warn(f"The scores of the previous run cannot be reused; all images are scored again: {error}")
            return PreviousScores(None)

    def save(self, status: RunStatus) -> None:
        """Write night.parquet, failures.parquet, run.json, and the state that the next run reads.

        Args:
            status: Status of the run.
        """
        record = self.record
        rows = {name: replace(self.categories[name], run_id=record.run_id) for name in sorted(self.categories)}
        write_rows(self.out, FAILURES_FILE, record.failures, FAILURES)
        write_night(self.out, rows)
        record.save(status)
        ended = status not in INTERRUPTED
        all_rows = {**rows, **self._rows_of_others()} if ended else rows
        if ended:  # the work folder keeps the results of the last finished run, which `status` shows
            write_night(self.work, all_rows)
        info = NightInfo(
            run_id=record.run_id,
            status=status,
            started_at=record.started_at.isoformat(),
            data=redact(self.config.data),
            bit_depth=self.config.bit_depth,
            scope=self.scope,
            deferred=_deferred(all_rows) if ended else self.previous.deferred,
            finished=self._finished() if ended else self.previous.finished,
        )
        self.work.write_json(RUN, info.to_json())

    def _rows_of_others(self) -> dict[str, CategoryNight]:
        """Return the previous rows of categories that this run does not select."""
        if not self.config.categories:
            return {}
        try:
            return {name: row for name, row in read_night(self.work).items() if name not in self.categories}
        except ValueError:  # the file is damaged; the caller replaces it
            return {}

    def _finished(self) -> tuple[NightScope, ...]:
        """Return the scopes whose scores the next run may reuse, newest first; a run of all categories replaces all."""
        scope = self.scope
        others = (other for other in self.previous.finished if other.categories != scope.categories)
        return (scope, *(others if scope.categories else ()))


def _deferred(rows: dict[str, CategoryNight]) -> dict[NightTask, tuple[str, ...]]:
    """Return task -> deferred categories, with which the next run starts."""
    return {
        NightTask.TRAIN: tuple(name for name, row in rows.items() if row.learned == TrainingResult.DEFERRED),
        NightTask.SCORE: tuple(name for name, row in rows.items() if row.judged == ScoringResult.DEFERRED),
    }
