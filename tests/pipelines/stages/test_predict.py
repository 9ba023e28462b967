"""Tests of scoring with stored models; extraction and Ray tasks are replaced by calls in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.config.networks import Network
from pipelines.data.records import ImageRecord
from pipelines.planning.batches import ImageBatch
from pipelines.planning.stage import Crew, JobFailure, StageResult
from pipelines.stages import predict
from pipelines.stages.extract import EXTRACT
from pipelines.stages.predict import ScoringRequest, score_requests
from pipelines.stages.runner import Runner
from pipelines.storage.feature_shards import write_shard
from pipelines.storage.parquet import read_rows, write_rows
from pipelines.storage.paths import bank_index_name, bank_name
from pipelines.storage.schemas import BANK_INDEX, fused_schema
from pipelines.storage.stored_model import StoredModel
from pipelines.storage.tensors import write_tensors
from reconpatch.detector.model import CODE_VERSION, MemberModel, Model
from tests.pipelines.runs import MEMBER

MEDIAN, MAD, BETA = 2.0, 0.5, 1.5
GRID, CHANNELS = (2, 2), 6
NETWORKS = {MEMBER.backbone: Network("package", "ab" * 32, 4, CHANNELS)}
BANK = np.random.default_rng(7).normal(size=(3, CHANNELS)).astype(np.float32)
IMAGES = tuple(
    ImageRecord("nut", "new", None, f"{number}.png", width=96, height=96, content_sha256=f"{number:064}")
    for number in range(5)
)


def features_of(image_path: str) -> np.ndarray:
    """Return random features of an image, seeded by its name."""
    return np.random.default_rng(int(image_path[0])).normal(size=(4, CHANNELS)).astype(np.float16)


def score_of(image_path: str) -> float:
    """Return the largest distance of a patch from the bank, normalized (equations 9 and 11)."""
    patches = features_of(image_path).astype(np.float64)
    distances = np.linalg.norm(patches[:, None] - BANK.astype(np.float64), axis=2).min(1)
    return float((distances.max() - MEDIAN) / (BETA * MAD))


@pytest.fixture
def request_of(runner: Runner) -> Callable[..., ScoringRequest]:
    """Return a function that makes a request for images, with a stored model whose bank has three entries."""
    member = MemberModel(
        MEMBER.backbone, MEMBER.layers, 3, "concat", 0, "", "", "", median=MEDIAN, mad=MAD, beta=BETA, grid=GRID
    )
    model = Model("nut", "v1", (member,), 64, True, 16, 2, "patch", 1, 0.25, CODE_VERSION, (0.0, 1.0, 2.0), 1.0, 0.25)
    folder = runner.context.out.below("model")
    write_tensors(folder, bank_name(MEMBER.backbone), {"entries": BANK}, "")
    rows = [{"category": "nut", "image_path": "good.png", "row": 0, "col": entry} for entry in range(3)]
    write_rows(folder, bank_index_name(MEMBER.backbone), rows, BANK_INDEX)

    def make(images: Sequence[ImageRecord] = IMAGES, **options: Any) -> ScoringRequest:
        stored = StoredModel(model, folder)
        return ScoringRequest(stored=stored, source=runner.context.data, images=tuple(images), **options)

    return make


@pytest.fixture
def vanished(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Return the set of image paths that cannot be read; extraction and scoring run in this process."""
    gone: set[str] = set()

    def extract(batches: Sequence[ImageBatch], crew: Crew) -> Iterator[tuple[ImageBatch, StageResult]]:
        for batch in batches:
            paths = [image.image_path for image in batch.images]
            failures = tuple(
                JobFailure(category="nut", backbone=batch.backbone, image_path=path, error="No such file.")
                for path in paths
                if path in gone
            )
            if not failures:
                features = [features_of(path) for path in paths]
                write_shard(crew.context.scratch, batch.shard, paths, features, grid=GRID)
            yield batch, StageResult(failures=failures)

    def here(
        function: Callable[..., Any], items: Sequence[Any], arguments: Callable[[Any], Any], *_: object
    ) -> Iterator[tuple[Any, Any]]:
        for item in reversed(items):  # tasks can finish in any order
            try:
                yield item, function(*arguments(item))
            except OSError as error:
                yield item, error

    monkeypatch.setattr(predict, "EXTRACT", replace(EXTRACT, launch=extract))
    monkeypatch.setattr(predict, "run_tasks", here)
    return gone


