"""`reconpatch-run score`: score new images without labels, with the model of a category.

The stages index, extract and predict process the images in waves. Each wave writes one part of the results.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow.fs as pafs

from pipelines.config.networks import Networks
from pipelines.config.run_config import RunConfig
from pipelines.config.run_context import RunContext
from pipelines.data.dataset import find_new_images, new_images
from pipelines.data.folders import existing_folder
from pipelines.errors import UsageError, error_line
from pipelines.registry.drift_log import drift_row, note_drift, read_scores
from pipelines.registry.registry import Registry, find_model
from pipelines.runtime.session import ray_session
from pipelines.stages.index import absolute_path, complete_images, read_in_tasks
from pipelines.stages.predict import ScoringRequest, score_requests
from pipelines.stages.runner import Runner, scratch_of
from pipelines.storage.lease import leased
from pipelines.storage.parquet import write_rows, write_table
from pipelines.storage.paths import DRIFT_FILE, PART_ROWS, fused_part, maps_part
from pipelines.storage.schemas import DRIFT, Provenance
from pipelines.storage.store import Store
from pipelines.storage.stored_model import StoredModel
from pipelines.tracking.console import Console
from pipelines.tracking.run_info import RunStatus
from pipelines.tracking.run_record import RunRecord
from reconpatch.detector.model import Model, with_false_alarms
from reconpatch.imaging.images import SUFFIXES


@dataclass(frozen=True, kw_only=True)
class NewImages:
    """The options of `reconpatch-run score`.

    Attributes:
        model: Path or URI of a run directory or a registry. The active model of a registry is used.
        images: Path or URI of the folder with the new images.
        category: Category whose model scores the images.
        out: Path or URI of the folder for the scores.
        weights: Folder with the weights of the backbones; None uses installed packages, then timm's hub.
        false_alarms: Target false-positive rate, in (0, 1); None keeps the rate of the model.
        bit_depth: Significant bits per channel of images with more than 8 bits (9-16); None uses those of the model,
            and another number than the model's is refused.
        maps: Whether to write anomaly maps.
        scratch, scratch_gb, strict, workers, threads_per_unit, gpus_per_actor, address: As in `RunConfig`.
    """

    model: str
    images: str
    category: str
    out: str
    weights: str | None = None
    false_alarms: float | None = None
    bit_depth: int | None = None
    maps: bool = False
    scratch: str | None = None
    scratch_gb: float = RunConfig.scratch_gb
    strict: bool = False
    workers: int | None = None
    threads_per_unit: int = RunConfig.threads_per_unit
    gpus_per_actor: float = RunConfig.gpus_per_actor
    address: str | None = None


def score_new(options: NewImages, console: Console) -> int:
    """Score all images below a folder, and write scores/fused/<category>/part-00000.parquet and further parts.

    Args:
        options: The images, the model and the output folder.
        console: Console for progress, warnings and results.

    Returns:
        The exit code: 0, or 1 if scoring failed or, with `--strict`, an image could not be read.

    Raises:
        UsageError: The folder has no images, the output folder is not empty or in use, or the bit depth is not that of
            the model.
        ModelError: The model does not exist, or was fitted with other weights.
    """
    images, out = existing_folder("--images", options.images), Store.of(options.out)
    stored = _stored_model(options)
    files, warnings = find_new_images(images)
    if not files:
        raise UsageError(f"--images {images.uri} has no image. Supported: {', '.join(sorted(SUFFIXES))}.")
    config = _config(stored.model, options)
    scratch = scratch_of(config, out)  # Raises UsageError for an invalid folder, before weights are loaded.
    networks = Networks({}, config.weights)
    networks.add(stored.model)
    if out.holds_something():
        raise UsageError(f"--out {options.out} is not empty. Give another folder.")
    with leased(out):
        record = RunRecord(
            config,
            out,
            console,
            networks.by_backbone,
            run_id=uuid.uuid4().hex,
            started_at=datetime.now(UTC),
            origin={"models": Store.of(options.model).uri, "images": images.uri},
        )
        for sentence in warnings:
            record.warn(sentence)
        provenance = Provenance(record.run_id, record.started_at)
        context = RunContext(config=config, data=images, out=out, scratch=scratch, provenance=provenance)
        record.save(RunStatus.RUNNING)
        try:
            with ray_session(config) as workers:
                runner = Runner(context=context, record=record, console=console, workers=workers)
                for part, wave in enumerate(_waves(files, networks.bytes_per_image(stored.model), config)):
                    _score_wave(runner, stored, networks, files=wave, part=part)
        except BaseException:
            record.save(RunStatus.INTERRUPTED)
            raise
        scratch.remove_folder()
        if not record.failed:
            _write_drift(context, Store.of(options.model), stored.model, record)
        record.close()
    return record.exit_code


def _stored_model(options: NewImages) -> StoredModel:
    """Return the model with the threshold of the target false-positive rate; check the bit depth."""
    stored = StoredModel.load(find_model(existing_folder("--model", options.model), options.category))
    bits = stored.model.bit_depth
    if options.bit_depth not in (None, bits):
        raise UsageError(
            f"--bit-depth {options.bit_depth}: the model of category '{options.category}' was fitted with --bit-depth "
            f"{bits}. Leave the option out."
        )
    if options.false_alarms is None:
        return stored
    return StoredModel(with_false_alarms(stored.model, options.false_alarms), stored.folder)


def _write_drift(context: RunContext, source: Store, model: Model, record: RunRecord) -> None:
    """Write the drift of the scores to the output folder and to the registry of the model."""
    row = drift_row(read_scores(context.out, model.category), model, context.provenance)
    if row is None:
        return
    write_rows(context.out, DRIFT_FILE, [row], DRIFT)
    if Registry(source).current(model.category) is not None:
        try:
            note_drift(Registry(source), row, context.provenance)
        except OSError as error:  # A registry without write permission can be used for scoring.
            record.warn(f"The drift could not be written to the registry {source.uri}: {error}")


def _config(model: Model, options: NewImages) -> RunConfig:
    """Return a configuration without members to train; the recipe is that of the model."""
    return RunConfig(
        command="score",
        data=options.images,
        out=options.out,
        members=(),
        image_size=model.image_size,
        categories=(options.category,),
        full_frame=model.full_frame,
        weights=absolute_path(options.weights),
        score_neighbors=model.score_neighbors,
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
    """Return waves of images whose features fit the scratch space and whose rows fit one part."""
    room = int(config.scratch_gb * 1e9 / bytes_per_image)
    size = max(config.chunk, min(room, PART_ROWS) // config.chunk * config.chunk)
    return [files[start : start + size] for start in range(0, len(files), size)]


def _score_wave(
    runner: Runner, stored: StoredModel, networks: Networks, *, files: Sequence[pafs.FileInfo], part: int
) -> None:
    """Score the images of a wave and write the part with their rows; record a failure instead of raising it."""
    context, category = runner.context, stored.category
    listed = new_images(context.data, category, files)
    completed = complete_images(listed, {}, read=read_in_tasks(runner), bit_depth=context.config.bit_depth)
    runner.report(completed.failures, completed.warnings, "index")
    images = completed.images
    maps = maps_part(category, part) if context.config.maps else None
    request = ScoringRequest(stored=stored, source=context.data, images=images, maps=maps)
    for _, answer in score_requests(runner, [request], networks.by_backbone):
        if isinstance(answer, Exception):
            which = f"{len(images)} images, the first is {images[0].image_path}" if images else "no image"
            runner.record.category_failed(category, "predict", f"{which}: {error_line(answer)}")
        else:
            write_table(context.out, fused_part(category, part), answer)
    runner.free([category])
