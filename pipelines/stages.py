"""The stages of a wave of categories: extract → fit → select → score → fuse; each leaves files for the next."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray

from pipelines.chunks import Chunk
from pipelines.config import RunConfig
from pipelines.extract import extract
from pipelines.fuse import Fusion, fuse_category, model_of
from pipelines.keys import key_of
from pipelines.plan import CategoryPlan, Unit, version_of
from pipelines.progress import Screen, Stage
from pipelines.record import Record
from pipelines.resources import Done
from pipelines.rundir import SCRATCH, Stamp, shards_folder
from pipelines.score import score_unit, select_unit
from pipelines.session import cpus_of_unit, threads_for
from pipelines.shares import Shares, Teller
from pipelines.storage import Store
from pipelines.sweep import sweep
from pipelines.tasks import accounts, run_tasks, sentence_of


@dataclass(frozen=True)
class Lost:
    """What was not extracted.

    Attributes:
        image_path: the picture that cannot be read now, which the index could read; None where the extraction itself
            broke down, or an object store did not give a picture.
        unanswered: whether it is that.
    """

    category: str
    backbone: str
    image_path: str | None
    error: str
    unanswered: bool = False


def scratch_of(config: RunConfig, out: Store) -> Store:
    """Where features lie: in the run directory, or in a folder of the run's own below --scratch."""
    if config.scratch is None:
        return out.below(SCRATCH)
    return Store.of(config.scratch).below(f"reconpatch-{key_of([out.uri, out.root])[:12]}")


