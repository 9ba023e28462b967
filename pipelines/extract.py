"""Extraction with Ray Data: a row is a chunk of images; decode tasks feed actors that write feature shards.

Features never cross the object store: an actor writes its chunk's shard and only a receipt comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import ray
import ray.data

from pipelines.attempts import Attempts, GiveUp
from pipelines.chunks import Chunk, View
from pipelines.config import RunConfig
from pipelines.decode import try_chunk
from pipelines.resources import KEEP_FREED_MEMORY, measured, use_threads
from pipelines.session import cpus_of_unit
from pipelines.shards import write_shard
from pipelines.storage import Store
from pipelines.tasks import RETRIES, accounts
from reconpatch.backbones import Backbone, load_backbone
from reconpatch.patches import extract_features


@dataclass(frozen=True)
class Receipt:
    """What became of a chunk: its images, those of them that could not be read, and what it took.

    Attributes:
        unanswered: the picture that the object store did not give, and what it said; mostly empty.
        given_up: that no process survives the chunk; mostly empty.
    """

    category: str
    backbone: str
    images: int
    errors: tuple[tuple[str, str], ...]
    unanswered: str
    given_up: str
    peak_bytes: int


def extract(chunks: Sequence[Chunk], config: RunConfig, scratch: Store, workers: int) -> Iterator[Receipt]:
    """Write the shard of every chunk of which all images can be read; receipts come in the order of finishing.

    Args:
        config: its weights, threads and GPUs; how pictures are looked at is the chunks' own.

    An actor holds one backbone at a time, and the chunks of one backbone follow each other: networks are loaded once
    an actor, and start-up is paid once for all backbones and categories.
    """
    views = list(dict.fromkeys(chunk.view for chunk in chunks))
    views.sort(key=lambda view: (view.backbone, view.levels, view.image_size))
    sources: list[Store] = []
    for chunk in chunks:
        sources += [] if chunk.source in sources else [chunk.source]
    rows = [
        {
            "category": chunk.category,
            "view": views.index(chunk.view),
            "source": sources.index(chunk.source),
            "shard": chunk.shard,
            "paths": [image.image_path for image in chunk.images],
            "contents": [image.content_sha256 for image in chunk.images],
        }
        for chunk in sorted(chunks, key=lambda chunk: (views.index(chunk.view), chunk.category))
    ]
    attempts = accounts(Attempts)
    give_up = GiveUp(attempts, RETRIES)  # Ray Data would try for ever
    # An actor pool that holds every CPU starves the decode tasks: a hang. Each actor leaves a quarter of a CPU.
    actor_cpus = config.threads_per_unit - 0.25
    beside = cpus_of_unit(config) - config.threads_per_unit
    actor: Any = _Extract
    stream = (
        ray.data.from_items(rows, override_num_blocks=len(rows))
        .map(
            partial(try_chunk, give_up=give_up, views=views, sources=sources),
            num_cpus=0.25,
            # One a worker: they are the processes that the index has left, and one feeds one network on a CPU.
            compute=ray.data.TaskPoolStrategy(size=min(workers * max(1, beside), len(rows))),
        )
        .map(
            actor,
            fn_constructor_args=(config, views, scratch, give_up),
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(rows))),
            num_cpus=actor_cpus,
            num_gpus=config.gpus_per_actor or None,
            runtime_env={"env_vars": KEEP_FREED_MEMORY},
        )
    )
    try:
        for row in stream.iter_rows():
            errors = tuple(zip(row["error_paths"], row["errors"], strict=True))
            yield Receipt(
                row["category"],
                views[row["view"]].backbone,
                int(row["images"]),
                errors,
                row["unanswered"],
                row["given_up"],
                int(row["peak_bytes"]),
            )
    except ray.exceptions.RayError:
        with suppress(Exception):  # of a Ray that has gone
            ray.kill(attempts)
        raise
    # Ray Data's plan knows it, and goes when Python looks for cycles. Whoever interrupts this ends the job, which takes
    # it along; Ray Data still asks it then.
    ray.kill(attempts)


class _Extract:
    """An actor of the extraction: a backbone at a time, chunk in, shard on disk, receipt out."""

    def __init__(self, config: RunConfig, views: Sequence[View], scratch: Store, give_up: Callable[[Any], str]) -> None:
        use_threads(config.threads_per_unit)
        self._config = config
        self._scratch = scratch
        self._give_up = give_up
        self._views = views
        self._loaded: tuple[Any, ...] = ()
        self._backbone: Backbone | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        given_up = row["given_up"] or self._give_up(("extract", row["shard"]))
        with measured() as usage:
            if not len(row["errors"]) and not row["unanswered"] and not given_up:
                self._write_shard(row)
        return {
            "category": row["category"],
            "view": row["view"],
            "images": int(row["images"]),
            "error_paths": list(row["error_paths"]),
            "errors": list(row["errors"]),
            "unanswered": row["unanswered"],
            "given_up": given_up,
            "peak_bytes": usage.peak_bytes,
        }

    def _write_shard(self, row: dict[str, Any]) -> None:
        view = self._views[row["view"]]
        backbone = self._load(view)
        features, grid = extract_features(backbone, np.array(row["batch"]), view.patch_size, view.aggregation)
        paths = list(row["paths"])
        write_shard(self._scratch, row["shard"], paths, list(features[: len(paths)]), grid)

    def _load(self, view: View) -> Backbone:
        wanted = view.backbone, view.levels, view.image_size
        if self._backbone is None or self._loaded != wanted:
            self._backbone = None  # the old network goes before the new one comes
            self._backbone = load_backbone(
                view.backbone,
                view.levels,
                image_size=view.image_size,
                weights=self._config.weights,
                device=self._config.device,
            )
            self._loaded = wanted
        return self._backbone
