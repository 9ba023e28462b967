"""A run from folders to scores: index, then wave by wave extract → fit → select → score → fuse, then close."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines.config import RunConfig
from pipelines.dataset import Listing, assign_parts, find_categories, list_images
from pipelines.estimate import estimated_hours
from pipelines.index import index, known_images, known_or_read, usable, with_listing
from pipelines.layouts import MVTEC
from pipelines.lease import leased
from pipelines.networks import Network, load_backbones
from pipelines.plan import CategoryPlan, oversized, plans_of, stored_story, waves_of
from pipelines.progress import Screen
from pipelines.record import Record, read_run
from pipelines.report.build import report_at_the_end
from pipelines.report.subject import Subject
from pipelines.rundir import FILES, FOLDERS, INDEX, INDEX_FILE, RUN, Stamp
from pipelines.session import session_with_networks
from pipelines.stages import Stages, scratch_of
from pipelines.storage import Store
from pipelines.tables import rows_if_there, write_rows
from pipelines.usage import UsageError


def run(config: RunConfig, screen: Screen) -> int:
    """Do the whole job of `ensemble` and `single`; what an earlier run into the directory has done already stands.

    Returns:
        The exit code: 0 done, 1 some categories failed (or files were unreadable, with `--strict`).

    Raises:
        UsageError: bad input, found before anything is computed, or a directory in use.
        BackboneError: a backbone that is not there or has no weights, likewise.
    """
    data, out = Store.of_data(config.data), Store.of(config.out)
    scratch_of(config, out)  # a place that cannot be one is refused first
    listing = list_images(data, config.categories, config.layout)
    config = with_listing(config, data, listing)
    prepare(out, data, config)
    with session_with_networks(config) as (workers, networks), leased(out):
        return _job(config, data, out, listing, networks.by_backbone, workers, screen)


def _job(
    config: RunConfig,
    data: Store,
    out: Store,
    listing: Listing,
    networks: Mapping[str, Network],
    workers: int,
    screen: Screen,
) -> int:
    """From the listed images to the closed record; returns the exit code."""
    if config.fresh:
        clear(out)
    record = Record(config, out, screen, networks, run_id=uuid.uuid4().hex, started_at=datetime.now(UTC))
    record.units.update((read_run(out) or {}).get("units", {}))  # what the units that stand have cost
    for name, each in networks.items():
        screen.say(f"{name}: weights from {each.source}, SHA-256 {each.sha256[:12]}")
    if listing.layout != MVTEC:
        screen.say(f"layout   {listing.layout}")
    for sentence in listing.warnings:
        record.warn(sentence)
    known = known_images(out, config)
    scratch = scratch_of(config, out)
    stamp = Stamp(record.run_id, record.started_at)
    record.save("running")
    stages = Stages(config, data, out, scratch, record, screen, workers, stamp)
    try:
        metrics = _up_to_date(stages, listing, networks, known)
    except BaseException:
        record.save("interrupted")
        raise
    stages.leave()
    record.close(metrics)
    if config.report:
        subject = Subject(out, config.command, data, data, out, out.read_json(RUN))
        report_at_the_end(subject, stages)
    return record.exit_code


def dry_run(config: RunConfig, screen: Screen) -> int:
    """Say what `run` would do, without Ray and without writing anything."""
    data, out = Store.of_data(config.data), Store.of(config.out)
    listing = list_images(data, config.categories, config.layout)
    backbones = load_backbones(config)
    networks = {
        member.backbone: Network.of(backbones[member.backbone], member, config.image_size) for member in config.members
    }
    known = {} if config.fresh else known_images(out, config)
    images = []
    with ThreadPoolExecutor(os.cpu_count()) as pool, screen.stage("index", len(listing.images), "images") as stage:
        for image in pool.map(lambda image: known_or_read(data, image, known, config.bit_depth), listing.images):
            images += [] if image is None else [image]
            stage.advance()
    place = out.below("nothing stands") if config.fresh else out
    plans = plans_of(listing.categories, assign_parts(images, config.holdout), config, networks, place)
    due = [plan for plan in plans if plan.fuse]
    _show_plans(screen, plans, len(waves_of(due, config)), estimated_hours(due, config, backbones))
    return 0


def _show_plans(screen: Screen, plans: Sequence[CategoryPlan], waves: int, hours: float) -> None:
    """A line a unit, what is reused, how much scratch it takes, and how long."""
    lines = []
    for plan in plans:
        for unit in plan.units:
            images = sum(len(chunk.images) for chunk in plan.chunks if chunk.view.backbone == unit.backbone)
            stages = ["do" if each else "-" for each in (unit.fit, unit.select, unit.score, plan.fuse)]
            lines.append([plan.category, unit.backbone, str(len(unit.images)), str(images or "-"), *stages])
    screen.table(["category", "backbone", "images", "extract", "fit", "select", "score", "fuse"], lines, names=2)
    units = [unit for plan in plans for unit in plan.units]
    reused = sum(not unit.score for unit in units)
    scratch = [plan.scratch_bytes for plan in plans]
    screen.say(f"units    {len(units)}, of which {reused} are reused; {waves} waves")
    screen.say(
        f"scratch  {sum(scratch) / 1e9:.2f} GB in all, {max(scratch, default=0) / 1e9:.2f} GB for the largest category"
    )
    screen.say(f"hours    {hours:.2f}, estimated from a trial of each network on this machine")


def prepare(out: Store, data: Store, config: RunConfig) -> None:
    """Refuse a directory that is not a run's own.

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


