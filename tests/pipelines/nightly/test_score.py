"""Scoring of new images: where they are found, which categories are scored, and the results of the scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.config.networks import Networks
from pipelines.data.dataset import Listing, list_images
from pipelines.data.layouts.detect import MVTEC
from pipelines.data.records import ImageRecord
from pipelines.nightly import score
from pipelines.nightly.score import score_categories
from pipelines.nightly.score_parts import CategoryJob, ScoredCategory
from pipelines.nightly.state import NightRun
from pipelines.nightly.steps import NightTask
from pipelines.registry.drift_log import read_drift
from pipelines.registry.history import RegistryEvent, append_event
from pipelines.registry.statuses import EventType
from pipelines.stages.runner import Runner
from pipelines.storage.parquet import read_rows, write_table
from pipelines.storage.paths import INDEX_FILE, fused_part
from pipelines.storage.schemas import fused_schema
from pipelines.storage.store import Store
from reconpatch.detector.model import CODE_VERSION, MemberModel, Model
from reconpatch.detector.model_json import to_json
from tests.pipelines.runs import save, texture

MEMBER = MemberModel("lite0", (2, 3), 3, "concat", 0, "package", "ab" * 32, "cd" * 32)
LISTING = Listing(("bolt",), (), (), MVTEC)
HELD_OUT = (1.0, 2.0, 3.0, 4.0)


class _Networks(Networks):
    """Networks whose features take one byte per image and whose weights are not checked."""

    def add(self, model: Model) -> None:
        pass

    def bytes_per_image(self, model: Model) -> int:
        return 1


@dataclass
class Writer:
    """Fake `write_scores`; the scores are 0, 1, 2, ... in the order of the images.

    Attributes:
        jobs: Jobs of all calls.
        reused: Number of rows of each category that count as reused.
        vanished: Paths of images without a row.
        failed: Categories that cannot be scored.
    """

    jobs: list[CategoryJob] = field(default_factory=list)
    reused: int = 0
    vanished: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)

    def __call__(self, runner: Runner, jobs: Sequence[CategoryJob], *_: Any) -> Iterator[ScoredCategory]:
        for job in jobs:
            self.jobs.append(job)
            if job.category in self.failed:
                continue
            threshold = job.model.model.threshold
            rows = [
                {
                    "image_path": image.image_path,
                    "score": float(number),
                    "p_value": 0.5,
                    "is_anomaly": None if threshold is None else number > threshold,
                }
                for number, image in enumerate(job.images)
                if image.image_path not in self.vanished
            ]
            table = pa.Table.from_pylist(rows, schema=fused_schema(["lite0"]))
            write_table(runner.context.out, fused_part(job.category, 0), table)
            yield ScoredCategory(job=job, images=job.n_images - self.reused, seconds=6.0)


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> Writer:
    """Replace scoring by a fake, and read images in this process."""

    def here(
        function: Callable[..., Any], items: Sequence[Any], arguments: Callable[[Any], Any], *_: object
    ) -> Iterator[tuple[Any, Any]]:
        for item in items:
            yield item, function(*arguments(item))

    monkeypatch.setattr("pipelines.stages.index.run_tasks", here)
    writer = Writer()
    monkeypatch.setattr(score, "write_scores", writer)
    return writer


@pytest.fixture
def night(night_of: Callable[..., NightRun], writer: Writer) -> NightRun:
    """Nightly run with an active model of bolt."""
    night = night_of()
    night.networks = _Networks({}, None)
    activate(night, "bolt")
    return night


def activate(
    night: NightRun, category: str, holdout_scores: tuple[float, ...] = HELD_OUT, *, bit_depth: int = 16
) -> None:
    model = Model(category, "v1", (MEMBER,), 96, True, bit_depth, 16, "patch", 9, 0.5, CODE_VERSION, holdout_scores)
    night.registry.version(category, "v1").write("model.json", to_json(model).encode())
    night.registry.of(category).write("current", b"v1\n")
    append_event(night.registry.of(category), RegistryEvent(event=EventType.PROMOTED, version="v1", at="2026"))


def draw(night: NightRun, *names: str) -> None:
    for number, name in enumerate(names):
        save(Path(night.new_images.root) / name, texture(number, 20, 30))


def scored(writer: Writer) -> dict[str, list[str]]:
    return {job.category: [image.image_path for image in job.images] for job in writer.jobs}


def test_without_a_separate_root_the_new_images_are_in_test_or_else_in_incoming(
    night: NightRun, writer: Writer
) -> None:
    activate(night, "nut")
    draw(night, "bolt/test/bent/0.png", "bolt/test/good/1.png", "bolt/incoming/2.png", "nut/incoming/3.png")
    score_categories(night, Listing(("bolt", "nut"), (), (), MVTEC), {})
    assert scored(writer) == {"bolt": ["bolt/test/bent/0.png", "bolt/test/good/1.png"], "nut": ["nut/incoming/3.png"]}
    assert [(image.split, image.label) for image in writer.jobs[0].images] == [("new", 1), ("new", 0)]
    assert [row["image_path"] for row in read_rows(night.out, INDEX_FILE)] == [
        image.image_path for job in writer.jobs for image in job.images
    ]


@pytest.mark.parametrize("root", ["category", "dataset"])
def test_the_test_images_of_the_listing_are_scored_and_no_masks(
    night: NightRun, writer: Writer, tmp_path: Path, root: str
) -> None:
    prefix = "bolt/" if root == "dataset" else ""
    data = tmp_path / ("set" if prefix else "bolt")
    night.options = replace(night.options, images=None)
    config = replace(night.config, data=str(data))
    night.runner = replace(night.runner, context=replace(night.runner.context, config=config, data=Store.of(str(data))))
    draw(night, *(f"{prefix}{name}" for name in ("train/good/0.png", "test/bent/rgb/1.png", "test/bent/gt/1.png")))
    draw(night, *(f"{prefix}{name}" for name in ("test_public/good/rgb/2.png", "test_public/good/gt/2.png")))
    score_categories(night, list_images(night.new_images), {})
    assert scored(writer) == {"bolt": [f"{prefix}test/bent/rgb/1.png", f"{prefix}test_public/good/rgb/2.png"]}
    assert [(image.split, image.label) for image in writer.jobs[0].images] == [("new", 1), ("new", 0)]


def test_a_data_root_that_is_the_category_has_its_own_folder_incoming(
    night: NightRun, writer: Writer, tmp_path: Path
) -> None:
    data = Store.of(str(tmp_path / "bolt"))
    night.options = replace(night.options, images=None)
    night.runner = replace(night.runner, context=replace(night.runner.context, data=data))
    draw(night, "train/good/0.png", "incoming/1.png")
    score_categories(night, list_images(night.new_images), {})
    assert scored(writer) == {"bolt": ["incoming/1.png"]}


def test_masks_of_a_category_without_training_images_are_not_scored(night: NightRun, writer: Writer) -> None:
    draw(night, "bolt/test/bent/rgb/0.png", "bolt/test/bent/gt/0.png")
    score_categories(night, Listing((), (), (), MVTEC), {})
    assert scored(writer) == {"bolt": ["bolt/test/bent/rgb/0.png"]}


def test_images_are_read_with_the_bit_depth_of_the_active_model(night: NightRun, writer: Writer) -> None:
    """It can differ from `--bit-depth` as long as no candidate with the new one is active."""
    activate(night, "nut", bit_depth=12)
    for category in ("bolt", "nut"):
        save(
            Path(night.new_images.root) / category / "test" / "bent" / "0.png",
            texture(0, 20, 30).astype("uint16") * 257,
        )
    score_categories(night, Listing(("bolt", "nut"), (), (), MVTEC), {})
    assert scored(writer) == {"bolt": ["bolt/test/bent/0.png"]}
    (failure,) = night.record.failures
    assert (failure.category, failure.image_path) == ("nut", "nut/test/bent/0.png")
    assert "allows at most 4095" in failure.error


def test_images_directly_in_another_root_are_named(night: NightRun, writer: Writer, tmp_path: Path) -> None:
    night.options = replace(night.options, images=str(tmp_path / "new"))
    draw(night, "bolt/1.png", "loose.png")
    score_categories(night, LISTING, {})
    assert scored(writer) == {"bolt": ["bolt/1.png"]}
    (warning,) = night.record.warnings
    assert warning.endswith(
        ": images directly in this folder belong to no category and are not scored (1): loose.png. "
        "Move them into the folder of their category."
    )


def test_another_root_has_one_folder_per_category(night: NightRun, writer: Writer, tmp_path: Path) -> None:
    night.options = replace(night.options, images=str(tmp_path / "new"))
    draw(night, "bolt/monday/0.png", "bolt/1.png", "mystery/2.png")
    score_categories(night, LISTING, {})
    assert scored(writer) == {"bolt": ["bolt/1.png", "bolt/monday/0.png"]}
    (warning,) = night.record.warnings
    assert warning.endswith(": folders that match no category are not scored (1): mystery.")


def test_in_another_layout_the_test_images_of_the_listing_are_scored(night: NightRun, writer: Writer) -> None:
    draw(night, "bolt/test/good/0.png", "anywhere/1.png")
    images = (
        ImageRecord("bolt", "test", "bent", "anywhere/1.png", label=1),
        ImageRecord("bolt", "train", "good", "bolt/test/good/0.png", label=0),
    )
    score_categories(night, Listing(("bolt",), images, (), "visa"), {})
    assert scored(writer) == {"bolt": ["anywhere/1.png"]}
    assert writer.jobs[0].images[0].split == "new"


def test_a_category_without_training_images_is_scored_by_its_active_model(night: NightRun, writer: Writer) -> None:
    draw(night, "bolt/test/good/0.png")
    score_categories(night, Listing((), (), (), MVTEC), {})
    assert scored(writer) == {"bolt": ["bolt/test/good/0.png"]}


def test_the_result_of_a_category_states_why_it_cannot_be_scored(night: NightRun, writer: Writer) -> None:
    draw(night, "nut/test/good/0.png")
    (Path(night.new_images.root) / "bolt" / "test").mkdir(parents=True)
    (Path(night.new_images.root) / "bolt" / "test" / "1.png").write_bytes(b"no picture")
    score_categories(night, Listing(("bolt", "nut"), (), (), MVTEC), {})
    assert writer.jobs == []
    assert {name: row.judged for name, row in night.categories.items()} == {"bolt": "no images", "nut": "no model"}
    assert (night.row("bolt").images, night.row("bolt").unreadable) == (0, 1)
    assert [row.image_path for row in night.record.failures] == ["bolt/test/1.png"]


def test_a_damaged_model_fails_only_its_category(night: NightRun, writer: Writer) -> None:
    activate(night, "nut")
    night.registry.version("nut", "v1").write("model.json", b"{")
    draw(night, "bolt/test/good/0.png", "nut/test/good/0.png")
    score_categories(night, Listing(("bolt", "nut"), (), (), MVTEC), {})
    assert list(scored(writer)) == ["bolt"]
    assert {name: row.judged for name, row in night.categories.items()} == {"bolt": "done", "nut": "failed"}
    assert list(night.record.failed) == ["nut"]


def test_scores_are_compared_with_the_threshold_for_the_target_rate_of_the_run(night: NightRun, writer: Writer) -> None:
    draw(night, *(f"bolt/test/good/{number}.png" for number in range(6)))
    config = replace(night.config, false_alarms=0.4)
    night.runner = replace(night.runner, context=replace(night.runner.context, config=config))
    score_categories(night, LISTING, {})
    row = night.row("bolt")
    assert writer.jobs[0].model.model.threshold == 3.0  # (4 + 1) * (1 - 0.4) = 3: the third smallest of four scores
    assert (row.judged, row.images, row.unreadable, row.anomalies, row.model_version) == ("done", 6, 0, 2, "v1")
    assert row.above_threshold == pytest.approx(2 / 6)


def test_drift_is_written_to_the_registry(night: NightRun, writer: Writer) -> None:
    draw(night, *(f"bolt/test/good/{number}.png" for number in range(6)))
    score_categories(night, LISTING, {})
    (drift,) = read_drift(night.registry, "bolt")
    assert (drift.images, drift.holdout, drift.run_id) == (6, 4, night.runner.context.provenance.run_id)
    row = night.row("bolt")
    assert (row.ks, row.ks_p_value, row.rare) == (drift.ks, drift.ks_p_value, drift.rare)
    # Of the scores 0..5, one in six is below and one in six is above the held-out scores 1..4.
    assert drift.ks == pytest.approx(1 / 6)


def test_a_model_without_calibration_images_flags_nothing(night: NightRun, writer: Writer) -> None:
    activate(night, "nut", holdout_scores=())
    draw(night, "nut/test/good/0.png")
    score_categories(night, Listing(("nut",), (), (), MVTEC), {})
    row = night.row("nut")
    assert (row.judged, row.images, row.anomalies, row.ks) == ("done", 1, None, None)
    assert read_drift(night.registry, "nut") == []


def test_images_that_are_removed_before_scoring_count_as_unreadable(night: NightRun, writer: Writer) -> None:
    draw(night, *(f"bolt/test/good/{number}.png" for number in range(3)))
    writer.vanished = {"bolt/test/good/1.png"}
    score_categories(night, LISTING, {})
    assert (night.row("bolt").images, night.row("bolt").unreadable) == (2, 1)


def test_a_category_whose_scoring_fails_is_failed_and_has_no_cost(night: NightRun, writer: Writer) -> None:
    activate(night, "nut")
    draw(night, "bolt/test/good/0.png", "bolt/test/good/1.png", "nut/test/good/0.png")
    writer.failed = {"nut"}
    score_categories(night, Listing(("bolt", "nut"), (), (), MVTEC), {})
    assert {name: row.judged for name, row in night.categories.items()} == {"bolt": "done", "nut": "failed"}
    assert night.costs.measured == {NightTask.SCORE: {"bolt": (6.0, 2)}}


def test_a_category_with_reused_rows_is_not_measured(night: NightRun, writer: Writer) -> None:
    """Reused rows take no time, so the estimate for the next run would be too low."""
    draw(night, "bolt/test/good/0.png", "bolt/test/good/1.png")
    writer.reused = 1
    score_categories(night, LISTING, {})
    assert night.row("bolt").judged == "done"
    assert night.costs.measured == {}


def test_after_the_deadline_categories_are_deferred(
    night: NightRun, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NightRun, "seconds_left", lambda self: -1.0)
    draw(night, "bolt/test/good/0.png")
    score_categories(night, LISTING, {})
    assert writer.jobs == []
    assert night.row("bolt").judged == "deferred"
