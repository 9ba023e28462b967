"""Nightly run: train the categories that changed, test and promote their candidates, and score the new images.

    index -> waves of (extract -> fit -> select -> score -> fuse -> acceptance test -> registry) -> new images -> drift

Candidates are trained in `.work`, a run directory in the registry. It also keeps the files that an interrupted run has
completed. The scores of new images are written to SCORES/<run_id>/.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from pipelines.config.networks import Networks
from pipelines.config.nightly_options import NightOptions
from pipelines.config.run_config import RunConfig
from pipelines.config.run_context import RunContext
from pipelines.data.dataset import Listing, as_new, list_images
from pipelines.data.folders import existing_folder
from pipelines.data.records import ImageRecord
from pipelines.data.split import by_category
from pipelines.errors import UsageError
from pipelines.nightly.deadline import Costs, next_time
from pipelines.nightly.night_info import INTERRUPTED, NightInfo, NightScope
from pipelines.nightly.score import score_categories
from pipelines.nightly.state import NightRun
from pipelines.nightly.steps import NightStage, NightTask
from pipelines.nightly.train import train_categories
from pipelines.planning.jobs import CategoryPlan
from pipelines.planning.plan import plan_category
from pipelines.registry.registry import WORK, Registry
from pipelines.registry.statuses import TrainingResult
from pipelines.report.build import report_at_the_end
from pipelines.report.subject import ReportSource
from pipelines.runtime.session import session_with_networks
from pipelines.stages.index import ImageIndex, KnownRows, known_images, read_in_tasks, with_listing
from pipelines.stages.runner import Runner, scratch_of
from pipelines.storage.cleanup import remove_partial_files
from pipelines.storage.lease import leased
from pipelines.storage.paths import REPORT
from pipelines.storage.schemas import Provenance
from pipelines.storage.store import Store
from pipelines.tracking.console import Console
from pipelines.tracking.run_info import RunStatus
from pipelines.tracking.run_record import RunRecord


def nightly(config: RunConfig, options: NightOptions, console: Console) -> int:
    """Execute a nightly run.

    Args:
        config: Configuration of training and scoring; its `out` is replaced by the work folder of the registry.
        options: Options of the nightly run.
        console: Console for progress and warnings.

    Returns:
        Exit code: 0 if everything succeeded; 1 if a category failed, an object store did not return an image or, with
        `--strict`, an image could not be read; 3 if a candidate was rejected and everything else succeeded.

    Raises:
        UsageError: The input is invalid, or another run uses the registry and `--wait` is not set.
        BackboneError: A backbone is unknown, has no weights, or lacks one of the layers.
    """
    registry, data = Store.of(options.registry), Store.of_data(config.data)
    if options.images is not None:
        existing_folder("--images", options.images)
    deadline = None if options.deadline is None else next_time(options.deadline, datetime.now())
    work = registry.below(WORK)
    with leased(registry, wait=options.wait):
        listing = list_images(data, config.categories, config.layout, config.columns)
        config = with_listing(replace(config, out=work.uri), data, listing)
        with session_with_networks(config) as (workers, networks):
            previous = _previous_run(work, console)
            record = _new_record(config, options, networks, previous=previous, console=console)
            context = RunContext(
                config=config,
                data=data,
                out=work,
                scratch=scratch_of(config, work),
                provenance=Provenance(record.run_id, record.started_at),
            )
            night = NightRun(
                options=options,
                registry=Registry(registry),
                runner=Runner(context=context, record=record, console=console, workers=workers),
                out=record.out,
                networks=networks,
                costs=Costs.read(work),
                previous=previous,
                deadline=deadline,
            )
            remove_partial_files(night.out)
            exit_code = _record_run(night, listing)
            remove_partial_files(night.out)
            return exit_code


def _previous_run(work: Store, console: Console) -> NightInfo:
    """Return the state of the previous run; a damaged state is reported and treated as missing."""
    try:
        return NightInfo.read(work)
    except UsageError as error:
        console.warn(f"{error} The previous run is neither resumed nor reused.")
        return NightInfo()


def _new_record(
    config: RunConfig, options: NightOptions, networks: Networks, *, previous: NightInfo, console: Console
) -> RunRecord:
    """Return the record of the run; a run that resumes an interrupted one keeps its id."""
    has_valid_id = re.fullmatch("[0-9a-f]{32}", previous.run_id) is not None  # the id becomes the name of a folder
    is_same_work = NightScope.of(options, config).is_same_work(previous.scope)
    resumes = previous.status in INTERRUPTED and is_same_work and has_valid_id
    run_id = previous.run_id if resumes else uuid.uuid4().hex
    if resumes:
        console.say(f"resuming the interrupted nightly run {run_id[:12]}")
    return RunRecord(
        config,
        Store.of(options.scores).below(run_id),
        console,
        networks.by_backbone,
        run_id=run_id,
        started_at=datetime.now(UTC),
        origin={"models": Store.of(options.registry).uri, "images": Store.of(options.images or config.data).uri},
    )


def _record_run(night: NightRun, listing: Listing) -> int:
    """Train and score, save the state even if that fails, write the report, and return the exit code."""
    record = night.record
    for sentence in listing.warnings:
        record.warn(sentence)
    known = known_images(night.work, night.config)  # must be read before `save` overwrites the files
    night.save(RunStatus.RUNNING)
    try:
        _train_and_score(night, listing, known)
    except BaseException:
        night.save(RunStatus.INTERRUPTED)
        raise
    night.save(record.ended)
    if night.config.report:
        _write_report(night)
    any_rejected = any(row.learned == TrainingResult.REJECTED for row in night.categories.values())
    return record.exit_code or (3 if any_rejected else 0)


def _write_report(night: NightRun) -> None:
    """Write the report on the new images; its image files are copied from the previous report if unchanged."""
    last = night.previous.last_finished(night.config.categories)
    source = ReportSource.of_run(
        night.out,
        command="nightly",
        images=night.new_images,
        training_images=night.data,
        models=night.registry.store,
    )
    before = None if last is None else Store.of(night.options.scores).below(last.run_id).below(REPORT)
    report_at_the_end(source, night.runner, before)


def _train_and_score(night: NightRun, listing: Listing, known: KnownRows) -> None:
    registry, asked = night.registry, set(listing.categories)
    registered = [name for name in registry.categories() if name in asked or not night.config.categories]
    night.for_each(registered, registry.repair, NightStage.REPAIR, NightTask.TRAIN)
    index = _index_data(night, listing, known)
    good = [image for image in index.usable if image.makes_model]
    plans = _plan_categories(night, listing.categories, good)
    train_categories(night, plans, by_category([image for image in index.images if image.split == "test"]))
    score_categories(night, listing, {image.image_path: as_new(image).row() for image in index.images})
    succeeded = [category for category in registered if category not in night.record.failed]
    night.for_each(succeeded, lambda category: registry.prune(category, night.options.keep), NightStage.PRUNE)
    night.runner.clean_scratch()


def _index_data(night: NightRun, listing: Listing, known: KnownRows) -> ImageIndex:
    """Return the image index of the training data, and write it to the work folder."""
    runner = night.runner
    index = ImageIndex.build(night.config, listing, known, read=read_in_tasks(runner))
    runner.report(index.failures, index.warnings, "index")
    # Categories that this run does not select keep the rows that are known to be valid.
    others = {row["category"] for row in known.values()} - set(listing.categories) if night.config.categories else set()
    index.write(night.work, index.images, untouched=others)
    for category in night.record.failed:
        night.set_failed(category, NightTask.TRAIN)
    return index


def _plan_categories(night: NightRun, categories: Sequence[str], good: Sequence[ImageRecord]) -> list[CategoryPlan]:
    """Return the plans of the categories that have good images and have not failed."""
    images, networks = by_category(good), night.networks.by_backbone
    plans = night.for_each(
        [category for category in categories if category in images and category not in night.record.failed],
        lambda category: plan_category(category, images[category], night.runner.context, networks),
        NightStage.PLAN,
        NightTask.TRAIN,
    )
    return list(plans.values())
