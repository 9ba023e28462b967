"""A night: learn what has changed, let the gate decide, judge today's images, and leave it all to be read.

    index → waves of (extract → fit → select → score → fuse → gate → registry) → today's images → drift, summary

The registry holds a run directory of its own, `.work`, in which candidates are made: what a night that was cut off had
finished stands there. Today's rows go to SCORES/<run_id>/.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines.chunks import Chunk
from pipelines.config import RunConfig
from pipelines.dataset import Image, Listing, assign_parts, find_new, list_images, new_images
from pipelines.deadline import JUDGE, LEARN, Costs, affordable, by_importance, next_time
from pipelines.drift import append, compare, count_anomalies
from pipelines.gate import Candidate, candidate_of, gate_chunks, rule_all, settle
from pipelines.lease import leased
from pipelines.networks import Networks
from pipelines.night import WORK, Night, NightOptions
from pipelines.plan import CategoryPlan, cut_waves
from pipelines.progress import Screen
from pipelines.record import Record
from pipelines.registry import Registry
from pipelines.run import index, known_images, plans_of, scratch_of, usable
from pipelines.rundir import INDEX, INDEX_FILE, MODEL, RUN, model_folder
from pipelines.score import Stamp
from pipelines.session import ray_session
from pipelines.stages import Stages
from pipelines.storage import Store, write_rows
from pipelines.today import Today, judge_today
from reconpatch.backbones import BackboneError
from reconpatch.model import ModelError, from_json, with_false_alarms


def nightly(config: RunConfig, options: NightOptions, screen: Screen) -> int:
    """Do a night's work.

    Returns:
        The exit code: 0 done; 1 some categories failed; 3 a candidate was refused, all else fine.

    Raises:
        UsageError: bad input, or another night is going on and `--wait` was not given.
    """
    registry, scores, data = (Store.of(each) for each in (options.registry, options.scores, config.data))
    deadline = None if options.deadline is None else next_time(options.deadline, datetime.now().astimezone())
    work = registry.below(WORK)
    weights = None if config.weights is None else str(Path(config.weights).resolve())
    config = replace(config, data=data.root if data.is_local else config.data, out=work.uri, weights=weights)
    with leased(registry, wait=options.wait):
        listing = list_images(data, config.categories)
        with ThreadPoolExecutor(1) as aside:
            loading = aside.submit(Networks.load, config)  # Ray starts meanwhile
            with ray_session(config) as workers:
                networks = loading.result()
                before = work.read_json(RUN) or {}
                record = _record(config, scores, networks, before, screen)
                stages = Stages(
                    config,
                    data,
                    work,
                    scratch_of(config, work),
                    record,
                    screen,
                    workers,
                    Stamp(record.run_id, record.started_at),
                )
                costs = Costs.read(work)
                night = Night(options, Registry(registry), stages, record.out, networks, costs, before, deadline)
                return _whole(night, listing)


def _record(config: RunConfig, scores: Store, networks: Networks, before: Mapping[str, Any], screen: Screen) -> Record:
    """A night that was cut off is gone on with under its own name."""
    cut_off = before.get("status") in ("running", "interrupted") and before.get("scores") == scores.uri
    run_id = before["run_id"] if cut_off else uuid.uuid4().hex
    if cut_off:
        screen.say(f"goes on with the night {run_id[:12]}, which was cut off")
    return Record(config, scores.below(run_id), screen, networks.by_backbone, run_id, datetime.now(UTC))


def _whole(night: Night, listing: Listing) -> int:
    record = night.record
    for sentence in listing.warnings:
        record.warn(sentence)
    night.save("running")
    try:
        _learn_and_judge(night, listing)
    except BaseException:
        night.save("interrupted")
        raise
    night.save("partial" if record.failed else "complete")
    if record.failed:
        return 1
    return 3 if any(row.get("learned") == "refused" for row in night.told.values()) else record.exit_code


def _learn_and_judge(night: Night, listing: Listing) -> None:
    stages, registry = night.stages, night.registry
    for category in registry.categories():
        registry.mend(category)
    train = [image for image in listing.images if image.split == "train"]
    test = [image for image in listing.images if image.split == "test"]
    known = known_images(stages.out, stages.config)
    images = index(stages, [*train, *test], known)
    images = assign_parts(images, stages.config.holdout)
    write_rows(stages.out, INDEX_FILE, [image.row() for image in images], INDEX)
    good = usable(
        night.record, listing.categories, [image for image in images if image.split == "train"], stages.config
    )
    for category in night.record.failed:
        night.tell(category, learned="failed")
    plans = plans_of(listing.categories, good, stages.config, night.networks.by_backbone, stages.out)
    _learn(night, plans, _by_category([image for image in images if image.split == "test"]))
    _judge(night, listing.categories, {image.image_path: _without_mask(image) for image in images})
    for category in registry.categories():
        registry.prune(category, night.options.keep)
    if not stages.config.keep_features:
        stages.scratch.remove_folder()


def _by_category(images: Sequence[Image]) -> dict[str, list[Image]]:
    found: dict[str, list[Image]] = {}
    for image in images:
        found.setdefault(image.category, []).append(image)
    return found


def _without_mask(image: Image) -> dict[str, Any]:
    """The index row of a picture that is judged as a new one: what its mask is does not matter."""
    picture = None if image.fingerprint is None else image.fingerprint.partition("|")[0]
    return {**image.row(), "fingerprint": picture, "mask_path": None, "mask_sha256": None}


def _learn(night: Night, plans: Sequence[CategoryPlan], labelled: Mapping[str, Sequence[Image]]) -> None:
    """Fit what has changed, wave by wave, and bring it before the gate."""
    stages, record = night.stages, night.record
    due = {}
    for plan in plans:
        version = _made(night, plan)
        if plan.fuse or version is None or not night.registry.is_settled(plan.category, version):
            due[plan.category] = plan
        _tell_made(night, plan.category, version)
    new = [category for category in due if night.registry.current(category) is None]
    order = by_importance(list(due), night.before.get("deferred", {}).get(LEARN, []), new)
    number = 0
    while order:
        sizes = {category: len(due[category].images) for category in order}
        found = affordable(night.costs, LEARN, sizes, _for_learning(night))
        if not found.now:
            for category in order:
                night.tell(category, learned="deferred")
            record.warn(f"{len(order)} categories could not be learned before the deadline: {', '.join(order[:20])}.")
            return
        number += 1
        started = time.perf_counter()
        asked = {name: gate_chunks(due[name], labelled.get(name, ()), stages.config) for name in found.now}
        wave = cut_waves(
            [due[name] for name in found.now],
            [due[name].scratch_bytes + _bytes_of(night, asked[name]) for name in found.now],
            stages.config.scratch_gb * 1e9,
        )[0]
        label = f" {number}" if number > 1 else ""
        fitted = [plan for plan in wave if plan.fuse]
        # What the gate asks about is extracted with the rest: each extraction has a start-up of its own.
        chunks = [chunk for plan in fitted for chunk in plan.chunks]
        stages.extract(chunks + [chunk for plan in wave for chunk in asked[plan.category]], label)
        stages.do([plan for plan in fitted if plan.category not in record.failed], label, f"fit-{uuid.uuid4().hex}")
        _before_the_gate(night, wave, labelled)
        stages.free([plan.category for plan in wave])
        done = {plan.category: len(plan.images) for plan in wave}
        night.costs.note(LEARN, time.perf_counter() - started, done)
        night.costs.write(stages.out)
        order = [category for category in order if category not in done]


def _made(night: Night, plan: CategoryPlan) -> str | None:
    """The version of the model that lies in the work directory."""
    place = night.stages.out.below(model_folder(plan.category))
    return from_json(place.read(MODEL)).version if place.exists(MODEL) else None


def _tell_made(night: Night, category: str, version: str | None) -> None:
    """Of a model about which nothing is to be decided: it is in force, or was refused or rolled back."""
    in_force = version == night.registry.current(category)
    night.tell(category, learned="unchanged" if in_force else "held back")


def _bytes_of(night: Night, chunks: Sequence[Chunk]) -> int:
    found = night.networks.by_backbone
    return sum(found[chunk.view.backbone].bytes_per_image * len(chunk.images) for chunk in chunks)


def _for_learning(night: Night) -> float | None:
    """Seconds that are left when today's images have been judged, as far as their cost is known."""
    left = night.seconds_left()
    if left is None:
        return None
    known = night.costs.found.get(JUDGE, {})
    return left - sum(night.costs.predict(JUDGE, name, images) or 0.0 for name, (_, images) in known.items())


