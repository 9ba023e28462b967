"""Fusion of the members' scores of a category (equation 11), one Ray task per category.

It reads only the members' scores, their bank indices and the masks, so `evaluate` can repeat it at any time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.config.run_context import RunContext
from pipelines.data.masks import read_masks
from pipelines.data.records import ImageRecord
from pipelines.planning.jobs import FusedSummary, FuseJob
from pipelines.planning.stage import Counted, Progress, Stage, StageResult
from pipelines.stages.audit_images import write_audit
from pipelines.stages.explain import ScoredImages, geometry_of, nearest_patches
from pipelines.stages.member_scores import MemberScores, as_member_scores
from pipelines.storage.parquet import read_table, write_rows, write_table
from pipelines.storage.paths import TRAIN_FILE, fused_scores_file, maps_file, member_scores_file, model_folder
from pipelines.storage.schemas import MAPS, TRAIN, FusedRow, MetricsRow, Provenance, fused_schema
from pipelines.storage.store import Store
from pipelines.storage.stored_model import StoredModel
from reconpatch.detector.fusion import ScoreStatistics
from reconpatch.detector.model import MODEL_FILE, Model, calibrate, normalize, predict
from reconpatch.detector.model_json import to_json
from reconpatch.detector.thresholds import bound_keeps, images_needed
from reconpatch.evaluation.metrics import image_metrics, pixel_metrics
from reconpatch.imaging.anomaly_maps import anomaly_map, to_original
from reconpatch.imaging.mask_rule import Mask


def fuse_category(job: FuseJob, context: RunContext, progress: Progress) -> StageResult:
    """Fuse the scores of a category's members and write the model, the fused scores, the audit and the maps.

    The calibration images determine the threshold; labels and masks of the test images determine the metrics.

    Args:
        job: Category whose scores are fused.
        context: Configuration and stores of the run.
        progress: Not called, because the fusion is a single step.

    Returns:
        Result of the job, with warnings and rows of metrics.parquet.

    Raises:
        ValueError: The scores of a member are not of the images of the index.
    """
    out = context.out
    scored, statistics = _scored_images(job, out)
    model, folder = scored.stored.model, scored.stored.folder
    warnings = _fallbacks(model, statistics) + _bounds(model) + write_audit(scored)
    masks, mask_warnings = read_masks(context.data, scored.images, model)
    warnings += mask_warnings
    metrics = _metrics_rows(scored, masks)
    rows = fused_rows(scored, context.provenance)
    folder.write(MODEL_FILE, to_json(model).encode())
    _write_train(scored.images, folder)
    if job.maps:
        test = [number for number, image in enumerate(scored.images) if image.split == "test"]
        rows_of_maps = map_rows(scored, test, context.provenance)
        write_rows(out, maps_file(job.category), rows_of_maps, MAPS, metadata={"key": job.key})
    # The fused scores are written last, because their key marks all of these files as complete.
    summary = FusedSummary(metrics=tuple(metrics), warnings=tuple(warnings)).to_json()
    schema = fused_schema(scored.stored.backbones)
    metadata = {"key": job.key, "summary": summary}
    write_rows(out, fused_scores_file(job.category), rows, schema, metadata=metadata)
    return StageResult(warnings=tuple(warnings), metrics=tuple(metrics))


def _scored_images(job: FuseJob, out: Store) -> tuple[ScoredImages, list[ScoreStatistics]]:
    """Return the category's images with their scores and the calibrated model, and the statistics of each member."""
    tables = [read_table(out, member_scores_file(job.category, member.backbone)) for member in job.model.members]
    members = [as_member_scores(table) for table in tables]
    images = _in_order(job.images, members)
    fit, holdout = (np.array([image.part == part for image in images]) for part in ("fit", "holdout"))
    model, statistics = normalize(job.model, [member.maps[fit] for member in members])
    if holdout.any():
        model = calibrate(model, predict(model, [member.maps[holdout] for member in members]).scores)
    stored = StoredModel(model, out.below(model_folder(job.category)))
    prediction = predict(model, [member.maps for member in members])
    return ScoredImages(stored=stored, images=images, members=members, prediction=prediction), statistics


def _in_order(images: Sequence[ImageRecord], members: Sequence[MemberScores]) -> list[ImageRecord]:
    """Return the images in the order of the members' rows, which must be the same for all members."""
    by_path = {image.image_path: image for image in images}
    orders = [member.table["image_path"].to_pylist() for member in members]
    if any(order != orders[0] for order in orders) or set(orders[0]) != set(by_path):
        raise ValueError(
            "The members' scores and the image index do not list the same images. "
            "Run the command that created the run directory again."
        )
    return [by_path[path] for path in orders[0]]


def _fallbacks(model: Model, statistics: Sequence[ScoreStatistics]) -> list[str]:
    """Return a warning for each member whose scores have no usable median absolute deviation."""
    return [
        f"{model.category}, {member.backbone}: more than half of the scores of the fit images are nearly equal, for "
        f"example because of a uniform background; the mean absolute deviation replaces the median absolute deviation."
        for member, fitted in zip(model.members, statistics, strict=True)
        if fitted.fallback
    ]


def _bounds(model: Model) -> list[str]:
    """Return a warning if the guaranteed bound on the false-positive rate is above the target rate."""
    n, bound = len(model.holdout_scores), model.false_alarm_bound
    if bound is None or bound_keeps(bound, model.false_alarms):
        return []
    return [
        f"{model.category}: {n} calibration images guarantee a false-positive rate of at most {bound:.1%}, above the "
        f"target of {model.false_alarms:.1%}; the target needs {images_needed(model.false_alarms)} calibration images."
    ]


