"""A run from folders to scores: index, then group by group extract, fit, select, score and fuse, then close."""

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
from pipelines.data.layouts import MVTEC
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
from pipelines.tracking.run_record import RunRecord, RunStatus, read_run


def run(config: RunConfig, console: Console) -> int:
    """Do the whole job of `ensemble` and `single`; what an earlier run into the directory has done is kept.

    Args:
        config: what is to be done.
        console: where progress is shown.

    Returns:
        The exit code: 0 done, 1 some categories failed (or files were unreadable, with `--strict`).

    Raises:
        UsageError: bad input, found before anything is computed, or a directory in use.
        BackboneError: a backbone that is not there or has no weights, likewise.
    """
    data, out = Store.of_data(config.data), Store.of(config.out)
    scratch = scratch_of(config, out)  # a folder that cannot be one is refused first
    listing = list_images(data, config.categories, config.layout)
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
    """From the listed images to the closed record; returns the exit code."""
    context, record, console = runner.context, runner.record, runner.console
    earlier = read_run(context.out)
    record.units.update({} if earlier is None else earlier.units)  # what members that are kept have cost
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
    context = runner.context
    source = ReportSource.of_run(context.out, command=context.config.command, images=context.data)
    report_at_the_end(source, runner)


def dry_run(config: RunConfig, console: Console) -> int:
    """Show what `run` would do, without Ray and without writing anything; returns the exit code.

    Args:
        config: what would be done.
        console: where it is shown.

    Raises:
        UsageError, BackboneError: as `run`.
        StoreUnavailableError: an object store could not return an image.
    """
    data, out = Store.of_data(config.data), Store.of(config.out)
    listing = list_images(data, config.categories, config.layout)
    backbones = load_backbones(config)
    networks = {
        member.backbone: Network.of(backbones[member.backbone], member, config.image_size) for member in config.members
    }
    context = RunContext(
        config=config,
        data=data,
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
    plans = plan_categories(listing.categories, index.images, context, networks)
    due = [plan for plan in plans if plan.fuse is not None]
    _show_plans(console, plans, waves=len(waves_of(due, config)), hours=estimated_hours(due, config, backbones))
    return 0


def _show_plans(console: Console, plans: Sequence[CategoryPlan], *, waves: int, hours: float) -> None:
    """A line a member, what is reused, how much scratch it takes, and how long."""
    lines = [
        [plan.category, job.backbone, str(len(job.images)), *(_due_cell(stage, plan, job.backbone) for stage in STAGES)]
        for plan in plans
        for job in plan.members
    ]
    console.table(["category", "backbone", "images", *(stage.name for stage in STAGES)], lines, names=2)
    members = [job for plan in plans for job in plan.members]
    reused = sum(not job.score for job in members)
    scratch = [plan.scratch_bytes for plan in plans]
    console.say(f"members  {len(members)}, of which {reused} are reused; {waves} waves")
    console.say(
        f"scratch  {sum(scratch) / 1e9:.2f} GB in all, {max(scratch, default=0) / 1e9:.2f} GB for the largest category"
    )
    console.say(f"hours    {hours:.2f}, estimated from a trial of each network on this machine")


def _due_cell(stage: Stage[Any], plan: CategoryPlan, backbone: str) -> str:
    """How many images of a member are due at a stage, or that it is due, or '-'."""
    jobs = [job for job in stage.due(plan) if job.backbone in (backbone, None)]
    if stage.counted == Counted.IMAGES and jobs:
        return str(sum(job.size for job in jobs))
    return "do" if jobs else "-"


def prepare(out: Store, data: Store, config: RunConfig) -> None:
    """Refuse a directory that is not a run's own.

    Args:
        out: the directory.
        data: the data root.
        config: for the names in the messages.

    Raises:
        UsageError: it lies in the data, or holds something that is no run, be it another program's run.json.
    """
    # Beside a list anything may lie: what is not listed is not read.
    inside = out.filesystem.equals(data.filesystem) and f"{out.root}/".startswith(f"{data.root}/")
    if inside and not data.listed:
        raise UsageError(f"--out {config.out}: lies inside the data, where nothing is written; give another folder.")
    if out.is_local and Path(out.root).is_file():
        raise UsageError(f"--out {config.out}: is a file; give a folder.")
    if read_run(out) is None and out.holds_something():
        raise UsageError(f"--out {config.out}: is not empty and holds no run; give another folder.")


def clear(out: Store) -> None:
    """Remove what a run writes, and nothing else that may lie in the folder."""
    for folder in FOLDERS:
        out.remove_folder(folder)
    for name in FILES:
        out.remove(name)


def _bring_up_to_date(
    runner: Runner, listing: Listing, networks: Mapping[str, Network], known: dict[str, dict[str, Any]]
) -> list[MetricsRow]:
    """Do what is due of every category; returns the rows of metrics.parquet."""
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
    members = [job for plan in plans for job in plan.members]
    reused = sum(not job.score for job in members)
    if reused:
        runner.console.say(f"reused   {reused} of {len(members)} members")
    for sentence in oversized(plans, runner.context.config):
        runner.record.warn(sentence)


def _not_asked(context: RunContext, listing: Listing) -> list[str]:
    """Categories of the data that this call was not asked for: what an earlier one said of them stays."""
    if not context.config.categories or not context.out.exists(INDEX_FILE):
        return []
    categories = find_categories(context.data, layout=listing.layout)
    return [category for category in categories if category not in listing.categories]
