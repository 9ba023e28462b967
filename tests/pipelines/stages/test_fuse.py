"""Tests of the fusion (equation 11): computed values, warnings and written files, from random scores of two members."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from pipelines.planning.jobs import FusedSummary, FuseJob, stored_summary
from pipelines.planning.stage import StageResult, no_progress
from pipelines.stages.fuse import fuse_category
from pipelines.stages.runner import Runner
from pipelines.storage.parquet import metadata_of, read_rows
from pipelines.storage.paths import TRAIN_FILE, fused_scores_file, maps_file, model_folder
from pipelines.storage.stored_model import StoredModel
from tests.pipelines.stages.hand_made import BACKBONES, IMAGES, MODEL, random_scores, write_scores

MEMBERS = [random_scores(0), random_scores(1)]
PARTS = np.array([str(image.part) for image in IMAGES])


def fuse(runner: Runner, *, fusion: str = "patch", false_alarms: float = 0.25, maps: bool = False) -> StageResult:
    model = replace(MODEL, fusion=fusion, false_alarms=false_alarms)
    job = FuseJob(model=model, images=IMAGES[::-1], key="the key", maps=maps)
    return fuse_category(job, runner.context, no_progress)


def rows_of(runner: Runner) -> list[dict]:
    return read_rows(runner.context.out, fused_scores_file("nut"))


def normalized(scores: np.ndarray) -> np.ndarray:
    """Return the modified z-scores of a member, from the median and MAD of the fit images' scores (equation 11)."""
    of_fit = scores[PARTS == "fit"]
    median = np.median(of_fit)
    return (scores - median) / (1.4826 * np.median(np.abs(of_fit - median)))


@pytest.fixture
def scored(runner: Runner) -> Runner:
    """Return a run in which both members have scored all images."""
    write_scores(runner.context.out, MEMBERS)
    return runner


def test_the_score_is_the_largest_mean_of_the_modified_z_scores(scored: Runner) -> None:
    fuse(scored)
    maps = [normalized(member.maps.astype(np.float64)) for member in MEMBERS]
    fused = np.mean(maps, axis=0).reshape(len(IMAGES), -1)
    rows = rows_of(scored)
    assert [row["image_path"] for row in rows] == [
        image.image_path for image in IMAGES
    ]  # in the order of the members' rows
    assert [row["score"] for row in rows] == pytest.approx(fused.max(1).tolist(), rel=1e-5)
    for backbone, of_member in zip(BACKBONES, maps, strict=True):
        assert [row[f"score_{backbone}"] for row in rows] == pytest.approx(of_member.max((1, 2)).tolist(), rel=1e-5)
    cells = [divmod(int(cell), 3) for cell in fused.argmax(1)]
    assert [(row["peak_row"], row["peak_col"]) for row in rows] == [(24 + 48 * r, 16 + 32 * c) for r, c in cells]


def test_fusion_of_image_scores_normalizes_image_scores(scored: Runner) -> None:
    fuse(scored, fusion="image")
    largest = [normalized(member.maps.max((1, 2)).astype(np.float64)) for member in MEMBERS]
    assert [row["score"] for row in rows_of(scored)] == pytest.approx(np.mean(largest, axis=0).tolist(), rel=1e-5)


@pytest.mark.parametrize("false_alarms", [0.25, 0.5, 0.75])
def test_the_threshold_is_the_conformal_one_of_the_calibration_images(scored: Runner, false_alarms: float) -> None:
    fuse(scored, false_alarms=false_alarms)
    rows = rows_of(scored)
    held_out = sorted(row["score"] for row in rows if row["part"] == "holdout")
    threshold = held_out[math.ceil((len(held_out) + 1) * (1 - false_alarms)) - 1]
    stored = StoredModel.load(scored.context.out.below(model_folder("nut"))).model
    assert (stored.threshold, stored.holdout_scores) == (threshold, tuple(held_out))
    assert stored.false_alarm_bound == pytest.approx(false_alarms)
    for row in rows:
        if row["split"] == "test":
            assert (row["threshold"], row["is_anomaly"]) == (threshold, row["score"] > threshold)
            assert row["p_value"] == (1 + sum(score >= row["score"] for score in held_out)) / 4


def test_training_images_have_no_verdict(scored: Runner) -> None:
    fuse(scored)
    verdicts = {(row["p_value"], row["threshold"], row["is_anomaly"]) for row in rows_of(scored) if row["part"]}
    assert verdicts == {(None, None, None)}


def test_validation_images_calibrate_like_held_out_training_images(scored: Runner) -> None:
    fuse(scored)
    out, before = scored.context.out, {row["image_path"]: row for row in rows_of(scored)}
    model = StoredModel.load(out.below(model_folder("nut"))).model
    train = read_rows(out.below(model_folder("nut")), TRAIN_FILE)
    images = tuple(replace(image, split="validation") if image.part == "holdout" else image for image in IMAGES)
    fuse_category(
        FuseJob(model=replace(MODEL, false_alarms=0.25), images=images, key="", maps=False), scored.context, no_progress
    )
    assert StoredModel.load(out.below(model_folder("nut"))).model == model
    assert read_rows(out.below(model_folder("nut")), TRAIN_FILE) == train
    after = rows_of(scored)
    assert sum(row["split"] == "validation" for row in after) == sum(PARTS == "holdout")
    for row in after:
        assert {**row, "split": None} == {**before[row["image_path"]], "split": None}


