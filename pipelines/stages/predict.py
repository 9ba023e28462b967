"""Scoring with stored models: extracts the features of the requested images, then scores them in Ray tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from pipelines.config.networks import Network
from pipelines.config.run_config import RunConfig
from pipelines.config.run_context import RunContext
from pipelines.data.records import ImageRecord
from pipelines.errors import StoreUnavailableError, error_line
from pipelines.planning.batches import FeatureSpec, ImageBatch, batches_of
from pipelines.planning.stage import JobFailure
from pipelines.runtime.resources import gives_gpu_back, measured, use_threads
from pipelines.runtime.tasks import run_tasks
from pipelines.stages.explain import ScoredImages
from pipelines.stages.extract import EXTRACT
from pipelines.stages.fuse import fused_rows, map_rows
from pipelines.stages.member_scores import MemberScores
from pipelines.stages.runner import Runner
from pipelines.stages.score import MemberScorer
from pipelines.storage.feature_shards import read_shard
from pipelines.storage.parquet import write_rows
from pipelines.storage.schemas import MAPS, fused_schema
from pipelines.storage.store import Store
from pipelines.storage.stored_model import StoredModel, read_adapter, read_bank
from reconpatch.detector.model import MemberModel, predict

_BATCHES_A_TASK = 64  # enough images that loading the banks takes little of a task's time


@dataclass(frozen=True, kw_only=True)
class ScoringRequest:
    """Images to score with a stored model.

    Attributes:
        stored: Model and its folder.
        source: Store that the image paths are relative to.
        images: Images of the model's category, with their sizes and digests.
        pasted: Whether copies with a pasted synthetic defect are scored instead of the images.
        maps: Beginning of the names of the map files in the run directory, before their number; None to write no maps.
    """

    stored: StoredModel
    source: Store
    images: tuple[ImageRecord, ...]
    pasted: bool = False
    maps: str | None = None

    def batches(self, networks: Mapping[str, Network], config: RunConfig) -> list[list[ImageBatch]]:
        """Return the image batches of the request.

        Args:
            networks: Name of each member's backbone -> properties of the backbone.
            config: Run configuration, which provides the number of threads and the device.

        Returns:
            One list of batches per member of the model.
        """
        model = self.stored.model
        specs = [FeatureSpec.of(member, model, pasted=self.pasted) for member in model.members]
        return [
            batches_of(self.images, spec, self.source, weights_sha256=networks[spec.backbone].sha256, config=config)
            for spec in specs
        ]


@dataclass(frozen=True, kw_only=True)
class _ScoringJob:
    """A part of a request's images, for one Ray task.

    Attributes:
        request: The request, restricted to these images.
        number: Position of the request in the list of requests.
        start: Position of the first of these batches among the batches of the request.
        shards: Names of the feature shards, one tuple per member.
    """

    request: ScoringRequest
    number: int
    start: int
    shards: tuple[tuple[str, ...], ...]

    @property
    def maps_file(self) -> str | None:
        """Name of the file of maps in the run directory; None to write no maps."""
        maps = self.request.maps
        return None if maps is None else f"{maps}-{self.start // _BATCHES_A_TASK:05d}.parquet"


def score_requests(
    runner: Runner, requests: Sequence[ScoringRequest], networks: Mapping[str, Network]
) -> Iterator[tuple[int, pa.Table | Exception]]:
    """Score the images of several requests; requests with equal image batches share the extracted features.

    Args:
        runner: Runner of the run.
        requests: Requests to score.
        networks: Name of the backbone -> properties, for the backbones of all models.

    Yields:
        Position of a request and its table of scores/fused, with one row per image in the order of the request, or the
        exception that made the request fail. Images that can no longer be read have no row; the run record lists them.
    """
    requests, batches, broken = _extract(runner, requests, networks)
    yield from broken.items()
    jobs = [
        job
        for number, request in enumerate(requests)
        if number not in broken
        for job in _jobs_of(number, request, batches[number])
    ]
    waiting = Counter(job.number for job in jobs)
    for number, request in enumerate(requests):
        if number not in broken and number not in waiting:
            yield number, fused_schema(request.stored.backbones).empty_table()
    if jobs:
        yield from _score_jobs(runner, jobs, waiting)


def _jobs_of(number: int, request: ScoringRequest, batches: Sequence[Sequence[ImageBatch]]) -> Iterator[_ScoringJob]:
    """Cut a request into jobs of at most `_BATCHES_A_TASK` batches."""
    for start in range(0, len(batches[0]), _BATCHES_A_TASK):
        part = slice(start, start + _BATCHES_A_TASK)
        images = tuple(image for batch in batches[0][part] for image in batch.images)
        yield _ScoringJob(
            request=replace(request, images=images),
            number=number,
            start=start,
            shards=tuple(tuple(batch.shard for batch in member[part]) for member in batches),
        )


def _score_jobs(
    runner: Runner, jobs: Sequence[_ScoringJob], waiting: Counter[int]
) -> Iterator[tuple[int, pa.Table | Exception]]:
    """Yield the position and the table of each request when its jobs are done, or the error of the first failure."""
    tables: dict[tuple[int, int], pa.Table] = {}
    broken: set[int] = set()
    with runner.progress("predict", "", sum(len(job.request.images) for job in jobs), "images") as bar:
        pool = runner.pool("predict", on_device=True)
        for job, answer in run_tasks(_score_some, jobs, lambda job: (job, runner.context), pool):
            number = job.number
            waiting[number] -= 1
            if isinstance(answer, Exception):
                if number not in broken:
                    broken.add(number)
                    yield number, answer
                continue
            tables[number, job.start], peak_bytes = answer
            runner.record.cost("predict", peak_bytes)
            bar.advance(tables[number, job.start].num_rows)
            if not waiting[number] and number not in broken:
                yield number, pa.concat_tables(tables.pop(key) for key in sorted(tables) if key[0] == number)


def _extract(
    runner: Runner, requests: Sequence[ScoringRequest], networks: Mapping[str, Network]
) -> tuple[list[ScoringRequest], list[list[list[ImageBatch]]], dict[int, Exception]]:
    """Extract the features of all requests.

    Images that can no longer be read are removed from their requests, and the remaining images are batched anew.

    Returns:
        The remaining requests, the batches of each of their members, and position -> error of the requests that failed.
    """
    requests = list(requests)
    while True:
        batches = [request.batches(networks, runner.context.config) for request in requests]
        failures = _failures(runner, [batch for request in batches for member in request for batch in member])
        vanished = {failure.image_path: failure for failure in failures if failure.image_path is not None}
        if not vanished:
            return requests, batches, _broken(requests, failures)
        runner.report([replace(failure, backbone=None) for failure in vanished.values()], (), "extract")
        requests = [
            replace(request, images=tuple(image for image in request.images if image.image_path not in vanished))
            for request in requests
        ]


def _failures(runner: Runner, batches: Sequence[ImageBatch]) -> list[JobFailure]:
    """Extract batches and return the failures."""
    failures: list[JobFailure] = []
    for batch, result in runner.run_stage(EXTRACT, batches):
        if isinstance(result, Exception):
            failures.append(JobFailure(category=batch.category, backbone=batch.backbone, error=error_line(result)))
        else:
            failures += result.failures
    return failures


def _broken(requests: Sequence[ScoringRequest], failures: Sequence[JobFailure]) -> dict[int, Exception]:
    """Return position -> error of the requests for which the extraction of a member failed."""
    why = {(failure.category, failure.backbone): failure for failure in failures}
    broken: dict[int, Exception] = {}
    for number, request in enumerate(requests):
        for backbone in request.stored.backbones:
            failure = why.get((request.stored.category, backbone))
            if failure is not None:
                kind = StoreUnavailableError if failure.store_unavailable else RuntimeError
                broken[number] = kind(failure.error)
    return broken


@gives_gpu_back
def _score_some(job: _ScoringJob, context: RunContext) -> tuple[pa.Table, int]:
    """Return the fused rows of a job's images, and the largest resident size of the process in bytes."""
    request, config = job.request, context.config
    use_threads(config.threads_per_unit)
    with measured() as usage:
        model = request.stored.model
        members = [
            _member_scores(member, names, request.stored, context)
            for member, names in zip(model.members, job.shards, strict=True)
        ]
        scored = ScoredImages(
            stored=request.stored,
            images=request.images,
            members=members,
            prediction=predict(model, [member.maps for member in members]),
        )
        rows = fused_rows(scored, context.provenance)
        if job.maps_file is not None:
            maps = map_rows(scored, range(len(request.images)), context.provenance)
            write_rows(context.out, job.maps_file, maps, MAPS)
        schema = fused_schema(request.stored.backbones)
        table = pa.Table.from_pylist([row.row() for row in rows], schema=schema)
    return table, usage.peak_bytes


def _member_scores(
    member: MemberModel, shards: Sequence[str], stored: StoredModel, context: RunContext
) -> MemberScores:
    """Return the scores of the images of some shards by one member."""
    config, neighbors = context.config, stored.model.score_neighbors
    scorer = MemberScorer(
        bank=read_bank(stored.folder, member.backbone, score_neighbors=neighbors, device=config.device),
        weight=read_adapter(stored.folder, member.backbone) if member.dim > 0 else None,
        own={},
        threads=config.threads_per_unit,
    )
    maps, nearest = [], []
    for name in shards:
        shard = read_shard(context.scratch, name)
        scores = scorer.score(shard)
        maps += [values.reshape(shard.grid) for values in scores.scores]
        nearest += [entries.reshape(shard.grid) for entries in scores.nearest]
    return MemberScores(pa.table({}), np.stack(maps), np.stack(nearest))
