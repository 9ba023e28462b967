"""What an object store does not give is no unreadable picture: the call has not done all, and the next one reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.fs as pafs
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image as Pillow

from pipelines.chunks import View
from pipelines.dataset import examine_all, list_images
from pipelines.decode import decode_chunk, try_chunk
from pipelines.extract import Receipt, _Extract
from pipelines.gate import candidate_of
from pipelines.index import index, known_or_read, usable
from pipelines.inspect import inspect
from pipelines.judging import Order, judge_orders
from pipelines.masks import read_masks
from pipelines.networks import Networks
from pipelines.progress import Screen
from pipelines.record import Record
from pipelines.registry import Registry
from pipelines.rundir import TRAIN, TRAIN_FILE
from pipelines.stages import Lost, Stages
from pipelines.storage import Store, UnansweredError, is_withheld
from pipelines.tables import write_rows
from pipelines.walk import Image
from reconpatch.model import CODE_VERSION, MODEL_FILE, Model
from tests.pipelines.runs import MEMBER, texture

SENTENCE = "nut/train/good/1.png: The object store does not give it"
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
    lake.says = {NAMES[0]: BUSY, NAMES[1]: "AWS Error NO_SUCH_KEY during GetObject operation: it has just gone"}
    with pytest.raises(
        UnansweredError, match=r"The object store does not give it; call again when it does\. .*SLOW_DOWN"
    ):
        source.read_picture(NAMES[0])
    for name in (NAMES[1], "nothing.png"):
        with pytest.raises(FileNotFoundError):
            source.read_picture(name)
    assert source.read_picture(NAMES[2]) == drawn(2)


@pytest.mark.parametrize(
    ("error", "withheld"),
    [
        (OSError(BUSY), True),
        (OSError("google::cloud::Status(UNAVAILABLE: try again)"), True),
        (OSError(5, "Input/output error"), True),
        (UnansweredError("no"), True),
        (FileNotFoundError(2, "no such file"), False),
        (OSError("Couldn't deserialize thrift: TProtocolException: Invalid data"), False),
        (ValueError("damaged"), False),
    ],
)
def test_what_is_not_given_may_be_whole(error: Exception, withheld: bool) -> None:
    assert is_withheld(error) == withheld


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
    assert record.failed["bolt"].startswith(f"index: {NAMES[1]}: The object store does not give it")
    assert [row["image_path"] for row in record.failures] == [None]
    assert (record.ended, record.exit_code) == ("partial", 1)


def test_of_a_category_that_has_failed_no_more_is_asked_for(lake: Flapping, remote_stages: Stages) -> None:
    names = [f"bolt/train/good/{number:03d}.png" for number in range(200)]
    for name in names:
        lake.pipe(f"/lake/{name}", b"x")
    lake.says = dict.fromkeys(names, BUSY)
    assert index(remote_stages, train(names), {}) == []
    assert lake.asked == names[:1]
    assert list(remote_stages.record.failed) == ["bolt"]


def test_new_images_that_are_not_given_are_named_and_the_others_go_on(lake: Flapping, remote_stages: Stages) -> None:
    lake.says = {NAMES[2]: BUSY}
    record = remote_stages.record
    found = index(remote_stages, [replace(image, split="new") for image in train(NAMES)], {})
    assert [image.image_path for image in found] == [*NAMES[:2], *NAMES[4:]]
    assert [row["image_path"] for row in record.failures] == NAMES[2:4]
    assert record.failed == {}
    assert (record.ended, record.exit_code) == ("partial", 1)


def test_a_plan_is_not_made_without_them(lake: Flapping, source: Store) -> None:
    lake.says = {NAMES[0]: BUSY}
    with pytest.raises(UnansweredError, match=f"{NAMES[0]}: The object store"):
        known_or_read(source, train(NAMES)[0], {}, 16)


def test_an_inspection_does_not_call_them_unreadable(
    lake: Flapping, source: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pipelines.inspect.Store", SimpleNamespace(of_data=lambda _: source))
    assert inspect(Screen(), "s3://lake", holdout=0.0) == 0
    lake.says = {NAMES[1]: BUSY}
    assert inspect(Screen(), "s3://lake", holdout=0.0) == 1
    said = capsys.readouterr().out
    assert f"! not given: 1\n      {NAMES[1]} (The object store" in said
    assert "cannot be read" not in said


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


def never(work: Any) -> str:
    """Nothing is given up."""
    return ""


def test_a_chunk_that_is_not_whole_is_told_of(lake: Flapping, source: Store, stages: Stages) -> None:
    lake.says = {NAMES[5]: BUSY}
    found = decode_chunk(chunk_of(NAMES[4:]), [View.of(MEMBER, stages.config)], [source])
    assert found["unanswered"].startswith(f"{NAMES[5]}: The object store does not give it")
    assert found["error_paths"] == []
    assert lake.asked == NAMES[4:6]


@pytest.mark.parametrize(
    "says", [{NAMES[5]: BUSY}, {NAMES[5]: "AWS Error NO_SUCH_KEY during HeadObject operation"}, {}]
)
def test_a_chunk_that_is_not_whole_leaves_no_shard(
    lake: Flapping, source: Store, stages: Stages, says: dict[str, str]
) -> None:
    lake.says = says
    views = [View.of(MEMBER, stages.config)]
    decoded = try_chunk(chunk_of(NAMES[4:]), never, views, [source])
    told = _Extract(stages.config, views, stages.scratch, never)(decoded)
    assert stages.scratch.exists("s") == (not says)
    assert told["images"] == 4
    assert told["error_paths"] == [name for name, sentence in says.items() if sentence != BUSY]


@pytest.fixture
def silent_extraction(monkeypatch: pytest.MonkeyPatch) -> None:
    receipt = Receipt("nut", MEMBER.backbone, 1, (), SENTENCE, "", 0)
    monkeypatch.setattr("pipelines.stages.extract", lambda *_: iter([receipt]))


@pytest.mark.usefixtures("silent_extraction")
def test_what_was_not_extracted_for_it_is_no_vanished_picture(remote_stages: Stages) -> None:
    chunk = SimpleNamespace(category="nut", shard="s", images=(), view=SimpleNamespace(backbone=MEMBER.backbone))
    assert remote_stages.try_extract([chunk], "") == [Lost("nut", MEMBER.backbone, None, SENTENCE, True)]  # type: ignore[list-item]
    remote_stages.extract([chunk], "")  # type: ignore[list-item]
    assert remote_stages.record.failed == {"nut": f"extract: {SENTENCE}"}


@pytest.mark.usefixtures("silent_extraction")
def test_what_was_to_be_judged_is_not_judged_without_it(
    remote_stages: Stages, source: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk = SimpleNamespace(category="nut", shard="s", images=(), view=SimpleNamespace(backbone=MEMBER.backbone))
    monkeypatch.setattr("pipelines.judging._chunks", lambda *_: [[chunk]])
    model: Any = SimpleNamespace(category="nut", members=[MEMBER])
    ((number, answer),) = judge_orders(remote_stages, [Order(model, source, source, tuple(train(NAMES[4:])))], {})
    assert (number, type(answer), str(answer)) == (0, UnansweredError, SENTENCE)
    assert remote_stages.record.failures == []


def test_a_champion_that_is_not_given_is_not_passed_over(
    stages: Stages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model("nut", "v", (), 96, True, 16, 16, "patch", 9, 0.01, CODE_VERSION)
    registry, place = Registry(Store.of(str(tmp_path / "registry"))), stages.out.below("models/nut")
    for where in (place, registry.version("nut", "v")):
        where.write(MODEL_FILE, b"{}")
        write_rows(where, TRAIN_FILE, [], TRAIN)
    registry.of("nut").write("current", b"v\n")
    monkeypatch.setattr("pipelines.gate.from_json", lambda text: model)
    asked = candidate_of(place, (), (), registry, Networks({}, None))
    assert (asked.champion is not None, asked.unasked) == (True, "")

    def unread(self: Store, name: str) -> bytes:
        if self.root == registry.version("nut", "v").root:
            raise error
        return read(self, name)

    read = Store.read
    monkeypatch.setattr(Store, "read", unread)
    error: Exception = OSError(BUSY)
    with pytest.raises(OSError, match="SLOW_DOWN"):
        candidate_of(place, (), (), registry, Networks({}, None))
    error = FileNotFoundError(2, "no such file")
    assert "no such file" in candidate_of(place, (), (), registry, Networks({}, None)).unasked


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
