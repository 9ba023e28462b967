"""Extraction of patch features with Ray Data: decode tasks feed actors that run the backbones and write feature shards.

Features do not pass through Ray's object store: an actor writes the shard of its batch and returns only the result.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import ray
import ray.data

from pipelines.config.run_context import RunContext
from pipelines.errors import error_line
from pipelines.planning.batches import ImageBatch
from pipelines.planning.stage import (
    Counted,
    Crew,
    JobFailure,
    JobTask,
    Progress,
    Stage,
    StageResult,
    no_progress,
    run_job,
)
from pipelines.runtime.attempts import AttemptCounter, RetryLimit
from pipelines.runtime.capacity import cpus_per_job
from pipelines.runtime.resources import KEEP_FREED_MEMORY
from pipelines.runtime.tasks import RETRIES, actor_beside_driver
from pipelines.stages.decode import DecodedBatch, decode_batch, decode_row
from pipelines.storage.feature_shards import write_shard
from pipelines.storage.paths import shards_folder
from reconpatch.features.backbones import Backbone, load_backbone
from reconpatch.features.patches import extract_features


def missing_batches(batches: Sequence[ImageBatch], context: RunContext) -> list[ImageBatch]:
    """Return the batches whose shards do not exist in scratch space.

    Args:
        batches: Batches of any categories; several may have the same shard.
        context: Configuration and stores of the run.

    Returns:
        One batch per missing shard.
    """
    scratch = context.scratch
    existing = {
        scratch.name_of(info)
        for folder in {shards_folder(batch.category) for batch in batches}
        for info in scratch.files(folder)
    }
    return list({batch.shard: batch for batch in batches if batch.shard not in existing}.values())


def extract_batch(
    batch: ImageBatch, context: RunContext, progress: Progress, *, decoded: DecodedBatch | None = None
) -> StageResult:
    """Compute the patch features of a batch and write them as a shard.

    If an image of the batch cannot be read, no shard is written.

    Args:
        batch: Batch whose shard is due.
        context: Configuration and stores of the run.
        progress: Not called, because a batch is a single step.
        decoded: The batch as another process has decoded it; None to decode it in this process.

    Returns:
        Result of the job, with a failure for each image that could not be read.
    """
    decoded = decoded or decode_batch(batch)
    if not decoded.failures:
        backbone = _NETWORK.load(batch, context)
        features, grid = extract_features(backbone, decoded.pixels, batch.spec.patch_size, batch.spec.aggregation)
        image_paths = list(decoded.image_paths)
        write_shard(context.scratch, batch.shard, image_paths, list(features[: len(image_paths)]), grid=grid)
    return StageResult(failures=decoded.failures)


def stream_batches(batches: Sequence[ImageBatch], crew: Crew) -> Iterator[tuple[ImageBatch, StageResult]]:
    """Run the jobs of the extract stage as one Ray Data stream, in which separate tasks decode the images.

    Each actor holds one backbone at a time, and the batches are sorted by backbone, so that an actor rarely loads a
    backbone twice. One stream serves all backbones and categories, so that the actors start only once. If the stream
    itself fails, every member that lacks a shard fails.

    Args:
        batches: Batches whose shards are missing.
        crew: Context, number of workers and progress callback.

    Yields:
        Each finished batch with its result, in the order of finishing.
    """
    by_shard = {batch.shard: batch for batch in batches}
    failed: set[tuple[str, str]] = set()
    try:
        for shard, result in _stream(list(by_shard.values()), crew):
            batch = by_shard[shard]
            if result.failures:
                failed.add((batch.category, batch.backbone))
            yield batch, result
    except ray.exceptions.RayError as error:
        for batch in missing_batches(batches, crew.context):
            if (batch.category, batch.backbone) not in failed:
                failed.add((batch.category, batch.backbone))
                failure = JobFailure(category=batch.category, backbone=batch.backbone, error=error_line(error))
                yield batch, StageResult(failures=(failure,))


def _stream(batches: Sequence[ImageBatch], crew: Crew) -> Iterator[tuple[str, StageResult]]:
    """Yield shard and result of every batch, in the order of finishing."""
    config = crew.context.config
    ordered = sorted(batches, key=lambda batch: (batch.spec.network, repr(batch.spec), batch.category))
    rows = [{"batch": pickle.dumps(batch)} for batch in ordered]
    attempts = actor_beside_driver(AttemptCounter)
    give_up = RetryLimit(attempts, RETRIES)  # Ray Data itself has no limit of retries
    beside = cpus_per_job(config) - config.threads_per_unit
    actor: Any = _Extractor
    stream = (
        ray.data.from_items(rows, override_num_blocks=len(rows))
        .map(
            partial(decode_row, give_up=give_up),
            num_cpus=0.25,
            # One decode task per worker reuses the idle processes of the index; on CPUs one task feeds one backbone.
            compute=ray.data.TaskPoolStrategy(size=min(crew.workers * max(1, beside), len(rows))),
        )
        .map(
            actor,
            fn_constructor_args=(crew.context, give_up),
            compute=ray.data.ActorPoolStrategy(size=min(crew.workers, len(rows))),
            # An actor pool that holds every CPU would block the decode tasks and hang. Each actor leaves 0.25 CPU.
            num_cpus=config.threads_per_unit - 0.25,
            num_gpus=config.gpus_per_actor or None,
            runtime_env={"env_vars": KEEP_FREED_MEMORY},
        )
    )
    try:
        for row in stream.iter_rows():
            yield row["shard"], pickle.loads(row["result"])
    except ray.exceptions.RayError:
        with suppress(Exception):  # the cluster may be gone
            ray.kill(attempts)
        raise
    # Without this the actor would live on, because Ray Data's plan refers to it and is collected late. An interrupt
    # skips this line: Ray Data then still needs the actor, which ends with the Ray job.
    ray.kill(attempts)


class _Extractor:
    """Actor of the stream that writes the shard of each decoded batch and returns the result."""

    def __init__(self, context: RunContext, give_up: Callable[[Any], str]) -> None:
        self._context, self._give_up = context, give_up

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        decoded = DecodedBatch.from_row(row)
        batch = decoded.batch
        given_up = self._give_up(("extract", batch.shard))
        if given_up and not decoded.failures:
            failure = JobFailure(category=batch.category, backbone=batch.backbone, error=given_up)
            result = StageResult(failures=(failure,))
        else:
            threads = self._context.config.threads_per_unit
            run = partial(extract_batch, decoded=decoded)
            task = JobTask(run=run, job=batch, context=self._context, progress=no_progress, threads=threads)
            result = run_job(task)
        return {"shard": batch.shard, "result": pickle.dumps(result)}


class _LoadedNetwork:
    """Cache of the backbone that this process holds: one at a time, because several may not fit into memory."""

    def __init__(self) -> None:
        self._key: tuple[Any, ...] | None = None
        self._backbone: Backbone | None = None

    def load(self, batch: ImageBatch, context: RunContext) -> Backbone:
        """Return the backbone of a batch; load it if this process does not hold it."""
        weights, device = context.config.weights, context.config.device
        key = (*batch.spec.network, weights, device)
        if self._backbone is None or self._key != key:
            self._backbone = None  # release the old backbone before loading the new one
            name, layers, image_size = batch.spec.network
            self._backbone = load_backbone(name, layers, image_size=image_size, weights=weights, device=device)
            self._key = key
        return self._backbone


_NETWORK = _LoadedNetwork()

EXTRACT = Stage[ImageBatch](
    name="extract",
    counted=Counted.IMAGES,
    due=lambda plan: plan.batches,
    run=extract_batch,
    pending=missing_batches,
    launch=stream_batches,
)
