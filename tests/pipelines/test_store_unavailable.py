"""Files that an object store does not return are not unreadable: the run is partial, and the next run reads them."""

from __future__ import annotations

import pickle
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

from pipelines.commands.inspect_data import InspectOptions, inspect
from pipelines.commands.run import dry_run
from pipelines.config.networks import Network
from pipelines.config.run_config import RunConfig
from pipelines.data.dataset import Listing, list_images
from pipelines.data.examine import examine_all
from pipelines.data.masks import read_masks
from pipelines.data.records import ImageRecord
from pipelines.errors import StoreUnavailableError
from pipelines.nightly.candidates import ActiveModel
from pipelines.planning.batches import FeatureSpec, ImageBatch
from pipelines.planning.stage import JobFailure, StageResult
from pipelines.registry.registry import Registry
from pipelines.stages import runner as runner_module
from pipelines.stages.decode import decode_batch
from pipelines.stages.extract import EXTRACT, _Extractor
from pipelines.stages.index import CompletedImages, ImageIndex, complete_images, read_in_tasks
from pipelines.stages.predict import ScoringRequest, score_requests
from pipelines.stages.runner import Runner
from pipelines.storage.parquet import write_rows
from pipelines.storage.paths import TRAIN_FILE
from pipelines.storage.schemas import TRAIN
from pipelines.storage.store import Store, is_unavailable
from pipelines.storage.stored_model import StoredModel
from pipelines.tracking.console import Console
from pipelines.tracking.run_record import RunRecord
from reconpatch.detector.model import CODE_VERSION, MODEL_FILE, MemberModel, Model
from reconpatch.detector.model_json import to_json
from tests.pipelines.runs import MEMBER, texture

RETRY = "The object store could not return the file"
SENTENCE = f"nut/train/good/1.png: {RETRY}"
BUSY = "AWS Error SLOW_DOWN during GetObject operation: reduce your request rate"
NAMES = [f"{category}/train/good/{number}.png" for category in ("bolt", "nut") for number in range(4)]


def drawn(seed: int) -> bytes:
    file = BytesIO()
    Pillow.fromarray(texture(seed, 20, 30)).save(file, "png")
    return file.getvalue()


class UnreliableFileSystem(MemoryFileSystem):
    """Filesystem in memory that raises an OSError for some files.

    Attributes:
        errors: name -> message of the error.
        asked: Names of the files that were opened for reading.
    """

    cachable = False  # otherwise fsspec returns the same instance again

    def __init__(self) -> None:
        super().__init__()
        self.store: dict[str, Any] = {}
        self.pseudo_dirs: list[str] = [""]
        self.errors: dict[str, str] = {}
        self.asked: list[str] = []

    def open(self, path: str, mode: str = "rb", **more: Any) -> Any:
        name = path.strip("/").removeprefix("lake/")
        if mode == "rb":
            self.asked.append(name)
        if name in self.errors:
            raise OSError(self.errors[name])
        return super().open(path, mode, **more)


@pytest.fixture
def lake() -> UnreliableFileSystem:
    files = UnreliableFileSystem()
    for number, name in enumerate(NAMES):
        files.pipe(f"/lake/{name}", drawn(number))
    return files


@pytest.fixture
def source(lake: UnreliableFileSystem) -> Store:
    return Store(pafs.PyFileSystem(pafs.FSSpecHandler(lake)), "/lake", "s3://lake")


