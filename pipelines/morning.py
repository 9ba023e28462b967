"""What is there in the morning: today's images judged by the models in force, and how their scores drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipelines.dataset import Listing, as_new, by_category, find_new, new_images
from pipelines.deadline import JUDGE, affordable, by_importance
from pipelines.drift import drift_row, note_drift, read_scores
from pipelines.index import index
from pipelines.layouts import MVTEC
from pipelines.night import Night
from pipelines.plan import cut_waves
from pipelines.registry import Registry
from pipelines.rundir import INDEX, INDEX_FILE
from pipelines.storage import Store
from pipelines.tables import write_rows
from pipelines.today import Today, judge_today
from pipelines.walk import Image, image_folders, named
from reconpatch.model import MODEL_FILE, from_json, with_false_alarms


def judge(night: Night, listing: Listing, known: Mapping[str, Mapping[str, Any]]) -> None:
    """Today's images, judged by what is in force.

    Args:
        listing: of the data.
        known: rows of the data's index, as of new images.
    """
    registry = night.registry
    source = night.images_root
    stages = replace(night.stages, data=source, out=night.out)
    of_data = night.options.images is None
    before = night.last_finished()
    trusted = before.index if not night.stages.config.rehash else {}
    names = sorted({*listing.categories, *(() if stages.config.categories else registry.categories())})
    others = of_data and listing.layout != MVTEC
    tests = by_category([as_new(image) for image in listing.images if image.split == "test"]) if others else {}
    found = night.of_each(
        lambda category: _todays_files(source, category, of_data, tests.get(category)), names, "judge", judged="failed"
    )
    for category, (_, warnings) in found.items():
        if warnings:
            more = f" (and {len(warnings) - 1} more like it)" if len(warnings) > 1 else ""
            night.record.warn(f"{category}: {warnings[0]}{more}")
    strangers = [] if of_data else [name for name in image_folders(source) if name not in names]
    if strangers:
        night.record.warn(
            f"{source.uri}: {len(strangers)} folders are of no category that is known: {named(strangers, 20)}."
        )
    every = [image for files, _ in found.values() for image in files]
    images = index(stages, every, {**trusted, **known} if of_data else trusted)
    write_rows(night.out, INDEX_FILE, [image.row() for image in images], INDEX)
    readable = by_category(images)
    models = night.of_each(lambda category: _in_force(registry, category), list(found), "judge", judged="failed")
    todays = {}
    for category, (files, _) in found.items():
        mine = tuple(readable.get(category, ()))
        night.tell(category, images=len(mine), unreadable=len(files) - len(mine))
        if category not in models:
            continue
        model = models[category]
        if model is None or not mine:
            night.tell(category, judged="no model" if model is None else "no images")
            continue
        with night.guarded(category, "judge", judged="failed"):
            today = Today(with_false_alarms(from_json(model.read(MODEL_FILE)), stages.config.false_alarms), model, mine)
            night.networks.add(today.model)
            night.tell(category, model_version=today.model.version)
            todays[category] = today
    order = by_importance(list(todays), night.before.get("deferred", {}).get(JUDGE, []), [])
    while order:
        sizes = {name: len(todays[name].images) for name in order}
        affords = affordable(night.costs, JUDGE, sizes, night.seconds_left())
        if not affords:
            for category in order:
                night.tell(category, judged="deferred")
            night.record.warn(f"{len(order)} categories could not be judged before the deadline: {named(order, 20)}.")
            return
        chosen = _first_wave([todays[name] for name in affords], night)  # and then the clock is looked at again
        for judged in judge_today(stages, chosen, night.networks, before):
            category = judged.today.category
            if judged.images == len(judged.today.images):  # rows that were taken over have cost nothing
                night.costs.note(JUDGE, judged.seconds, {category: judged.images})
            with night.guarded(category, "judge", judged="failed"):
                _tell(night, judged.today)
        night.costs.write(night.stages.out)
        for today in chosen:
            night.told[today.category].setdefault("judged", "failed")
            order.remove(today.category)


def _first_wave(todays: Sequence[Today], night: Night) -> list[Today]:
    """As many categories as scratch has room for."""
    sizes = [night.networks.bytes_per_image(today.model) * len(today.images) for today in todays]
    return cut_waves(todays, sizes, night.stages.config.scratch_gb * 1e9)[0]


def _tell(night: Night, today: Today) -> None:
    """What today's rows of a category say."""
    category, stamp = today.category, night.stages.stamp
    scores = read_scores(night.out, category)
    verdicts = scores["is_anomaly"].to_pylist()
    told = night.told[category]
    vanished = told["images"] - scores.num_rows
    night.tell(category, images=scores.num_rows, unreadable=told["unreadable"] + vanished)
    night.tell(category, judged="done", anomalies=None if today.model.threshold is None else sum(verdicts))
    drift = drift_row(scores, today.model, stamp)
    if drift is not None:
        note_drift(night.registry, drift, stamp)
        night.tell(category, **{name: drift[name] for name in ("above_threshold", "ks", "ks_p_value", "rare")})


def _in_force(registry: Registry, category: str) -> Store | None:
    """The folder of the model in force."""
    version = registry.current(category)
    return None if version is None else registry.version(category, version)


def _todays_files(
    source: Store, category: str, of_data: bool, tests: list[Image] | None
) -> tuple[list[Image], list[str]]:
    """A category's new images: below its folder, or of the data its `test`, else its `incoming`; and what is odd.

    Args:
        tests: the test images of data in another layout than MVTec AD's, which has no folder of that name.
    """
    if tests or source.listed:
        return tests or [], []
    if of_data and (files := find_new(source, f"{category}/test")[0]):
        return new_images(source, category, files), []  # what is odd there has been said
    files, warnings = find_new(source, f"{category}/incoming" if of_data else category)
    return new_images(source, category, files), warnings