def answers(runner: Runner, *requests: ScoringRequest) -> dict[int, pa.Table | Exception]:
    pairs = list(score_requests(runner, requests, NETWORKS))
    assert len(dict(pairs)) == len(pairs)  # one answer per request
    return dict(pairs)


def test_batches_have_the_settings_of_the_stored_model(runner: Runner, request_of: Any) -> None:
    (batches,) = request_of().batches(NETWORKS, runner.context.config)
    assert [[image.image_path for image in batch.images] for batch in batches] == [
        ["0.png", "1.png"],
        ["2.png", "3.png"],
        ["4.png"],
    ]
    assert {(batch.spec.image_size, batch.spec.chunk) for batch in batches} == {
        (64, 2)
    }  # the settings of the run are 96 and 16
    (copies,) = request_of(pasted=True).batches(NETWORKS, runner.context.config)
    assert not {batch.shard for batch in copies} & {batch.shard for batch in batches}
    assert {batch.spec.pasted for batch in copies} == {True}


def test_a_request_without_images_has_an_empty_table(runner: Runner, request_of: Any) -> None:
    (table,) = answers(runner, request_of(())).values()
    assert table.num_rows == 0
    assert table.schema.equals(fused_schema([MEMBER.backbone]))


@pytest.mark.usefixtures("vanished")
def test_every_image_has_a_row_in_the_order_of_the_request(
    runner: Runner, request_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "_BATCHES_A_TASK", 2)
    table = answers(runner, request_of(()), request_of())[1]
    rows = table.to_pylist()
    assert [row["image_path"] for row in rows] == [image.image_path for image in IMAGES]
    scores = [score_of(image.image_path) for image in IMAGES]
    assert [row["score"] for row in rows] == pytest.approx(scores, rel=1e-4)
    assert [row["is_anomaly"] for row in rows] == [score > 1.0 for score in scores]
    assert {(row["model_version"], row["split"], row["threshold"]) for row in rows} == {("v1", "new", 1.0)}


def test_images_that_vanished_have_no_row_and_are_reported(runner: Runner, request_of: Any, vanished: set[str]) -> None:
    vanished.update({"1.png", "4.png"})
    table = answers(runner, request_of())[0]
    assert table["image_path"].to_pylist() == ["0.png", "2.png", "3.png"]
    assert table["score"].to_pylist() == pytest.approx([score_of(f"{name}.png") for name in (0, 2, 3)], rel=1e-4)
    failures = {(row.image_path, row.stage, row.backbone) for row in runner.record.failures}
    assert failures == {("1.png", "extract", None), ("4.png", "extract", None)}
    assert runner.record.failed == {}  # the category itself does not fail


def test_if_all_images_vanished_the_table_is_empty(runner: Runner, request_of: Any, vanished: set[str]) -> None:
    vanished.update(image.image_path for image in IMAGES)
    assert answers(runner, request_of())[0].num_rows == 0


@pytest.mark.usefixtures("vanished")
def test_each_task_writes_one_file_of_maps(runner: Runner, request_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict, "_BATCHES_A_TASK", 2)
    answers(runner, request_of(), request_of(maps="maps/nut/part-00003"))
    out = runner.context.out
    assert [out.name_of(info) for info in out.files("maps")] == [
        "maps/nut/part-00003-00000.parquet",
        "maps/nut/part-00003-00001.parquet",
    ]
    rows = [row for info in out.files("maps") for row in read_rows(out, out.name_of(info))]
    assert [row["image_path"] for row in rows] == [image.image_path for image in IMAGES]
    assert {len(row["map"]) for row in rows} == {96 * 96}


@pytest.mark.usefixtures("vanished")
def test_a_model_that_cannot_be_read_fails_only_its_own_request(
    runner: Runner, request_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "_BATCHES_A_TASK", 1)
    whole, lost = request_of(), request_of()
    lost = replace(lost, stored=replace(lost.stored, folder=runner.context.out.below("nowhere")))
    results = answers(runner, lost, whole)
    assert isinstance(results[0], FileNotFoundError)
    assert results[1].num_rows == len(IMAGES)
