"""New, unlabelled images scored with a category's model: index → extract → score, in waves, in parts."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.config import Member, RunConfig, UsageError
from pipelines.dataset import Chunk, Image, list_new
from pipelines.fuse import fused_rows, map_rows, nearest_patches
from pipelines.keys import key_of
from pipelines.lease import leased
from pipelines.plan import Network, load_networks
from pipelines.progress import Screen
from pipelines.record import Record
from pipelines.resources import measured, use_threads
from pipelines.run import index, scratch_of
from pipelines.rundir import (
    FAILURES,
    FAILURES_FILE,
    MAPS,
    MODEL,
    folder_name,
    fused_schema,
    model_folder,
    shards_folder,
)
from pipelines.score import MemberScores, Stamp, read_adapter, read_bank, score_shard
from pipelines.session import ray_session
from pipelines.shards import read_shard
from pipelines.stages import Stages
from pipelines.storage import Store, write_rows, write_table
from reconpatch.model import Model, ModelError, from_json, judge

_PART_ROWS = 100_000
_CHUNKS_A_TASK = 64  # images enough that loading the banks does not count


@dataclass(frozen=True)
class NewImages:
    """The options of `reconpatch-run score`."""

    model: str
    images: str
    category: str
    out: str
    weights: str | None = None
    maps: bool = False
    scratch: str | None = None
    strict: bool = False
    workers: int | None = None
    threads_per_unit: int = 1
    gpus_per_actor: float = 0.0
    address: str | None = None


def score_new(options: NewImages, screen: Screen) -> int:
    """Score every image below a folder: scores/fused/<category>/part-00000.parquet and so on.

    Returns:
        The exit code: 0 done, 1 with `--strict` where files were unreadable.

    Raises:
        UsageError: no images, a directory that is not empty.
        ModelError: no such model, or other weights than it was fitted with.
    """
    source, images, out = Store.of(options.model), Store.of(options.images), Store.of(options.out)
    place = source.below(model_folder(options.category))
    if not place.exists(MODEL):
        raise ModelError(f"--model {options.model}: has no model of category '{options.category}'.")
    model = from_json(place.read(MODEL))
    listing = list_new(images, options.category)
    config = _config(model, options)
    networks = load_networks(config)
    for member in model.members:
        member.require_weights(networks[member.backbone].source, networks[member.backbone].sha256)
    if out.holds_something():
        raise UsageError(f"--out {options.out}: is not empty; give another folder.")
    with leased(out):
        record = Record(config, out, screen, networks, run_id=uuid.uuid4().hex, started_at=datetime.now(UTC))
        for sentence in listing.warnings:
            record.warn(sentence)
        record.save("running")
        try:
            with ray_session(config) as workers:
                stamp = Stamp(record.run_id, record.started_at)
                stages = Stages(config, images, out, scratch_of(config, out), record, screen, workers, stamp)
                for part, wave in enumerate(_waves(listing.images, networks, config)):
                    _score_wave(stages, place, model, wave, part)
        except BaseException:
            record.save("interrupted")
            raise
        stages.scratch.remove_folder()
        write_rows(out, FAILURES_FILE, record.failures, FAILURES)
        record.save("complete")
        screen.say(f"scores   {out.below('scores/fused').uri}")
        if record.failures:
            screen.say(f"failures {out.below(FAILURES_FILE).uri} ({len(record.failures)} rows)")
    return record.exit_code


def _config(model: Model, options: NewImages) -> RunConfig:
    members = tuple(
        # Bank share, epochs and learning rate made the model; nothing here depends on them.
        Member(each.backbone, each.levels, each.patch_size, each.aggregation, each.dim, 1.0, 0, 0.0)
        for each in model.members
    )
    return RunConfig(
        command="score",
        data=options.images,
        out=options.out,
        members=members,
        image_size=model.image_size,
        categories=(options.category,),
        full_frame=model.full_frame,
        weights=None if options.weights is None else str(Path(options.weights).resolve()),
        reweight=model.reweight,
        fusion=model.fusion,
        chunk=model.chunk,
        bit_depth=model.bit_depth,
        false_alarms=model.false_alarms,
        maps=options.maps,
        scratch=options.scratch,
        strict=options.strict,
        workers=options.workers,
        threads_per_unit=options.threads_per_unit,
        gpus_per_actor=options.gpus_per_actor,
        address=options.address,
    )


def _waves(images: Sequence[Image], networks: dict[str, Network], config: RunConfig) -> list[Sequence[Image]]:
    """As many images at once as their features have room for, and a part has rows."""
    room = int(config.scratch_gb * 1e9 / sum(network.bytes_per_image for network in networks.values()))
    size = max(config.chunk, min(room, _PART_ROWS) // config.chunk * config.chunk)
    return [images[start : start + size] for start in range(0, len(images), size)]


def _score_wave(stages: Stages, place: Store, model: Model, listed: Sequence[Image], part: int) -> None:
    images = index(stages, listed, {})
    size = model.chunk
    groups = [tuple(images[start : start + size]) for start in range(0, len(images), size)]
    chunks = [
        Chunk(
            model.category,
            member.backbone,
            f"{shards_folder(model.category, member.backbone)}/{key_of([image.image_path for image in group])}.arrow",
            group,
        )
        for member in model.members
        for group in groups
    ]
    stages.extract(chunks, "")
    tasks = [groups[start : start + _CHUNKS_A_TASK] for start in range(0, len(groups), _CHUNKS_A_TASK)]
    shards = {(chunk.backbone, chunk.images): chunk.shard for chunk in chunks}
    tables: dict[int, pa.Table] = {}

    def arguments(number: int) -> tuple[Any, ...]:
        mine = tasks[number]
        names = [[shards[member.backbone, group] for group in mine] for member in model.members]
        flat = tuple(image for group in mine for image in group)
        maps = f"{part:05d}-{number:05d}" if stages.config.maps else None
        return (
            model,
            flat,
            names,
            place,
            stages.scratch,
            stages.out,
            stages.stamp,
            stages.config.threads_per_unit,
            maps,
        )

    with stages.stage("score", "", len(images), "images") as stage:
        for number, answer in stages.tasks(_score_group, list(range(len(tasks))), arguments):
            if isinstance(answer, Exception):
                raise answer
            tables[number], peak_bytes = answer
            stages.record.cost("score", peak_bytes)
            stage.advance(tables[number].num_rows)
    schema = fused_schema([member.backbone for member in model.members])
    table = pa.concat_tables([schema.empty_table(), *(tables[number] for number in sorted(tables))])
    write_table(stages.out, f"scores/fused/{folder_name(model.category)}/part-{part:05d}.parquet", table)
    for member in model.members:
        stages.scratch.remove_folder(shards_folder(model.category, member.backbone))


def _score_group(
    model: Model,
    images: Sequence[Image],
    shards: Sequence[Sequence[str]],
    place: Store,
    scratch: Store,
    out: Store,
    stamp: Stamp,
    threads: int,
    maps: str | None,
) -> tuple[pa.Table, int]:
    """Fused rows of some images; `maps` names the file of their maps."""
    use_threads(threads)
    with measured() as usage:
        members = [
            _member_scores(model, position, names, place, scratch, threads) for position, names in enumerate(shards)
        ]
        judged = judge(model, [member.maps for member in members])
        columns = stamp.columns(model.version)
        nearest = nearest_patches(model, judged, members, place)
        rows = fused_rows(model, images, judged, nearest, columns)
        rows = [{**row, "split": "new", "defect": None, "label": None} for row in rows]
        if maps is not None:
            written = map_rows(model, images, judged.fused, columns)
            write_rows(out, f"maps/{folder_name(model.category)}/part-{maps}.parquet", written, MAPS)
        schema = fused_schema([member.backbone for member in model.members])
        table = pa.Table.from_pylist(rows, schema=schema)
    return table, usage.peak_bytes


def _member_scores(
    model: Model, position: int, shards: Sequence[str], place: Store, scratch: Store, threads: int
) -> MemberScores:
    member = model.members[position]
    weight = read_adapter(place, member.backbone, member.dim > 0)
    bank = read_bank(place, member.backbone, model.reweight)
    maps, nearest = [], []
    for shard_name in shards:
        shard = read_shard(scratch, shard_name)
        found = score_shard(shard, bank, weight, {}, threads)
        maps += [scores.reshape(shard.grid) for scores in found.scores]
        nearest += [entries.reshape(shard.grid) for entries in found.nearest]
    return MemberScores(pa.table({}), np.stack(maps), np.stack(nearest))
