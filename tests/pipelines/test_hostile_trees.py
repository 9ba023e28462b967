"""Tests of unusual directory trees: odd names, links, special files, and names that point outside the tree."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.commands.export import _local
from pipelines.config.networks import Networks
from pipelines.config.nightly_options import NightOptions
from pipelines.config.run_config import RunConfig
from pipelines.data.dataset import find_new_images, list_images
from pipelines.data.examine import examine
from pipelines.data.records import ImageRecord
from pipelines.errors import ModelError, UsageError
from pipelines.nightly.night_info import NightInfo, NightScope
from pipelines.nightly.run import _new_record, _previous_run
from pipelines.registry.registry import find_model
from pipelines.storage.store import Store
from pipelines.tracking.console import Console
from pipelines.tracking.run_info import RunStatus
from reconpatch.detector.model import CODE_VERSION, MODEL_FILE, MemberModel, Model
from reconpatch.detector.model_json import to_json
from tests.object_stores import put, remote
from tests.pipelines.runs import MEMBER
from tests.pipelines.trees import look, paths, touch

E_COMPOSED, E_DECOMPOSED = normalize("NFC", "é"), normalize("NFD", "é")
_ODD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=40)
_NAME = st.one_of(_ODD, st.sampled_from(["-rf", "a b", "new\nline", "%41", "a=b", "*", "q?x#y", "\\", "\x1b[31m", "~"]))


@settings(max_examples=60)
@given(st.sets(st.tuples(st.sampled_from(["train/good/", "test/good/", "test/cut/"]), _NAME, _NAME), max_size=6))
def test_any_tree_is_listed_completely(files: set[tuple[str, str, str]]) -> None:
    """The listing has every image except hidden ones, under its exact name, and nothing else."""
    names = {f"{parent}d{folder}/{name}.png": name for parent, folder, name in files if not name.startswith(".")}
    with tempfile.TemporaryDirectory() as root:
        touch(Path(root), "=é/train/good/a.png", *(f"=é/{name}" for name in names), "=é/train/good/foreign.txt")
        listing = look(Path(root))
        assert sorted(paths(listing)) == sorted(["=é/train/good/a.png", *(f"=é/{name}" for name in names)])
        assert listing.warnings == ()
        store = Store.of(root)
        assert all(store.read(path) == b"x" for path in paths(listing))
        assert [store.name_of(info) for info in find_new_images(store)[0]] == sorted(paths(listing))


def test_names_that_are_not_utf8_are_skipped_with_a_warning(tmp_path: Path) -> None:
    touch(tmp_path, "nut/train/good/a.png", b"nut/train/good/\xff\xfe.png", b"c\xff/train/good/a.png")
    touch(tmp_path, b"nut/train/good/.\xff.png", b"nut/test/d\xe9faut/1.png", b".trash\xff/1.png")
    listing = look(tmp_path)
    assert (listing.categories, paths(listing)) == (("nut",), ["nut/train/good/a.png"])
    assert listing.warnings == (
        r"'c\udcff': skipped, because a name must be valid UTF-8 and must not contain the component '..'. Rename it.",
        r"'nut/test/d\udce9faut', 'nut/train/good/\udcff\udcfe.png': skipped, because a name must be valid UTF-8 and "
        r"must not contain the component '..'. Rename it.",
    )
    found, warnings = find_new_images(Store.of(str(tmp_path / "nut")))
    assert [info.base_name for info in found] == ["a.png"]
    assert len(warnings) == 1


def test_a_warning_lists_at_most_five_names(tmp_path: Path) -> None:
    touch(tmp_path, "nut/train/good/a.png", *(b"nut/train/good/\xff%d.png" % number for number in range(30)))
    (sentence,) = look(tmp_path).warnings
    assert sentence.count(".png") == 5
    assert "and 25 more" in sentence


@pytest.mark.parametrize("name", [b"d\xff", b"d\xff/list.csv", b"l\xff.csv"])
def test_a_root_that_is_not_utf8_is_a_usage_error(tmp_path: Path, name: bytes) -> None:
    with pytest.raises(UsageError, match=r"udcff.* is not valid UTF-8\. Rename it\.") as raised:
        Store.of_data(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    str(raised.value).encode()


@pytest.mark.parametrize("uri", ["file:///tmp/%FF", "file:///tmp/\udcff", "s3://bucket/\udcff"])
def test_a_uri_that_is_not_utf8_is_a_usage_error(uri: str) -> None:
    with pytest.raises(UsageError, match=r" is not valid UTF-8\. Rename it\."):
        Store.of(uri)


def test_a_category_that_is_not_utf8_has_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no model of category"):
        find_model(Store.of(str(tmp_path)), "d\udcff")


@pytest.mark.parametrize(("here", "there"), [(E_COMPOSED, E_DECOMPOSED), (E_DECOMPOSED, E_COMPOSED)])
def test_composed_and_decomposed_accents_are_equal(tmp_path: Path, here: str, there: str) -> None:
    touch(tmp_path, f"caf{here}/train/good/a.png", f"caf{here}/test/f{here}/{here}1.png", f"caf{here}/test/cut/2.png")
    touch(tmp_path, f"caf{here}/ground_truth/f{there}/{there}1_mask.png", f"caf{here}/ground_truth/cut/{there}.png")
    listing = look(tmp_path, f"caf{there}")
    assert listing.categories == (f"caf{here}",)  # spelled like the folder
    masks = {image.image_path: image.mask_path for image in listing.images if image.mask_path}
    assert masks == {f"caf{here}/test/f{here}/{here}1.png": f"caf{here}/ground_truth/f{there}/{there}1_mask.png"}
    assert [sentence for sentence in listing.warnings if f"cut/{there}.png" in sentence]
    assert len(listing.warnings) == 1


def test_if_both_forms_of_an_accent_exist_each_matches_its_own(tmp_path: Path) -> None:
    for e in (E_COMPOSED, E_DECOMPOSED):
        touch(tmp_path, f"{e}/train/good/a.png", f"nut/test/cut/{e}.png", f"nut/ground_truth/cut/{e}_mask.png")
    assert look(tmp_path, E_DECOMPOSED).categories == (E_DECOMPOSED,)
    masks = {image.image_path: image.mask_path for image in look(tmp_path, "nut").images}
    assert masks == {f"nut/test/cut/{e}.png": f"nut/ground_truth/cut/{e}_mask.png" for e in ("é", E_DECOMPOSED)}
    assert look(tmp_path).warnings == ()


def test_a_link_to_a_parent_folder_is_not_followed(tmp_path: Path) -> None:
    touch(tmp_path, *(f"data/nut/train/good/{number}.png" for number in range(11)))
    good = tmp_path / "data/nut/train/good"
    for name, target in {"loop": "..", "top": "../../..", "above": tmp_path, "here": "."}.items():
        (good / name).symlink_to(target)
    listing = look(tmp_path / "data")
    assert len(listing.images) == 11
    assert listing.warnings == (
        "'nut/train/good/above', 'nut/train/good/here', 'nut/train/good/loop', 'nut/train/good/top': link not "
        "followed, because it points to a folder that contains it.",
    )


def test_other_links_are_followed(tmp_path: Path) -> None:
    touch(tmp_path, "lake/1.png", "lake/2.png", "data/nut/train/good/a.png")
    (tmp_path / "data/nut/train/good/lake").symlink_to(tmp_path / "lake")
    (tmp_path / "data/nut/train/good/b.png").symlink_to(tmp_path / "lake/1.png")
    (tmp_path / "data/nut/test").mkdir()
    (tmp_path / "data/nut/test/good").symlink_to("../train/good")  # a sibling folder: no cycle
    (tmp_path / "data/bolt").symlink_to("nut")
    listing = look(tmp_path / "data")
    assert listing.warnings == ()
    inside = ["a.png", "b.png", "lake/1.png", "lake/2.png"]
    folders = [f"{category}/{folder}" for category in ("bolt", "nut") for folder in ("train/good", "test/good")]
    assert paths(listing) == [f"{folder}/{name}" for folder in folders for name in inside]


def test_broken_links_pipes_and_devices_are_no_images(tmp_path: Path) -> None:
    touch(tmp_path, "nut/train/good/a.png")
    good = tmp_path / "nut/train/good"
    for name, target in {"gone.png": "nowhere", "self.png": "self.png", "zero.png": "/dev/zero"}.items():
        (good / name).symlink_to(target)
    os.mkfifo(good / "pipe.png")
    assert paths(look(tmp_path)) == ["nut/train/good/a.png"]
    for name in (
        "gone.png",
        "self.png",
        "zero.png",
        "pipe.png",
        "a.png/b.png",
    ):  # a list may name them; reading them must not block
        assert examine(Store.of(str(good)), ImageRecord("nut", "train", "good", name), 16).error


def test_object_keys_with_parent_components_are_skipped_with_a_warning() -> None:
    store = remote()
    for name in ("nut/train/good/a.png", "nut/train/good/../b.png"):
        put(store, name)
    listing = list_images(store)
    assert paths(listing) == ["nut/train/good/a.png"]
    assert listing.warnings[0].startswith("'nut/train/good/..', 'nut/train/good/../b.png': skipped, because")


def test_only_the_files_of_a_model_are_copied_from_an_object_store() -> None:
    member = MemberModel("lite0", (2,), 3, "concat", 0, "w", "s", "k")
    model = Model("nut", "v", (member,), 96, True, 16, 16, "patch", 9, 0.01, CODE_VERSION)
    store = remote()
    for name in ("lite0/memory_bank.safetensors", "../escaped", "lite0/../../escaped", "weights.bin", "train.parquet"):
        put(store, name)
    put(store, MODEL_FILE, to_json(model).encode())
    with _local(store) as folder:
        copied = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        assert copied == ["lite0/memory_bank.safetensors", MODEL_FILE]
    put(store, MODEL_FILE, to_json(replace(model, members=(replace(member, backbone="../../x"),))).encode())
    with pytest.raises(ValueError, match=r"\.\./\.\./x"), _local(store):
        pass


@pytest.mark.parametrize(("run_id", "resumed"), [("0f" * 16, True), ("../../x", False), ("0F" * 16, False), (7, False)])
def test_a_nightly_run_is_resumed_only_under_a_valid_run_id(tmp_path: Path, run_id: Any, resumed: bool) -> None:
    options = NightOptions(str(tmp_path / "registry"), str(tmp_path / "scores"))
    config = RunConfig(command="nightly", data="data", out="out", members=(MEMBER,), image_size=96)
    work, networks = Store.of(str(tmp_path / "work")), Networks({}, None)
    stored = NightInfo(status=RunStatus.INTERRUPTED, scope=NightScope.of(options, config)).to_json()
    work.write_json("run.json", {**stored, "run_id": run_id, "place": {**stored["place"], "run_id": run_id}})
    previous = _previous_run(work, Console())
    record = _new_record(config, options, networks, previous=previous, console=Console())
    assert (record.run_id == run_id) == resumed
    assert Path(record.out.root).parent == tmp_path / "scores"
