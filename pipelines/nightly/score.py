"""Scoring of a nightly run: score new images with the active models, and compare the scores with held-out scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from pipelines.data.dataset import Listing, as_new, find_new_images, new_images
from pipelines.data.discovery import Walk, image_folders, named, pictures_in
from pipelines.data.layouts.defect_folders import INCOMING
from pipelines.data.records import INDEX, TEST, ImageRecord
from pipelines.data.split import by_category
from pipelines.nightly.budget import Measurement
from pipelines.nightly.score_parts import CategoryJob, PreviousScores, write_scores
from pipelines.nightly.state import NightRun
from pipelines.nightly.steps import NightStage, NightTask
from pipelines.registry.drift_log import drift_row, note_drift, read_scores
from pipelines.registry.statuses import ScoringResult
from pipelines.stages.index import KnownRows, complete_images, read_in_tasks
from pipelines.stages.runner import Runner
from pipelines.storage.parquet import write_rows
from pipelines.storage.paths import INDEX_FILE
from pipelines.storage.store import Store
from pipelines.storage.stored_model import StoredModel
from reconpatch.detector.model import with_false_alarms


@dataclass(frozen=True, kw_only=True)
class _NewFiles:
    """New images of a category that have been listed but not read.

    Attributes:
        images: Records of the files; size and digest are not set.
        warnings: Sentences about other files in the folder.
    """

    images: list[ImageRecord]
    warnings: list[str]


def score_categories(night: NightRun, listing: Listing, known: KnownRows) -> None:
    """Score the new images of all categories that have an active model.

    The results are set in `night`; scores are written to its `out`, drift to the registry.

    Args:
        night: Nightly run in progress.
        listing: Listing of the training data.
        known: image_path -> row of the image index of the training data, with split 'new'. Files that have not changed
            are not read again.
    """
    context = replace(night.runner.context, data=night.new_images, out=night.out)
    runner = replace(night.runner, context=context)
    previous = night.previous_scores()
    files = _list_new_images(night, listing)
    folders = night.for_each(
        list(files), lambda category: _active_folder(night, category), NightStage.SCORE, NightTask.SCORE
    )
    loadable = {name: folder for name, folder in folders.items() if folder is not None and files[name].images}
    models = night.for_each(
        list(loadable), lambda category: StoredModel.load(loadable[category]), NightStage.SCORE, NightTask.SCORE
    )
    images = by_category(_index_new_images(runner, files, _trusted(night, previous, known), models))
    write_rows(night.out, INDEX_FILE, [image for of_category in images.values() for image in of_category], INDEX)
    jobs = []
    for category, of_category in files.items():
        readable = tuple(images.get(category, ()))
        unreadable = len(of_category.images) - len(readable)
        night.update(replace(night.row(category), images=len(readable), unreadable=unreadable))
        if category in folders and (category not in loadable or (category in models and not readable)):
            without_model = folders[category] is None
            night.set_judged(category, ScoringResult.NO_MODEL if without_model else ScoringResult.NO_IMAGES)
        elif category in models:
            with night.guarded(category, NightStage.SCORE, NightTask.SCORE):
                jobs.append(_scoring_job(night, models[category], readable))
    queue = night.queue(NightTask.SCORE, night.seconds_left)
    deferred = queue.run(jobs, lambda wave, _: _score_wave(night, runner, wave, previous))
    night.defer(deferred, NightTask.SCORE)


def _list_new_images(night: NightRun, listing: Listing) -> dict[str, _NewFiles]:
    """Return category -> its new images, and warn about files and folders that are not scored."""
    source, of_data = night.new_images, night.options.images is None
    registered = () if night.config.categories else night.registry.categories()
    categories = sorted({*listing.categories, *registered})
    tests = by_category([as_new(image) for image in listing.images if image.split == TEST]) if of_data else {}
    files = night.for_each(
        categories,
        lambda category: _new_files(source, category, of_data=of_data, tests=tests.get(category, [])),
        NightStage.SCORE,
        NightTask.SCORE,
    )
    for category, of_category in files.items():
        if of_category.warnings:
            others = len(of_category.warnings) - 1
            more = f" (more warnings about this folder, not shown: {others})" if others else ""
            night.record.warn(f"{category}: {of_category.warnings[0]}{more}")
    unknown = [] if of_data else [name for name in image_folders(source) if name not in categories]
    if unknown:
        names = named(unknown, 20)
        night.record.warn(f"{source.uri}: folders that match no category are not scored ({len(unknown)}): {names}.")
    if loose := [] if of_data else _loose_images(source):
        night.record.warn(
            f"{source.uri}: images directly in this folder belong to no category and are not scored ({len(loose)}): "
            f"{named(loose)}. Move them into the folder of their category."
        )
    return files


def _loose_images(source: Store) -> list[str]:
    """Return the names of the images that are directly in a folder."""
    files = [(source.name_of(info), info) for info in source.files(recursive=False)]
    return [name for name, _ in pictures_in(files, Walk())]


def _new_files(source: Store, category: str, *, of_data: bool, tests: list[ImageRecord]) -> _NewFiles:
    """Return a category's new images.

    These are the images in its folder below `source`. If `source` is the root of the training data, they are its test
    images or, if there are none, the images in `incoming`. The folder `test` is looked at, too, for categories that
    have an active model but no training images any more, so that the listing does not contain them.

    Args:
        source: Root folder of the new images.
        category: Name of the category.
        of_data: Whether `source` is the root of the training data.
        tests: Test images of the category in the listing of the training data, as new images.
    """
    if tests or source.listed:
        return _NewFiles(images=tests, warnings=[])
    folder = category
    if of_data:
        if files := find_new_images(source, f"{category}/test")[0]:
            # No warnings: those of the listing already include this folder.
            return _NewFiles(images=new_images(source, category, files), warnings=[])
        is_root = category == PurePosixPath(source.root).name and category not in image_folders(source)
        folder = INCOMING if is_root else f"{category}/{INCOMING}"
    files, warnings = find_new_images(source, folder)
    return _NewFiles(images=new_images(source, category, files), warnings=list(warnings))


def _trusted(night: NightRun, previous: PreviousScores, known: KnownRows) -> KnownRows:
    """Return image_path -> index row; the row is valid if the fingerprint of the file has not changed."""
    last = {} if night.config.rehash else previous.index
    return {**last, **known} if night.options.images is None else {**last}


def _index_new_images(
    runner: Runner, files: Mapping[str, _NewFiles], trusted: KnownRows, models: Mapping[str, StoredModel]
) -> list[ImageRecord]:
    """Return the new images that can be read. The bit depth is that of the active model, which can be an older one."""
    config = runner.context.config
    by_depth: dict[int, list[ImageRecord]] = {}
    for category, of_category in files.items():
        bit_depth = models[category].model.bit_depth if category in models else config.bit_depth
        by_depth.setdefault(bit_depth, []).extend(of_category.images)
    images: list[ImageRecord] = []
    for bit_depth, listed in by_depth.items():
        context = replace(runner.context, config=replace(config, bit_depth=bit_depth))
        read = read_in_tasks(replace(runner, context=context))
        completed = complete_images(listed, trusted, read=read, bit_depth=bit_depth)
        runner.report(completed.failures, completed.warnings, "index")
        images += completed.images
    return images


def _scoring_job(night: NightRun, stored: StoredModel, images: tuple[ImageRecord, ...]) -> CategoryJob:
    model = with_false_alarms(stored.model, night.config.false_alarms)
    night.networks.add(model)
    night.update(replace(night.row(model.category), model_version=model.version))
    scratch_bytes = night.networks.bytes_per_image(model) * len(images)
    return CategoryJob(model=replace(stored, model=model), images=images, scratch_bytes=scratch_bytes)


def _active_folder(night: NightRun, category: str) -> Store | None:
    """Return the folder of a category's active model; None if it has no active model."""
    version = night.registry.current(category)
    return None if version is None else night.registry.version(category, version)


