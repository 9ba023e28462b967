"""Metrics, maps and verdicts again, from the members' Parquet, the models and the masks; nothing is trained."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

from pipelines.config import RunConfig, stored_config
from pipelines.dataset import by_category, list_images
from pipelines.fuse import Fusion
from pipelines.keys import fused_key
from pipelines.lease import leased
from pipelines.networks import Network
from pipelines.plan import stored_story
from pipelines.progress import Screen
from pipelines.record import Record, read_run
from pipelines.rundir import FAILURES_FILE, INDEX, INDEX_FILE, RUN, Stamp, maps_file, member_scores_file, model_folder
from pipelines.secrets import is_masked, masked
from pipelines.session import ray_session
from pipelines.stages import Stages
from pipelines.storage import Store
from pipelines.tables import metadata_of, read_rows, rows_if_there, write_rows
from pipelines.usage import UsageError
from pipelines.walk import Image
from reconpatch.model import MODEL_FILE, Model, from_json


def evaluate(
    run_folder: str,
    screen: Screen,
    *,
    data: str | None = None,
    false_alarms: float | None = None,
    maps: bool | None = None,
    **where: Any,
) -> int:
    """Fuse every category of a run again, and write its fused scores, models, maps and metrics anew.

    Args:
        run_folder: the run.
        data: where the masks are now; by default where the run found them.
        false_alarms: the wished false-alarm rate; by default the run's.
        maps: whether maps are written; by default where the run has them.
        where: workers, threads_per_unit, gpus_per_actor, address, as in RunConfig.

    Returns:
        The exit code.

    Raises:
        UsageError: no run, or one that is in use.
    """
    out = Store.of(run_folder)
    told = read_run(out)
    if told is None:
        raise UsageError(f"--run {run_folder}: holds no run (no {RUN} in it).")
    config = _config(told["config"], out, data, false_alarms, where)
    with leased(out):
        images = [
            Image(**{field.name: row[field.name] for field in fields(Image)}) for row in read_rows(out, INDEX_FILE)
        ]
        store = Store.of_data(config.data)
        images, warnings = _with_masks(store, images, config.layout)
        found = by_category(images)
        categories = list(found)
        fitted = [category for category in categories if out.below(model_folder(category)).exists(MODEL_FILE)]
        warnings += [
            f"{category}: has no model yet and is left out; finish the run first."
            for category in categories
            if category not in fitted
        ]
        networks = {name: Network(each["source"], each["sha256"], 0, 0) for name, each in told["weights"].items()}
        record = Record(
            config,
            out,
            screen,
            networks,
            told["run_id"],
            datetime.now(UTC),
            stages={**told["stages"]},
            units=told["units"],
            failures=rows_if_there(out, FAILURES_FILE),
            failed=dict(told["failed"]),
            warnings=_of_the_index(told, out, categories, warnings),
            before=told,
        )
        for sentence in warnings:
            record.warn(sentence)
        fusions = {}
        for category in fitted:
            fusions[category] = _fusion(category, tuple(found[category]), config, out, maps)
        with ray_session(config) as workers:
            stamp = Stamp(told["run_id"], record.started_at)
            stages = Stages(config, store, out, out, record, screen, workers, stamp)
            metrics = stages.fuse(fusions)
        write_rows(out, INDEX_FILE, [image.row() for image in images], INDEX)
        record.close([row for category in sorted(metrics) for row in metrics[category]])
    return record.exit_code


def _of_the_index(told: Mapping[str, Any], out: Store, categories: Sequence[str], again: Sequence[str]) -> list[str]:
    """The run's warnings, but for those that are said again, of fusing among them as far as they still hold."""
    stories = [stored_story(out, category) or {"warnings": []} for category in categories]
    said = {
        masked(sentence) for sentences in (again, *(each["warnings"] for each in stories)) for sentence in sentences
    }
    return [sentence for sentence in told.get("warnings", []) if sentence not in said]


def _config(
    stored: dict[str, Any], out: Store, data: str | None, false_alarms: float | None, where: dict[str, Any]
) -> RunConfig:
    given = {"out": out.uri, "fresh": False, "data": data or stored["data"], **where}
    if is_masked(given["data"]):
        raise UsageError("The run's data has credentials in its address, which are not kept: give it with --data.")
    if false_alarms is not None:
        given["false_alarms"] = false_alarms
    return stored_config(stored, **given)


def _with_masks(data: Store, images: Sequence[Image], layout: str) -> tuple[list[Image], list[str]]:
    """The images with the masks that are there now."""
    listing = list_images(data, list(dict.fromkeys(image.category for image in images)), layout)
    now = {image.image_path: image for image in listing.images}
    found = []
    for image in images:
        mask_path = now[image.image_path].mask_path if image.image_path in now else image.mask_path
        sha256 = None
        if mask_path is not None and data.exists(mask_path):
            sha256 = hashlib.sha256(data.read_picture(mask_path)).hexdigest()
        changed = (mask_path, sha256) != (image.mask_path, image.mask_sha256)
        # A row whose mask is another one must not be trusted by its old fingerprint.
        fingerprint = None if changed else image.fingerprint
        found.append(replace(image, mask_path=mask_path, mask_sha256=sha256, fingerprint=fingerprint))
    return found, list(listing.warnings)


def _fusion(category: str, images: tuple[Image, ...], config: RunConfig, out: Store, maps: bool | None) -> Fusion:
    model = replace(from_json(out.below(model_folder(category)).read(MODEL_FILE)), false_alarms=config.false_alarms)
    scored = {
        member.backbone: metadata_of(out, member_scores_file(category, member.backbone)) for member in model.members
    }
    _require_same(category, model, scored)
    config = replace(config, fusion=model.fusion)
    key = fused_key(config, [each["key"] for each in scored.values()], images)
    wanted = out.exists(maps_file(category)) if maps is None else maps
    return Fusion(model, images, key, wanted, config.threads_per_unit)


def _require_same(category: str, model: Model, scored: dict[str, dict[str, str]]) -> None:
    for member in model.members:
        if scored[member.backbone].get("model_key") != member.key:
            raise UsageError(
                f"{category}, {member.backbone}: its scores are not this model's, because a run was interrupted; "
                f"finish it first with the command that began it."
            )
