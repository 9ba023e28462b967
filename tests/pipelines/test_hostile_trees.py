"""Names, links and files that nobody meant to make: each is read, or passed over with a word; none ends a run."""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unicodedata import normalize

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
import ray
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from pipelines import nightly
from pipelines.chunks import View
from pipelines.config import RunConfig, UsageError, resolve_members
from pipelines.dataset import Listing, examine, find_new, list_images
from pipelines.decode import decode_chunk
from pipelines.export import _local
from pipelines.index import index, usable
from pipelines.masks import read_masks
from pipelines.night import NightOptions, place_of
from pipelines.progress import Screen
from pipelines.record import Record
from pipelines.registry import find_model
from pipelines.rundir import Stamp, folder_name
from pipelines.stages import Stages
from pipelines.storage import Store, metadata_of, read_rows, read_table, tensors_key, write_table, write_tensors
from pipelines.walk import Image
from reconpatch.model import CODE_VERSION, MODEL_FILE, MemberModel, Model, ModelError, to_json

E_COMPOSED, E_APART = normalize("NFC", "é"), normalize("NFD", "é")
(MEMBER,) = resolve_members("ensemble", ["tf_efficientnet_lite0"], 96, {})


def touch(root: Path, *names: str | bytes) -> None:
    for name in names:
        path = os.path.join(os.fsencode(root), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(b"x")


def look(root: Path, *categories: str) -> Listing:
    return list_images(Store.of(str(root)), categories)


def paths(listing: Listing) -> list[str]:
    return [image.image_path for image in listing.images]


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30), np.uint8)).save(path)


# Names

_ODD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=40)
_NAME = st.one_of(_ODD, st.sampled_from(["-rf", "a b", "new\nline", "%41", "a=b", "*", "q?x#y", "\\", "\x1b[31m", "~"]))


@settings(max_examples=60, deadline=None)
@given(st.sets(st.tuples(st.sampled_from(["train/good/", "test/good/", "test/cut/"]), _NAME, _NAME), max_size=6))
def test_any_tree_is_listed_whole_and_alone(files: set[tuple[str, str, str]]) -> None:
    """Every picture in it, but for those that are hidden, under the very name that it has."""
    names = {f"{place}d{folder}/{name}.png": name for place, folder, name in files if not name.startswith(".")}
    with tempfile.TemporaryDirectory() as root:
        touch(Path(root), "=é/train/good/a.png", *(f"=é/{name}" for name in names), "=é/train/good/foreign.txt")
        listing = look(Path(root))
        assert sorted(paths(listing)) == sorted(["=é/train/good/a.png", *(f"=é/{name}" for name in names)])
        assert listing.warnings == ()
        store = Store.of(root)
        assert all(store.read(path) == b"x" for path in paths(listing))
        assert [store.name_of(info) for info in find_new(store)[0]] == sorted(paths(listing))


def test_names_that_are_not_utf8_are_passed_over_and_named(tmp_path: Path) -> None:
    touch(tmp_path, "nut/train/good/a.png", b"nut/train/good/\xff\xfe.png", b"c\xff/train/good/a.png")
    touch(tmp_path, b"nut/train/good/.\xff.png", b"nut/test/d\xe9faut/1.png", b".trash\xff/1.png")
    listing = look(tmp_path)
    assert (listing.categories, paths(listing)) == (("nut",), ["nut/train/good/a.png"])
    assert listing.warnings == (
        r"'c\udcff': passed over; a name must be UTF-8 and have no '..': rename it.",
        r"'nut/test/d\udce9faut', 'nut/train/good/\udcff\udcfe.png': passed over; a name must be UTF-8 and have no "
        r"'..': rename it.",
    )
    found, warnings = find_new(Store.of(str(tmp_path / "nut")))
    assert [info.base_name for info in found] == ["a.png"]
    assert len(warnings) == 1


def test_of_many_names_that_cannot_be_read_five_are_said(tmp_path: Path) -> None:
    touch(tmp_path, "nut/train/good/a.png", *(b"nut/train/good/\xff%d.png" % number for number in range(30)))
    (sentence,) = look(tmp_path).warnings
    assert sentence.count(".png") == 5
    assert "and 25 more" in sentence


