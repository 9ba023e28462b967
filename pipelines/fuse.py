"""A Ray task a category: the members' Parquet becomes fused scores, verdicts, model.json, maps and the metrics' rows.

All that is read are the members' scores, their bank indices and the masks: `evaluate` does the same again at any time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.audit import write_audit
from pipelines.config import RunConfig
from pipelines.explain import geometry_of, nearest_patches
from pipelines.masks import read_masks
from pipelines.member_scores import MemberScores, as_member_scores
from pipelines.plan import Unit
from pipelines.resources import Done, measured, use_threads
from pipelines.rundir import (
    MAPS,
    TRAIN,
    TRAIN_FILE,
    Stamp,
    fused_schema,
    fused_scores_file,
    maps_file,
    member_scores_file,
    model_folder,
)
from pipelines.storage import Store
from pipelines.tables import read_table, write_rows, write_table
from pipelines.walk import Image
from reconpatch.maps import anomaly_map, to_original
from reconpatch.metrics import image_metrics, pixel_metrics
from reconpatch.model import (
    CODE_VERSION,
    MODEL_FILE,
    Judgement,
    MemberModel,
    Model,
    calibrate,
    judge,
    normalise,
    to_json,
)
from reconpatch.thresholds import bound_keeps, images_needed


@dataclass(frozen=True)
class Fusion:
    """What is to be fused.

    Attributes:
        model: the category's model; its statistics and threshold are computed anew.
        images: the scored images, in any order.
        key: of what comes out.
        maps: whether maps are written.
        threads: of the task.
    """

    model: Model
    images: tuple[Image, ...]
    key: str
    maps: bool
    threads: int


def model_of(units: Sequence[Unit], config: RunConfig, version: str) -> Model:
    """A category's model before its scores are known."""
    members = tuple(
        MemberModel(
            backbone=unit.backbone,
            levels=unit.member.levels,
            patch_size=unit.member.patch_size,
            aggregation=unit.member.aggregation,
            dim=unit.dim,
            weights=unit.network.source,
            weights_sha256=unit.network.sha256,
            key=unit.keys.model,
        )
        for unit in units
    )
    return Model(
        category=units[0].category,
        version=version,
        members=members,
        image_size=config.image_size,
        full_frame=config.full_frame,
        bit_depth=config.bit_depth,
        chunk=config.chunk,
        fusion=config.fusion,
        reweight=config.reweight,
        false_alarms=config.false_alarms,
        code_version=CODE_VERSION,
    )


def fuse_category(fusion: Fusion, data: Store, out: Store, stamp: Stamp) -> Done:
    """Eq. 11 over the members of a category, thresholds from its held-out images, metrics from its masks."""
    use_threads(fusion.threads)
    category = fusion.model.category
    with measured() as usage:
        members = [
            as_member_scores(read_table(out, member_scores_file(category, member.backbone)))
            for member in fusion.model.members
        ]
        images = _in_order(fusion.images, members)
        fit, holdout = (np.array([image.part == part for image in images]) for part in ("fit", "holdout"))
        model, statistics = normalise(fusion.model, [member.maps[fit] for member in members])
        if holdout.any():
            model = calibrate(model, judge(model, [member.maps[holdout] for member in members]).scores)
        judged = judge(model, [member.maps for member in members])
        warnings = [
            f"{category}, {member.backbone}: more than half of the fit scores are nearly the same (a uniform "
            f"background?); the mean absolute deviation stands in place of the MAD."
            for member, each in zip(model.members, statistics, strict=True)
            if each.fallback
        ] + _promises(model)
        place = out.below(model_folder(category))
        warnings += write_audit(model, images, members, place)
        masks, mask_warnings = read_masks(data, images, model)
        metrics = [_metrics_row(model, "ensemble", images, judged.scores, judged.fused, masks)]
        for member, each in zip(model.members, members, strict=True):
            scores = each.table["score"].to_numpy(zero_copy_only=False)
            metrics.append(_metrics_row(model, member.backbone, images, scores, each.maps, masks))
        nearest = nearest_patches(model, judged, members, place)
        columns = stamp.columns(model.version)
        rows = fused_rows(model, images, judged, nearest, columns)
        place.write(MODEL_FILE, to_json(model).encode())
        _write_train(images, place)
        if fusion.maps:
            test = [number for number, image in enumerate(images) if image.split == "test"]
            maps = map_rows(model, [images[number] for number in test], judged.fused[test], columns)
            write_rows(out, maps_file(category), maps, MAPS, {"key": fusion.key})
        # Last, since its key says that all of this stands.
        story = json.dumps({"metrics": metrics, "warnings": warnings + mask_warnings}, ensure_ascii=False)
        schema = fused_schema([member.backbone for member in model.members])
        write_rows(out, fused_scores_file(category), rows, schema, {"key": fusion.key, "story": story})
    detail = {"metrics": metrics, "warnings": warnings + mask_warnings, "images": len(rows)}
    return Done((category,), usage.seconds, usage.peak_bytes, detail)


