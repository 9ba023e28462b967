"""New, unlabelled images scored with a category's model: index → extract → judge, in waves, in parts."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow.fs as pafs

from pipelines.config import Member, RunConfig
from pipelines.dataset import find_new, new_images
from pipelines.drift import drift_row, note_drift, read_scores
from pipelines.index import from_anywhere, index
from pipelines.judging import Order, judge_orders
from pipelines.lease import leased
from pipelines.networks import Networks
from pipelines.progress import Screen
from pipelines.record import Record
from pipelines.registry import Registry, find_model
from pipelines.rundir import (
    DRIFT,
    DRIFT_FILE,
    PART_ROWS,
    Stamp,
    fused_part,
    maps_part,
)
from pipelines.session import ray_session
from pipelines.stages import Stages, scratch_of
from pipelines.storage import Store
from pipelines.tables import write_rows, write_table
from pipelines.tasks import sentence_of
from pipelines.usage import UsageError
from reconpatch.images import SUFFIXES
from reconpatch.model import MODEL_FILE, Model, from_json, with_false_alarms


@dataclass(frozen=True)
class NewImages:
    """The options of `reconpatch-run score`."""

    model: str
    images: str
    category: str
    out: str
    weights: str | None = None
    false_alarms: float | None = None
    maps: bool = False
    scratch: str | None = None
    scratch_gb: float = RunConfig.scratch_gb
    strict: bool = False
    workers: int | None = None
    threads_per_unit: int = RunConfig.threads_per_unit
    gpus_per_actor: float = RunConfig.gpus_per_actor
    address: str | None = None


def score_new(options: NewImages, screen: Screen) -> int:
    """Score every image below a folder: scores/fused/<category>/part-00000.parquet and so on.

    Returns:
        The exit code: 0 done, 1 where scoring failed, or with `--strict` where files were unreadable.

    Raises:
        UsageError: no images, a directory that is not empty.
        ModelError: no such model, or other weights than it was fitted with.
    """
    images, out = Store.of(options.images), Store.of(options.out)
    place = find_model(Store.of(options.model), options.category)
    model = from_json(place.read(MODEL_FILE))
    if options.false_alarms is not None:
        model = with_false_alarms(model, options.false_alarms)
    files, warnings = find_new(images)
    if not files:
        raise UsageError(f"--images {images.uri}: no image in it ({', '.join(sorted(SUFFIXES))}).")
    config = _config(model, options)
    scratch = scratch_of(config, out)  # a place that cannot be one is refused first
    networks = Networks({}, config.weights)
    networks.add(model)
    if out.holds_something():
        raise UsageError(f"--out {options.out}: is not empty; give another folder.")
    with leased(out):
        record = Record(
            config,
            out,
            screen,
            networks.by_backbone,
            run_id=uuid.uuid4().hex,
            started_at=datetime.now(UTC),
            origin={"models": Store.of(options.model).uri, "images": images.uri},
        )
        for sentence in warnings:
            record.warn(sentence)
        record.save("running")
        try:
            with ray_session(config) as workers:
                stamp = Stamp(record.run_id, record.started_at)
                stages = Stages(config, images, out, scratch, record, screen, workers, stamp)
                for part, wave in enumerate(_waves(files, networks.bytes_per_image(model), config)):
                    _score_wave(stages, place, model, wave, part, networks)
        except BaseException:
            record.save("interrupted")
            raise
        stages.scratch.remove_folder()
        if not record.failed:
            _tell_drift(out, Store.of(options.model), model, stamp, record)
        record.close()
    return record.exit_code


def _tell_drift(out: Store, source: Store, model: Model, stamp: Stamp, record: Record) -> None:
    """Beside the scores, and in the registry that the model is from."""
    row = drift_row(read_scores(out, model.category), model, stamp)
    if row is not None:
        write_rows(out, DRIFT_FILE, [row], DRIFT)
        if Registry(source).current(model.category) is not None:
            try:
                note_drift(Registry(source), row, stamp)
            except OSError as error:  # a registry that may only be read is one to score with
                record.warn(f"{source.uri}: the drift could not be written down there: {error}")


def members_of(model: Model) -> tuple[Member, ...]:
    """A stored model's members, for loading their networks; what made adapter and bank is past."""
    return tuple(
        Member(each.backbone, each.levels, each.patch_size, each.aggregation, each.dim, 1.0, 0, 0.0)
        for each in model.members
    )


def _config(model: Model, options: NewImages) -> RunConfig:
    return RunConfig(
        command="score",
        data=options.images,
        out=options.out,
        members=members_of(model),
        image_size=model.image_size,
        categories=(options.category,),
        full_frame=model.full_frame,
        weights=from_anywhere(options.weights),
        reweight=model.reweight,
        fusion=model.fusion,
        chunk=model.chunk,
        bit_depth=model.bit_depth,
        false_alarms=model.false_alarms,
        maps=options.maps,
        scratch=options.scratch,
        scratch_gb=options.scratch_gb,
        strict=options.strict,
        workers=options.workers,
        threads_per_unit=options.threads_per_unit,
        gpus_per_actor=options.gpus_per_actor,
        address=options.address,
    )


def _waves(files: Sequence[pafs.FileInfo], bytes_per_image: int, config: RunConfig) -> list[Sequence[pafs.FileInfo]]:
    """As many images at once as their features have room for, and a part has rows."""
    room = int(config.scratch_gb * 1e9 / bytes_per_image)
    size = max(config.chunk, min(room, PART_ROWS) // config.chunk * config.chunk)
    return [files[start : start + size] for start in range(0, len(files), size)]


def _score_wave(
    stages: Stages,
    place: Store,
    model: Model,
    files: Sequence[pafs.FileInfo],
    part: int,
    networks: Networks,
) -> None:
    images = index(stages, new_images(stages.data, model.category, files), {})
    maps = maps_part(model.category, part) if stages.config.maps else None
    order = Order(model, place, stages.data, tuple(images), maps=maps)
    for _, answer in judge_orders(stages, [order], networks.by_backbone):
        if isinstance(answer, Exception):
            named = f"{len(images)} images from {images[0].image_path} on" if images else "no image"
            stages.record.category_failed(model.category, "judge", f"{named}: {sentence_of(answer)}")
        else:
            write_table(stages.out, fused_part(model.category, part), answer)
    stages.free([model.category])
