"""Images judged by stored models: chunks → extract → a Ray task some hundred images → rows of scores/fused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.chunks import Chunk, View, chunks_of
from pipelines.config import RunConfig
from pipelines.explain import nearest_patches
from pipelines.fuse import fused_rows, map_rows
from pipelines.member_scores import MemberScores
from pipelines.networks import Network
from pipelines.resources import gives_gpu_back, measured, use_threads
from pipelines.rundir import MAPS, Stamp, fused_schema
from pipelines.score import read_adapter, read_bank, score_shard
from pipelines.shards import read_shard
from pipelines.stages import Stages
from pipelines.storage import Store, UnansweredError
from pipelines.tables import write_rows
from pipelines.walk import Image
from reconpatch.model import Model, judge

_CHUNKS_A_TASK = 64  # images enough that loading the banks does not count


@dataclass(frozen=True)
class Order:
    """Images that a model is to judge.

    Attributes:
        place: the model's folder.
        source: the root that the images' paths are relative to.
        images: of the model's category, with their sizes and digests.
        pasted: whether copies with a pasted defect are judged in their place.
        maps: how the maps' files in the run are called, up to their number; None for none.
    """

    model: Model
    place: Store
    source: Store
    images: tuple[Image, ...]
    pasted: bool = False
    maps: str | None = None

    @property
    def views(self) -> list[View]:
        """How each member looks at the images, in the order of the members."""
        return [View.of(member, self.model, pasted=self.pasted) for member in self.model.members]


def judge_orders(
    stages: Stages, orders: Sequence[Order], networks: Mapping[str, Network]
) -> Iterator[tuple[int, pa.Table | Exception]]:
    """Judge images; what has been extracted for one order is not extracted again for another.

    Yields:
        An order's number and its table of scores/fused, a row an image in the order's order; images that have vanished
        since the index have none, and the record says so. Or why the order cannot be judged.
    """
    orders, chunks, broken = _extract_orders(stages, orders, networks)
    tasks = [
        (number, start)
        for number in range(len(orders))
        if number not in broken
        for start in range(0, len(chunks[number][0]), _CHUNKS_A_TASK)
    ]
    waiting = Counter(number for number, _ in tasks)
    yield from broken.items()
    for number, order in enumerate(orders):
        if number not in broken and number not in waiting:
            yield number, fused_schema([member.backbone for member in order.model.members]).empty_table()
    tables: dict[tuple[int, int], pa.Table] = {}

    def arguments(task: tuple[int, int]) -> tuple[Any, ...]:
        number, start = task
        part = slice(start, start + _CHUNKS_A_TASK)
        shards = [[chunk.shard for chunk in each[part]] for each in chunks[number]]
        images = tuple(image for chunk in chunks[number][0][part] for image in chunk.images)
        order = orders[number]
        maps = None if order.maps is None else f"{order.maps}-{start // _CHUNKS_A_TASK:05d}.parquet"
        config = stages.config
        return order.model, order.place, images, shards, config, stages.scratch, stages.out, stages.stamp, maps

    if not tasks:
        return
    with stages.stage("judge", "", sum(len(order.images) for order in orders), "images") as stage:
        for (number, start), answer in stages.tasks(_judge_some, tasks, arguments, on_device=True):
            waiting[number] -= 1
            if isinstance(answer, Exception):
                if number not in broken:
                    broken[number] = answer
                    yield number, answer
                continue
            tables[number, start], peak_bytes = answer
            stages.record.cost("judge", peak_bytes)
            stage.advance(tables[number, start].num_rows)
            if not waiting[number] and number not in broken:
                yield number, pa.concat_tables(tables.pop(key) for key in sorted(tables) if key[0] == number)


def _extract_orders(
    stages: Stages, orders: Sequence[Order], networks: Mapping[str, Network]
) -> tuple[list[Order], list[list[list[Chunk]]], dict[int, Exception]]:
    """The orders without images that have vanished, the chunks of each of their members, and those that cannot be."""
    orders = list(orders)
    while True:
        chunks = [_chunks(stages, order, networks) for order in orders]
        lost = stages.try_extract([chunk for members in chunks for each in members for chunk in each], "")
        vanished = {each.image_path: each for each in lost if each.image_path is not None}
        for path, each in vanished.items():
            stages.record.image_unreadable(each.category, "extract", path, each.error)
        if not vanished:
            break
        orders = [
            replace(order, images=tuple(image for image in order.images if image.image_path not in vanished))
            for order in orders
        ]
    torn = {(each.category, each.backbone): each for each in lost}
    broken: dict[int, Exception] = {}
    for number, order in enumerate(orders):
        for member in order.model.members:
            why = torn.get((order.model.category, member.backbone))
            if why is not None:
                broken[number] = UnansweredError(why.error) if why.unanswered else RuntimeError(why.error)
    return orders, chunks, broken


def _chunks(stages: Stages, order: Order, networks: Mapping[str, Network]) -> list[list[Chunk]]:
    """A member's chunks each."""
    images, config = order.images, stages.config
    return [
        chunks_of(order.model.category, view, order.source, images, networks[view.backbone].sha256, config)
        for view in order.views
    ]


@gives_gpu_back
def _judge_some(
    model: Model,
    place: Store,
    images: Sequence[Image],
    shards: Sequence[Sequence[str]],
    config: RunConfig,
    scratch: Store,
    out: Store,
    stamp: Stamp,
    maps: str | None,
) -> tuple[pa.Table, int]:
    """Fused rows of some images; `maps` names the file of their maps."""
    use_threads(config.threads_per_unit)
    with measured() as usage:
        members = [_member_scores(model, number, names, place, scratch, config) for number, names in enumerate(shards)]
        judged = judge(model, [member.maps for member in members])
        columns = stamp.columns(model.version)
        nearest = nearest_patches(model, judged, members, place)
        rows = fused_rows(model, images, judged, nearest, columns)
        if maps is not None:
            write_rows(out, maps, map_rows(model, images, judged.fused, columns), MAPS)
        schema = fused_schema([member.backbone for member in model.members])
        table = pa.Table.from_pylist(rows, schema=schema)
    return table, usage.peak_bytes


def _member_scores(
    model: Model, position: int, shards: Sequence[str], place: Store, scratch: Store, config: RunConfig
) -> MemberScores:
    member = model.members[position]
    weight = read_adapter(place, member.backbone, member.dim > 0)
    bank = read_bank(place, member.backbone, model.reweight, config.device)
    maps, nearest = [], []
    for name in shards:
        shard = read_shard(scratch, name)
        found = score_shard(shard, bank, weight, {}, config.threads_per_unit)
        maps += [scores.reshape(shard.grid) for scores in found.scores]
        nearest += [entries.reshape(shard.grid) for entries in found.nearest]
    return MemberScores(pa.table({}), np.stack(maps), np.stack(nearest))
