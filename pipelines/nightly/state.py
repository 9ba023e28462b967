"""State of a nightly run: its options, what the last run left, and what has been done with each category so far."""

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
from pipelines.tracking.run_record import RunRecord, RunStatus

_R = TypeVar("_R")


@dataclass(kw_only=True)
class NightRun:
    """A nightly run in progress.

    Attributes:
        options: of the run.
        registry: the models.
        runner: runs stages in the work folder of the registry; its record is that of the run.
        out: SCORES/<run_id>.
        networks: those of the run, and of the active models that were met.
        costs: what categories took in earlier runs.
        previous: state that the last run left.
        deadline: by which all has to be done; None for no deadline.
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
        """The record of the run."""
        return self.runner.record

    @property
    def config(self) -> RunConfig:
        """The configuration of the run."""
        return self.runner.context.config

    @property
    def data(self) -> Store:
        """The root of the training images."""
        return self.runner.context.data

    @property
    def work(self) -> Store:
        """The run directory in the registry in which candidates are trained."""
        return self.runner.context.out

    @property
    def new_images(self) -> Store:
        """The root of the new images."""
        return self.data if self.options.images is None else Store.of(self.options.images)

    @property
    def scope(self) -> NightScope:
        """What the run is asked for."""
        return NightScope.of(self.options, self.config, self.record.run_id)

    def row(self, category: str) -> CategoryNight:
        """Return a category's row of night.parquet so far."""
        return self.categories.get(category) or CategoryNight(category=category)

    def update(self, row: CategoryNight) -> None:
        """Replace a category's row of night.parquet."""
        self.categories[row.category] = row

    def set_learned(self, category: str, result: TrainingResult) -> None:
        """Set what became of training a category."""
        self.update(replace(self.row(category), learned=result))

    def set_judged(self, category: str, result: ScoringResult) -> None:
        """Set what became of scoring a category."""
        self.update(replace(self.row(category), judged=result))

    def set_failed(self, category: str, task: NightTask) -> None:
        """Set that training or scoring of a category failed."""
        if task is NightTask.TRAIN:
            self.set_learned(category, TrainingResult.FAILED)
        else:
            self.set_judged(category, ScoringResult.FAILED)

    def defer(self, categories: Sequence[str], task: NightTask) -> None:
        """Set that there is no time left for some categories, and warn about it.

        Args:
            categories: for which there is none.
            task: what is not done with them.
        """
        for category in categories:
            if task is NightTask.TRAIN:
                self.set_learned(category, TrainingResult.DEFERRED)
            else:
                self.set_judged(category, ScoringResult.DEFERRED)
        if categories:
            done = "trained" if task is NightTask.TRAIN else "scored"
            names = named(categories, 20)
            self.record.warn(f"{len(categories)} categories could not be {done} before the deadline: {names}.")

    @contextmanager
    def guarded(self, category: str, stage: NightStage, task: NightTask | None = None) -> Iterator[None]:
        """Make any exception within a failure of one category, so that the run continues with the others.

        Args:
            category: the category whose files are worked with.
            stage: what is done.
            task: whether training or scoring has failed then; None for neither.
        """
        try:
            yield
        except Exception as error:  # damaged models, lost files, other weights, any JSON
            self.record.category_failed(category, stage, error_line(error))
            if task is not None:
                self.set_failed(category, task)

    def for_each(
        self, categories: Sequence[str], work: Callable[[str], _R], stage: NightStage, task: NightTask | None = None
    ) -> dict[str, _R]:
        """Do something that waits for files with each category, side by side and guarded.

        Args:
            categories: the categories.
            work: called with a category.
            stage: what is done.
            task: whether training or scoring has failed where `work` raises; None for neither.

        Returns:
            Category -> what `work` returned, of those in which it raised nothing, in the order given.
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
        """Return the seconds until the deadline, negative after it; None without one."""
        return None if self.deadline is None else (self.deadline - datetime.now().astimezone()).total_seconds()

    def queue(self, task: NightTask, seconds_left: Callable[[], float | None]) -> BudgetedQueue:
        """Return the queue for one of the two tasks.

        Args:
            task: what is done with the categories.
            seconds_left: returns the time left for the task, None without a deadline.
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
        """Return the scores of the last run, where it came to its end and scored images of the same place."""
        scope = self.previous.last_finished(self.config.categories)
        if scope is None or not scope.has_same_images(self.scope):
            return PreviousScores(None)
        try:
            return PreviousScores(Store.of(self.options.scores).below(scope.run_id))
        except (OSError, ValueError) as error:
            self.record.warn(f"No score of the last run is reused: {error}")
            return PreviousScores(None)

    def save(self, status: RunStatus) -> None:
        """Write night.parquet and failures.parquet, run.json, and the state that the next run needs.

        Args:
            status: how far the run is.
        """
        record = self.record
        rows = {name: replace(self.categories[name], run_id=record.run_id) for name in sorted(self.categories)}
        write_rows(self.out, FAILURES_FILE, record.failures, FAILURES)
        write_night(self.out, rows)
        record.save(status)
        ended = status not in INTERRUPTED
        all_rows = {**rows, **self._rows_of_others()} if ended else rows
        if ended:  # where `status` reads
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
        """Return the rows of the last run of categories that this one was not asked for."""
        if not self.config.categories:
            return {}
        try:
            return {name: row for name, row in read_night(self.work).items() if name not in self.categories}
        except ValueError:  # a damaged file, which is about to be written anew
            return {}

    def _finished(self) -> tuple[NightScope, ...]:
        """Return the scopes whose scores the next run may reuse; one of some categories replaces no other's."""
        scope = self.scope
        others = (other for other in self.previous.finished if other.categories != scope.categories)
        return (scope, *(others if scope.categories else ()))


def _deferred(rows: dict[str, CategoryNight]) -> dict[NightTask, tuple[str, ...]]:
    """Return task -> categories that the next run has to do first."""
    return {
        NightTask.TRAIN: tuple(name for name, row in rows.items() if row.learned == TrainingResult.DEFERRED),
        NightTask.SCORE: tuple(name for name, row in rows.items() if row.judged == ScoringResult.DEFERRED),
    }
