"""A run from folders to scores: index → extract → fit → select → score → fuse → close."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray

from pipelines.config import RunConfig, UsageError, category_key, model_key
from pipelines.dataset import Chunk, Image, cut_chunks, examine, list_images
from pipelines.extract import extract
from pipelines.fit import Unit, fit_adapters
from pipelines.fuse import Weights, fuse_category
from pipelines.progress import Screen, Stage
from pipelines.record import Record
from pipelines.score import Done, Stamp, score_unit, select_unit
from pipelines.session import ray_session
from pipelines.storage import INDEX, RunPaths, write_rows
from reconpatch.backbones import load_backbone

_EXAMINED_AT_ONCE = 64  # images a hashing task reads: long enough to be worth a task, short enough for a moving bar


def run(config: RunConfig, screen: Screen) -> int:
    """Do the whole job of `ensemble` and `single`.

    Returns:
        The exit code: 0 done, 1 some categories failed (or files were unreadable, with `--strict`).

    Raises:
        UsageError: bad input, found before anything is computed.
        BackboneError: a backbone that is not there or has no weights, likewise.
    """
    listing = list_images(config.data, config.categories)
    weights = _load_weights(config)
    # Workers have working directories of their own: from here on every path is absolute.
    weights_folder = None if config.weights is None else str(Path(config.weights).resolve())
    config = replace(config, data=str(Path(config.data).resolve()), weights=weights_folder)
    paths = RunPaths(Path(config.out).resolve())
    _prepare_folder(paths, config)
    record = Record(config, paths, screen, weights, run_id=uuid.uuid4().hex, started_at=datetime.now(UTC))
    for name, each in weights.items():
        screen.say(f"{name}: weights from {each.source}, SHA-256 {each.sha256[:12]}")
    for sentence in listing.warnings:
        record.warn(sentence)
    record.save("running")
    try:
        with ray_session(config) as workers:
            metrics = _Stages(config, paths, record, screen, workers).do(listing.categories, listing.images)
    except BaseException:
        record.save("interrupted")
        raise
    finally:
        shutil.rmtree(paths.scratch, ignore_errors=True)
    record.close(metrics)
    return record.exit_code


@dataclass(frozen=True)
class _Stages:
    """The stages of one run, in order; each leaves on disk what the next one reads."""

    config: RunConfig
    paths: RunPaths
    record: Record
    screen: Screen
    workers: int

    def do(self, categories: Sequence[str], listed: Sequence[Image]) -> list[dict[str, Any]]:
        """Returns the rows of metrics.parquet."""
        images = self._usable(categories, self._index(listed))
        chunks = [
            chunk for member in self.config.members for chunk in cut_chunks(images, member.backbone, self.config.chunk)
        ]
        images = self._usable(categories, self._extract(chunks, images))
        write_rows(self.paths.index, [image.row() for image in images], INDEX)
        by_category = {
            category: [image for image in images if image.category == category]
            for category in dict.fromkeys(image.category for image in images)
        }
        units = self._fit(self._units(chunks, by_category))
        units = self._each(units, "select", select_unit, lambda unit: (unit, self.config, self.paths))
        stamp = Stamp(self.record.run_id, self.record.started_at)
        units = self._each(
            units,
            "score",
            score_unit,
            lambda unit: (unit, by_category[unit.category], self.config, self.paths, stamp),
            after=lambda unit: shutil.rmtree(self.paths.shards(unit.category, unit.backbone), ignore_errors=True),
        )
        return self._fuse(units, by_category, stamp)

    def _index(self, listed: Sequence[Image]) -> list[Image]:
        """Hash every image and read its size, in Ray tasks."""
        examined: dict[str, Image] = {}
        batches = [listed[start : start + _EXAMINED_AT_ONCE] for start in range(0, len(listed), _EXAMINED_AT_ONCE)]
        with self._stage("index", len(listed), "images") as stage:
            for batch, answer in self._tasks(_examine, batches, lambda batch: (self.config.data, batch)):
                if isinstance(answer, Exception):
                    raise answer
                for image, error in answer:
                    examined[image.image_path] = image
                    if error is not None:
                        self.record.image_unreadable(image.category, "index", image.image_path, error)
                stage.advance(len(batch))
        return [examined[image.image_path] for image in listed]

    def _usable(self, categories: Sequence[str], images: Sequence[Image]) -> list[Image]:
        """The readable images of the categories that have a good one to be fitted on; the others have failed."""
        readable = [image for image in images if image.width is not None]
        fitted = {image.category for image in readable if image.part == "fit"}
        for category in categories:
            if category not in fitted and category not in self.record.failed:
                self.record.category_failed(category, "index", f"{category}/train/good has no image that can be read.")
        return [image for image in readable if image.category in fitted]

    def _extract(self, chunks: Sequence[Chunk], images: Sequence[Image]) -> list[Image]:
        """Write the shards of all chunks; returns the images, those whose reading broke off without a size."""
        category = {image.image_path: image.category for image in images}
        broken: set[str] = set()
        with self._stage("extract", sum(len(chunk.paths) for chunk in chunks), "images") as stage:
            for receipt in extract(chunks, self.config, self.paths, self.workers) if chunks else ():
                for path, error in receipt.errors:
                    if path not in broken:
                        self.record.image_unreadable(category[path], "extract", path, error)
                        broken.add(path)
                self.record.cost("extract", receipt.peak_bytes)
                stage.advance(receipt.images)
        return [replace(image, width=None, height=None) if image.image_path in broken else image for image in images]

    def _units(self, chunks: Sequence[Chunk], by_category: dict[str, list[Image]]) -> list[Unit]:
        shards: dict[tuple[str, str, str], list[str]] = {}
        for chunk in chunks:
            path = self.paths.shard(chunk.category, chunk.backbone, chunk.number)
            shards.setdefault((chunk.category, chunk.backbone, chunk.split), []).append(str(path))
        units = []
        for category, images in by_category.items():
            fit = [(image.image_path, str(image.content_sha256)) for image in images if image.part == "fit"]
            for member in self.config.members:
                name = (category, member.backbone)
                key = model_key(self.config, member, self.record.weights[member.backbone].sha256, fit)
                train, test = (tuple(shards.get((*name, split), ())) for split in ("train", "test"))
                units.append(Unit(category, member, train, test, len(fit), key))
        return units

    def _fit(self, units: list[Unit]) -> list[Unit]:
        """Adapters with Ray Train; units of the identity adapter pass through."""
        trained = [unit for unit in units if unit.member.epochs]
        if not trained:
            return units
        with self._stage("fit", len(trained), "units") as stage:
            results = fit_adapters(trained, self.config, self.paths, self.workers, self.record.run_id, stage.reach)
            stage.reach(len(trained))
        for unit, fitted in zip(trained, results, strict=True):
            if fitted.error is not None:
                self.record.category_failed(unit.category, "fit", fitted.error, unit.backbone)
                continue
            self.record.cost("fit", fitted.peak_bytes)
            self.record.note(unit.name, "fit", fitted.seconds, {**fitted.schedule, "last_loss": fitted.last_loss})
        capped = [fitted.schedule["lr"] for fitted in results if fitted.schedule.get("lr_capped")]
        if capped:
            self.record.warn(
                f"--max-steps {self.config.max_steps} asks for a learning rate above {max(capped):g} in {len(capped)} "
                f"of {len(trained)} units; it is held there."
            )
        return self._without_failed(units)

    def _fuse(self, units: Sequence[Unit], by_category: dict[str, list[Image]], stamp: Stamp) -> list[dict[str, Any]]:
        members: dict[str, list[Unit]] = {}
        for unit in units:
            members.setdefault(unit.category, []).append(unit)
        metrics: list[dict[str, Any]] = []

        def arguments(category: str) -> tuple[Any, ...]:
            key = category_key(self.config, [unit.model_key for unit in members[category]])
            weights = self.record.weights
            return members[category], by_category[category], weights, self.config, self.paths, stamp, key

        with self._stage("fuse", len(members), "categories") as stage:
            for category, answer in self._tasks(fuse_category, list(members), arguments):
                stage.advance()
                if isinstance(answer, Exception):
                    self.record.category_failed(category, "fuse", _sentence(answer))
                    continue
                self.record.cost("fuse", answer.peak_bytes)
                metrics += answer.detail["metrics"]
                for sentence in answer.detail["warnings"]:
                    self.record.warn(sentence)
        return sorted(metrics, key=lambda row: row["category"])

    def _each(
        self,
        units: list[Unit],
        name: str,
        function: Callable[..., Done],
        arguments: Callable[[Unit], tuple[Any, ...]],
        after: Callable[[Unit], None] | None = None,
    ) -> list[Unit]:
        """One Ray task a unit; returns the units of the categories in which none has failed."""
        with self._stage(name, len(units), "units") as stage:
            for unit, answer in self._tasks(function, units, arguments):
                stage.advance()
                if isinstance(answer, Exception):
                    self.record.category_failed(unit.category, name, _sentence(answer), unit.backbone)
                    continue
                self.record.cost(name, answer.peak_bytes)
                self.record.note(unit.name, name, answer.seconds, answer.detail)
                if after is not None:
                    after(unit)
        return self._without_failed(units)

    def _without_failed(self, units: list[Unit]) -> list[Unit]:
        return [unit for unit in units if unit.category not in self.record.failed]

    def _tasks(
        self, function: Callable[..., Any], items: Sequence[Any], arguments: Callable[[Any], tuple[Any, ...]]
    ) -> Iterator[tuple[Any, Any]]:
        """Run a Ray task an item, as many at once as there are workers; yields (item, answer or exception)."""
        options = {"num_cpus": self.config.threads_per_unit, "num_gpus": self.config.gpus_per_actor or None}
        remote: Any = ray.remote(function).options(**options, max_retries=3)
        waiting = list(reversed(items))
        running: dict[Any, Any] = {}
        while waiting or running:
            while waiting and len(running) < self.workers:
                item = waiting.pop()
                running[remote.remote(*arguments(item))] = item
            ready, _ = ray.wait(list(running))
            item = running.pop(ready[0])
            try:
                yield item, ray.get(ready[0])
            except ray.exceptions.RayError as error:
                yield item, error

    @contextmanager
    def _stage(self, name: str, total: int, unit: str) -> Iterator[Stage]:
        start = time.perf_counter()
        self.record.stages[name] = {"seconds": 0.0, "peak_bytes": 0}
        with self.screen.stage(name, total, unit) as stage:
            yield stage
        self.record.stages[name]["seconds"] = round(time.perf_counter() - start, 3)


def _examine(data: str, images: Sequence[Image]) -> list[tuple[Image, str | None]]:
    return [examine(data, image) for image in images]


def _sentence(error: Exception) -> str:
    cause = getattr(error, "cause", None) or error
    return f"{type(cause).__name__}: {' '.join(str(cause).split())}"[:500]


def _prepare_folder(paths: RunPaths, config: RunConfig) -> None:
    data = Path(config.data)
    if paths.root == data or data in paths.root.parents:
        raise UsageError(f"--out {config.out}: lies inside the data, where nothing is written; give another folder.")
    if paths.run.exists():
        if not config.fresh:
            raise UsageError(f"--out {config.out}: holds a run already; give another folder, or --fresh to replace it.")
        paths.clear()
    elif paths.root.exists() and (not paths.root.is_dir() or any(paths.root.iterdir())):
        raise UsageError(f"--out {config.out}: is not an empty folder and holds no run; give another one.")
    paths.root.mkdir(parents=True, exist_ok=True)


def _load_weights(config: RunConfig) -> dict[str, Weights]:
    """Load every backbone once: what is wrong with its weights or levels is said before an hour is spent."""
    found = {}
    for member in config.members:
        backbone = load_backbone(member.backbone, member.levels, image_size=config.image_size, weights=config.weights)
        found[member.backbone] = Weights(backbone.weights_source, backbone.weights_sha256)
    return found
