"""The command `ensemble` end to end on small images with real weights.

The tests call the command line and check printed text and files.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import timm
import torch
from PIL import Image
from safetensors.numpy import load_file
from safetensors.torch import save_file

from pipelines.data.records import INDEX
from pipelines.storage import schemas
from reconpatch.detector.fusion import modified_z_score, score_statistics
from reconpatch.evaluation.metrics import image_metrics
from tests.pipelines.runs import BACKBONES, Finished, ensemble, make_category, rows_of

CATEGORIES = ("a=b x%20y", "cloth")
FOLDERS = {"a=b x%20y": "a%3Db x%2520y", "cloth": "cloth"}


def fused(run: Finished, category: str) -> list[dict]:
    return rows_of(run.out / "scores" / "fused" / f"{FOLDERS[category]}.parquet")


def member(run: Finished, category: str, backbone: str) -> list[dict]:
    return rows_of(run.out / "scores" / "members" / FOLDERS[category] / f"{backbone}.parquet")


def fit_images(run: Finished, category: str) -> int:
    index = rows_of(run.out / "index.parquet")
    return sum(row["category"] == category and row["part"] == "fit" for row in index)


def distance_of_peak_to_defect(data: Path, row: dict) -> int:
    """Return the distance of the peak to the mask in pixels; 0 within the mask."""
    mask_path = row["image_path"].replace("/test/", "/ground_truth/").replace(".png", "_mask.png")
    pixels = np.argwhere(np.asarray(Image.open(data / mask_path)) > 0)
    return int(np.abs(pixels - [row["peak_row"], row["peak_col"]]).max(axis=1).min())


def test_the_run_succeeds_and_prints_its_stages_and_files(finished: Finished) -> None:
    assert finished.code == 0, finished.stderr
    assert "Traceback" not in finished.stderr
    for stage in ("index", "extract", "fit", "select", "score", "fuse"):
        assert f"\n{stage} " in finished.stdout
    assert str(finished.out / "metrics.parquet") in finished.stdout
    assert finished.stdout.count("ensemble") == 2 * len(CATEGORIES)  # image metrics and pixel metrics


def test_ray_prints_nothing(finished: Finished) -> None:
    lines = [line for line in finished.stderr.splitlines() if not line.startswith("warning: ")]
    assert lines == []


def test_the_run_directory_contains_exactly_the_documented_files(finished: Finished) -> None:
    files = {path.relative_to(finished.out).as_posix() for path in finished.out.rglob("*") if path.is_file()}
    files = {name for name in files if not name.startswith("report/")}
    expected = {"run.json", "index.parquet", "metrics.parquet", "metrics.csv", "failures.parquet"}
    for folder in FOLDERS.values():
        expected |= {f"models/{folder}/{name}" for name in ("model.json", "train.parquet", "audit.parquet")}
        expected |= {f"scores/fused/{folder}.parquet", f"maps/{folder}.parquet"}
        for backbone in BACKBONES:
            expected.add(f"scores/members/{folder}/{backbone}.parquet")
            for name in ("adapter.safetensors", "training.parquet", "memory_bank.safetensors", "bank_index.parquet"):
                expected.add(f"models/{folder}/{backbone}/{name}")
    assert files == expected


def test_run_json_records_stages_costs_and_versions(finished: Finished) -> None:
    run = json.loads((finished.out / "run.json").read_text())
    assert run["status"] == "complete"
    assert list(run["stages"]) == ["index", "extract", "fit", "select", "score", "fuse"]
    for name in ("index", "extract", "fit", "select", "score", "fuse"):
        assert run["stages"][name]["seconds"] > 0
        assert run["stages"][name]["peak_bytes"] > 50e6
    fit = run["units"]["cloth/tf_efficientnet_lite0"]["fit"]
    steps = 60 * -(-fit_images(finished, "cloth") * 144 // 512)  # 60 epochs, 12 x 12 patches per image, 512 per step
    assert (fit["steps"], fit["full_steps"]) == (40, steps)
    assert fit["lr"] == pytest.approx(min(1e-3 * steps / 40, 3e-3))
    assert run["versions"]["ray"]
    assert all(len(weights["sha256"]) == 64 for weights in run["weights"].values())


def test_every_file_has_its_documented_columns_and_version(finished: Finished) -> None:
    documented = {
        "index.parquet": INDEX,
        "metrics.parquet": schemas.METRICS,
        "failures.parquet": schemas.FAILURES,
        "maps/cloth.parquet": schemas.MAPS,
        "models/cloth/train.parquet": schemas.TRAIN,
        f"models/cloth/{BACKBONES[0]}/bank_index.parquet": schemas.BANK_INDEX,
        f"scores/members/cloth/{BACKBONES[0]}.parquet": schemas.MEMBER_SCORES,
        "scores/fused/cloth.parquet": schemas.fused_schema(BACKBONES),
    }
    for name, schema in documented.items():
        written = pq.read_schema(finished.out / name)
        assert written.remove_metadata().equals(schema), name
        assert written.metadata[b"schema_version"] == b"2"


def test_no_column_except_maps_contains_nan(finished: Finished) -> None:
    for path in finished.out.rglob("*.parquet"):
        table = pq.read_table(path)
        for name in table.column_names:
            column = table[name].combine_chunks()
            while hasattr(column, "flatten") and str(column.type).startswith("list"):
                column = column.flatten()
            if str(column.type) in ("float", "double") and path.parent.name != "maps":
                assert not np.isnan(column.drop_null().to_numpy()).any(), (path, name)


def test_the_index_describes_every_readable_image(finished: Finished, data: Path) -> None:
    index = {row["image_path"]: row for row in rows_of(finished.out / "index.parquet")}
    assert len(index) == (12 + 10) + (10 + 10)
    good = index["cloth/train/good/003.png"]
    assert (good["split"], good["defect"], good["label"]) == ("train", "good", 0)
    for row in index.values():
        if row["split"] == "train":  # 12 and 10 good images are enough to hold some out.
            fraction = int(row["content_sha256"][:16], 16) / 2**64
            assert row["part"] == ("holdout" if fraction < 0.2 else "fit")
    assert {row["part"] for row in index.values()} == {"fit", "holdout", None}
    assert (good["width"], good["height"], good["mask_path"]) == (110, 120, None)
    bad = index["cloth/test/blot/002.png"]
    assert (bad["split"], bad["part"], bad["defect"], bad["label"]) == ("test", None, "blot", 1)
    assert bad["mask_path"] == "cloth/ground_truth/blot/002_mask.png"
    assert len(bad["content_sha256"]) == len(bad["mask_sha256"]) == 64


def test_unreadable_images_are_reported_and_all_other_images_scored(finished: Finished) -> None:
    failures = {row["image_path"]: row for row in rows_of(finished.out / "failures.parquet")}
    assert set(failures) == {"cloth/train/good/broken.png", "cloth/test/good/cut.png"}
    assert all(row["error"] and row["category"] == "cloth" for row in failures.values())
    scored = {row["image_path"] for row in fused(finished, "cloth")}
    assert len(scored) == 12 + 10
    assert not scored & set(failures)
    known = {row["image_path"] for row in rows_of(finished.out / "models/cloth/train.parquet")}
    assert known == {f"cloth/train/good/{number:03d}.png" for number in range(12)}
    for path in failures:
        assert f"warning: {path}" in finished.stderr


@pytest.mark.parametrize("category", CATEGORIES)
def test_fused_rows_are_complete(finished: Finished, category: str) -> None:
    index = {
        backbone: {
            (entry["image_path"], entry["row"], entry["col"])
            for entry in rows_of(finished.out / "models" / FOLDERS[category] / backbone / "bank_index.parquet")
        }
        for backbone in BACKBONES
    }
    for row in fused(finished, category):
        assert row["category"] == category
        assert row["image_path"].startswith(f"{category}/")
        assert np.isfinite(row["score"])
        assert (row["nearest_image"], row["nearest_row"], row["nearest_col"]) in index[row["nearest_backbone"]]
        assert row["run_id"]
        assert row["model_version"]
        assert row["scored_at"].tzinfo is not None


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_threshold_comes_from_the_calibration_images_and_training_images_have_no_verdict(
    finished: Finished, category: str
) -> None:
    table = fused(finished, category)
    held = sorted(row["score"] for row in table if row["part"] == "holdout")
    model = json.loads((finished.out / "models" / FOLDERS[category] / "model.json").read_text())
    assert model["holdout_scores"] == held
    # A bound of 1 % requires 99 calibration images. With fewer, the threshold is the largest score.
    assert model["threshold"] == held[-1]
    assert model["false_alarm_bound"] == pytest.approx(1 / (len(held) + 1))
    assert f"{category}: {len(held)} calibration images guarantee a false-positive rate of at most" in finished.stderr
    for row in table:
        if row["split"] == "train":
            assert row["p_value"] is row["threshold"] is row["is_anomaly"] is None
        else:
            assert row["threshold"] == held[-1]
            assert row["is_anomaly"] == (row["score"] > held[-1])
            assert row["p_value"] == (1 + sum(score >= row["score"] for score in held)) / (len(held) + 1)


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_nearest_patch_is_that_of_the_highest_scoring_member_at_the_peak(finished: Finished, category: str) -> None:
    members = {backbone: member(finished, category, backbone) for backbone in BACKBONES}
    model = json.loads((finished.out / "models" / FOLDERS[category] / "model.json").read_text())
    for number, row in enumerate(fused(finished, category)):
        maps = {
            stored["backbone"]: (np.array(members[stored["backbone"]][number]["patch_scores"]) - stored["median"])
            / stored["mad"]
            for stored in model["members"]
        }
        peak = int(np.mean(list(maps.values()), axis=0).argmax())
        highest = max(BACKBONES, key=lambda backbone: maps[backbone][peak])
        assert row["nearest_backbone"] == highest
        number_of_entry = members[highest][number]["patch_nearest"][peak]
        bank_index = rows_of(finished.out / "models" / FOLDERS[category] / highest / "bank_index.parquet")
        assert [row[f"nearest_{name}"] for name in ("image", "row", "col")] == [
            bank_index[number_of_entry][name] for name in ("image_path", "row", "col")
        ]


@pytest.mark.parametrize("category", CATEGORIES)
def test_defective_images_score_above_good_images_and_peaks_are_at_the_defects(
    finished: Finished, data: Path, category: str
) -> None:
    test = [row for row in fused(finished, category) if row["split"] == "test"]
    good = [row["score"] for row in test if row["label"] == 0]
    defects = [row for row in test if row["label"] == 1]
    assert min(row["score"] for row in defects) > max(good)
    # A patch is 8 of the 96 pixels of the crop.
    assert all(distance_of_peak_to_defect(data, row) <= 12 for row in defects)


@pytest.mark.parametrize("category", CATEGORIES)
def test_fused_scores_are_equation_11_of_the_members_scores(finished: Finished, category: str) -> None:
    members = [member(finished, category, backbone) for backbone in BACKBONES]
    normalized = []
    for table in members:
        maps = np.array([row["patch_scores"] for row in table], dtype=np.float64)
        fit = maps[[row["part"] == "fit" for row in table]]
        median = np.median(fit)
        mad = np.median(np.abs(fit - median))
        normalized.append((maps - median) / (1.4826 * mad))
    expected = np.mean(normalized, axis=0).max(axis=1)
    written = fused(finished, category)
    assert [row["image_path"] for row in written] == [row["image_path"] for row in members[0]]
    np.testing.assert_allclose([row["score"] for row in written], expected, rtol=1e-4)
    for backbone, maps in zip(BACKBONES, normalized, strict=True):
        np.testing.assert_allclose([row[f"score_{backbone}"] for row in written], maps.max(axis=1), rtol=1e-4)


def test_the_score_of_a_member_is_its_largest_patch_score(finished: Finished) -> None:
    bank = len(rows_of(finished.out / "models/cloth" / BACKBONES[0] / "bank_index.parquet"))
    for row in member(finished, "cloth", BACKBONES[0]):
        assert (row["grid_height"], row["grid_width"]) == (12, 12)
        assert len(row["patch_scores"]) == len(row["patch_nearest"]) == 144
        assert row["score"] == max(row["patch_scores"])
        assert all(0 <= entry < bank for entry in row["patch_nearest"])


def test_a_bank_entry_is_scored_against_the_other_entries(finished: Finished) -> None:
    """By leave-one-out, a patch in the bank is not its own nearest entry, and its score is above 0."""
    index = rows_of(finished.out / "models/cloth" / BACKBONES[0] / "bank_index.parquet")
    assert len(index) == round(0.05 * fit_images(finished, "cloth") * 144)
    scored = {row["image_path"]: row for row in member(finished, "cloth", BACKBONES[0])}
    for number, entry in enumerate(index):
        patch = entry["row"] * 12 + entry["col"]
        row = scored[entry["image_path"]]
        assert row["patch_scores"][patch] > 0
        assert row["patch_nearest"][patch] != number


def test_models_are_stored_as_json_and_safetensors(finished: Finished) -> None:
    folder = finished.out / "models" / "cloth"
    model = json.loads((folder / "model.json").read_text())
    assert [stored["backbone"] for stored in model["members"]] == list(BACKBONES)
    for stored in model["members"]:
        backbone = stored["backbone"]
        adapter = load_file(folder / backbone / "adapter.safetensors")["f.weight"]
        entries = load_file(folder / backbone / "memory_bank.safetensors")["entries"]
        # D = 256 exceeds C' = 152. The adapter is therefore stored in a narrow form with the same distances.
        assert adapter.shape == (152, 152)
        assert entries.shape == (round(0.05 * fit_images(finished, "cloth") * 144), 152)
        scores = [row["patch_scores"] for row in member(finished, "cloth", backbone) if row["part"] == "fit"]
        statistics = score_statistics(np.array(scores, dtype=np.float32))
        assert (stored["median"], stored["mad"]) == pytest.approx((statistics.median, statistics.mad))
        assert stored["beta"] == 1.4826


def test_every_training_step_is_recorded(finished: Finished) -> None:
    for backbone in BACKBONES:
        table = rows_of(finished.out / "models" / "cloth" / backbone / "training.parquet")
        assert [(row["category"], row["backbone"], row["step"]) for row in table] == [
            ("cloth", backbone, step) for step in range(1, 41)
        ]
        assert np.isfinite([row["loss"] for row in table]).all()
        fit = json.loads((finished.out / "run.json").read_text())["units"][f"cloth/{backbone}"]["fit"]
        assert table[-1]["loss"] == pytest.approx(fit["last_loss"])
        monitored = [row for row in table if row["rank"] is not None]
        assert monitored
        assert all(0.0 <= row["weight"] <= 1.0 <= row["rank"] for row in monitored)


def test_metrics_agree_with_the_scores(finished: Finished) -> None:
    table = rows_of(finished.out / "metrics.parquet")
    assert [(row["category"], row["model"]) for row in table] == [
        (category, model) for category in CATEGORIES for model in ("ensemble", *BACKBONES)
    ]
    for row in table:
        source = (
            fused(finished, row["category"])
            if row["model"] == "ensemble"
            else member(finished, row["category"], row["model"])
        )
        test = [image for image in source if image["split"] == "test"]
        scores, labels = (np.array([image[name] for image in test]) for name in ("score", "label"))
        expected = image_metrics(scores, labels)
        assert (row["image_auroc"], row["d_prime"]) == (expected.auroc, expected.d_prime)
        assert (row["n_good"], row["n_defect"]) == (5, 5)
        assert row["pixel_auroc"] > 0.9
        assert 0 < row["aupro"] <= 1
    assert pyarrow.csv.read_csv(finished.out / "metrics.csv").num_rows == len(table)


def test_maps_have_the_size_of_the_original_images(finished: Finished, data: Path) -> None:
    maps = rows_of(finished.out / "maps" / "cloth.parquet")
    assert len(maps) == 10
    for row in maps:
        assert (row["height"], row["width"]) == (120, 110)
        assert np.isfinite(np.array(row["map"], dtype=np.float32).reshape(120, 110)).all()
    blot = next(row for row in maps if row["image_path"] == "cloth/test/blot/001.png")
    anomaly_map = np.array(blot["map"], dtype=np.float32).reshape(120, 110)
    mask = np.asarray(Image.open(data / "cloth/ground_truth/blot/001_mask.png")) > 0
    assert anomaly_map[mask].mean() > 3 * np.abs(anomaly_map[~mask]).mean()


VIT = "vit_tiny_patch16_224"


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """Return a run of one of two categories, with a damaged file, a vision transformer as a member, and no training."""
    root = tmp_path_factory.mktemp("identity")
    make_category(root / "data" / "cloth", seed=0, train=3, good=2, defects=2)
    make_category(root / "data" / "bolt", seed=5000, train=1, good=0, defects=0)
    (root / "data" / "cloth" / "train" / "good" / "broken.png").write_bytes(b"")
    torch.manual_seed(0)
    (root / "weights").mkdir()
    save_file(timm.create_model(VIT).state_dict(), root / "weights" / f"{VIT}.safetensors")
    members = ("--layers", "2,3", "--weights", str(root / "weights"), "--aggregation", "concat")
    options = ("--epochs", "0", "--category", "cloth", "--strict", "--fusion", "image", *members)
    return root, ensemble(root / "data", root / "run", *options, backbones=(BACKBONES[0], VIT))


def test_a_vision_transformer_can_be_a_member_and_grids_are_fused_at_the_finest_one(
    identity: tuple[Path, Finished],
) -> None:
    root, run = identity
    assert f"{VIT}: weights from {root / 'weights' / VIT}.safetensors, SHA-256 " in run.stdout
    tables = {backbone: member(run, "cloth", backbone) for backbone in (BACKBONES[0], VIT)}
    assert {name: {row["grid_height"] for row in table} for name, table in tables.items()} == {
        BACKBONES[0]: {12},
        VIT: {6},
    }
    for number, row in enumerate(fused(run, "cloth")):
        if row["nearest_backbone"] == VIT:
            index = rows_of(run.out / "models/cloth" / VIT / "bank_index.parquet")
            named = {
                (index[entry]["image_path"], index[entry]["row"]) for entry in tables[VIT][number]["patch_nearest"]
            }
            assert (row["nearest_image"], row["nearest_row"]) in named
    test = [row for row in fused(run, "cloth") if row["split"] == "test"]
    defects = [row for row in test if row["label"] == 1]
    assert min(row["score"] for row in defects) > max(row["score"] for row in test if row["label"] == 0)
    assert all(distance_of_peak_to_defect(root / "data", row) <= 12 for row in defects)


def test_with_the_identity_adapter_bank_entries_are_features_and_only_the_given_category_is_processed(
    identity: tuple[Path, Finished],
) -> None:
    _, run = identity
    assert run.code == 1, run.stderr  # With --strict, an unreadable file results in exit code 1.
    assert "\nfit " not in run.stdout
    assert not (run.out / "models/cloth" / BACKBONES[0] / "adapter.safetensors").exists()
    entries = load_file(run.out / "models/cloth" / BACKBONES[0] / "memory_bank.safetensors")["entries"]
    # The entries are the unchanged features, which are stored as float16.
    assert np.array_equal(entries, entries.astype(np.float16).astype(np.float32))
    assert {row["category"] for row in rows_of(run.out / "metrics.parquet")} == {"cloth"}


def test_image_fusion_normalizes_the_image_scores_of_the_members(identity: tuple[Path, Finished]) -> None:
    _, run = identity
    members = np.array([[row["score"] for row in member(run, "cloth", backbone)] for backbone in (BACKBONES[0], VIT)])
    fit = np.array([row["part"] == "fit" for row in fused(run, "cloth")])
    expected = []
    for scores in members:
        statistics = score_statistics(scores[fit])
        expected.append(modified_z_score(scores, statistics.median, statistics.mad, statistics.beta))
    scores = [row["score"] for row in fused(run, "cloth")]
    # The absolute tolerance is for scores of two members that cancel each other out.
    np.testing.assert_allclose(scores, np.mean(expected, axis=0), rtol=1e-4, atol=1e-6)
