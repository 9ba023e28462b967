"""Rows of Parquet files, as a report reads them."""

from __future__ import annotations

from pipelines.report.rows import AuditedImage, Peak, ScoredImage, TrainingPatch

PEAK = {
    "peak_row": 3,
    "peak_col": 4,
    "nearest_backbone": "lite0",
    "nearest_image": "cloth/train/good/000.png",
    "nearest_row": 1,
    "nearest_col": 2,
}
PATCH = TrainingPatch("lite0", "cloth/train/good/000.png", 1, 2)


def test_rows_of_both_files_have_the_same_peak() -> None:
    fused = {
        "category": "cloth",
        "image_path": "a.png",
        "split": "test",
        "label": 1,
        "score": 2.0,
        "p_value": 0.1,
        "is_anomaly": True,
        "model_version": "v1",
        **PEAK,
    }
    audit = {"category": "cloth", "image_path": "b.png", "suspicion": 4.0, "is_suspicious": True, **PEAK}
    assert ScoredImage.of_row(fused).peak == AuditedImage.of_row(audit).peak == Peak((3, 4), PATCH)


def test_the_nearest_patch_and_the_pixel_can_be_missing() -> None:
    nearest = dict.fromkeys(("nearest_image", "nearest_row", "nearest_col"))
    assert Peak.of_row({**PEAK, **nearest}) == Peak((3, 4), None)
    assert Peak.of_row({**PEAK, **nearest, "peak_row": None, "peak_col": None}) == Peak()
