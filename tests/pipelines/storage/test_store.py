"""Store: files are written completely or not at all, on a local disk and in an object store, and are read unchanged."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.fs as pafs
import pytest

from pipelines.errors import UsageError
from pipelines.storage.store import Store, named_below

NAMES = ["plain", "a=b/c d", "x%20y/z#7", "Größe/e\u0308", "deep/er/still"]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_with_any_name_is_read_as_it_was_written(store: Store, name: str) -> None:
    store.write(name, b"one")
    store.write(name, b"two")
    assert store.read(name) == b"two"
    assert store.exists(name)
    assert [store.name_of(info) for info in store.files()] == [name]


def test_folders_and_files_are_listed_sorted_and_removed(store: Store) -> None:
    for name in ("b/2", "b/1", "a/3", "c"):
        store.write(name, b"x")
    assert store.folders() == ["a", "b"]
    assert [store.name_of(info) for info in store.files()] == ["a/3", "b/1", "b/2", "c"]
    assert [store.name_of(info) for info in store.files("b")] == ["b/1", "b/2"]
    store.remove_folder("b")
    store.remove("c")
    store.remove("c")
    store.remove_folder("b")
    assert [store.name_of(info) for info in store.files()] == ["a/3"]


def test_missing_files_and_folders_are_empty_or_an_error(store: Store) -> None:
    assert not store.exists("nothing")
    assert store.files("nothing") == store.folders("nothing") == []
    assert store.read_json("nothing") is None
    with pytest.raises(OSError, match="nothing"):
        store.read("nothing")


@pytest.mark.parametrize(("old", "new"), [("long", "s"), ("s", "long")])
def test_json_that_is_replaced_during_reading_has_the_old_or_the_new_value(
    store: Store, monkeypatch: pytest.MonkeyPatch, old: str, new: str
) -> None:
    """Replace an object between the requests for its size and for its bytes."""
    store.write("file", json.dumps({"value": old}).encode())

    def read(self: Store, name: str) -> bytes:
        monkeypatch.undo()
        with self.filesystem.open_input_file(self.path(name)) as file:
            self.write(name, json.dumps({"value": new}).encode())
            data: bytes = file.read()
        return data

    monkeypatch.setattr(Store, "read", read)
    assert store.read_json("file") == {"value": old if store.is_local else new}


def test_the_error_for_damaged_json_names_the_file(store: Store) -> None:
    store.write("file", b'{"value": "da')
    with pytest.raises(UsageError, match=r"/file is damaged or not a JSON file \(.*\)\. Restore it from a backup\.$"):
        store.read_json("file")


def test_a_failed_write_keeps_the_old_file_and_leaves_no_partial_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.of(str(tmp_path))
    store.write("a/file", b"old")

    def full(handle: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("pipelines.storage.store.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.write("a/file", b"new")
    assert store.read("a/file") == b"old"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["file"]


def test_a_path_becomes_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Store.of("runs/../one").root == str(tmp_path / "one")


def test_a_file_uri_is_a_local_folder(tmp_path: Path) -> None:
    store = Store.of(f"file://{tmp_path}")
    assert store.is_local
    assert store.root == str(tmp_path)


def test_an_unsupported_kind_of_uri_is_rejected() -> None:
    with pytest.raises(UsageError, match="nfs9://host/folder: "):
        Store.of("nfs9://host/folder")


def test_a_store_can_be_sent_to_other_processes(store: Store) -> None:
    import pickle

    store.write("a", b"x")
    copy = pickle.loads(pickle.dumps(store))
    assert copy.read("a") == b"x"
    assert isinstance(copy.filesystem, pafs.FileSystem)
    assert json.dumps(copy.uri)


def test_names_that_lead_out_of_the_folder_are_rejected(tmp_path: Path) -> None:
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
            with pytest.raises(
                UsageError, match=r"a name with the component '\.\.' can lead out of .*store\. Rename it\."
            ):
                work(name)
    store.write("a..b/..c", b"x")
    assert [store.name_of(info) for info in store.files()] == ["a..b/..c"]


def test_only_the_root_of_an_image_list_accepts_absolute_names(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    listed = Store.of_data(str(tmp_path / "lists" / "list.csv"))
    assert listed.read(f"{tmp_path}/a.png") == b"x"
    assert listed.exists(f"{tmp_path}/a.png")
    with pytest.raises(UsageError, match=r"a name with the component '\.\.'"):
        listed.path(f"{tmp_path}/lists/../a.png")
    assert not Store.of(str(tmp_path / "lists")).exists(f"{tmp_path}/a.png")


def test_a_folder_below_a_uri_keeps_its_options() -> None:
    assert named_below("s3://lake/runs/?region=x&scheme=http", "single") == "s3://lake/runs/single?region=x&scheme=http"
    assert named_below("a/what?", "single") == "a/what?/single"
