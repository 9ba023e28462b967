"""A Ray task a category: the members' Parquet becomes fused scores, model.json, maps and the metrics' rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.config import MODEL_VERSION, RunConfig
from pipelines.dataset import Image
from pipelines.fit import Unit
from pipelines.resources import measured, use_threads
from pipelines.score import Done, MemberScores, Stamp, model_version, read_member_scores
from pipelines.storage import MAPS, TRAIN, RunPaths, fused_schema, write_json, write_rows, write_table
from reconpatch.fusion import ScoreStatistics, fuse_maps, modified_z_score, score_statistics
from reconpatch.geometry import Geometry
from reconpatch.images import preprocess_mask, read_mask
from reconpatch.maps import anomaly_map, to_original
from reconpatch.metrics import image_metrics, pixel_metrics


@dataclass(frozen=True)
class Weights:
    """Where a backbone's weights came from, and which they are."""

    source: str
    sha256: str


def fuse_category(
    units: Sequence[Unit],
    images: Sequence[Image],
    weights: dict[str, Weights],
    config: RunConfig,
    paths: RunPaths,
    stamp: Stamp,
    category_key: str,
) -> Done:
    """Eq. 11 over the members of a category; everything that is read comes from the members' Parquet and the masks."""
    use_threads(config.threads_per_unit)
    category = units[0].category
    with measured() as usage:
        members = [read_member_scores(paths.member_scores(category, unit.backbone)) for unit in units]
        statistics, warnings = _statistics(units, members, config)
        normalised = [
            modified_z_score(member.maps, each.median, each.mad, each.beta)
            for member, each in zip(members, statistics, strict=True)
        ]
        fused = fuse_maps(normalised)
        by_path = {image.image_path: image for image in images}
        scored = [by_path[path] for path in members[0].table["image_path"].to_pylist()]
        rows = _fused_rows(scored, units, members, normalised, fused, statistics, config)
        version = model_version(category_key)
        stamped = [{**row, **stamp.columns(version)} for row in rows]
        write_rows(
            paths.fused_scores(category),
            stamped,
            fused_schema([unit.backbone for unit in units]),
            {"key": category_key},
        )
        _write_model(units, images, weights, statistics, config, paths, version)
        masks, mask_warnings = _read_masks(scored, config)
        named = [("ensemble", [row["score"] for row in rows], fused)]
        named += [
            (unit.backbone, member.table["score"].to_pylist(), member.maps)
            for unit, member in zip(units, members, strict=True)
        ]
        metrics = [_metrics_row(category, name, scored, scores, maps, masks, config) for name, scores, maps in named]
        if config.maps:
            _write_maps(scored, fused, config, paths, stamp.columns(version))
    detail = {"metrics": metrics, "warnings": warnings + mask_warnings, "images": len(rows)}
    return Done((category,), usage.seconds, usage.peak_bytes, detail)


def _statistics(
    units: Sequence[Unit], members: Sequence[MemberScores], config: RunConfig
) -> tuple[list[ScoreStatistics], list[str]]:
    """Median and MAD of each member over the fit images: of patch scores, or of image scores with --fusion image."""
    statistics, warnings = [], []
    for unit, member in zip(units, members, strict=True):
        fit = np.array([part == "fit" for part in member.table["part"].to_pylist()])
        scores = member.maps[fit] if config.fusion == "patch" else _image_scores(member.maps[fit])
        try:
            each = score_statistics(scores)
        except ValueError as error:
            raise ValueError(f"{unit.category}, {unit.backbone}: {error}") from error
        if each.fallback:
            warnings.append(
                f"{unit.category}, {unit.backbone}: more than half of the fit scores are nearly the same (a uniform "
                f"background?); the mean absolute deviation stands in place of the MAD."
            )
        statistics.append(each)
    return statistics, warnings


def _image_scores(maps: np.ndarray) -> np.ndarray:
    scores: np.ndarray = np.nanmax(maps.reshape(len(maps), -1), axis=1)
    return scores


def _fused_rows(
    images: Sequence[Image],
    units: Sequence[Unit],
    members: Sequence[MemberScores],
    normalised: Sequence[np.ndarray],
    fused: np.ndarray,
    statistics: Sequence[ScoreStatistics],
    config: RunConfig,
) -> list[dict[str, Any]]:
    """One row an image. Verdicts and neighbours' names are null: nothing is held out that could promise anything."""
    member_scores = np.stack([_image_scores(maps) for maps in normalised])
    flat = np.where(np.isnan(fused), -np.inf, fused).reshape(len(fused), -1)
    peaks = flat.argmax(axis=1)
    scores = flat.max(axis=1) if config.fusion == "patch" else member_scores.mean(axis=0)
    rows = []
    for number, image in enumerate(images):
        grid = fused.shape[1:]
        cell_row, cell_col = divmod(int(peaks[number]), grid[1])
        peak_row, peak_col = _geometry(image, config).patch_centre(cell_row, cell_col, grid)
        strongest = int(np.argmax([_at(maps[number], cell_row, cell_col, grid) for maps in normalised]))
        rows.append(
            {
                "category": image.category,
                "image_path": image.image_path,
                "split": image.split,
                "part": image.part,
                "defect": image.defect,
                "label": image.label,
                "score": float(scores[number]),
                "peak_row": peak_row,
                "peak_col": peak_col,
                "nearest_backbone": units[strongest].backbone,
                **{
                    f"score_{unit.backbone}": float(member_scores[position, number])
                    for position, unit in enumerate(units)
                },
            }
        )
    return rows


