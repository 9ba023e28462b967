"""The command `score` and the class Detector give the same results for an image as the run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import ModelError
from reconpatch import Detector
from reconpatch.imaging.images import read_image
from tests.pipelines.runs import Finished, call, rows_of

COLUMNS = (
    "score",
    "p_value",
    "threshold",
    "is_anomaly",
    "peak_row",
    "peak_col",
    "nearest_backbone",
    "nearest_image",
    "nearest_row",
    "nearest_col",
)


@pytest.fixture(scope="module")
def batch(finished: Finished) -> dict[str, dict]:
    """Return image_path → row of scores/fused, for the test images of one category."""
    table = rows_of(finished.out / "scores/fused/cloth.parquet")
    return {row["image_path"]: row for row in table if row["split"] == "test"}


@pytest.fixture(scope="module")
def scored(finished: Finished, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    out = tmp_path_factory.mktemp("new") / "scores"
    folder = str(data / "cloth" / "test")
    what = ("--model", str(finished.out), "--images", folder, "--category", "cloth", "--bit-depth", "16")
    return call("score", *what, "--out", str(out), "--maps")


def test_rows_of_new_images_are_those_of_the_run(scored: Finished, batch: dict[str, dict]) -> None:
    assert scored.code == 0, scored.stderr
    rows = rows_of(scored.out / "scores/fused/cloth/part-00000.parquet")
    assert {f"cloth/test/{row['image_path']}" for row in rows} == set(batch)
    for row in rows:
        expected = batch[f"cloth/test/{row['image_path']}"]
        assert [row[name] for name in COLUMNS] == [expected[name] for name in COLUMNS]
        assert (row["split"], row["label"], row["part"], row["category"]) == ("new", None, None, "cloth")
        assert row["model_version"] == expected["model_version"]


def test_maps_and_failures_are_written_and_the_features_are_removed(scored: Finished, finished: Finished) -> None:
    maps = rows_of(scored.out / "maps/cloth/part-00000-00000.parquet")
    expected = {row["image_path"]: row["map"] for row in rows_of(finished.out / "maps/cloth.parquet")}
    for row in maps:
        assert np.array_equal(row["map"], expected[f"cloth/test/{row['image_path']}"], equal_nan=True)
    failures = rows_of(scored.out / "failures.parquet")
    assert [row["image_path"] for row in failures] == ["good/cut.png"]
    assert not (scored.out / "_scratch").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"--category": "bolt"}, "has no model of category 'bolt'"),
        ({"--images": "/nowhere"}, "--images /nowhere: the folder does not exist or is empty."),
        ({"--model": "/nowhere"}, "--model /nowhere: the folder does not exist or is empty."),
        ({"--out": "."}, "is not empty"),
        (
            {"--bit-depth": "12"},
            "--bit-depth 12: the model of category 'cloth' was fitted with --bit-depth 16. Leave the option out.",
        ),
    ],
)
def test_bad_usage_is_a_message_of_one_line(
    finished: Finished, data: Path, tmp_path: Path, *, options: dict[str, str], sentence: str
) -> None:
    usual = {"--model": str(finished.out), "--images": str(data), "--category": "cloth", "--out": str(tmp_path / "o")}
    done = call("score", *(word for pair in {**usual, **options}.items() for word in pair))
    assert done.code == 2
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def detector(finished: Finished) -> Detector:
    return Detector.load(finished.out / "models" / "cloth", chunk=16)


def test_with_the_same_chunk_the_results_of_the_detector_are_identical(
    detector: Detector, batch: dict[str, dict], data: Path, finished: Finished
) -> None:
    maps = {row["image_path"]: row for row in rows_of(finished.out / "maps/cloth.parquet")}
    for path, row in batch.items():
        verdict = detector.score(data / path)
        assert [getattr(verdict, name) for name in COLUMNS] == [row[name] for name in COLUMNS]
        assert verdict.map.shape == (maps[path]["height"], maps[path]["width"])
        assert np.array_equal(verdict.map.reshape(-1), np.array(maps[path]["map"], np.float32), equal_nan=True)
        assert verdict.member_scores == {name: row[f"score_{name}"] for name in verdict.member_scores}


def test_with_one_image_per_chunk_scores_differ_by_a_thousandth_of_their_range_at_most(
    finished: Finished, batch: dict[str, dict], data: Path
) -> None:
    alone = Detector.load(finished.out / "models" / "cloth")
    scores = [row["score"] for row in batch.values()]
    for path, row in batch.items():
        assert abs(alone.score(data / path).score - row["score"]) <= 1e-3 * (max(scores) - min(scores))


def test_a_path_its_bytes_and_its_pixels_have_the_same_score(
    detector: Detector, batch: dict[str, dict], data: Path
) -> None:
    path = data / next(iter(batch))
    scores = {
        detector.score(image).score for image in (path, str(path), path.read_bytes(), read_image(path.read_bytes()))
    }
    assert len(scores) == 1


def test_a_model_can_be_moved_to_another_folder(
    finished: Finished, batch: dict[str, dict], data: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished.out / "models" / "cloth", tmp_path / "elsewhere=1")
    path, row = next(iter(batch.items()))
    assert Detector.load(tmp_path / "elsewhere=1", chunk=16).score(data / path).score == row["score"]


def test_weights_that_the_model_was_not_fitted_with_are_an_error(finished: Finished, tmp_path: Path) -> None:
    shutil.copytree(finished.out / "models" / "cloth", tmp_path / "model")
    model = json.loads((tmp_path / "model" / "model.json").read_text())
    model["members"][0]["weights_sha256"] = "0" * 64
    (tmp_path / "model" / "model.json").write_text(json.dumps(model))
    with pytest.raises(ModelError, match="but the model was fitted with 000000000000"):
        Detector.load(tmp_path / "model")


@pytest.mark.parametrize("name", ["model.json", "tf_efficientnet_lite0/memory_bank.safetensors"])
def test_an_incomplete_model_is_an_error(finished: Finished, tmp_path: Path, name: str) -> None:
    shutil.copytree(finished.out / "models" / "cloth", tmp_path / "model")
    (tmp_path / "model" / name).unlink()
    with pytest.raises(ModelError, match=r"no model\.json|is incomplete or damaged"):
        Detector.load(tmp_path / "model")
