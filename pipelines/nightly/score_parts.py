"""Scores of new images, in files of bounded size: SCORES/<run_id>/scores/fused/<category>/part-00000.parquet, ...

Rows of the previous nightly run are reused if the same model scored the same file contents.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import pyarrow as pa

from pipelines.config.networks import Networks
from pipelines.data.records import ImageRecord
from pipelines.nightly.steps import NightStage
from pipelines.planning.cache_keys import DESCRIBED, described, key_of
from pipelines.planning.plan import cut_waves
from pipelines.stages.predict import ScoringRequest, score_requests
from pipelines.stages.runner import Runner
from pipelines.storage.parquet import metadata_of, read_table, rows_if_there, write_table
from pipelines.storage.paths import INDEX_FILE, PART_ROWS, fused_part, fused_parts, maps_part
from pipelines.storage.schemas import fused_schema
from pipelines.storage.store import Store
from pipelines.storage.stored_model import StoredModel

_MODEL_KEY = "judge"  # name of the metadata field of a part that holds `CategoryJob.model_key`


@dataclass(frozen=True, kw_only=True)
class CategoryJob:
    """New images of a category and the model that scores them.

    Attributes:
        model: Active model, with the threshold for the target false-positive rate of this run.
        images: Readable new images, in the order of the scores.
        scratch_bytes: Size of the features of all images in bytes.
    """

    model: StoredModel
    images: tuple[ImageRecord, ...]
    scratch_bytes: int

    @property
    def category(self) -> str:
        """Name of the category."""
        return self.model.category

    @property
    def n_images(self) -> int:
        """Number of images."""
        return len(self.images)

    @property
    def model_key(self) -> str:
        """Cache key of what the scores depend on, apart from the images."""
        return key_of([self.model.model.version, self.model.model.false_alarms])

    @property
    def parts(self) -> list[ScorePart]:
        """Parts of at most `PART_ROWS` images, one per file of scores."""
        starts = range(0, len(self.images), PART_ROWS)
        return [
            ScorePart(job=self, number=number, images=self.images[start : start + PART_ROWS])
            for number, start in enumerate(starts)
        ]


@dataclass(frozen=True, eq=False, kw_only=True)
class ScorePart:
    """Images of a category whose scores are stored in one file.

    Attributes:
        job: Job of the category.
        number: Number of the file, from 0.
        images: At most `PART_ROWS` images.
    """

    job: CategoryJob
    number: int
    images: tuple[ImageRecord, ...]

    @property
    def file(self) -> str:
        """Path of the file relative to the folder of the run."""
        return fused_part(self.job.category, self.number)

    @property
    def key(self) -> str:
        """Cache key of what the scores depend on, including the images."""
        contents = [(image.image_path, image.content_sha256) for image in self.images]
        return key_of([self.job.model_key, contents])

    @property
    def backbones(self) -> list[str]:
        """Backbones of the members; each has a column of scores."""
        return self.job.model.backbones


class PreviousScores:
    """Scores of an earlier nightly run.

    Attributes:
        index: image_path -> row of index.parquet.
    """

    def __init__(self, store: Store | None) -> None:
        """Read the image index of an earlier run.

        Args:
            store: Folder of the scores, SCORES/<run_id>; None if no scores can be reused.

        Raises:
            OSError: The index cannot be read.
            UsageError: The index is damaged.
        """
        self._store = store
        rows = [] if store is None else rows_if_there(store, INDEX_FILE)
        self.index = {str(row["image_path"]): row for row in rows}

    def rows(self, part: ScorePart) -> list[pa.Table]:
        """Return the rows of those images of a part that have not changed and were scored by the same model.

        Args:
            part: Part of the current run.

        Returns:
            Tables of scores/fused, without metadata; empty if no row can be reused.
        """
        if self._store is None:
            return []
        same = {image.image_path for image in part.images if self._has(image)}
        tables = []
        for info in self._store.files(fused_parts(part.job.category)):
            name = self._store.name_of(info)
            if same and metadata_of(self._store, name).get(_MODEL_KEY) == part.job.model_key:
                with suppress(OSError, ValueError):  # the images of a damaged file are scored again
                    table = read_table(self._store, name).replace_schema_metadata(None)
                    tables.append(table.filter([path in same for path in table["image_path"].to_pylist()]))
        return tables

    def _has(self, image: ImageRecord) -> bool:
        row = self.index.get(image.image_path)
        return row is not None and tuple(row[name] for name in DESCRIBED) == described(image)


@dataclass(frozen=True, kw_only=True)
class ScoredCategory:
    """Category whose scores are complete.

    Attributes:
        job: Job of the category.
        images: Number of images that were scored, without those whose rows were reused.
        seconds: Wall time in seconds. The time of a wave is divided among its parts in proportion to scored images.
    """

    job: CategoryJob
    images: int
    seconds: float


def write_scores(
    runner: Runner, jobs: Sequence[CategoryJob], networks: Networks, previous: PreviousScores
) -> Iterator[ScoredCategory]:
    """Score new images and write the parts, in waves whose features fit the scratch space.

    A category that cannot be scored is recorded as failed. Parts that exist and are up to date are kept.

    Args:
        runner: Runner whose data root holds the images and whose `out` is the folder of the scores.
        jobs: Jobs to run, one per category.
        networks: Networks of all models.
        previous: Scores of the previous run, whose rows are reused.

    Yields:
        Each category that has not failed, once its last part is written.
    """
    parts = [part for job in jobs for part in job.parts]
    waiting = Counter(part.job.category for part in parts)
    sizes = [networks.bytes_per_image(part.job.model.model) * len(part.images) for part in parts]
    _remove_other_parts(runner.context.out, jobs, {part.file for part in parts})
    images: dict[str, int] = dict.fromkeys(waiting, 0)
    seconds: dict[str, float] = dict.fromkeys(waiting, 0.0)
    for wave in cut_waves(parts, sizes, runner.context.config.scratch_gb * 1e9):
        start = time.perf_counter()
        written = _write_parts(runner, wave, networks, previous)
        runner.free({part.job.category for part in wave})
        took, scored = time.perf_counter() - start, sum(written.values())
        for part, count in written.items():
            category = part.job.category
            images[category] += count
            seconds[category] += took * count / max(1, scored)
            waiting[category] -= 1
            if not waiting[category]:
                yield ScoredCategory(job=part.job, images=images[category], seconds=seconds[category])


def _remove_other_parts(out: Store, jobs: Sequence[CategoryJob], planned: set[str]) -> None:
    """Remove parts that this run wrote before it was interrupted and that the current images no longer need."""
    for job in jobs:
        for info in out.files(fused_parts(job.category)):
            if out.name_of(info) not in planned:
                out.remove(out.name_of(info))


def _write_parts(
    runner: Runner, parts: Sequence[ScorePart], networks: Networks, previous: PreviousScores
) -> dict[ScorePart, int]:
    """Write parts; return each complete part with the number of its images that were scored, not reused."""
    written: dict[ScorePart, int] = {}
    requests: list[ScoringRequest] = []
    incomplete: list[tuple[ScorePart, pa.Table]] = []
    for part in parts:
        if metadata_of(runner.context.out, part.file).get("key") == part.key:  # written before an interruption
            written[part] = 0
            continue
        reused = pa.concat_tables([fused_schema(part.backbones).empty_table(), *previous.rows(part)])
        paths = set(reused["image_path"].to_pylist())
        missing = tuple(image for image in part.images if image.image_path not in paths)
        if not missing:
            _write_part(runner, part, reused)
            written[part] = 0
            continue
        maps = maps_part(part.job.category, part.number) if runner.context.config.maps else None
        requests.append(ScoringRequest(stored=part.job.model, source=runner.context.data, images=missing, maps=maps))
        incomplete.append((part, reused))
    for number, answer in score_requests(runner, requests, networks.by_backbone):
        part, reused = incomplete[number]
        if isinstance(answer, Exception):
            runner.category_failed(part.job.category, NightStage.SCORE, answer)
            continue
        _write_part(runner, part, pa.concat_tables([reused, answer]))
        written[part] = answer.num_rows
    return written


def _write_part(runner: Runner, part: ScorePart, table: pa.Table) -> None:
    """Write the rows of a part in the order of its images; images that were removed meanwhile have no row.

    Reused rows get the `run_id` of this run and keep their `scored_at`.
    """
    row_of = {path: number for number, path in enumerate(table["image_path"].to_pylist())}
    table = table.take([row_of[image.image_path] for image in part.images if image.image_path in row_of])
    position = table.schema.get_field_index("run_id")
    run_id = pa.array([runner.context.provenance.run_id] * table.num_rows, pa.string())
    table = table.set_column(position, table.schema.field(position), run_id)
    write_table(runner.context.out, part.file, table, {"key": part.key, _MODEL_KEY: part.job.model_key})