def _in_order(images: Sequence[Image], members: Sequence[MemberScores]) -> list[Image]:
    """The images in the order of the members' rows, which is the same in all of them."""
    by_path = {image.image_path: image for image in images}
    orders = [member.table["image_path"].to_pylist() for member in members]
    if any(order != orders[0] for order in orders) or set(orders[0]) != set(by_path):
        raise ValueError("the members' scores are of other images than the index: finish the run that was begun.")
    return [by_path[path] for path in orders[0]]


def _promises(model: Model) -> list[str]:
    n, bound = len(model.holdout_scores), model.false_alarm_bound
    if bound is None or bound_keeps(bound, model.false_alarms):
        return []
    return [
        f"{model.category}: {n} held-out good images bound the false-alarm rate by {bound:.1%}, not by the "
        f"{model.false_alarms:.1%} wished for; that takes {images_needed(model.false_alarms)} of them."
    ]


def fused_rows(
    model: Model,
    images: Sequence[Image],
    judged: Judgement,
    nearest: Sequence[Mapping[str, Any]],
    stamp: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Rows of scores/fused, one an image; training images have no verdict, for they made the model."""
    grid = judged.fused.shape[1:]
    rows = []
    for number, image in enumerate(images):
        cell = int(judged.peaks.row[number]), int(judged.peaks.col[number])
        peak_row, peak_col = geometry_of(image, model).patch_centre(*cell, grid)
        row = image.row()  # the schema takes what it has columns for
        row |= {"score": float(judged.scores[number]), "peak_row": peak_row, "peak_col": peak_col, **nearest[number]}
        if image.split != "train" and judged.p_values is not None and judged.is_anomaly is not None:
            row |= {
                "p_value": float(judged.p_values[number]),
                "threshold": model.threshold,
                "is_anomaly": bool(judged.is_anomaly[number]),
            }
        for position, member in enumerate(model.members):
            row[f"score_{member.backbone}"] = float(judged.member_scores[position, number])
        rows.append({**row, **stamp})
    return rows


def _metrics_row(
    model: Model,
    name: str,
    images: Sequence[Image],
    scores: np.ndarray,
    maps: np.ndarray,
    masks: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """Metrics over the test images with a label; pixels count in good images and in defects with a mask."""
    test = [number for number, image in enumerate(images) if image.split == "test" and image.label is not None]
    labels = np.array([images[number].label for number in test], dtype=np.int64)
    image = image_metrics(np.asarray(scores[test], dtype=np.float64), labels)
    row: dict[str, Any] = {
        "category": model.category,
        "model": name,
        "image_auroc": image.auroc,
        "image_ap": image.ap,
        "image_f1max": image.f1max,
        "d_prime": image.d_prime,
        "n_good": int((labels == 0).sum()),
        "n_defect": int((labels == 1).sum()),
    }
    if masks:
        size = model.image_size
        seen = [number for number in test if images[number].label == 0 or images[number].image_path in masks]
        none = np.zeros((size, size), dtype=bool)
        truth = np.stack([masks.get(images[number].image_path, none) for number in seen])
        pixel = pixel_metrics(anomaly_map(np.asarray(maps[seen], np.float32), size), truth)
        row |= {"pixel_auroc": pixel.auroc, "pixel_ap": pixel.ap, "pixel_f1max": pixel.f1max, "aupro": pixel.aupro}
    return row


def _write_train(images: Sequence[Image], place: Store) -> None:
    rows = sorted((image.row() for image in images if image.split == "train"), key=lambda row: row["image_path"])
    table = pa.Table.from_pylist([{name: row[name] for name in TRAIN.names} for row in rows], schema=TRAIN)
    write_table(place, TRAIN_FILE, table)


def map_rows(
    model: Model, images: Sequence[Image], fused: np.ndarray, stamp: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Rows of maps/, one an image: its fused map on its own pixels, NaN where the crop did not look."""
    rows = []
    for image, patch_map in zip(images, fused, strict=True):
        network_map = anomaly_map(np.asarray(patch_map, np.float32), model.image_size)
        on_picture = np.asarray(to_original(network_map, geometry_of(image, model)))
        place = {"category": image.category, "image_path": image.image_path}
        rows.append({**place, "height": image.height, "width": image.width, "map": on_picture.reshape(-1), **stamp})
    return rows