def _before_the_gate(night: Night, wave: Sequence[CategoryPlan], labelled: Mapping[str, Sequence[Image]]) -> None:
    stages, record = night.stages, night.record
    candidates: list[Candidate] = []
    for plan in wave:
        category = plan.category
        if category in record.failed:
            night.tell(category, learned="failed")
            continue
        place = stages.out.below(model_folder(category))
        found = candidate_of(category, place, plan.images, labelled.get(category, ()), night.registry)
        try:
            if found is not None and found.champion is not None:
                night.networks.add(found.champion[0])
        except (ModelError, BackboneError) as error:
            record.category_failed(category, "gate", f"the model in force cannot be asked: {error}")
            night.tell(category, learned="failed")
            continue
        if found is None:
            _tell_made(night, category, _made(night, plan))
        else:
            candidates.append(found)
    rulings = rule_all(stages, candidates, night.networks.by_backbone, night.options.terms)
    for candidate in candidates:
        category = candidate.category
        if category not in rulings:
            night.tell(category, learned="failed")
            continue
        ruling = rulings[category]
        settle(night.registry, candidate, ruling, record.run_id)
        night.tell(category, learned=ruling.status, candidate=candidate.model.version, reasons=" ".join(ruling.reasons))
        if ruling.status == "refused":
            record.warn(f"{category}: the candidate {candidate.model.version} is refused: {' '.join(ruling.reasons)}")


