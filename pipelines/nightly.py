"""A night: learn what has changed, let the gate decide, judge today's images, and leave it all to be read.

    index → waves of (extract → fit → select → score → fuse → gate → registry) → today's images → drift, summary

The registry holds a run directory of its own, `.work`, in which candidates are made: what a night that was cut off had
finished stands there. Today's rows go to SCORES/<run_id>/.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pipelines.config import RunConfig
from pipelines.dataset import Listing, as_new, assign_parts, by_category, list_images
from pipelines.deadline import Costs, next_time
from pipelines.index import index, known_images, usable, with_listing
from pipelines.learn import learn
from pipelines.lease import leased
from pipelines.morning import judge
from pipelines.networks import Networks
from pipelines.night import Night, NightOptions, place_of
from pipelines.plan import plan_category
from pipelines.progress import Screen
from pipelines.record import Record, read_run
from pipelines.registry import WORK, Registry
from pipelines.report.build import report_at_the_end
from pipelines.report.subject import Subject
from pipelines.rundir import INDEX, INDEX_FILE, REPORT, RUN, Stamp
from pipelines.secrets import masked
from pipelines.session import session_with_networks
from pipelines.stages import Stages, scratch_of
from pipelines.storage import Store
from pipelines.sweep import sweep
from pipelines.tables import write_rows
from pipelines.usage import UsageError


def nightly(config: RunConfig, options: NightOptions, screen: Screen) -> int:
    """Do a night's work.

    Returns:
        The exit code: 0 done; 1 some categories failed; 3 a candidate was refused, all else fine.

    Raises:
        UsageError: bad input, or another night is going on and `--wait` was not given.
    """
    registry, data = Store.of(options.registry), Store.of_data(config.data)
    if options.images is not None and not Store.of(options.images).holds_something():
        raise UsageError(f"--images {masked(options.images)}: there is no such folder, or nothing in it.")
    deadline = None if options.deadline is None else next_time(options.deadline, datetime.now())
    work = registry.below(WORK)
    with leased(registry, wait=options.wait):
        listing = list_images(data, config.categories, config.layout)
        config = with_listing(replace(config, out=work.uri), data, listing)
        with session_with_networks(config) as (workers, networks):
            before = _before(work, screen)
            record = _record(config, options, networks, before, screen)
            stamp = Stamp(record.run_id, record.started_at)
            stages = Stages(config, data, work, scratch_of(config, work), record, screen, workers, stamp)
            costs = Costs.read(work)
            night = Night(options, Registry(registry), stages, record.out, networks, costs, before, deadline)
            sweep(record.out)
            code = _whole(night, listing)
            sweep(record.out)
            return code


def _before(work: Store, screen: Screen) -> dict[str, Any]:
    """How the last night ended; where that is damaged, this one is as the first."""
    try:
        return read_run(work) or {}
    except UsageError as error:
        screen.warn(f"{error} What the last night left is not gone on with.")
        return {}


def _record(
    config: RunConfig, options: NightOptions, networks: Networks, before: Mapping[str, Any], screen: Screen
) -> Record:
    """A night that was cut off is gone on with under its own name."""
    place = before.get("place", {})
    same = {**place, "run_id": ""} == {"run_id": "", **place_of(options, config)}
    last = str(before.get("run_id"))
    is_name = re.fullmatch("[0-9a-f]{32}", last) is not None  # a folder is called so
    cut_off = before.get("status") in ("running", "interrupted") and same and is_name
    run_id = last if cut_off else uuid.uuid4().hex
    if cut_off:
        screen.say(f"goes on with the night {run_id[:12]}, which was cut off")
    return Record(
        config,
        Store.of(options.scores).below(run_id),
        screen,
        networks.by_backbone,
        run_id,
        datetime.now(UTC),
        origin={"models": Store.of(options.registry).uri, "images": Store.of(options.images or config.data).uri},
    )


def _whole(night: Night, listing: Listing) -> int:
    record = night.record
    for sentence in listing.warnings:
        record.warn(sentence)
    known = known_images(night.stages.out, night.stages.config)  # before what it is compared with is written anew
    night.save("running")
    try:
        _learn_and_judge(night, listing, known)
    except BaseException:
        night.save("interrupted")
        raise
    night.save(record.ended)
    if night.stages.config.report:
        _report(night)
    refused = any(row.get("learned") == "refused" for row in night.told.values())
    return record.exit_code or (3 if refused else 0)


def _report(night: Night) -> None:
    """Pages about today; pictures that the night before has shown already are its own."""
    stages, last = night.stages, night.last_place()
    subject = Subject(
        night.out, "nightly", night.images_root, stages.data, night.registry.store, night.out.read_json(RUN)
    )
    before = None if not last else Store.of(night.options.scores).below(last["run_id"]).below(REPORT)
    report_at_the_end(subject, stages, before)


def _learn_and_judge(night: Night, listing: Listing, known: dict[str, dict[str, Any]]) -> None:
    stages, registry = night.stages, night.registry
    asked = set(listing.categories)
    mine = [name for name in registry.categories() if name in asked or not stages.config.categories]
    night.of_each(registry.mend, mine, "mend", learned="failed")
    train = [image for image in listing.images if image.split == "train"]
    test = [image for image in listing.images if image.split == "test"]
    images = index(stages, [*train, *test], known)
    images = assign_parts(images, stages.config.holdout)
    others = [row for row in known.values() if row["category"] not in asked] if stages.config.categories else []
    write_rows(stages.out, INDEX_FILE, [*(image.row() for image in images), *others], INDEX)
    good = usable(
        night.record, listing.categories, [image for image in images if image.split == "train"], stages.config
    )
    for category in night.record.failed:
        night.tell(category, learned="failed")
    found, networks = by_category(good), night.networks.by_backbone
    due = [category for category in listing.categories if category in found]
    plans = night.of_each(
        lambda category: plan_category(category, found[category], stages.config, networks, stages.out),
        due,
        "plan",
        learned="failed",
    )
    learn(night, list(plans.values()), by_category([image for image in images if image.split == "test"]))
    judge(night, listing, {image.image_path: as_new(image).row() for image in images})
    whole = [category for category in mine if category not in night.record.failed]
    night.of_each(lambda category: registry.prune(category, night.options.keep), whole, "prune")
    stages.leave()