def _score_wave(
    night: NightRun, runner: Runner, wave: Sequence[CategoryJob], previous: PreviousScores
) -> list[Measurement]:
    """Score the images of a wave; return measurements of the categories without reused rows."""
    measurements = []
    for scored in write_scores(runner, wave, night.networks, previous):
        category = scored.job.category
        if scored.images == scored.job.n_images:  # reused rows take no time; the estimate would be too low
            measurements.append(Measurement(seconds=scored.seconds, images={category: scored.images}))
        with night.guarded(category, NightStage.SCORE, NightTask.SCORE):
            _report_scores(night, scored.job)
    for job in wave:
        if night.row(job.category).judged is None:
            night.set_judged(job.category, ScoringResult.FAILED)
    return measurements


def _report_scores(night: NightRun, job: CategoryJob) -> None:
    """Set the results of a scored category, and write its drift to the registry."""
    category, model = job.category, job.model.model
    scores = read_scores(night.out, category)
    row = night.row(category)
    vanished = (row.images or 0) - scores.num_rows
    row = replace(
        row,
        judged=ScoringResult.DONE,
        images=scores.num_rows,
        unreadable=(row.unreadable or 0) + vanished,
        anomalies=None if model.threshold is None else sum(scores["is_anomaly"].to_pylist()),
    )
    night.update(row)
    provenance = night.runner.context.provenance
    drift = drift_row(scores, model, provenance)
    if drift is not None:
        note_drift(night.registry, drift, provenance)
        night.update(
            replace(
                row,
                above_threshold=drift.above_threshold,
                ks=drift.ks,
                ks_p_value=drift.ks_p_value,
                rare=drift.rare,
            )
        )
