"""`score` and Detector say of an image what the batch said of it."""

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
    """image_path → fused row of the test images of one category."""
    table = rows_of(finished.out / "scores/fused/cloth.parquet")
    return {row["image_path"]: row for row in table if row["split"] == "test"}


@pytest.fixture(scope="module")
def scored(finished: Finished, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    out = tmp_path_factory.mktemp("new") / "scores"
    folder = str(data / "cloth" / "test")
    return call(
        "score", "--model", str(finished.out), "--images", folder, "--category", "cloth", "--out", str(out), "--maps"
    )


def test_new_images_get_the_rows_that_the_batch_would_give_them(scored: Finished, batch: dict[str, dict]) -> None:
    assert scored.code == 0, scored.stderr
    rows = rows_of(scored.out / "scores/fused/cloth/part-00000.parquet")
    assert {f"cloth/test/{row['image_path']}" for row in rows} == set(batch)
    for row in rows:
        theirs = batch[f"cloth/test/{row['image_path']}"]
        assert [row[name] for name in COLUMNS] == [theirs[name] for name in COLUMNS]
        assert (row["split"], row["label"], row["part"], row["category"]) == ("new", None, None, "cloth")
        assert row["model_version"] == theirs["model_version"]


def test_maps_and_failures_are_there_and_the_features_are_gone(scored: Finished, finished: Finished) -> None:
    maps = rows_of(scored.out / "maps/cloth/part-00000-00000.parquet")
    theirs = {row["image_path"]: row["map"] for row in rows_of(finished.out / "maps/cloth.parquet")}
    for row in maps:
        assert np.array_equal(row["map"], theirs[f"cloth/test/{row['image_path']}"], equal_nan=True)
    failures = rows_of(scored.out / "failures.parquet")
    assert [row["image_path"] for row in failures] == ["good/cut.png"]
    assert not (scored.out / "_scratch").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"--category": "bolt"}, "has no model of category 'bolt'"),
        ({"--images": "/nowhere"}, "no image in it"),
        ({"--out": "."}, "is not empty"),
    ],
)
def test_what_cannot_be_scored_is_refused(
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


def test_with_the_same_chunk_the_detector_gives_the_batchs_numbers_exactly(
    detector: Detector, batch: dict[str, dict], data: Path, finished: Finished
) -> None:
    maps = {row["image_path"]: row for row in rows_of(finished.out / "maps/cloth.parquet")}
    for path, row in batch.items():
        found = detector.score(data / path)
        assert [getattr(found, name) for name in COLUMNS] == [row[name] for name in COLUMNS]
        assert found.map.shape == (maps[path]["height"], maps[path]["width"])
        assert np.array_equal(found.map.reshape(-1), np.array(maps[path]["map"], np.float32), equal_nan=True)
        assert found.member_scores == {name: row[f"score_{name}"] for name in found.member_scores}


def test_one_image_at_a_time_it_is_within_a_thousandth_of_the_spread(
    finished: Finished, batch: dict[str, dict], data: Path
) -> None:
    alone = Detector.load(finished.out / "models" / "cloth")
    scores = [row["score"] for row in batch.values()]
    for path, row in batch.items():
        assert abs(alone.score(data / path).score - row["score"]) <= 1e-3 * (max(scores) - min(scores))


def test_a_path_its_bytes_and_its_pixels_are_the_same_image(
    detector: Detector, batch: dict[str, dict], data: Path
) -> None:
    path = data / next(iter(batch))
    scores = {
        detector.score(each).score for each in (path, str(path), path.read_bytes(), read_image(path.read_bytes()))
    }
    assert len(scores) == 1


def test_a_model_stands_alone(finished: Finished, batch: dict[str, dict], data: Path, tmp_path: Path) -> None:
    shutil.copytree(finished.out / "models" / "cloth", tmp_path / "elsewhere=1")
    path, row = next(iter(batch.items()))
    assert Detector.load(tmp_path / "elsewhere=1", chunk=16).score(data / path).score == row["score"]


def test_other_weights_than_it_was_fitted_with_are_refused(finished: Finished, tmp_path: Path) -> None:
    shutil.copytree(finished.out / "models" / "cloth", tmp_path / "model")
    model = json.loads((tmp_path / "model" / "model.json").read_text())
    model["members"][0]["weights_sha256"] = "0" * 64
    (tmp_path / "model" / "model.json").write_text(json.dumps(model))
    with pytest.raises(ModelError, match="but the model was fitted with 000000000000"):
        Detector.load(tmp_path / "model")


@pytest.mark.parametrize("name", ["model.json", "tf_efficientnet_lite0/memory_bank.safetensors"])
def test_a_model_that_is_not_whole_is_refused(finished: Finished, tmp_path: Path, name: str) -> None:
    shutil.copytree(finished.out / "models" / "cloth", tmp_path / "model")
    (tmp_path / "model" / name).unlink()
    with pytest.raises(ModelError, match=r"no model\.json|is not whole"):
        Detector.load(tmp_path / "model")