def fused_rows(scored: ScoredImages, provenance: Provenance) -> list[FusedRow]:
    """Return the rows of scores/fused.

    Training and validation images have no p-value, threshold and verdict, because the model was made from them.

    Args:
        scored: Images with their scores.
        provenance: Identifier and start time of the run that scores them.

    Returns:
        One row per image, in the order of `scored.images`.
    """
    model, prediction = scored.stored.model, scored.prediction
    grid = prediction.fused.shape[1:]
    rows = []
    for number, (image, nearest) in enumerate(zip(scored.images, nearest_patches(scored), strict=True)):
        cell = int(prediction.peaks.row[number]), int(prediction.peaks.col[number])
        peak_row, peak_col = geometry_of(image, model).patch_center(*cell, (grid[0], grid[1]))
        row = FusedRow(
            category=image.category,
            image_path=image.image_path,
            split=image.split,
            part=image.part,
            defect=image.defect,
            label=image.label,
            score=float(prediction.scores[number]),
            peak_row=peak_row,
            peak_col=peak_col,
            **asdict(nearest),
            member_scores={
                member.backbone: float(prediction.member_scores[position, number])
                for position, member in enumerate(model.members)
            },
            **provenance.columns(model.version),
        )
        if not image.makes_model and prediction.p_values is not None and prediction.is_anomaly is not None:
            p_value, is_anomaly = float(prediction.p_values[number]), bool(prediction.is_anomaly[number])
            row = replace(row, p_value=p_value, threshold=model.threshold, is_anomaly=is_anomaly)
        rows.append(row)
    return rows


def _metrics_rows(scored: ScoredImages, masks: Mapping[str, Mask]) -> list[MetricsRow]:
    """Return the metrics of the ensemble and of each member over the labeled test images."""
    prediction = scored.prediction
    named_scores = [("ensemble", prediction.scores, prediction.fused)] + [
        (backbone, member.table["score"].to_numpy(zero_copy_only=False), member.maps)
        for backbone, member in zip(scored.stored.backbones, scored.members, strict=True)
    ]
    test = [number for number, image in enumerate(scored.images) if image.split == "test" and image.label is not None]
    labels = np.array([scored.images[number].label for number in test], dtype=np.int64)
    rows = []
    for name, scores, maps in named_scores:
        image = image_metrics(np.asarray(scores[test], dtype=np.float64), labels)
        row = MetricsRow(
            category=scored.stored.category,
            model=name,
            image_auroc=image.auroc,
            image_ap=image.ap,
            image_f1max=image.f1max,
            d_prime=image.d_prime,
            n_good=int((labels == 0).sum()),
            n_defect=int((labels == 1).sum()),
        )
        rows.append(_with_pixel_metrics(row, scored, maps, masks) if masks else row)
    return rows


def _with_pixel_metrics(
    row: MetricsRow, scored: ScoredImages, maps: np.ndarray, masks: Mapping[str, Mask]
) -> MetricsRow:
    """Add the pixel metrics, which are computed from the good test images and the defective ones with a mask."""
    size, images = scored.stored.model.image_size, scored.images
    seen = [
        number
        for number, image in enumerate(images)
        if image.split == "test" and (image.label == 0 or (image.label == 1 and image.image_path in masks))
    ]
    none = np.zeros((size, size), dtype=bool)
    no_defect = Mask(none, none, ())
    truth = [masks.get(images[number].image_path, no_defect) for number in seen]
    ignored = np.stack([mask.ignored for mask in truth]) if any(mask.ignored.any() for mask in truth) else None
    pixel = pixel_metrics(
        anomaly_map(np.asarray(maps[seen], np.float32), size),
        np.stack([mask.defective for mask in truth]),
        ignored=ignored,
    )
    return replace(row, pixel_auroc=pixel.auroc, pixel_ap=pixel.ap, pixel_f1max=pixel.f1max, aupro=pixel.aupro)


def _write_train(images: Sequence[ImageRecord], folder: Store) -> None:
    """Write train.parquet, the list of the good images that the model was made from."""
    rows = sorted((image.row() for image in images if image.makes_model), key=lambda row: row["image_path"])
    table = pa.Table.from_pylist([{name: row[name] for name in TRAIN.names} for row in rows], schema=TRAIN)
    write_table(folder, TRAIN_FILE, table)


def map_rows(scored: ScoredImages, numbers: Iterable[int], provenance: Provenance) -> list[dict[str, Any]]:
    """Return the rows of maps/: fused anomaly maps at the original size of the images.

    Pixels outside the center crop are NaN.

    Args:
        scored: Images with their scores.
        numbers: Positions in `scored.images` of the images to return.
        provenance: Identifier and start time of the run that scores them.

    Returns:
        One row per image; `map` is (height · width,) float32, row by row.
    """
    model = scored.stored.model
    rows = []
    for number in numbers:
        image = scored.images[number]
        network_map = anomaly_map(np.asarray(scored.prediction.fused[number], np.float32), model.image_size)
        values = np.asarray(to_original(network_map, geometry_of(image, model))).reshape(-1)
        columns = {"category": image.category, "image_path": image.image_path}
        size = {"height": image.height, "width": image.width}
        rows.append({**columns, **size, "map": values, **provenance.columns(model.version)})
    return rows


FUSE = Stage[FuseJob](
    name="fuse",
    counted=Counted.CATEGORIES,
    on_device=False,
    due=lambda plan: () if plan.fuse is None else (plan.fuse,),
    run=fuse_category,
)
