"""Score files of new images: their size is bounded, and rows of an earlier nightly run are reused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from pipelines.config.networks import Networks
from pipelines.data.records import INDEX, ImageRecord
from pipelines.nightly import score_parts
from pipelines.nightly.score_parts import CategoryJob, PreviousScores, ScoredCategory, write_scores
from pipelines.stages.predict import ScoringRequest
from pipelines.stages.runner import Runner
from pipelines.storage.parquet import read_rows, write_rows
from pipelines.storage.paths import INDEX_FILE, PART_ROWS, fused_part
from pipelines.storage.schemas import Provenance, fused_schema
from pipelines.storage.store import Store
from pipelines.storage.stored_model import StoredModel
from reconpatch.detector.model import CODE_VERSION, MemberModel, Model

MEMBER = MemberModel("lite0", (2, 3), 3, "concat", 0, "package", "ab" * 32, "cd" * 32)
MODEL = Model("bolt", "v1", (MEMBER,), 96, True, 16, 16, "patch", 9, 0.01, CODE_VERSION)
EARLIER = datetime(2026, 1, 1, tzinfo=UTC)


class _Networks(Networks):
    """Networks whose features take one byte per image."""

    def bytes_per_image(self, model: Model) -> int:
        return 1


NETWORKS = _Networks({}, None)


def image(number: int, content: str = "") -> ImageRecord:
    return ImageRecord("bolt", "new", None, f"{number}.png", content_sha256=content or f"content of {number}")


def job_of(folder: Store, images: Sequence[ImageRecord], model: Model = MODEL) -> CategoryJob:
    return CategoryJob(model=StoredModel(model, folder), images=tuple(images), scratch_bytes=0)


@dataclass
class Scorer:
    """Fake `score_requests`.

    Attributes:
        asked: Paths of the images of each request.
        maps: Path prefix of the map files of each request; None without maps.
        vanished: Paths of images without a row.
        error: Exception that is returned for every request; None to return scores.
    """

    asked: list[list[str]] = field(default_factory=list)
    maps: list[str | None] = field(default_factory=list)
    vanished: set[str] = field(default_factory=set)
    error: Exception | None = None

    def __call__(
        self, runner: Runner, requests: Sequence[ScoringRequest], networks: Any
    ) -> Iterator[tuple[int, pa.Table | Exception]]:
        for number, request in reversed(list(enumerate(requests))):
            self.asked.append([image.image_path for image in request.images])
            self.maps.append(request.maps)
            provenance = runner.context.provenance.columns(request.stored.model.version)
            rows = [
                {"category": "bolt", "image_path": image.image_path, "split": "new", "score": 1.0, **provenance}
                for image in reversed(request.images)
                if image.image_path not in self.vanished
            ]
            yield number, self.error or pa.Table.from_pylist(rows, schema=fused_schema(["lite0"]))


@pytest.fixture
def scorer(monkeypatch: pytest.MonkeyPatch) -> Scorer:
    """Replace scoring by a fake, and limit files to three rows."""
    scorer = Scorer()
    monkeypatch.setattr(score_parts, "score_requests", scorer)
    monkeypatch.setattr(score_parts, "PART_ROWS", 3)
    return scorer


@pytest.fixture
def folder(runner: Runner) -> Store:
    """Folder of the active model."""
    return runner.context.out.below("model")


def write(runner: Runner, job: CategoryJob, previous: PreviousScores | None = None) -> list[ScoredCategory]:
    return list(write_scores(runner, [job], NETWORKS, previous or PreviousScores(None)))


def written(runner: Runner) -> list[list[str]]:
    """Return the paths of the images in each file of scores."""
    out = runner.context.out
    return [[row["image_path"] for row in read_rows(out, out.name_of(info))] for info in out.files("scores")]


@pytest.fixture
def earlier(runner: Runner, scorer: Scorer, folder: Store) -> Callable[..., PreviousScores]:
    """Return a function that writes and returns the scores of an earlier nightly run for given images."""

    def make(images: Sequence[ImageRecord], model: Model = MODEL) -> PreviousScores:
        out = runner.context.out.below("earlier")
        context = replace(runner.context, out=out, provenance=Provenance("ef" * 16, EARLIER))
        write(replace(runner, context=context), job_of(folder, images, model))
        write_rows(out, INDEX_FILE, images, INDEX)
        scorer.asked.clear()
        return PreviousScores(out)

    return make


def test_a_file_has_a_bounded_number_of_rows(folder: Store) -> None:
    images = [image(0)] * (PART_ROWS + 1)
    assert [len(part.images) for part in job_of(folder, images).parts] == [PART_ROWS, 1]
    assert job_of(folder, []).parts == []


def test_files_contain_the_images_in_order(runner: Runner, scorer: Scorer, folder: Store) -> None:
    (scored,) = write(runner, job_of(folder, [image(number) for number in range(7)]))
    assert (scored.job.category, scored.images) == ("bolt", 7)
    assert scored.seconds > 0
    assert written(runner) == [["0.png", "1.png", "2.png"], ["3.png", "4.png", "5.png"], ["6.png"]]
    assert [part.file for part in scored.job.parts] == [fused_part("bolt", number) for number in range(3)]


def test_a_key_depends_on_contents_model_and_threshold(folder: Store) -> None:
    jobs = [
        job_of(folder, [image(0)]),
        job_of(folder, [image(0, "other")]),
        job_of(folder, [image(1, "content of 0")]),
        job_of(folder, [image(0)], replace(MODEL, version="v2")),
        job_of(folder, [image(0)], replace(MODEL, false_alarms=0.05)),
    ]
    assert len({job.parts[0].key for job in jobs}) == len(jobs)
    assert job_of(folder, [image(0)]).parts[0].key == jobs[0].parts[0].key


def test_rows_of_unchanged_images_are_reused(runner: Runner, scorer: Scorer, folder: Store, earlier: Any) -> None:
    previous = earlier([image(number) for number in (0, 1, 2, 3, 8)])
    (scored,) = write(runner, job_of(folder, [image(9), image(0), image(1, "changed"), image(3)]), previous)
    assert scorer.asked == [["9.png", "1.png"]]
    assert scored.images == 2
    assert written(runner)[-2:] == [["9.png", "0.png", "1.png"], ["3.png"]]
    rows = {row["image_path"]: row for row in read_rows(runner.context.out, fused_part("bolt", 0))}
    assert {row["run_id"] for row in rows.values()} == {runner.context.provenance.run_id}
    now = runner.context.provenance.scored_at
    assert {path: row["scored_at"] for path, row in rows.items()} == {"9.png": now, "0.png": EARLIER, "1.png": now}


@pytest.mark.parametrize("change", [{"version": "v2"}, {"false_alarms": 0.05}])
def test_rows_of_another_model_or_threshold_are_not_reused(
    runner: Runner, scorer: Scorer, folder: Store, earlier: Any, *, change: dict[str, Any]
) -> None:
    previous = earlier([image(0)])
    (scored,) = write(runner, job_of(folder, [image(0)], replace(MODEL, **change)), previous)
    assert scored.images == 1
    assert scorer.asked == [["0.png"]]


def test_images_of_a_damaged_file_are_scored_again(runner: Runner, scorer: Scorer, folder: Store, earlier: Any) -> None:
    previous = earlier([image(number) for number in range(4)])
    out = runner.context.out.below("earlier")
    whole = out.read(fused_part("bolt", 0))
    out.write(fused_part("bolt", 0), b"PAR1" + bytes(len(whole) // 2) + whole[4 + len(whole) // 2 :])
    write(runner, job_of(folder, [image(number) for number in range(4)]), previous)
    assert scorer.asked == [["0.png", "1.png", "2.png"]]


def test_a_part_that_was_written_before_an_interruption_is_kept(runner: Runner, scorer: Scorer, folder: Store) -> None:
    images = [image(number) for number in range(4)]
    write(runner, job_of(folder, images))
    scorer.asked.clear()
    (scored,) = write(runner, job_of(folder, [*images[:3], image(5)]))
    assert scorer.asked == [["5.png"]]
    assert scored.images == 1


def test_parts_of_removed_images_are_deleted(runner: Runner, scorer: Scorer, folder: Store) -> None:
    write(runner, job_of(folder, [image(number) for number in range(7)]))
    write(runner, job_of(folder, [image(0)]))
    assert written(runner) == [["0.png"]]


def test_images_that_are_removed_before_scoring_have_no_row(runner: Runner, scorer: Scorer, folder: Store) -> None:
    scorer.vanished = {"1.png"}
    (scored,) = write(runner, job_of(folder, [image(number) for number in range(3)]))
    assert scored.images == 2
    assert written(runner) == [["0.png", "2.png"]]


def test_a_category_that_cannot_be_scored_has_failed_and_is_not_yielded(
    runner: Runner, scorer: Scorer, folder: Store
) -> None:
    scorer.error = ValueError("bank is damaged")
    assert write(runner, job_of(folder, [image(0)])) == []
    assert runner.record.failed == {"bolt": "predict: bank is damaged"}


@pytest.mark.parametrize("maps", [False, True])
def test_maps_are_requested_only_if_the_run_writes_maps(
    runner: Runner, scorer: Scorer, folder: Store, *, maps: bool
) -> None:
    runner = replace(runner, context=replace(runner.context, config=replace(runner.context.config, maps=maps)))
    write(runner, job_of(folder, [image(number) for number in range(4)]))
    assert sorted(map(str, scorer.maps)) == (["maps/bolt/part-00000", "maps/bolt/part-00001"] if maps else ["None"] * 2)


def test_parts_are_written_in_waves_that_fit_the_scratch_space(
    runner: Runner, scorer: Scorer, folder: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once: list[int] = []

    def score(runner: Runner, requests: Sequence[ScoringRequest], networks: Any) -> Iterator[Any]:
        at_once.append(len(requests))
        yield from scorer(runner, requests, networks)

    monkeypatch.setattr(score_parts, "score_requests", score)
    config = replace(runner.context.config, scratch_gb=6e-9)  # features of six images
    runner = replace(runner, context=replace(runner.context, config=config))
    (scored,) = write(runner, job_of(folder, [image(number) for number in range(9)]))
    assert at_once == [2, 1]
    assert scored.images == 9