def test_without_calibration_images_no_image_has_a_verdict(runner: Runner) -> None:
    images = tuple(replace(image, part="fit") if image.part else image for image in IMAGES)
    write_scores(runner.context.out, MEMBERS, images)
    job = FuseJob(model=MODEL, images=images, key="", maps=False)
    assert fuse_category(job, runner.context, no_progress).warnings == ()
    assert {(row["p_value"], row["threshold"], row["is_anomaly"]) for row in rows_of(runner)} == {(None, None, None)}


def test_a_target_rate_that_cannot_be_guaranteed_is_a_warning(scored: Runner) -> None:
    (sentence,) = fuse(scored, false_alarms=0.01).warnings
    assert sentence == (
        "nut: 3 calibration images guarantee a false-positive rate of at most 25.0%, above the target of 1.0%; the "
        "target needs 99 calibration images."
    )
    assert fuse(scored, false_alarms=0.25).warnings == ()


def test_maps_of_test_images_are_written_only_on_request(scored: Runner) -> None:
    out = scored.context.out
    fuse(scored)
    assert not out.exists(maps_file("nut"))
    fuse(scored, maps=True)
    maps = read_rows(out, maps_file("nut"))
    assert metadata_of(out, maps_file("nut"))["key"] == "the key"
    assert [row["image_path"] for row in maps] == [image.image_path for image in IMAGES if image.split == "test"]
    assert {(row["height"], row["width"], len(row["map"])) for row in maps} == {(96, 96, 96 * 96)}


def test_metrics_cover_the_ensemble_and_its_members(scored: Runner) -> None:
    metrics = fuse(scored).metrics
    assert [row.model for row in metrics] == ["ensemble", *BACKBONES]
    assert {(row.n_good, row.n_defect, row.pixel_auroc) for row in metrics} == {(2, 2, None)}  # there are no masks
    test = rows_of(scored)[-4:]
    pairs = [(good["score"], bad["score"]) for good in test[:2] for bad in test[2:]]
    assert metrics[0].image_auroc == pytest.approx(np.mean([good < bad for good, bad in pairs]))


def test_pixel_metrics_leave_out_what_a_mask_ignores(scored: Runner, tmp_path: Path) -> None:
    values = np.zeros((96, 96), np.uint8)
    values[20:50, 30:70], values[60:] = 1, 255  # class 1, and an area to ignore
    (tmp_path / "data").mkdir()
    Image.fromarray(values).save(tmp_path / "data" / "m.png")
    images = tuple(replace(image, mask_path="m.png" if image.label else None) for image in IMAGES)
    job = FuseJob(model=MODEL, images=images, key="", maps=True)
    result = fuse_category(job, scored.context, no_progress)
    assert any("the value 255 beside class indices marks pixels to ignore" in text for text in result.warnings)
    maps = np.array([row["map"] for row in read_rows(scored.context.out, maps_file("nut"))]).reshape(4, 96, 96)
    masks = np.stack([np.zeros_like(values)] * 2 + [values] * 2)
    counted = masks != 255
    ensemble = result.metrics[0]
    assert ensemble.pixel_auroc == pytest.approx(roc_auc_score(masks[counted] == 1, maps[counted]), abs=1e-5)
    assert ensemble.pixel_ap == pytest.approx(average_precision_score(masks[counted] == 1, maps[counted]), abs=1e-5)


def test_key_summary_and_training_images_are_stored_for_the_next_run(scored: Runner) -> None:
    out = scored.context.out
    result = fuse(scored, false_alarms=0.01)
    assert metadata_of(out, fused_scores_file("nut"))["key"] == "the key"
    assert stored_summary(out, "nut") == FusedSummary(metrics=result.metrics, warnings=result.warnings)
    train = read_rows(out.below(model_folder("nut")), TRAIN_FILE)
    good = sorted((image.image_path, image.content_sha256, image.part) for image in IMAGES if image.split == "train")
    assert [(row["image_path"], row["content_sha256"], row["part"]) for row in train] == good


@pytest.mark.parametrize("images", [IMAGES[:-1], (*IMAGES, replace(IMAGES[0], image_path="nut/new.png"))])
def test_scores_of_other_images_than_those_of_the_index_are_rejected(scored: Runner, images: tuple) -> None:
    job = FuseJob(model=MODEL, images=images, key="", maps=False)
    with pytest.raises(ValueError, match="members' scores and the image index do not list the same images"):
        fuse_category(job, scored.context, no_progress)
    assert not scored.context.out.exists(fused_scores_file("nut"))