def _geometry(image: Image, config: RunConfig) -> Geometry:
    if image.height is None or image.width is None:
        raise ValueError(f"{image.image_path} has scores but was never read.")
    return Geometry.of(image.height, image.width, config.image_size, config.full_frame)


def _at(patch_map: np.ndarray, row: int, col: int, grid: tuple[int, ...]) -> float:
    """A member's value at a cell of the fused grid: the cell of its own grid that lies under that cell's centre."""
    height, width = patch_map.shape
    value = patch_map[int((row + 0.5) * height / grid[0]), int((col + 0.5) * width / grid[1])]
    return float(value) if np.isfinite(value) else -np.inf


def _read_masks(images: Sequence[Image], config: RunConfig) -> tuple[dict[str, np.ndarray], list[str]]:
    """Defects' masks on the network's grid, resized and cropped like the image, as the paper's pixel metrics do."""
    masks: dict[str, np.ndarray] = {}
    cut: list[str] = []
    warnings: list[str] = []
    for image in images:
        if image.split != "test" or image.mask_path is None:
            continue
        try:
            mask = read_mask((Path(config.data) / image.mask_path).read_bytes())
        except (ValueError, OSError) as error:
            warnings.append(f"{image.mask_path}: {error} Its image is left out of the pixel metrics.")
            continue
        if mask.shape != (image.height, image.width):
            warnings.append(
                f"{image.mask_path}: the mask is {mask.shape[1]} x {mask.shape[0]} and its image {image.width} x "
                f"{image.height}; it is stretched over the image."
            )
        seen = preprocess_mask(mask, Geometry.of(mask.shape[0], mask.shape[1], config.image_size, config.full_frame))
        masks[image.image_path] = seen
        if not mask.any():
            warnings.append(f"{image.mask_path}: the mask of a defect is empty.")
        elif not seen.any():
            cut.append(image.image_path)
    if cut:
        warnings.append(
            f"{images[0].category}: the centre crop hides the whole defect in {len(cut)} of {len(masks)} images with "
            f"masks; --full-frame looks at the whole picture."
        )
    return masks, warnings


def _metrics_row(
    category: str,
    name: str,
    images: Sequence[Image],
    scores: Sequence[float],
    maps: np.ndarray,
    masks: dict[str, np.ndarray],
    config: RunConfig,
) -> dict[str, Any]:
    """Metrics over the test images with a label; pixels count in good images and in defects with a mask."""
    test = [number for number, image in enumerate(images) if image.split == "test" and image.label is not None]
    labels = np.array([images[number].label for number in test], dtype=np.int64)
    image = image_metrics(np.array([scores[number] for number in test], dtype=np.float64), labels)
    row: dict[str, Any] = {
        "category": category,
        "model": name,
        "image_auroc": image.auroc,
        "image_ap": image.ap,
        "image_f1max": image.f1max,
        "d_prime": image.d_prime,
        "n_good": int((labels == 0).sum()),
        "n_defect": int((labels == 1).sum()),
    }
    size = config.image_size
    seen = [number for number in test if images[number].label == 0 or images[number].image_path in masks]
    if masks:
        none = np.zeros((size, size), dtype=bool)
        truth = np.stack([masks.get(images[number].image_path, none) for number in seen])
        pixel = pixel_metrics(anomaly_map(np.asarray(maps[seen], np.float32), size), truth)
        row |= {
            "pixel_auroc": pixel.auroc,
            "pixel_ap": pixel.ap,
            "pixel_f1max": pixel.f1max,
            "aupro": pixel.aupro,
        }
    return row


def _write_model(
    units: Sequence[Unit],
    images: Sequence[Image],
    weights: dict[str, Weights],
    statistics: Sequence[ScoreStatistics],
    config: RunConfig,
    paths: RunPaths,
    version: str,
) -> None:
    category = units[0].category
    fit = [image.row() for image in images if image.part == "fit"]
    table = pa.Table.from_pylist(
        [{name: row[name] for name in TRAIN.names} for row in sorted(fit, key=lambda row: str(row["image_path"]))],
        schema=TRAIN,
    )
    write_table(paths.model(category) / "train.parquet", table)
    members = [
        {
            **asdict(unit.member),
            "model_key": unit.model_key,
            "weights": weights[unit.backbone].source,
            "weights_sha256": weights[unit.backbone].sha256,
            "median": each.median,
            "mad": each.mad,
            "beta": each.beta,
        }
        for unit, each in zip(units, statistics, strict=True)
    ]
    model = {
        "category": category,
        "model_version": version,
        "code_version": MODEL_VERSION,
        "preprocessing": {"image_size": config.image_size, "full_frame": config.full_frame, "chunk": config.chunk},
        "fusion": config.fusion,
        "reweight": config.reweight,
        "members": members,
        "holdout_scores": [],
        "threshold": None,
        "false_alarm_bound": None,
    }
    write_json(paths.model(category) / "model.json", model)


def _write_maps(
    images: Sequence[Image], fused: np.ndarray, config: RunConfig, paths: RunPaths, stamp: dict[str, Any]
) -> None:
    """Fused maps of the test images on their own pixels."""
    rows = []
    for image, patch_map in zip(images, fused, strict=True):
        if image.split != "test":
            continue
        network_map = anomaly_map(np.asarray(patch_map, np.float32), config.image_size)
        on_picture = to_original(network_map, _geometry(image, config))
        place = {"category": image.category, "image_path": image.image_path}
        size = {"height": image.height, "width": image.width}
        rows.append({**place, **size, "map": np.asarray(on_picture).reshape(-1), **stamp})
    write_rows(paths.maps(images[0].category), rows, MAPS)
