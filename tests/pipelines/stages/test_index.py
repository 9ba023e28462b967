"""Tests of the image index: known images are not read again, and an image or a category that fails affects no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from PIL import Image as Pillow

from pipelines.data.dataset import Listing
from pipelines.data.records import INDEX, ImageRecord
from pipelines.runtime.tasks import TaskPool
from pipelines.stages.index import ImageIndex, complete_images, read_in_tasks, read_in_threads
from pipelines.stages.runner import Runner
from pipelines.storage.parquet import read_rows, write_rows
from pipelines.storage.paths import INDEX_FILE, folder_name
from pipelines.storage.store import Store
from reconpatch.detector.model import MODEL_FILE


def save(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(np.random.default_rng(seed).integers(0, 255, (20, 30), np.uint8)).save(path)


def train(*names: str) -> list[ImageRecord]:
    return [ImageRecord(name.partition("/")[0], "train", "good", name, fingerprint="1-1") for name in names]


def build(runner: Runner, images: Sequence[ImageRecord], known: dict[str, Any] | None = None) -> ImageIndex:
    categories = tuple(dict.fromkeys(image.category for image in images))
    read = read_in_threads(runner.context.data, 16, lambda: None)
    return ImageIndex.build(runner.context.config, Listing(categories, tuple(images)), known or {}, read=read)


@pytest.fixture
def factory(runner: Runner) -> Runner:
    """Return a run with two categories: bolt has twelve images, nut has one readable image and one unreadable file."""
    root = Path(runner.context.data.root)
    for number in range(12):
        save(root / f"bolt/{number:02d}.png", number)
    save(root / "nut/0.png")
    (root / "nut" / "1.png").write_bytes(b"no image")
    return runner


BOLT = [f"bolt/{number:02d}.png" for number in range(12)]


def test_images_get_digest_size_and_part(factory: Runner) -> None:
    index = build(factory, train(*BOLT))
    assert [image.image_path for image in index.images] == BOLT
    assert {(image.width, image.height) for image in index.images} == {(30, 20)}
    assert len({image.content_sha256 for image in index.images}) == 12
    assert {image.part for image in index.images} == {"fit", "holdout"}
    assert (index.usable, index.failures) == (index.images, ())


def test_known_images_are_not_read_again(factory: Runner) -> None:
    rows = {image.image_path: image.row() for image in build(factory, train(*BOLT)).images}
    rows[BOLT[3]] |= {"fingerprint": "changed"}
    again = build(factory, train(*BOLT), rows)
    assert [result.image.image_path for result in again.examined] == [BOLT[3]]


def test_an_unreadable_image_is_skipped_and_its_category_stays_usable(factory: Runner) -> None:
    index = build(factory, train("nut/0.png", "nut/1.png"))
    (failure,) = index.failures
    assert (failure.category, failure.image_path) == ("nut", "nut/1.png")
    assert [image.image_path for image in index.usable] == ["nut/0.png"]
    assert index.warnings[0] == (
        "nut: no calibration images are held out, so there is no threshold. Provide at least 10 distinct good images; "
        "if there are as many, raise --holdout."
    )


def test_a_category_without_a_readable_good_image_fails(factory: Runner) -> None:
    index = build(factory, train(*BOLT, "nut/1.png"))
    assert [(failure.category, failure.image_path) for failure in index.failures] == [
        ("nut", "nut/1.png"),
        ("nut", None),
    ]
    assert {image.category for image in index.usable} == {"bolt"}


def test_rows_of_untouched_categories_are_kept(factory: Runner) -> None:
    out = factory.context.out
    write_rows(out, INDEX_FILE, [image.row() for image in train("nut/0.png", "old/0.png")], INDEX)
    index = build(factory, train(*BOLT))
    index.write(out, index.usable, untouched=["nut"])
    assert [row["image_path"] for row in read_rows(out, INDEX_FILE)] == [*BOLT, "nut/0.png"]


def test_only_the_image_that_kills_its_process_is_lost(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"nut/{number:03d}.png" for number in range(70)]
    for name in names:
        save(Path(runner.context.data.root) / name)
    at_once = []

    def kills(
        function: Callable[..., Any], items: Sequence[Any], arguments: Callable[[Any], Any], pool: TaskPool
    ) -> Iterator[tuple[Any, Any]]:
        """Replace `run_tasks` by calls in this process."""
        for item in items:
            at_once.append((pool.at_once, len(item)))
            killed = any(image.image_path == names[5] for image in item)
            yield item, ray.exceptions.WorkerCrashedError() if killed else function(*arguments(item))

    monkeypatch.setattr("pipelines.stages.index.run_tasks", kills)
    completed = complete_images(train(*names), {}, read=read_in_tasks(runner), bit_depth=16)
    assert [image.image_path for image in completed.images] == [name for name in names if name != names[5]]
    assert all(image.content_sha256 for image in completed.images)
    (failure,) = completed.failures
    assert failure.image_path == names[5]
    assert "WorkerCrashedError" in failure.error
    assert at_once == [
        (4, 64),
        (4, 6),
        *[(1, 1)] * 64,
    ]  # the second time one by one, so that no image is killed because of another's memory


def test_a_category_with_a_name_too_long_for_a_folder_fails_alone(runner: Runner) -> None:
    short, long = "部品" * 13, "部品" * 14
    assert (len(folder_name(short)), len(folder_name(long))) == (234, 252)
    context = replace(runner.context, config=replace(runner.context.config, holdout=0.0))
    runner = replace(runner, context=context)
    images = train(f"{short}/a.png", f"{long}/a.png")
    known = {image.image_path: image.row() | {"content_sha256": "0", "width": 9, "height": 9} for image in images}
    index = build(runner, images, known)
    assert [image.category for image in index.usable] == [short]
    (failure,) = index.failures
    assert (failure.category, failure.error) == (
        long,
        "The name takes 252 bytes as a folder name, more than 240. Use a shorter name.",
    )
    assert not context.out.exists(f"models/{folder_name(long + long)}/{MODEL_FILE}")  # no error for such a path either


def test_reading_in_threads_reports_unreadable_images(factory: Runner) -> None:
    read: list[int] = []
    reader = read_in_threads(Store.of(factory.context.data.root), 16, lambda: read.append(1))
    assert [result.error is None for result in reader(train(*BOLT, "nut/1.png"))] == [True] * 12 + [False]
    assert len(read) == 13