@dataclass(frozen=True)
class Stages:
    """Where a run's stages work and whom they tell.

    Attributes:
        data, out, scratch: the pictures, the run directory, the features.
        workers: how many units run at once.
    """

    config: RunConfig
    data: Store
    out: Store
    scratch: Store
    record: Record
    screen: Screen
    workers: int
    stamp: Stamp

    @property
    def cpu_workers(self) -> int:
        """How many tasks run at once that need no GPU: where units have one, as many as have CPUs beside it."""
        return self.workers * (cpus_of_unit(self.config) // self.config.threads_per_unit)

    def do(self, wave: Sequence[CategoryPlan], label: str, name: str) -> dict[str, list[dict[str, Any]]]:
        """Bring a wave's categories, all of them due, up to date; returns the metrics' rows of those that are.

        Args:
            label: of the wave, for people.
            name: of the wave, never used before (`fit_adapters`).
        """
        self.extract([chunk for plan in wave for chunk in plan.chunks], label)
        units = self._alive([unit for plan in wave for unit in plan.units])
        units = self._fit(units, label, name)
        units = self._each([unit for unit in units if unit.select], units, "select", label, select_unit, self._select)
        units = self._each([unit for unit in units if unit.score], units, "score", label, score_unit, self._score)
        return self._fuse([plan for plan in wave if plan.category not in self.record.failed], label)

    def free(self, categories: Collection[str]) -> None:
        """Remove the features of categories that are done with, unless they are to be kept."""
        if not self.config.keep_features:
            for category in categories:
                self.scratch.remove_folder(shards_folder(category))

    def leave(self) -> None:
        """At the end nothing stays in scratch but the features that are to be kept."""
        if self.config.keep_features:
            sweep(self.scratch)
        else:
            self.scratch.remove_folder()

    def _select(self, unit: Unit, threads: int, teller: Teller) -> tuple[Any, ...]:
        return unit, self.config, self.out, self.scratch, threads, teller

    def _score(self, unit: Unit, threads: int, teller: Teller) -> tuple[Any, ...]:
        stamp = self.stamp.columns(unit.keys.rows[:12])
        return unit, self.config, self.out, self.scratch, threads, teller, stamp

    def extract(self, chunks: Sequence[Chunk], label: str) -> None:
        """Write the shards that are not there yet; a category of which something is lost has failed."""
        for lost in self.try_extract(chunks, label):
            error = lost.error if lost.image_path is None else f"{lost.image_path}: {lost.error}"
            self.record.category_failed(lost.category, "extract", error, lost.backbone)

    def try_extract(self, chunks: Sequence[Chunk], label: str) -> list[Lost]:
        """Write the shards that are not there yet; returns what could not be, the shards of which are not there."""
        missing = self._missing(chunks)
        if not missing:
            return []
        found: list[Lost] = []
        with self.stage("extract", label, sum(len(chunk.images) for chunk in missing), "images") as stage:
            try:
                for receipt in extract(missing, self.config, self.scratch, self.workers):
                    found += [Lost(receipt.category, receipt.backbone, *each) for each in receipt.errors]
                    if receipt.unanswered:
                        found.append(Lost(receipt.category, receipt.backbone, None, receipt.unanswered, True))
                    if receipt.given_up:
                        found.append(Lost(receipt.category, receipt.backbone, None, receipt.given_up))
                    self.record.cost("extract", receipt.peak_bytes)
                    stage.advance(receipt.images)
            except ray.exceptions.RayError as error:  # what is not there now is lost; what is there stands
                told = {(each.category, each.backbone) for each in found}
                for chunk in self._missing(missing):
                    if (chunk.category, chunk.view.backbone) not in told:
                        told.add((chunk.category, chunk.view.backbone))
                        found.append(Lost(chunk.category, chunk.view.backbone, None, sentence_of(error)))
        return found

    def _missing(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        """Those whose shards are not in scratch, one a shard."""
        there = {
            self.scratch.name_of(info)
            for folder in {shards_folder(chunk.category) for chunk in chunks}
            for info in self.scratch.files(folder)
        }
        return list({chunk.shard: chunk for chunk in chunks if chunk.shard not in there}.values())

    def _fit(self, units: list[Unit], label: str, name: str) -> list[Unit]:
        """Adapters with Ray Train; units of the identity adapter, and those that have theirs, pass through."""
        due = [unit for unit in units if unit.fit]
        if not due:
            return units
        from pipelines.fit import fit_adapters  # Ray Train takes a second to import: only those who train pay

        with self.stage("fit", label, len(due), "units") as stage:
            results = fit_adapters(due, self.config, self.out, self.scratch, self.workers, name, stage.reach)
            stage.reach(len(due))
        for unit, fitted in zip(due, results, strict=True):
            if fitted.error is not None:
                self.record.category_failed(unit.category, "fit", fitted.error, unit.backbone)
                continue
            self.record.cost("fit", fitted.peak_bytes)
            self.record.note(unit.name, "fit", fitted.seconds, {**fitted.schedule, "last_loss": fitted.last_loss})
        capped = [fitted.schedule["lr"] for fitted in results if fitted.schedule.get("lr_capped")]
        if capped:
            self.record.warn(
                f"--max-steps {self.config.max_steps} asks for a learning rate above {max(capped):g} in {len(capped)} "
                f"of {len(due)} units; it is held there."
            )
        return self._alive(units)

    def _fuse(self, plans: Sequence[CategoryPlan], label: str) -> dict[str, list[dict[str, Any]]]:
        fusions = {}
        for plan in plans:
            version = version_of(plan, self.config)
            fusions[plan.category] = Fusion(
                model_of(plan.units, self.config, version),
                plan.images,
                plan.fused_key,
                self.config.maps,
                self.config.threads_per_unit,
            )
        return self.fuse(fusions, label)

    def failed(self, category: str, stage: str, error: Exception, backbone: str | None = None) -> None:
        """A task's exception is its category's failure; the others go on."""
        self.record.category_failed(category, stage, sentence_of(error), backbone)

    def fuse(self, fusions: Mapping[str, Fusion], label: str = "") -> dict[str, list[dict[str, Any]]]:
        """Fuse categories, a Ray task each; returns their rows of metrics.parquet."""
        metrics: dict[str, list[dict[str, Any]]] = {}
        if not fusions:
            return metrics

        def arguments(category: str) -> tuple[Any, ...]:
            return fusions[category], self.data, self.out, self.stamp

        with self.stage("fuse", label, len(fusions), "categories") as stage:
            for category, answer in self.tasks(fuse_category, list(fusions), arguments):
                stage.advance()
                if isinstance(answer, Exception):
                    self.failed(category, "fuse", answer)
                    continue
                self.record.cost("fuse", answer.peak_bytes)
                metrics[category] = answer.detail["metrics"]
                for sentence in answer.detail["warnings"]:
                    self.record.warn(sentence)
        return metrics

    def _each(
        self,
        due: Sequence[Unit],
        units: list[Unit],
        name: str,
        label: str,
        function: Callable[..., Done],
        arguments: Callable[[Unit, int, Teller], tuple[Any, ...]],
    ) -> list[Unit]:
        """One Ray task a unit that is due; returns the units of the categories in which none has failed."""
        if not due:
            return units
        threads = threads_for(self.config, self.workers, len(due))
        shares = accounts(Shares)
        finished: list[Any] = []

        def task(unit: Unit) -> tuple[Any, ...]:
            return arguments(unit, threads, Teller(shares, unit.name))

        with self.stage(name, label, len(due), "units") as stage:

            def look() -> None:
                stage.reach(ray.get(shares.reached.remote(finished)))

            for unit, answer in self.tasks(function, due, task, threads, look, on_device=True):
                finished.append(unit.name)
                stage.reach(len(finished))
                if isinstance(answer, Exception):
                    self.failed(unit.category, name, answer, unit.backbone)
                    continue
                self.record.cost(name, answer.peak_bytes)
                self.record.note(unit.name, name, answer.seconds, answer.detail)
        return self._alive(units)

    def _alive(self, units: list[Unit]) -> list[Unit]:
        return [unit for unit in units if unit.category not in self.record.failed]

    def tasks(
        self,
        function: Callable[..., Any],
        items: Sequence[Any],
        arguments: Callable[[Any], tuple[Any, ...]],
        threads: int | None = None,
        on_wait: Callable[[], None] = lambda: None,
        *,
        on_device: bool = False,
        alone: bool = False,
    ) -> Iterator[tuple[Any, Any]]:
        """Run a Ray task an item; yields (item, answer or exception).

        As many run at once as there are workers, or `cpu_workers`.

        Args:
            threads: of a task; by default those of a unit.
            on_wait: called while none has finished, now and then.
            on_device: whether they compute where units do.
            alone: whether they run one after the other.
        """
        config = self.config
        options: dict[str, float] = {"num_cpus": threads or config.threads_per_unit}
        at_once = 1 if alone else self.workers if on_device else self.cpu_workers
        if on_device and config.gpus_per_actor:
            options["num_gpus"] = config.gpus_per_actor
        return run_tasks(function, items, arguments, at_once, options, on_wait)

    @contextmanager
    def stage(self, name: str, label: str, total: int, unit: str) -> Iterator[Stage]:
        """As `Screen.stage`, named with the wave's label; the record is told what it took."""
        start = time.perf_counter()
        with self.screen.stage(f"{name}{label}", total, unit) as stage:
            yield stage
        self.record.took(name, time.perf_counter() - start)
