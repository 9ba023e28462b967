"""The commands `ensemble` and `single`: from image folders to scores, in one run directory.

A run indexes all images. For each wave of categories it then runs the stages extract, fit, select, score and fuse.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines.config.networks import Network, load_backbones
from pipelines.config.run_config import RunConfig
from pipelines.config.run_context import RunContext
from pipelines.data.dataset import Listing, find_categories, list_images
from pipelines.data.layouts.detect import MVTEC
from pipelines.errors import StoreUnavailableError, UsageError
from pipelines.planning.estimate import estimated_hours
from pipelines.planning.jobs import CategoryPlan, stored_summary
from pipelines.planning.plan import oversized, plan_categories, waves_of
from pipelines.planning.stage import Counted, Stage
from pipelines.report.build import report_at_the_end
from pipelines.report.subject import ReportSource
from pipelines.runtime.session import session_with_networks
from pipelines.stages.index import ImageIndex, known_images, read_in_tasks, read_in_threads, with_listing
from pipelines.stages.runner import STAGES, Runner, scratch_of
from pipelines.storage.lease import leased
from pipelines.storage.paths import FILES, FOLDERS, INDEX_FILE
from pipelines.storage.schemas import MetricsRow, Provenance
from pipelines.storage.store import Store
from pipelines.tracking.console import Console
from pipelines.tracking.run_info import RunStatus, read_run
from pipelines.tracking.run_record import RunRecord


def run(config: RunConfig, console: Console) -> int:
    """Compute everything in the run directory that is missing or out of date.

    Args:
        config: Configuration of the run.
        console: Console for progress, warnings and results.

    Returns:
        The exit code: 0, or 1 if a category failed or, with `--strict`, an image could not be read.

    Raises:
        UsageError: An input is invalid, or another process uses the run directory. Nothing has been computed.
        BackboneError: A backbone does not exist or has no weights. Nothing has been computed.
    """
    data, out = Store.of_data(config.data), Store.of(config.out)
    scratch = scratch_of(config, out)  # Raises UsageError for an invalid folder, before the data is listed.
    listing = list_images(data, config.categories, config.layout, config.columns)
    config = with_listing(config, data, listing)
    prepare(out, data, config)
    with session_with_networks(config) as (workers, networks), leased(out):
        if config.fresh:
            clear(out)
        record = RunRecord(
            config, out, console, networks.by_backbone, run_id=uuid.uuid4().hex, started_at=datetime.now(UTC)
        )
        provenance = Provenance(record.run_id, record.started_at)
        context = RunContext(config=config, data=data, out=out, scratch=scratch, provenance=provenance)
        runner = Runner(context=context, record=record, console=console, workers=workers)
        return _record_run(runner, listing, networks.by_backbone)


def _record_run(runner: Runner, listing: Listing, networks: Mapping[str, Network]) -> int:
    """Run all stages, close the record and write the report; return the exit code."""
    context, record, console = runner.context, runner.record, runner.console
    earlier = read_run(context.out)
    record.units.update({} if earlier is None else earlier.units)  # The costs of reused members.
    for name, network in networks.items():
        console.say(f"{name}: weights from {network.source}, SHA-256 {network.sha256[:12]}")
    if listing.layout != MVTEC:
        console.say(f"layout   {listing.layout}")
    for sentence in listing.warnings:
        record.warn(sentence)
    known = known_images(context.out, context.config)
    record.save(RunStatus.RUNNING)
    try:
        metrics = _bring_up_to_date(runner, listing, networks, known)
    except BaseException:
        record.save(RunStatus.INTERRUPTED)
        raise
    runner.clean_scratch()
    record.close(metrics)
    if context.config.report:
        _report(runner)
    return record.exit_code


def _report(runner: Runner) -> None:
    """Write the report of the run."""
    context = runner.context
    source = ReportSource.of_run(context.out, command=context.config.command, images=context.data)
    report_at_the_end(source, runner)


def dry_run(config: RunConfig, console: Console) -> int:
    """Print what `run` would compute. This function starts no Ray session and writes no file.

    Args:
        config: Configuration of the run.
        console: Console for the table.

    Returns:
        The exit code: 0, or 1 if the run would fail for a category, which is named.

    Raises:
        UsageError, BackboneError: As in `run`.
        StoreUnavailableError: An object store could not return an image.
    """
    data, out = Store.of_data(config.data), Store.of(config.out)
    listing = list_images(data, config.categories, config.layout, config.columns)
    backbones = load_backbones(config)
    networks = {
        member.backbone: Network.of(backbones[member.backbone], member, config.image_size) for member in config.members
    }
    context = RunContext(
        config=config,
        data=data,
        # A folder that does not exist stands for a run directory that --fresh has emptied.
        out=out.below("nothing is kept") if config.fresh else out,
        scratch=scratch_of(config, out),
        provenance=Provenance("", datetime.now(UTC)),
    )
    known = {} if config.fresh else known_images(out, config)
    with console.progress("index", len(listing.images), Counted.IMAGES) as bar:
        index = ImageIndex.build(config, listing, known, read=read_in_threads(data, config.bit_depth, bar.advance))
    unavailable = [failure for failure in index.failures if failure.store_unavailable]
    if unavailable:
        raise StoreUnavailableError(unavailable[0].sentence)
    for sentence in (*listing.warnings, *(failure.sentence for failure in index.failures)):
        console.warn(sentence)
    plans = plan_categories(listing.categories, index.images, context, networks)
    due = [plan for plan in plans if plan.fuse is not None]
    _show_plans(console, plans, waves=len(waves_of(due, config)), hours=estimated_hours(due, config, backbones))
    return int(any(failure.image_path is None for failure in index.failures))


def _show_plans(console: Console, plans: Sequence[CategoryPlan], *, waves: int, hours: float) -> None:
    """Print one line per member, then the reused members, the scratch space and the estimated time."""
    lines = [
        [plan.category, job.backbone, str(len(job.images)), *(_due_cell(stage, plan, job.backbone) for stage in STAGES)]
        for plan in plans
        for job in plan.members
    ]
    console.table(["category", "backbone", "images", *(stage.name for stage in STAGES)], lines, names=2)
    members = [job for plan in plans for job in plan.members]
    reused = sum(not job.score for job in members)
    scratch = [plan.scratch_bytes for plan in plans]
    console.say(f"members  {len(members)}, of which {reused} are reused; {waves} wave{'' if waves == 1 else 's'}")
    console.say(
        f"scratch  {sum(scratch) / 1e9:.2f} GB in total, "
        f"{max(scratch, default=0) / 1e9:.2f} GB for the largest category"
    )
    console.say(f"hours    {hours:.2f}, estimated from a trial of each backbone on this machine")


def _due_cell(stage: Stage[Any], plan: CategoryPlan, backbone: str) -> str:
    """Return the number of a member's images that a stage has to process, 'do' for other due jobs, or '-' for none."""
    jobs = [job for job in stage.due(plan) if job.backbone in (backbone, None)]
    if stage.counted == Counted.IMAGES and jobs:
        return str(sum(job.size for job in jobs))
    return "do" if jobs else "-"