def _judge(night: Night, categories: Sequence[str], known: Mapping[str, Mapping[str, Any]]) -> None:
    """Today's images, judged by what is in force."""
    registry = night.registry
    source = night.images_root
    stages = replace(night.stages, data=source, out=night.out)
    of_data = night.options.images is None
    before = night.last_finished()
    trusted = before.index if not night.stages.config.rehash else {}
    todays = {}
    names = sorted({*categories, *(() if stages.config.categories else registry.categories())})
    listed = {category: _todays_files(source, category, of_data) for category in names}
    every = [image for category in names for image in listed[category]]
    images = index(stages, every, {**trusted, **known} if of_data else trusted)
    write_rows(night.out, INDEX_FILE, [image.row() for image in images], INDEX)
    readable = _by_category(images)
    for category in names:
        mine = readable.get(category, [])
        version = registry.current(category)
        night.tell(category, model_version=version, images=len(mine), unreadable=len(listed[category]) - len(mine))
        if version is None or not mine:
            night.tell(category, judged="no model" if version is None else "no images")
            continue
        place = registry.version(category, version)
        try:
            model = with_false_alarms(from_json(place.read(MODEL)), stages.config.false_alarms)
            night.networks.add(model)
        except (ModelError, BackboneError) as error:
            night.record.category_failed(category, "judge", str(error))
            night.tell(category, judged="failed")
            continue
        todays[category] = Today(model, place, tuple(mine))
    order = by_importance(list(todays), night.before.get("deferred", {}).get(JUDGE, []), [])
    while order:
        sizes = {name: len(todays[name].images) for name in order}
        found = affordable(night.costs, JUDGE, sizes, night.seconds_left())
        if not found.now:
            for category in order:
                night.tell(category, judged="deferred")
            night.record.warn(
                f"{len(order)} categories could not be judged before the deadline: {', '.join(order[:20])}."
            )
            return
        chosen = [todays[name] for name in found.now]
        for today, seconds in judge_today(stages, chosen, night.networks.by_backbone, before):
            night.costs.note(JUDGE, seconds, {today.category: len(today.images)})
            night.tell(today.category, judged="done", anomalies=count_anomalies(night.out, today.category))
            drift = compare(night.out, today.model, stages.stamp)
            if drift is not None:
                append(registry, drift, stages.stamp)
                told = ("above_threshold", "ks", "ks_p_value", "rare")
                night.tell(today.category, **{name: drift[name] for name in told})
        night.costs.write(night.stages.out)
        for category in found.now:
            night.told[category].setdefault("judged", "failed")
        order = list(found.rest)


def _todays_files(source: Store, category: str, of_data: bool) -> list[Image]:
    """A category's new images: below its folder, or of the data its `test`, else its `incoming`."""
    folders = (f"{category}/test", f"{category}/incoming") if of_data else (category,)
    for folder in folders:
        files, _ = find_new(source, folder)
        if files:
            return new_images(source, category, files)
    return []