def _up_to_date(
    stages: Stages, listing: Listing, networks: Mapping[str, Network], known: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """Bring every category up to date; returns the rows of metrics.parquet."""
    config, record, out = stages.config, stages.record, stages.out
    read = assign_parts(index(stages, listing.images, known), config.holdout)
    silent = list(record.failed)  # an object store did not give them as a whole: what stands of them is kept
    untouched = [*_not_asked(stages, listing), *silent]
    images = usable(record, listing.categories, read, config)
    others = [row for row in rows_if_there(out, INDEX_FILE) if row["category"] in untouched] if untouched else []
    new = set(silent) - {row["category"] for row in others}
    others += [image.row() for image in read if image.category in new]
    write_rows(out, INDEX_FILE, [*(image.row() for image in images), *others], INDEX)
    plans = plans_of(listing.categories, images, config, networks, out)
    units = [unit for plan in plans for unit in plan.units]
    reused = sum(not unit.score for unit in units)
    if reused:
        stages.screen.say(f"reused   {reused} of {len(units)} units")
    for sentence in oversized(plans, config):
        record.warn(sentence)
    metrics: dict[str, list[dict[str, Any]]] = {}
    for plan in plans:
        story = None if plan.fuse else stored_story(out, plan.category)
        if story is not None:
            metrics[plan.category] = story["metrics"]
            for sentence in story["warnings"]:
                record.warn(sentence)
    waves = waves_of([plan for plan in plans if plan.fuse], config)
    for number, wave in enumerate(waves, start=1):
        label = f" {number}/{len(waves)}" if len(waves) > 1 else ""
        metrics |= stages.do(wave, label, f"fit-{record.run_id}-{number}")
        stages.free([plan.category for plan in wave])
    for category in untouched:
        story = stored_story(out, category)
        metrics[category] = [] if story is None else story["metrics"]
    return [row for category in sorted(metrics) for row in metrics[category]]


def _not_asked(stages: Stages, listing: Listing) -> list[str]:
    """Categories of the data that this call was not asked for: what an earlier one said of them stays."""
    if not stages.config.categories or not stages.out.exists(INDEX_FILE):
        return []
    found = find_categories(stages.data, layout=listing.layout)
    return [category for category in found if category not in listing.categories]
