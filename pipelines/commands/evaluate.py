"""`reconpatch-run evaluate`: recompute fused scores, maps, verdicts and metrics of a run without training.

The inputs are the members' scores in Parquet files, the models, and the masks as they are now.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pipelines.config.run_config import RunConfig, stored_config
from pipelines.config.run_context import RunContext
from pipelines.data.dataset import list_images
from pipelines.data.folders import existing_folder
from pipelines.data.masks import mask_contents
from pipelines.data.records import INDEX, ImageRecord, mask_digest
from pipelines.data.split import by_category
from pipelines.errors import UsageError
from pipelines.planning.cache_keys import fused_key
from pipelines.planning.jobs import FuseJob, stored_summary
from pipelines.runtime.session import ray_session
from pipelines.stages.fuse import FUSE
from pipelines.stages.runner import Runner
from pipelines.storage.lease import leased
from pipelines.storage.parquet import metadata_of, read_rows, rows_if_there, write_rows
from pipelines.storage.paths import FAILURES_FILE, INDEX_FILE, RUN, maps_file, member_scores_file, model_folder
from pipelines.storage.redaction import is_redacted, redact
from pipelines.storage.schemas import FailureRow, Provenance
from pipelines.storage.store import Store
from pipelines.storage.stored_model import StoredModel
from pipelines.tracking.console import Console
from pipelines.tracking.run_info import RunInfo, read_run
from pipelines.tracking.run_record import RunRecord
from reconpatch.detector.model import MODEL_FILE, Model


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """The options of `reconpatch-run evaluate`.

    Attributes:
        run_folder: Path or URI of the run directory.
        data: Path or URI of the data root with the masks; None uses the data root of the run.
        false_alarms: Target false-positive rate, in (0, 1); None keeps the rate of the run.
        maps: Whether to write anomaly maps; None writes them for the categories that already have maps.
        workers, threads_per_unit, gpus_per_actor, address: Ray settings, as in `RunConfig`.
    """

    run_folder: str
    data: str | None = None
    false_alarms: float | None = None
    maps: bool | None = None
    workers: int | None = None
    threads_per_unit: int = RunConfig.threads_per_unit
    gpus_per_actor: float = RunConfig.gpus_per_actor
    address: str | None = None


def evaluate(options: EvaluateOptions, console: Console) -> int:
    """Fuse the members' scores of every category again and rewrite fused scores, models, maps and metrics.

    Args:
        options: The run directory and the settings that replace those of the run.
        console: Console for progress and warnings.

    Returns:
        The exit code: 0, or 1 if a category failed or, for a run with `--strict`, an image could not be read.

    Raises:
        UsageError: The folder holds no run, another process uses it, the address of its data is redacted, or the
            members' scores do not belong to the model.
    """
    out = existing_folder("--run", options.run_folder)
    run_info = read_run(out)
    if run_info is None:
        raise UsageError(f"--run {options.run_folder} holds no run: it has no {RUN}. Give a run directory.")
    config = _config(run_info, out, options)
    data = Store.of_data(config.data)
    with leased(out):
        indexed = [ImageRecord.from_row(row) for row in read_rows(out, INDEX_FILE)]
        images, warnings = _with_masks(data, indexed, config)
        categories = by_category(images)
        fitted = [category for category in categories if out.below(model_folder(category)).exists(MODEL_FILE)]
        warnings += [
            f"{category} has no model yet and is skipped. Complete the run first."
            for category in categories
            if category not in fitted
        ]
        record = _record(run_info, config, out, console, repeated=_repeated(out, categories, warnings))
        for sentence in warnings:
            record.warn(sentence)
        provenance = Provenance(run_info.run_id, record.started_at)
        context = RunContext(config=config, data=data, out=out, scratch=out, provenance=provenance)
        jobs = [_fuse_job(StoredModel.load(_folder(out, name)), categories[name], context, options) for name in fitted]
        with ray_session(config) as workers:
            runner = Runner(context=context, record=record, console=console, workers=workers)
            metrics = dict(runner.do(FUSE, jobs))
        write_rows(out, INDEX_FILE, [image.row() for image in images], INDEX)
        record.close([row for category in sorted(metrics) for row in metrics[category]])
    return record.exit_code


def _folder(out: Store, category: str) -> Store:
    """Return the model folder of a category."""
    return out.below(model_folder(category))


def _record(
    run_info: RunInfo, config: RunConfig, out: Store, console: Console, *, repeated: Collection[str]
) -> RunRecord:
    """Return a record that continues that of the run, without the warnings that are raised again."""
    return RunRecord(
        config,
        out,
        console,
        run_info.weights,
        run_id=run_info.run_id,
        started_at=datetime.now(UTC),
        stages=dict(run_info.stages),
        units=run_info.units,
        failures=[FailureRow.from_row(row) for row in rows_if_there(out, FAILURES_FILE)],
        failed=dict(run_info.failed),
        warnings=[sentence for sentence in run_info.warnings if sentence not in repeated],
        before=run_info,
    )


def _repeated(out: Store, categories: Collection[str], warnings: Sequence[str]) -> set[str]:
    """Return the stored warnings that this command reports again if they still hold: of the listing and of fusing."""
    fused = [sentence for category in categories for sentence in stored_summary(out, category).warnings]
    return {redact(sentence) for sentence in (*warnings, *fused)}


def _config(run_info: RunInfo, out: Store, options: EvaluateOptions) -> RunConfig:
    """Return the stored configuration of the run with the options of this command."""
    stored = run_info.config
    data = options.data or stored["data"]
    if is_redacted(data):
        raise UsageError(
            "The address of the run's data contains credentials, which are not stored. Give the address with --data."
        )
    config = stored_config(
        stored,
        out=out.uri,
        data=data,
        fresh=False,
        workers=options.workers,
        threads_per_unit=options.threads_per_unit,
        gpus_per_actor=options.gpus_per_actor,
        address=options.address,
    )
    return config if options.false_alarms is None else replace(config, false_alarms=options.false_alarms)


def _with_masks(data: Store, images: Sequence[ImageRecord], config: RunConfig) -> tuple[list[ImageRecord], list[str]]:
    """Return the images with the current masks, and the warnings of listing the data."""
    categories = list(dict.fromkeys(image.category for image in images))
    listing = list_images(data, categories, config.layout, config.columns)
    listed = {image.image_path: image for image in listing.images}
    return [_with_mask(data, image, listed) for image in images], list(listing.warnings)


def _with_mask(data: Store, image: ImageRecord, listed: Mapping[str, ImageRecord]) -> ImageRecord:
    """Return the record of an image with its current masks and their hash."""
    current = listed.get(image.image_path, image)
    masked = replace(image, mask_path=current.mask_path, more_masks=current.more_masks, shapes=current.shapes)
    are_there = all(data.exists(path) for path in masked.mask_paths)
    contents = mask_contents(data, masked) if are_there else []
    masked = replace(masked, mask_sha256=mask_digest(contents) if contents else None)
    # Clear the fingerprint of a changed row, so that a later run reads the image and its masks again.
    return image if masked == image else replace(masked, fingerprint=None)


def _fuse_job(
    stored: StoredModel, images: Sequence[ImageRecord], context: RunContext, options: EvaluateOptions
) -> FuseJob:
    """Return the job that fuses the members' scores of a category."""
    category, out = stored.category, context.out
    model = replace(stored.model, false_alarms=context.config.false_alarms)
    scored = {backbone: metadata_of(out, member_scores_file(category, backbone)) for backbone in stored.backbones}
    _require_same(model, scored)
    config = replace(context.config, fusion=model.fusion)
    return FuseJob(
        model=model,
        images=tuple(images),
        key=fused_key(config, [metadata["key"] for metadata in scored.values()], images),
        maps=out.exists(maps_file(category)) if options.maps is None else options.maps,
    )


def _require_same(model: Model, scored: Mapping[str, Mapping[str, str]]) -> None:
    """Raise UsageError if the scores of a member come from another model version."""
    for member in model.members:
        if scored[member.backbone].get("model_key") != member.key:
            raise UsageError(
                f"{model.category}, {member.backbone}: the stored scores belong to another model, because a run was "
                f"interrupted. Complete that run first: repeat the command that started it."
            )
