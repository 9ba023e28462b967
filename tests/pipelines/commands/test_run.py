"""The main job end to end, as a user calls it, on small real images with real weights; only files are asserted."""

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


def from_peak_to_blot(data: Path, row: dict) -> int:
    """In pixels; 0 on the blot."""
    mask_path = row["image_path"].replace("/test/", "/ground_truth/").replace(".png", "_mask.png")
    places = np.argwhere(np.asarray(Image.open(data / mask_path)) > 0)
    return int(np.abs(places - [row["peak_row"], row["peak_col"]]).max(axis=1).min())


def test_the_run_ends_well_and_says_where_everything_lies(finished: Finished) -> None:
    assert finished.code == 0, finished.stderr
    assert "Traceback" not in finished.stderr
    for stage in ("index", "extract", "fit", "select", "score", "fuse"):
        assert f"\n{stage} " in finished.stdout
    assert str(finished.out / "metrics.parquet") in finished.stdout
    assert finished.stdout.count("ensemble") == len(CATEGORIES)


def test_ray_is_quiet(finished: Finished) -> None:
    lines = [line for line in finished.stderr.splitlines() if not line.startswith("warning: ")]
    assert lines == []


def test_the_run_directory_holds_what_is_documented_and_nothing_else(finished: Finished) -> None:
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


