"""What an object store does not give is no unreadable picture: the category has failed, and the next call reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pyarrow.fs as pafs
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image as Pillow

from pipelines.chunks import View
from pipelines.dataset import examine_all, list_images
from pipelines.decode import decode_chunk
from pipelines.extract import Receipt
from pipelines.index import index, usable
from pipelines.judging import Order, judge_orders
from pipelines.masks import read_masks
from pipelines.record import Record
from pipelines.stages import Lost, Stages
from pipelines.storage import Store, UnansweredError
from pipelines.walk import Image
from tests.pipelines.runs import MEMBER, texture

BUSY = "AWS Error SLOW_DOWN during GetObject operation: reduce your request rate"
NAMES = [f"{category}/train/good/{number}.png" for category in ("bolt", "nut") for number in range(4)]


def drawn(seed: int) -> bytes:
    file = BytesIO()
    Pillow.fromarray(texture(seed, 20, 30)).save(file, "png")
    return file.getvalue()


class Flapping(MemoryFileSystem):
    """Files by name; for some names, what is said in their place."""

    cachable = False  # else fsspec gives the same one again

    def __init__(self) -> None:
        super().__init__()
        self.store: dict[str, Any] = {}
        self.pseudo_dirs: list[str] = [""]
        self.says: dict[str, str] = {}
        self.asked: list[str] = []

    def open(self, path: str, mode: str = "rb", **more: Any) -> Any:
        name = path.strip("/").removeprefix("lake/")
        if mode == "rb":
            self.asked.append(name)
        if name in self.says:
            raise OSError(self.says[name])
        return super().open(path, mode, **more)


@pytest.fixture
def lake() -> Flapping:
    files = Flapping()
    for number, name in enumerate(NAMES):
        files.pipe(f"/lake/{name}", drawn(number))
    return files


@pytest.fixture
def source(lake: Flapping) -> Store:
    return Store(pafs.PyFileSystem(pafs.FSSpecHandler(lake)), "/lake", "s3://lake")


@pytest.fixture
def remote_stages(stages: Stages, source: Store, monkeypatch: pytest.MonkeyPatch) -> Stages:
    """Whose tasks run in this process."""

    def here(
        function: Callable[..., Any], items: Sequence[Any], arguments: Callable[[Any], Any], *_: object
    ) -> Iterator[tuple[Any, Any]]:
        for item in items:
            yield item, function(*arguments(item))

    monkeypatch.setattr("pipelines.stages.run_tasks", here)
    return replace(stages, data=source, config=replace(stages.config, holdout=0.0))


def train(names: Sequence[str]) -> list[Image]:
    return [Image(name.partition("/")[0], "train", "good", name, part="fit") for name in names]


def chunk_of(names: Sequence[str]) -> dict[str, Any]:
    row = {"category": "nut", "view": 0, "source": 0, "shard": "s"}
    return {**row, "paths": list(names), "contents": [None] * len(names)}


def test_silence_is_told_from_what_the_store_says_of_a_picture(lake: Flapping, source: Store) -> None:
    lake.says = {NAMES[0]: BUSY, NAMES[1]: "AWS Error ACCESS_DENIED during HeadObject operation: no"}
    with pytest.raises(
        UnansweredError, match=r"The object store does not answer; call again when it does\. .*SLOW_DOWN"
    ):
        source.read_picture(NAMES[0])
    for name in (NAMES[1], "nothing.png"):
        with pytest.raises(OSError, match=r"DENIED|nothing.png") as raised:
            source.read_picture(name)
        assert not isinstance(raised.value, UnansweredError)
    assert source.read_picture(NAMES[2]) == drawn(2)


def test_the_rest_of_a_category_is_not_waited_for(lake: Flapping, source: Store) -> None:
    lake.says = {NAMES[1]: BUSY}
    examined, _ = examine_all(source, train(NAMES), 16)
    assert [each.unanswered for each in examined] == [False, True, True, True, *[False] * 4]
    assert [each.error is not None for each in examined] == [each.unanswered for each in examined]
    assert lake.asked == [*NAMES[:2], *NAMES[4:]]


def test_its_category_fails_by_name_and_the_others_go_on(lake: Flapping, remote_stages: Stages) -> None:
    lake.says = {NAMES[1]: BUSY}
    record = remote_stages.record
    images = usable(record, ["bolt", "nut"], index(remote_stages, train(NAMES), {}), remote_stages.config)
    assert [image.image_path for image in images] == NAMES[4:]
    assert list(record.failed) == ["bolt"]
    assert record.failed["bolt"].startswith(f"index: {NAMES[1]}: The object store does not answer")
    assert [row["image_path"] for row in record.failures] == [None]
    assert record.exit_code == 1


def test_the_next_call_reads_it(lake: Flapping, remote_stages: Stages) -> None:
    lake.says = {NAMES[1]: BUSY}
    first = index(remote_stages, train(NAMES), {})
    lake.says = {}
    config, out, screen = remote_stages.config, remote_stages.out, remote_stages.screen
    told = remote_stages.record
    again = replace(remote_stages, record=Record(config, out, screen, {}, told.run_id, told.started_at))
    known = {image.image_path: image.row() for image in first}
    assert [image.image_path for image in index(again, train(NAMES), known)] == NAMES
    assert again.record.exit_code == 0


def test_a_chunk_that_is_not_whole_is_told_of(lake: Flapping, source: Store, stages: Stages) -> None:
    lake.says = {NAMES[5]: BUSY}
    found = decode_chunk(chunk_of(NAMES[4:]), [View.of(MEMBER, stages.config)], [source])
    assert found["unanswered"].startswith(f"{NAMES[5]}: The object store does not answer")
    assert found["error_paths"] == []
    assert lake.asked == NAMES[4:6]


@pytest.fixture
def silent_extraction(monkeypatch: pytest.MonkeyPatch) -> None:
    receipt = Receipt("nut", MEMBER.backbone, 1, (), f"{NAMES[5]}: The object store does not answer", 0)
    monkeypatch.setattr("pipelines.stages.extract", lambda *_: iter([receipt]))


@pytest.mark.usefixtures("silent_extraction")
def test_what_was_not_extracted_for_it_is_no_vanished_picture(remote_stages: Stages) -> None:
    chunk = SimpleNamespace(category="nut", shard="s", images=(), view=SimpleNamespace(backbone=MEMBER.backbone))
    sentence = f"{NAMES[5]}: The object store does not answer"
    assert remote_stages.try_extract([chunk], "") == [Lost("nut", MEMBER.backbone, None, sentence)]  # type: ignore[list-item]
    remote_stages.extract([chunk], "")  # type: ignore[list-item]
    assert remote_stages.record.failed == {"nut": f"extract: {sentence}"}


@pytest.mark.usefixtures("silent_extraction")
def test_what_was_to_be_judged_is_not_judged_without_it(
    remote_stages: Stages, source: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk = SimpleNamespace(category="nut", shard="s", images=(), view=SimpleNamespace(backbone=MEMBER.backbone))
    monkeypatch.setattr("pipelines.judging._chunks", lambda *_: [[chunk]])
    model: Any = SimpleNamespace(category="nut", members=[MEMBER])
    ((number, answer),) = judge_orders(remote_stages, [Order(model, source, source, tuple(train(NAMES[4:])))], {})
    assert (number, type(answer)) == (0, RuntimeError)
    assert "does not answer" in str(answer)
    assert remote_stages.record.failures == []


def test_nothing_is_measured_nor_sorted_without_a_mask_that_may_be_there(lake: Flapping, source: Store) -> None:
    lake.says = {NAMES[4]: BUSY}
    image = Image("nut", "test", "bent", NAMES[5], NAMES[4], height=20, width=30)
    model: Any = SimpleNamespace(image_size=96, full_frame=True, category="nut")
    with pytest.raises(UnansweredError):
        read_masks(source, [image], model)
    for split in ("train", "test"):
        lake.pipe(f"/lake/kolektor/{split}/10.png", drawn(0))
        lake.pipe(f"/lake/kolektor/{split}/10_GT.png", drawn(0))
    lake.says = {"kolektor/test/10_GT.png": BUSY}
    with pytest.raises(UnansweredError):
        list_images(source.below("kolektor"), layout="kolektorsdd2")