@pytest.fixture
def remote(runner: Runner, source: Store, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """Runner whose tasks run in this process."""

    def here(
        function: Callable[..., Any], items: Sequence[Any], arguments: Callable[[Any], Any], *_: object
    ) -> Iterator[tuple[Any, Any]]:
        for item in items:
            yield item, function(*arguments(item))

    monkeypatch.setattr("pipelines.stages.index.run_tasks", here)
    monkeypatch.setattr(Runner, "pool", lambda *_, **options: None)
    config = replace(runner.context.config, holdout=0.0)
    return replace(runner, context=replace(runner.context, data=source, config=config))


def train(names: Sequence[str]) -> list[ImageRecord]:
    return [ImageRecord(name.partition("/")[0], "train", "good", name, part="fit") for name in names]


def batch_of(names: Sequence[str], source: Store, runner: Runner) -> ImageBatch:
    spec = FeatureSpec.of(MEMBER, runner.context.config)
    return ImageBatch(category="nut", spec=spec, source=source, shard="s", images=tuple(train(names)))


def index_of(names: Sequence[str], runner: Runner) -> ImageIndex:
    listing = Listing(("bolt", "nut"), tuple(train(names)))
    index = ImageIndex.build(runner.context.config, listing, {}, read=read_in_tasks(runner))
    runner.report(index.failures, index.warnings, "index")
    return index


def completed(images: Sequence[ImageRecord], runner: Runner, known: Any = None) -> CompletedImages:
    found = complete_images(images, known or {}, read=read_in_tasks(runner), bit_depth=16)
    runner.report(found.failures, found.warnings, "index")
    return found


def test_an_unavailable_store_is_distinguished_from_a_missing_file(lake: UnreliableFileSystem, source: Store) -> None:
    lake.errors = {NAMES[0]: BUSY, NAMES[1]: "AWS Error NO_SUCH_KEY during GetObject operation: it has just gone"}
    with pytest.raises(StoreUnavailableError, match=r"The object store could not return the file\. Retry .*SLOW_DOWN"):
        source.read_picture(NAMES[0])
    for name in (NAMES[1], "nothing.png"):
        with pytest.raises(FileNotFoundError):
            source.read_picture(name)
    assert source.read_picture(NAMES[2]) == drawn(2)


@pytest.mark.parametrize(
    ("error", "unavailable"),
    [
        (OSError(BUSY), True),
        (OSError("google::cloud::Status(UNAVAILABLE: try again)"), True),
        (OSError(5, "Input/output error"), True),
        (StoreUnavailableError("no"), True),
        (FileNotFoundError(2, "no such file"), False),
        (OSError("Couldn't deserialize thrift: TProtocolException: Invalid data"), False),
        (ValueError("damaged"), False),
    ],
)
def test_a_file_that_was_not_returned_may_be_intact(error: Exception, unavailable: bool) -> None:
    assert is_unavailable(error) == unavailable


def test_after_a_failure_the_other_files_of_the_category_are_not_read(
    lake: UnreliableFileSystem, source: Store
) -> None:
    lake.errors = {NAMES[1]: BUSY}
    examined, _ = examine_all(source, train(NAMES), 16)
    assert [result.store_unavailable for result in examined] == [False, True, True, True, *[False] * 4]
    assert [result.error is not None for result in examined] == [result.store_unavailable for result in examined]
    assert lake.asked == [*NAMES[:2], *NAMES[4:]]


def test_the_category_fails_and_the_others_are_indexed(lake: UnreliableFileSystem, remote: Runner) -> None:
    lake.errors = {NAMES[1]: BUSY}
    record = remote.record
    assert [image.image_path for image in index_of(NAMES, remote).usable] == NAMES[4:]
    assert list(record.failed) == ["bolt"]
    assert record.failed["bolt"].startswith(f"index: {NAMES[1]}: {RETRY}")
    assert [row.image_path for row in record.failures] == [None]
    assert (record.ended, record.exit_code) == ("partial", 1)


def test_no_more_files_of_a_failed_category_are_read(lake: UnreliableFileSystem, remote: Runner) -> None:
    names = [f"bolt/train/good/{number:03d}.png" for number in range(200)]
    for name in names:
        lake.pipe(f"/lake/{name}", b"x")
    lake.errors = dict.fromkeys(names, BUSY)
    assert completed(train(names), remote).images == ()
    assert lake.asked == names[:1]
    assert list(remote.record.failed) == ["bolt"]


def test_new_images_that_are_not_returned_are_recorded_and_the_others_are_kept(
    lake: UnreliableFileSystem, remote: Runner
) -> None:
    lake.errors = {NAMES[2]: BUSY}
    record = remote.record
    images = completed([replace(image, split="new") for image in train(NAMES)], remote).images
    assert [image.image_path for image in images] == [*NAMES[:2], *NAMES[4:]]
    assert [row.image_path for row in record.failures] == NAMES[2:4]
    assert record.failed == {}
    assert (record.ended, record.exit_code) == ("partial", 1)


def test_a_dry_run_fails_if_an_image_is_not_returned(
    lake: UnreliableFileSystem, source: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.errors = {NAMES[0]: BUSY}
    monkeypatch.setattr("pipelines.commands.run.load_backbones", lambda config: {})
    monkeypatch.setattr("pipelines.commands.run.Network", SimpleNamespace(of=lambda *_: None))
    monkeypatch.setattr("pipelines.commands.run.load_backbones", lambda config: {MEMBER.backbone: None})
    monkeypatch.setattr(Store, "of_data", lambda _: source)
    config = RunConfig(command="ensemble", data="s3://lake", out=str(tmp_path), members=(MEMBER,), image_size=96)
    with pytest.raises(StoreUnavailableError, match=f"{NAMES[0]}: The object store"):
        dry_run(config, Console())


def test_inspect_does_not_report_them_as_unreadable(
    lake: UnreliableFileSystem, source: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pipelines.commands.inspect_data.Store", SimpleNamespace(of_data=lambda _: source))
    assert inspect(InspectOptions(data="s3://lake", holdout=0.0), Console()) == 0
    lake.errors = {NAMES[1]: BUSY}
    assert inspect(InspectOptions(data="s3://lake", holdout=0.0), Console()) == 1
    printed = capsys.readouterr().out
    assert f"! store unavailable: 1\n      {NAMES[1]} (The object store" in printed
    assert "cannot be read" not in printed


def test_the_next_run_reads_the_file(lake: UnreliableFileSystem, remote: Runner) -> None:
    lake.errors = {NAMES[1]: BUSY}
    first = completed(train(NAMES), remote).images
    lake.errors = {}
    context, record = remote.context, remote.record
    fresh = RunRecord(context.config, context.out, remote.console, {}, record.run_id, record.started_at)
    again = replace(remote, record=fresh)
    known = {image.image_path: image.row() for image in first}
    assert [image.image_path for image in completed(train(NAMES), again, known).images] == NAMES
    assert again.record.exit_code == 0


def never(work: Any) -> str:
    """Return an empty reason: no job is abandoned."""
    return ""


def test_an_incomplete_batch_is_reported(lake: UnreliableFileSystem, source: Store, runner: Runner) -> None:
    lake.errors = {NAMES[5]: BUSY}
    (failure,) = decode_batch(batch_of(NAMES[4:], source, runner)).failures
    assert failure.store_unavailable
    assert failure.image_path is None
    assert failure.error.startswith(f"{NAMES[5]}: {RETRY}")
    assert lake.asked == NAMES[4:6]


@pytest.mark.parametrize(
    "errors", [{NAMES[5]: BUSY}, {NAMES[5]: "AWS Error NO_SUCH_KEY during HeadObject operation"}, {}]
)
def test_an_incomplete_batch_writes_no_shard(
    lake: UnreliableFileSystem, source: Store, runner: Runner, errors: dict[str, str]
) -> None:
    lake.errors = errors
    row = _Extractor(runner.context, never)(decode_batch(batch_of(NAMES[4:], source, runner)).as_row())
    result: StageResult = pickle.loads(row["result"])
    assert row["shard"] == "s"
    assert runner.context.scratch.exists("s") == (not errors)
    unreadable = [failure.image_path for failure in result.failures if failure.image_path is not None]
    assert unreadable == [name for name, sentence in errors.items() if sentence != BUSY]


@pytest.fixture
def unavailable_extraction(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = JobFailure(category="nut", backbone=MEMBER.backbone, error=SENTENCE, store_unavailable=True)
    result = StageResult(failures=(failure,))
    stage = replace(EXTRACT, launch=lambda batches, crew: iter([(batches[0], result)]))
    for module in ("pipelines.stages.runner", "pipelines.stages.predict"):
        monkeypatch.setattr(f"{module}.EXTRACT", stage)


@pytest.mark.usefixtures("unavailable_extraction")
def test_an_extraction_without_the_file_fails_the_category_and_not_the_image(remote: Runner, source: Store) -> None:
    batch = batch_of(NAMES[4:], source, remote)
    ((_, result),) = remote.run_stage(runner_module.EXTRACT, [batch])
    assert isinstance(result, StageResult)
    assert [(failure.image_path, failure.store_unavailable) for failure in result.failures] == [(None, True)]
    remote.extract([batch])
    assert remote.record.failed == {"nut": f"extract: {SENTENCE}"}


@pytest.mark.usefixtures("unavailable_extraction")
def test_a_scoring_request_without_the_file_is_answered_with_the_error(remote: Runner, source: Store) -> None:
    member = MemberModel(MEMBER.backbone, (2, 3), 3, "concat", 0, "", "", "")
    model = Model("nut", "v", (member,), 96, True, 16, 16, "patch", 9, 0.01, CODE_VERSION)
    request = ScoringRequest(stored=StoredModel(model, source), source=source, images=tuple(train(NAMES[4:])))
    networks = {MEMBER.backbone: Network("", "", 144, 152)}
    ((number, answer),) = score_requests(remote, [request], networks)
    assert (number, type(answer), str(answer)) == (0, StoreUnavailableError, SENTENCE)
    assert remote.record.failures == []


def test_an_active_model_that_is_not_returned_is_an_error_and_not_a_damaged_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = MemberModel(MEMBER.backbone, (2, 3), 3, "concat", 0, "", "", "")
    model = Model("nut", "v", (member,), 96, True, 16, 16, "patch", 9, 0.01, CODE_VERSION)
    registry = Registry(Store.of(str(tmp_path / "registry")))
    folder = registry.version("nut", "v")
    folder.write(MODEL_FILE, to_json(model).encode())
    write_rows(folder, TRAIN_FILE, [], TRAIN)
    registry.of("nut").write("current", b"v\n")
    assert ActiveModel.read(registry, "nut").stored is not None

    def unread(self: Store, name: str) -> bytes:
        if self.root == folder.root:
            raise error
        return read(self, name)

    read = Store.read
    monkeypatch.setattr(Store, "read", unread)
    error: Exception = OSError(BUSY)
    with pytest.raises(OSError, match="SLOW_DOWN"):
        ActiveModel.read(registry, "nut")
    error = FileNotFoundError(2, "no such file")
    active = ActiveModel.read(registry, "nut")
    assert active.stored is None
    assert "no such file" in active.error


def test_a_mask_that_is_not_returned_is_an_error(lake: UnreliableFileSystem, source: Store) -> None:
    lake.errors = {NAMES[4]: BUSY}
    image = ImageRecord("nut", "test", "bent", NAMES[5], NAMES[4], height=20, width=30)
    model: Any = SimpleNamespace(image_size=96, full_frame=True, category="nut")
    with pytest.raises(StoreUnavailableError):
        read_masks(source, [image], model)
    for split in ("train", "test"):
        lake.pipe(f"/lake/kolektor/{split}/10.png", drawn(0))
        lake.pipe(f"/lake/kolektor/{split}/10_GT.png", drawn(0))
    lake.errors = {"kolektor/test/10_GT.png": BUSY}
    with pytest.raises(StoreUnavailableError):
        list_images(source.below("kolektor"), layout="kolektorsdd2")