def prepare(out: Store, data: Store, config: RunConfig) -> None:
    """Raise UsageError if a folder cannot be used as a run directory.

    Args:
        out: Folder for the run.
        data: Data root.
        config: Configuration of the run; messages quote its `out`.

    Raises:
        UsageError: The folder is a file, is inside the data, or holds files but no run.
    """
    # With an image list, only the listed files are read: the run directory can be inside the data root.
    inside = out.filesystem.equals(data.filesystem) and f"{out.root}/".startswith(f"{data.root}/")
    if inside and not data.listed:
        raise UsageError(f"--out {config.out} is inside the data, where no files are written. Give another folder.")
    if out.is_local and Path(out.root).is_file():
        raise UsageError(f"--out {config.out} is a file. Give a folder.")
    if read_run(out) is None and out.holds_something():
        raise UsageError(f"--out {config.out} is not empty and holds no run. Give another folder.")


def clear(out: Store) -> None:
    """Remove the files and folders of a run, and keep all other files.

    Args:
        out: Run directory.
    """
    for folder in FOLDERS:
        out.remove_folder(folder)
    for name in FILES:
        out.remove(name)


def _bring_up_to_date(
    runner: Runner, listing: Listing, networks: Mapping[str, Network], known: dict[str, dict[str, Any]]
) -> list[MetricsRow]:
    """Run all due jobs of every category; return the rows of metrics.parquet."""
    context, record = runner.context, runner.record
    index = ImageIndex.build(context.config, listing, known, read=read_in_tasks(runner))
    runner.report(index.failures, index.warnings, "index")
    not_asked = _not_asked(context, listing)
    index.write(context.out, index.usable, untouched=not_asked)
    plans = plan_categories(listing.categories, index.usable, context, networks)
    _report_reuse(runner, plans)
    metrics: dict[str, list[MetricsRow]] = {}
    for plan in plans:
        if plan.fuse is None:
            summary = stored_summary(context.out, plan.category)
            metrics[plan.category] = list(summary.metrics)
            for sentence in summary.warnings:
                record.warn(sentence)
    waves = waves_of([plan for plan in plans if plan.fuse is not None], context.config)
    for number, wave in enumerate(waves, start=1):
        metrics |= runner.bring_up_to_date(wave, f" {number}/{len(waves)}" if len(waves) > 1 else "")
        runner.free([plan.category for plan in wave])
    for category in [*not_asked, *index.unavailable]:
        metrics[category] = list(stored_summary(context.out, category).metrics)
    return [row for category in sorted(metrics) for row in metrics[category]]


def _report_reuse(runner: Runner, plans: Sequence[CategoryPlan]) -> None:
    """Print the number of reused members, and warn of categories that do not fit the scratch space."""
    members = [job for plan in plans for job in plan.members]
    reused = sum(not job.score for job in members)
    if reused:
        runner.console.say(f"reused   {reused} of {len(members)} members")
    for sentence in oversized(plans, runner.context.config):
        runner.record.warn(sentence)


def _not_asked(context: RunContext, listing: Listing) -> list[str]:
    """Return the categories of the data that `--category` excludes; their earlier results are kept."""
    if not context.config.categories or not context.out.exists(INDEX_FILE):
        return []
    categories = find_categories(context.data, layout=listing.layout, columns=context.config.columns)
    return [category for category in categories if category not in listing.categories]