@pytest.mark.parametrize("name", [b"d\xff", b"d\xff/list.csv", b"l\xff.csv"])
def test_a_root_that_is_not_utf8_is_bad_usage(tmp_path: Path, name: bytes) -> None:
    with pytest.raises(UsageError, match=r"udcff.*: is not UTF-8; rename it") as raised:
        Store.of_data(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    str(raised.value).encode()


@pytest.mark.parametrize("uri", ["file:///tmp/%FF", "file:///tmp/\udcff", "s3://bucket/\udcff"])
def test_so_is_a_uri(uri: str) -> None:
    with pytest.raises(UsageError, match="is not UTF-8; rename it"):
        Store.of(uri)


def test_a_category_that_is_not_utf8_has_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no model of category"):
        find_model(Store.of(str(tmp_path)), "d\udcff")


@pytest.mark.parametrize(("here", "there"), [(E_COMPOSED, E_APART), (E_APART, E_COMPOSED)])
def test_accents_are_compared_however_they_are_written(tmp_path: Path, here: str, there: str) -> None:
    touch(tmp_path, f"caf{here}/train/good/a.png", f"caf{here}/test/f{here}/{here}1.png", f"caf{here}/test/cut/2.png")
    touch(tmp_path, f"caf{here}/ground_truth/f{there}/{there}1_mask.png", f"caf{here}/ground_truth/cut/{there}.png")
    listing = look(tmp_path, f"caf{there}")
    assert listing.categories == (f"caf{here}",)  # as it is written
    masks = {image.image_path: image.mask_path for image in listing.images if image.mask_path}
    assert masks == {f"caf{here}/test/f{here}/{here}1.png": f"caf{here}/ground_truth/f{there}/{there}1_mask.png"}
    assert [sentence for sentence in listing.warnings if f"cut/{there}.png" in sentence]
    assert len(listing.warnings) == 1


def test_where_both_ways_of_an_accent_are_there_each_has_its_own(tmp_path: Path) -> None:
    for each in (E_COMPOSED, E_APART):
        touch(tmp_path, f"{each}/train/good/a.png", f"nut/test/cut/{each}.png", f"nut/ground_truth/cut/{each}_mask.png")
    assert look(tmp_path, E_APART).categories == (E_APART,)
    masks = {image.image_path: image.mask_path for image in look(tmp_path, "nut").images}
    assert masks == {f"nut/test/cut/{each}.png": f"nut/ground_truth/cut/{each}_mask.png" for each in ("é", E_APART)}
    assert look(tmp_path).warnings == ()


# Links and things that are no files


def test_a_link_back_up_is_not_followed(tmp_path: Path) -> None:
    touch(tmp_path, *(f"data/nut/train/good/{number}.png" for number in range(11)))
    good = tmp_path / "data/nut/train/good"
    for name, target in {"loop": "..", "top": "../../..", "above": tmp_path, "here": "."}.items():
        (good / name).symlink_to(target)
    listing = look(tmp_path / "data")
    assert len(listing.images) == 11
    assert listing.warnings == (
        "'nut/train/good/above', 'nut/train/good/here', 'nut/train/good/loop', 'nut/train/good/top': not followed; "
        "the link leads to a folder that it lies in.",
    )


def test_other_links_are_what_they_lead_to(tmp_path: Path) -> None:
    touch(tmp_path, "lake/1.png", "lake/2.png", "data/nut/train/good/a.png")
    (tmp_path / "data/nut/train/good/lake").symlink_to(tmp_path / "lake")
    (tmp_path / "data/nut/train/good/b.png").symlink_to(tmp_path / "lake/1.png")
    (tmp_path / "data/nut/test").mkdir()
    (tmp_path / "data/nut/test/good").symlink_to("../train/good")  # of a folder beside it: nothing leads round
    (tmp_path / "data/bolt").symlink_to("nut")
    listing = look(tmp_path / "data")
    assert listing.warnings == ()
    inside = ["a.png", "b.png", "lake/1.png", "lake/2.png"]
    places = [f"{category}/{place}" for category in ("bolt", "nut") for place in ("train/good", "test/good")]
    assert paths(listing) == [f"{place}/{name}" for place in places for name in inside]


def test_a_link_to_nowhere_a_pipe_and_a_device_are_no_pictures(tmp_path: Path) -> None:
    touch(tmp_path, "nut/train/good/a.png")
    good = tmp_path / "nut/train/good"
    for name, target in {"gone.png": "nowhere", "self.png": "self.png", "zero.png": "/dev/zero"}.items():
        (good / name).symlink_to(target)
    os.mkfifo(good / "pipe.png")
    assert paths(look(tmp_path)) == ["nut/train/good/a.png"]
    for name in ("gone.png", "self.png", "zero.png", "pipe.png", "a.png/b.png"):  # as a list may name them: none waits
        assert examine(Store.of(str(good)), Image("nut", "train", "good", name), 16).error


def test_a_listing_says_what_pyarrows_does(tmp_path: Path) -> None:
    touch(tmp_path, "b/2", "b/1", "a/3", "c", "b-c", "b/.d/4", "ü")
    os.utime(tmp_path / "c", ns=(0, 1_700_000_000_123_456_789))
    selector = pafs.FileSelector(str(tmp_path), recursive=True)
    theirs = [each for each in pafs.LocalFileSystem().get_file_info(selector) if each.type == pafs.FileType.File]
    said = [(each.path, each.type, each.size, each.mtime_ns) for each in sorted(theirs, key=lambda each: each.path)]
    ours = Store.of(str(tmp_path)).files()
    assert [(each.path, each.type, each.size, each.mtime_ns) for each in ours] == said
    assert Store.of(str(tmp_path)).files("c") == Store.of(str(tmp_path)).files("x" * 300) == []


def test_names_with_dots_lead_nowhere(tmp_path: Path) -> None:
    store = Store.of(str(tmp_path / "store"))
    for name in ("..", "../x", "a/../../x", "a/.."):
        for work in (
            store.path,
            store.below,
            store.read,
            store.exists,
            store.files,
            lambda name: store.write(name, b"x"),
        ):
            with pytest.raises(UsageError, match=r"a name with '\.\.' leads out of .*store"):
                work(name)
    store.write("a..b/..c", b"x")
    assert [store.name_of(info) for info in store.files()] == ["a..b/..c"]


def remote() -> Store:
    """A store that is not local, where a name may have dots."""
    return Store(pafs._MockFileSystem(), "lake", "mock://lake")


def put(store: Store, name: str, data: bytes = b"x") -> None:
    path = f"{store.root}/{name}"
    store.filesystem.create_dir(path.rpartition("/")[0])
    with store.filesystem.open_output_stream(path) as stream:
        stream.write(data)


def test_keys_of_an_object_store_that_lead_out_are_passed_over_and_named() -> None:
    store = remote()
    for name in ("nut/train/good/a.png", "nut/train/good/../b.png"):
        put(store, name)
    listing = list_images(store)
    assert paths(listing) == ["nut/train/good/a.png"]
    assert listing.warnings[0].startswith("'nut/train/good/..', 'nut/train/good/../b.png': passed over")


def test_of_a_model_in_an_object_store_its_own_files_are_copied_and_no_others() -> None:
    member = MemberModel("lite0", (2,), 3, "concat", 0, "w", "s", "k")
    model = Model("nut", "v", (member,), 96, True, 16, 16, "patch", 9, 0.01, CODE_VERSION)
    store = remote()
    for name in ("lite0/memory_bank.safetensors", "../escaped", "lite0/../../escaped", "weights.bin", "train.parquet"):
        put(store, name)
    put(store, MODEL_FILE, to_json(model).encode())
    with _local(store) as folder:
        there = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        assert there == ["lite0/memory_bank.safetensors", MODEL_FILE]
    put(store, MODEL_FILE, to_json(replace(model, members=(replace(member, backbone="../../x"),))).encode())
    with pytest.raises(ValueError, match=r"\.\./\.\./x"), _local(store):
        pass


@pytest.mark.parametrize(("run_id", "goes_on"), [("0f" * 16, True), ("../../x", False), ("0F" * 16, False), (7, False)])
def test_a_night_goes_on_under_a_name_that_is_one(tmp_path: Path, run_id: Any, goes_on: bool) -> None:
    options = NightOptions(str(tmp_path / "registry"), str(tmp_path / "scores"))
    config = RunConfig("nightly", "data", "out", (MEMBER,), 96)
    before = {"status": "interrupted", "run_id": run_id, "place": {"run_id": run_id, **place_of(options, config)}}
    record = nightly._record(config, options, SimpleNamespace(by_backbone={}), before, Screen())  # type: ignore[arg-type]
    assert (record.run_id == run_id) == goes_on
    assert Path(record.out.root).parent == tmp_path / "scores"


# Files


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


@pytest.fixture
def stages(tmp_path: Path) -> Stages:
    config = RunConfig("ensemble", "data", "out", (MEMBER,), 96)
    data, out = Store.of(str(tmp_path / "data")), Store.of(str(tmp_path / "run"))
    record = Record(config, out, Screen(), {}, "0" * 32, datetime.now(UTC))
    return Stages(config, data, out, out, record, record.screen, 4, Stamp("0" * 32, datetime.now(UTC)))


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


@pytest.mark.parametrize("path", ["a/\0b.png", f"{'x' * 256}/b.png", f"a/{'é' * 126}.png"])
def test_a_list_names_the_row_of_a_path_that_no_file_can_have(tmp_path: Path, path: str) -> None:
    touch(tmp_path, "a.png")
    table = {"path": ["a.png", path], "category": ["nut"] * 2, "split": ["train"] * 2, "label": ["0"] * 2}
    pq.write_table(pa.table(table), tmp_path / "list.parquet")
    with pytest.raises(UsageError, match=r"row 2: path '.*: no file has such a name"):
        list_images(Store.of_data(str(tmp_path / "list.parquet")))


@pytest.mark.parametrize("category", ["..", "a/../b"])
def test_a_lists_category_leads_nowhere(tmp_path: Path, category: str) -> None:
    touch(tmp_path, "a.png")
    (tmp_path / "list.csv").write_text(f"path,category,split,label\na.png,{category},train,0\n")
    with pytest.raises(UsageError, match="row 1: category"):
        list_images(Store.of_data(str(tmp_path / "list.csv")))


# What is stored


def parquet() -> bytes:
    store = remote()
    rows = [{"name": f"a/{number}.png", "score": np.sqrt(number)} for number in range(500)]
    store.filesystem.create_dir("lake")
    write_table(store, "t", pa.Table.from_pylist(rows), {"key": "k"})
    return store.read("t")


PARQUET = parquet()


def stored(data: bytes) -> Store:
    store = remote()
    put(store, "t", data)
    return store


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A Parquet file that is cut off, or has other bytes, mostly where it says what it holds."""
    data = bytearray(PARQUET[: draw(st.integers(0, len(PARQUET)))] if draw(st.booleans()) else PARQUET)
    for _ in range(draw(st.integers(0, 4)) if data else 0):
        place = draw(st.one_of(st.integers(-min(len(data), 1200), -1), st.integers(0, len(data) - 1)))
        data[place] = draw(st.integers(0, 255))
    return bytes(data)


@settings(max_examples=300, deadline=None)
@given(st.one_of(damaged(), st.binary(max_size=100)))
@example(b"PAR1" + b"\xff" * 60 + struct.pack("<i", 60) + b"PAR1")
@example(b"PAR1" + struct.pack("<I", 2**32 - 1) + b"PAR1")
def test_a_file_of_any_bytes_says_something_of_itself_or_nothing(data: bytes) -> None:
    found = metadata_of(stored(data), "t")
    assert all(isinstance(each, str) for pair in found.items() for each in pair)


def test_metadata_longer_than_a_first_look_is_read_whole() -> None:
    store, story = remote(), "x" * 300_000
    store.filesystem.create_dir("lake")
    write_table(store, "t", pa.table({"a": [1]}), {"story": story})
    assert metadata_of(store, "t")["story"] == story


def test_a_store_that_does_not_answer_is_no_damaged_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.of(str(tmp_path))
    store.write("t", PARQUET)
    monkeypatch.setattr(Store, "exists", lambda *_: True)
    (tmp_path / "t").unlink()
    with pytest.raises(OSError, match="t"):
        metadata_of(store, "t")


def test_a_flipped_bit_never_becomes_another_score() -> None:
    rows = read_rows(stored(PARQUET), "t")
    footer = len(PARQUET) - 8 - int.from_bytes(PARQUET[-8:-4], "little")
    noticed = 0
    for place in range(4, footer, 23):
        data = bytearray(PARQUET)
        data[place] ^= 4
        try:
            assert read_table(stored(bytes(data)), "t").to_pylist() == rows
        except (OSError, UsageError, UnicodeDecodeError):
            noticed += 1
    assert noticed > 100


def header(text: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text + body


@given(st.one_of(st.binary(max_size=60), st.binary(max_size=60).map(header)))
@example(header(b"[" * 200_000))
@example(header(b'{"__metadata__": []}'))
@example(header(b'{"__metadata__": {"key": 5}}'))
@example(header(b'{"__metadata__": {"key": "k"}, "a": 5}'))
@example(header(b'{"__metadata__": {"key": "k"}, "a": {"data_offsets": [0, 4]}}', b"abc"))
@example(struct.pack("<Q", 2**62) + b"{}")
def test_what_is_no_file_of_tensors_has_no_key(data: bytes) -> None:
    assert tensors_key(stored(data), "t") is None


@given(st.integers(0, 200))
def test_a_file_of_tensors_that_is_cut_off_has_no_key(lost: int) -> None:
    store = remote()
    store.filesystem.create_dir("lake")
    write_tensors(store, "t", {"a": np.arange(24.0), "b": np.zeros(3, np.float32)}, "key")
    whole = store.read("t")
    assert tensors_key(stored(whole[: len(whole) - lost]), "t") == (None if lost else "key")