def test_run_json_tells_how_and_at_what_cost(finished: Finished) -> None:
    run = json.loads((finished.out / "run.json").read_text())
    assert run["status"] == "complete"
    assert list(run["stages"]) == ["index", "extract", "fit", "select", "score", "fuse"]
    for name in ("index", "extract", "fit", "select", "score", "fuse"):
        assert run["stages"][name]["seconds"] > 0
        assert run["stages"][name]["peak_bytes"] > 50e6
    fit = run["units"]["cloth/tf_efficientnet_lite0"]["fit"]
    steps = 60 * -(-fit_images(finished, "cloth") * 144 // 512)  # 60 epochs, 12 x 12 patches an image, 512 a step
    assert (fit["steps"], fit["full_steps"]) == (40, steps)
    assert fit["lr"] == pytest.approx(min(1e-3 * steps / 40, 3e-3))
    assert run["versions"]["ray"]
    assert all(len(each["sha256"]) == 64 for each in run["weights"].values())


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


def test_no_file_holds_a_nan(finished: Finished) -> None:
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
        if row["split"] == "train":  # 12 and 10 good images: enough to hold some out
            fraction = int(row["content_sha256"][:16], 16) / 2**64
            assert row["part"] == ("holdout" if fraction < 0.2 else "fit")
    assert {row["part"] for row in index.values()} == {"fit", "holdout", None}
    assert (good["width"], good["height"], good["mask_path"]) == (110, 120, None)
    bad = index["cloth/test/blot/002.png"]
    assert (bad["split"], bad["part"], bad["defect"], bad["label"]) == ("test", None, "blot", 1)
    assert bad["mask_path"] == "cloth/ground_truth/blot/002_mask.png"
    assert len(bad["content_sha256"]) == len(bad["mask_sha256"]) == 64


def test_unreadable_images_are_named_and_cost_nothing_else(finished: Finished) -> None:
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
            (place["image_path"], place["row"], place["col"])
            for place in rows_of(finished.out / "models" / FOLDERS[category] / backbone / "bank_index.parquet")
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
def test_verdicts_come_from_the_held_out_images_and_training_images_have_none(
    finished: Finished, category: str
) -> None:
    table = fused(finished, category)
    held = sorted(row["score"] for row in table if row["part"] == "holdout")
    model = json.loads((finished.out / "models" / FOLDERS[category] / "model.json").read_text())
    assert model["holdout_scores"] == held
    assert model["threshold"] == held[-1]  # far fewer than 99: the largest is all that can be promised
    assert model["false_alarm_bound"] == pytest.approx(1 / (len(held) + 1))
    assert f"{category}: {len(held)} held-out good images guarantee a false-positive rate of at most" in finished.stderr
    for row in table:
        if row["split"] == "train":
            assert row["p_value"] is row["threshold"] is row["is_anomaly"] is None
        else:
            assert row["threshold"] == held[-1]
            assert row["is_anomaly"] == (row["score"] > held[-1])
            assert row["p_value"] == (1 + sum(score >= row["score"] for score in held)) / (len(held) + 1)


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_nearest_good_patch_is_what_the_peak_was_compared_with(finished: Finished, category: str) -> None:
    members = {backbone: member(finished, category, backbone) for backbone in BACKBONES}
    model = json.loads((finished.out / "models" / FOLDERS[category] / "model.json").read_text())
    for number, row in enumerate(fused(finished, category)):
        maps = {
            each["backbone"]: (np.array(members[each["backbone"]][number]["patch_scores"]) - each["median"])
            / each["mad"]
            for each in model["members"]
        }
        peak = int(np.mean(list(maps.values()), axis=0).argmax())
        loudest = max(BACKBONES, key=lambda backbone: maps[backbone][peak])
        assert row["nearest_backbone"] == loudest
        entry = members[loudest][number]["patch_nearest"][peak]
        place = rows_of(finished.out / "models" / FOLDERS[category] / loudest / "bank_index.parquet")[entry]
        assert [row[f"nearest_{name}"] for name in ("image", "row", "col")] == [
            place[name] for name in ("image_path", "row", "col")
        ]


@pytest.mark.parametrize("category", CATEGORIES)
def test_blots_score_above_good_parts_and_peaks_lie_on_them(finished: Finished, data: Path, category: str) -> None:
    test = [row for row in fused(finished, category) if row["split"] == "test"]
    good = [row["score"] for row in test if row["label"] == 0]
    defects = [row for row in test if row["label"] == 1]
    assert min(row["score"] for row in defects) > max(good)
    assert all(from_peak_to_blot(data, row) <= 12 for row in defects)  # a patch is 8 of 96 pixels of the crop


@pytest.mark.parametrize("category", CATEGORIES)
def test_fusion_is_equation_11_over_the_members_files(finished: Finished, category: str) -> None:
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


def test_a_members_score_is_the_largest_of_its_patches(finished: Finished) -> None:
    bank = len(rows_of(finished.out / "models/cloth" / BACKBONES[0] / "bank_index.parquet"))
    for row in member(finished, "cloth", BACKBONES[0]):
        assert (row["grid_height"], row["grid_width"]) == (12, 12)
        assert len(row["patch_scores"]) == len(row["patch_nearest"]) == 144
        assert row["score"] == max(row["patch_scores"])
        assert all(0 <= entry < bank for entry in row["patch_nearest"])


def test_a_bank_entry_is_scored_against_the_others(finished: Finished) -> None:
    """Leave-one-out: a patch that is in the bank neither names itself nor scores 0."""
    index = rows_of(finished.out / "models/cloth" / BACKBONES[0] / "bank_index.parquet")
    assert len(index) == round(0.05 * fit_images(finished, "cloth") * 144)
    scored = {row["image_path"]: row for row in member(finished, "cloth", BACKBONES[0])}
    for entry, place in enumerate(index):
        patch = place["row"] * 12 + place["col"]
        row = scored[place["image_path"]]
        assert row["patch_scores"][patch] > 0
        assert row["patch_nearest"][patch] != entry


def test_models_are_tensors_without_pickle_and_json(finished: Finished) -> None:
    folder = finished.out / "models" / "cloth"
    model = json.loads((folder / "model.json").read_text())
    assert [each["backbone"] for each in model["members"]] == list(BACKBONES)
    for each in model["members"]:
        adapter = load_file(folder / each["backbone"] / "adapter.safetensors")["f.weight"]
        entries = load_file(folder / each["backbone"] / "memory_bank.safetensors")["entries"]
        assert adapter.shape == (152, 152)  # D = 256 > C' = 152: the narrow form with the same distances
        assert entries.shape == (round(0.05 * fit_images(finished, "cloth") * 144), 152)
        scores = [row["patch_scores"] for row in member(finished, "cloth", each["backbone"]) if row["part"] == "fit"]
        statistics = score_statistics(np.array(scores, dtype=np.float32))
        assert (each["median"], each["mad"]) == pytest.approx((statistics.median, statistics.mad))
        assert each["beta"] == 1.4826


def test_the_training_can_be_followed_step_by_step(finished: Finished) -> None:
    for backbone in BACKBONES:
        table = rows_of(finished.out / "models" / "cloth" / backbone / "training.parquet")
        assert [(row["category"], row["backbone"], row["step"]) for row in table] == [
            ("cloth", backbone, step) for step in range(1, 41)
        ]
        assert np.isfinite([row["loss"] for row in table]).all()
        told = json.loads((finished.out / "run.json").read_text())["units"][f"cloth/{backbone}"]["fit"]
        assert table[-1]["loss"] == pytest.approx(told["last_loss"])
        looked = [row for row in table if row["rank"] is not None]
        assert looked
        assert all(0.0 <= row["weight"] <= 1.0 <= row["rank"] for row in looked)


def test_metrics_are_those_of_the_scores(finished: Finished) -> None:
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
        test = [each for each in source if each["split"] == "test"]
        expected = image_metrics(np.array([each["score"] for each in test]), np.array([each["label"] for each in test]))
        assert (row["image_auroc"], row["d_prime"]) == (expected.auroc, expected.d_prime)
        assert (row["n_good"], row["n_defect"]) == (5, 5)
        assert row["pixel_auroc"] > 0.9
        assert 0 < row["aupro"] <= 1
    assert pyarrow.csv.read_csv(finished.out / "metrics.csv").num_rows == len(table)


def test_maps_lie_on_the_pictures_own_pixels(finished: Finished, data: Path) -> None:
    maps = rows_of(finished.out / "maps" / "cloth.parquet")
    assert len(maps) == 10
    for row in maps:
        assert (row["height"], row["width"]) == (120, 110)
        on_picture = np.array(row["map"], dtype=np.float32).reshape(120, 110)
        assert np.isfinite(on_picture).all()
    blot = next(row for row in maps if row["image_path"] == "cloth/test/blot/001.png")
    on_picture = np.array(blot["map"], dtype=np.float32).reshape(120, 110)
    mask = np.asarray(Image.open(data / "cloth/ground_truth/blot/001_mask.png")) > 0
    assert on_picture[mask].mean() > 3 * np.abs(on_picture[~mask]).mean()


VIT = "vit_tiny_patch16_224"


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """One of two categories, a file of it damaged; a member is a vision transformer, and none is trained."""
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


def test_a_vision_transformer_is_a_member_and_grids_are_fused_on_the_finest(identity: tuple[Path, Finished]) -> None:
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
    assert all(from_peak_to_blot(root / "data", row) <= 12 for row in defects)


def test_the_identity_adapter_is_patchcore_and_one_category_can_be_asked_for(identity: tuple[Path, Finished]) -> None:
    _, run = identity
    assert run.code == 1, run.stderr  # --strict: a file could not be read
    assert "\nfit " not in run.stdout
    assert not (run.out / "models/cloth" / BACKBONES[0] / "adapter.safetensors").exists()
    entries = load_file(run.out / "models/cloth" / BACKBONES[0] / "memory_bank.safetensors")["entries"]
    assert np.array_equal(entries, entries.astype(np.float16).astype(np.float32))  # the features themselves
    assert {row["category"] for row in rows_of(run.out / "metrics.parquet")} == {"cloth"}


def test_with_image_fusion_the_members_image_scores_are_normalized(identity: tuple[Path, Finished]) -> None:
    _, run = identity
    members = np.array([[row["score"] for row in member(run, "cloth", backbone)] for backbone in (BACKBONES[0], VIT)])
    fit = np.array([row["part"] == "fit" for row in fused(run, "cloth")])
    expected = []
    for scores in members:
        statistics = score_statistics(scores[fit])
        expected.append(modified_z_score(scores, statistics.median, statistics.mad, statistics.beta))
    found = [row["score"] for row in fused(run, "cloth")]
    np.testing.assert_allclose(found, np.mean(expected, axis=0), rtol=1e-4, atol=1e-6)  # two members may cancel out
