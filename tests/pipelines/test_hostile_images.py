"""Pictures that are too much for a process, and names that are too long: one is lost, and no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ray
from PIL import Image as Pillow

from pipelines.chunks import View
from pipelines.config import RunConfig
from pipelines.dataset import examine
from pipelines.decode import decode_chunk
from pipelines.index import index, usable
from pipelines.masks import read_masks
from pipelines.rundir import folder_name
from pipelines.stages import Stages
from pipelines.storage import Store
from pipelines.walk import Image
from reconpatch.model import MODEL_FILE
from tests.pipelines.runs import MEMBER


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30), np.uint8)).save(path)


def test_a_picture_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(3_100_000_000)  # takes no room on the disk
    picture(tmp_path / "ok.png")
    store, sentence = Store.of(str(tmp_path)), "The file has 3.1 GB, above the limit of 2 GB"
    told = examine(store, Image("nut", "train", "good", "huge.png"), 16).error
    assert told is not None
    assert told.startswith(sentence)
    assert str(examine(store, Image("nut", "test", "cut", "ok.png", "huge.png"), 16).error).startswith(sentence)


def fills_memory(*arguments: object) -> None:
    raise MemoryError


def test_one_picture_that_memory_has_no_room_for_is_one_unreadable_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(tmp_path / "a.png")
    store, image = Store.of(str(tmp_path)), Image("nut", "test", "cut", "a.png", "a.png", height=20, width=30)
    for module in ("dataset.read_picture", "decode.read_image", "masks.read_mask"):
        monkeypatch.setattr(f"pipelines.{module}", fills_memory)
    told = "It takes more memory than there is; scale the picture down or cut it into tiles."
    assert examine(store, image, 16).error == told
    config = RunConfig("ensemble", "data", "out", (MEMBER,), 96)
    row = {"category": "nut", "view": 0, "source": 0, "shard": "s", "paths": ["a.png"], "contents": [None]}
    decoded = decode_chunk(row, [View.of(MEMBER, config)], [store])
    assert (decoded["error_paths"], decoded["errors"]) == (["a.png"], [told])
    model = SimpleNamespace(image_size=96, full_frame=True, category="nut")
    masks, warnings = read_masks(store, [image], model)  # type: ignore[arg-type]
    assert masks == {}
    assert warnings == [f"a.png: {told} Its image is left out of the pixel metrics."]


def test_the_picture_that_kills_its_process_is_the_only_one_that_is_lost(
    stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{number:03d}.png" for number in range(70)]
    for name in names:
        picture(Path(stages.data.root) / name)
    at_once = []

    def kills(
        function: Callable[..., Any], items: Sequence[Any], arguments: Callable[[Any], Any], workers: int, *_: object
    ) -> Iterator[tuple[Any, Any]]:
        """As `run_tasks`, in this process."""
        for item in items:
            at_once.append((workers, len(item)))
            killed = any(image.image_path == "005.png" for image in item)
            yield item, ray.exceptions.WorkerCrashedError() if killed else function(*arguments(item))

    monkeypatch.setattr("pipelines.stages.run_tasks", kills)
    found = index(stages, [Image("nut", "train", "good", name) for name in names], {})
    assert [image.image_path for image in found] == [name for name in names if name != "005.png"]
    assert all(image.content_sha256 for image in found)
    (failure,) = stages.record.failures
    assert (failure["image_path"], failure["stage"]) == ("005.png", "index")
    assert "WorkerCrashedError" in failure["error"]
    assert at_once == [(4, 64), (4, 6), *[(1, 1)] * 64]  # one after another: none is killed for another's memory


def test_a_category_whose_folder_no_disk_can_name_fails_and_the_others_go_on(stages: Stages) -> None:
    short, long = "部品" * 13, "部品" * 14
    assert (len(folder_name(short)), len(folder_name(long))) == (234, 252)
    images = [Image(each, "train", "good", f"{each}/a.png", part="fit") for each in (short, long)]
    left = usable(stages.record, [short, long], images, replace(stages.config, holdout=0.0))
    assert [image.category for image in left] == [short]
    assert stages.record.failed == {long: "index: its name is too long for a folder's; give it a shorter one."}
    assert not stages.out.exists(f"models/{folder_name(long + long)}/{MODEL_FILE}")  # nor is it looked for in vain
