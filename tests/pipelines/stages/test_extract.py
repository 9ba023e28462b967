"""Tests of the extraction: which shards are missing, their contents, and failures of batches and of the stream."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch

from pipelines.data.records import ImageRecord
from pipelines.planning.batches import FeatureSpec, ImageBatch
from pipelines.planning.stage import Crew, StageResult, no_progress
from pipelines.runtime.attempts import AttemptCounter, RetryLimit
from pipelines.stages.decode import DecodedBatch, decode_row
from pipelines.stages.extract import _Extractor, extract_batch, missing_batches, stream_batches
from pipelines.stages.runner import Runner
from pipelines.storage.feature_shards import Shard, read_shard
from tests.pipelines.runs import MEMBER, save, texture


def batch_of(runner: Runner, *names: str, category: str = "nut", shard: str = "features/nut/shard") -> ImageBatch:
    spec = FeatureSpec.of(MEMBER, replace(runner.context.config, chunk=2))
    images = tuple(ImageRecord(category, "train", "good", name) for name in names)
    return ImageBatch(category=category, spec=spec, source=runner.context.data, shard=shard, images=images)


@pytest.fixture
def batch(runner: Runner) -> ImageBatch:
    """Return a batch of one image that does not exist."""
    return batch_of(runner, "a.png", shard="s")


@pytest.fixture
def with_images(runner: Runner) -> Iterator[Runner]:
    """Return a run with two images in the data root, and restore this process's number of threads afterwards."""
    threads = torch.get_num_threads()
    for number, name in enumerate(("a.png", "b.png")):
        save(Path(runner.context.data.root) / name, texture(number))
    yield runner
    torch.set_num_threads(threads)


def shard_of(runner: Runner, batch: ImageBatch) -> Shard:
    return read_shard(runner.context.scratch, batch.shard)


def test_a_batch_becomes_a_shard_of_patch_features(with_images: Runner) -> None:
    batch = batch_of(with_images, "a.png", "b.png")
    assert extract_batch(batch, with_images.context, no_progress) == StageResult()
    shard = shard_of(with_images, batch)
    assert shard.image_paths == ["a.png", "b.png"]
    assert shard.grid == (12, 12)  # layer 2 of 96 x 96 pixels has stride 8
    assert {(features.shape, features.dtype) for features in shard.features} == {((144, 152), np.dtype(np.float16))}
    assert not np.array_equal(*shard.features)


def test_the_stream_writes_the_same_shard(with_images: Runner, give_up: RetryLimit) -> None:
    """In the stream, one process decodes and another runs the backbone; a row of Ray Data connects them."""
    alone = batch_of(with_images, "a.png", "b.png", shard="alone")
    streamed = replace(alone, shard="streamed")
    extract_batch(alone, with_images.context, no_progress)
    row = decode_row({"batch": pickle.dumps(streamed)}, give_up)
    done = _Extractor(with_images.context, give_up)(pickle.loads(pickle.dumps(row)))
    assert done["shard"] == "streamed"
    assert pickle.loads(done["result"]).failures == ()
    scratch = with_images.context.scratch
    assert scratch.read("streamed") == scratch.read("alone")


def test_features_do_not_depend_on_the_number_of_images_in_a_batch(with_images: Runner) -> None:
    """The last batch of a category is padded, so it can have fewer images."""
    both, alone = batch_of(with_images, "a.png", "b.png"), batch_of(with_images, "a.png", shard="alone")
    for batch in (both, alone):
        extract_batch(batch, with_images.context, no_progress)
    assert shard_of(with_images, alone).image_paths == ["a.png"]
    np.testing.assert_array_equal(shard_of(with_images, alone).features[0], shard_of(with_images, both).features[0])


def test_a_batch_with_an_unreadable_image_writes_no_shard(with_images: Runner) -> None:
    (Path(with_images.context.data.root) / "b.png").write_bytes(b"no image")
    batch = batch_of(with_images, "a.png", "b.png")
    (failure,) = extract_batch(batch, with_images.context, no_progress).failures
    assert (failure.category, failure.backbone, failure.image_path) == ("nut", MEMBER.backbone, "b.png")
    assert not with_images.context.scratch.exists(batch.shard)


def test_batches_with_existing_shards_are_skipped(runner: Runner) -> None:
    runner.context.scratch.write("features/nut/there", b"")
    runner.context.scratch.write("features/bolt/elsewhere", b"")
    there, missing, again = (batch_of(runner, "a.png", shard=f"features/nut/{name}") for name in ("there", "x", "x"))
    other = batch_of(runner, "a.png", category="bolt", shard="features/bolt/there")
    assert missing_batches([there, missing, other, again], runner.context) == [missing, other]  # one batch per shard


def test_a_batch_without_attempts_left_is_neither_read_nor_written(
    give_up: RetryLimit, runner: Runner, batch: ImageBatch
) -> None:
    for step in ("decode", "extract"):
        for _ in range(4):
            give_up((step, "s"))
    decoded = DecodedBatch.from_row(decode_row({"batch": pickle.dumps(batch)}, give_up))
    (failure,) = decoded.failures
    assert (failure.image_path, decoded.image_paths) == (None, ())  # not a failure of a.png, which was not tried
    assert "died in all 4 attempts" in failure.error
    for given in (decoded, replace(decoded, failures=())):
        (failure,) = pickle.loads(_Extractor(runner.context, give_up)(given.as_row())["result"]).failures
        assert "died in all 4 attempts" in failure.error
        assert not runner.context.scratch.exists("s")


class _Stream:
    """A Ray Data dataset without rows."""

    def map(self, *given: Any, **options: Any) -> _Stream:
        return self

    def iter_rows(self) -> Iterator[dict[str, Any]]:
        return iter(())


class _BrokenStream(_Stream):
    """A Ray Data dataset whose cluster is gone."""

    def iter_rows(self) -> Iterator[dict[str, Any]]:
        raise ray.exceptions.RayError("the cluster has gone")


@pytest.fixture
def ended_actors(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Replace the calls of Ray, and return the list of actors that are killed."""
    ended: list[object] = []
    monkeypatch.setattr("pipelines.stages.extract.actor_beside_driver", lambda kind: kind)
    monkeypatch.setattr(ray, "kill", ended.append)
    return ended


def test_the_attempt_counter_is_killed_after_the_extraction(
    runner: Runner, batch: ImageBatch, ended_actors: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A nightly run extracts many times and would otherwise collect one idle process per extraction."""
    monkeypatch.setattr(ray.data, "from_items", lambda *given, **options: _Stream())
    crew = Crew(context=runner.context, workers=1, report=lambda done: None)
    assert list(stream_batches([batch], crew)) == []
    assert ended_actors == [AttemptCounter]


def test_if_the_stream_fails_members_without_a_shard_fail(
    runner: Runner, ended_actors: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray.data, "from_items", lambda *given, **options: _BrokenStream())
    runner.context.scratch.write("features/bolt/there", b"")
    batches = [
        batch_of(runner, "a.png", category="bolt", shard="features/bolt/there"),
        batch_of(runner, "a.png", shard="features/nut/1"),
        batch_of(runner, "b.png", shard="features/nut/2"),
    ]
    crew = Crew(context=runner.context, workers=1, report=lambda done: None)
    ((batch, result),) = stream_batches(batches, crew)  # one failure per member
    assert batch == batches[1]
    (failure,) = result.failures
    assert (failure.category, failure.backbone, failure.image_path) == ("nut", MEMBER.backbone, None)
    assert "the cluster has gone" in failure.error
    assert ended_actors == [AttemptCounter]
