"""Files appear whole or not at all, on a local disk and in an object store, and come back as they were."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from pipelines.config import UsageError
from pipelines.rundir import FAILURES
from pipelines.storage import (
    Store,
    metadata_of,
    read_rows,
    read_tensors,
    rows_if_there,
    tensors_key,
    write_rows,
    write_tensors,
)

ROW = {"category": "c", "backbone": None, "stage": "index", "image_path": "c/a.png", "error": "empty"}
NAMES = ["plain", "a=b/c d", "x%20y/z#7", "Größe/e\u0308", "deep/er/still"]


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return Store.of(str(tmp_path / "store"))
    return Store.of(request.getfixturevalue("bucket")).below(tmp_path.name)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_comes_back_under_any_name(store: Store, name: str) -> None:
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


def test_what_is_not_there_is_empty_or_an_error(store: Store) -> None:
    assert not store.exists("nothing")
    assert store.files("nothing") == store.folders("nothing") == []
    assert store.read_json("nothing") is None
    assert metadata_of(store, "nothing") == {}
    assert rows_if_there(store, "nothing") == []
    assert tensors_key(store, "nothing") is None
    with pytest.raises(OSError, match="nothing"):
        store.read("nothing")


def test_rows_become_zstd_parquet_with_a_version(store: Store) -> None:
    write_rows(store, "f=1/f.parquet", [ROW], FAILURES, {"key": "k"})
    assert metadata_of(store, "f=1/f.parquet") == {"schema_version": "1", "key": "k"}
    assert read_rows(store, "f=1/f.parquet") == rows_if_there(store, "f=1/f.parquet") == [ROW]
    file = pq.ParquetFile(pa.BufferReader(store.read("f=1/f.parquet")))
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_tensors_come_back_with_the_key_of_what_they_came_from(store: Store) -> None:
    tensors = {"b": np.arange(6.0).reshape(2, 3), "a": np.array([2.5])}
    write_tensors(store, "t.safetensors", tensors, "key")
    assert tensors_key(store, "t.safetensors") == "key"
    found = read_tensors(store, "t.safetensors")
    assert all(np.array_equal(found[name], tensors[name]) for name in tensors)


def test_tensors_are_the_same_to_the_byte_each_time(store: Store) -> None:
    for name in ("one", "two"):
        write_tensors(store, name, {letter: np.zeros(3) for letter in "zxcvbnm"}, "key")
    assert store.read("one") == store.read("two")


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 40, b"\x04" + b"\0" * 7 + b"[{}]"])
def test_a_damaged_file_has_no_key(store: Store, content: bytes) -> None:
    store.write("t", content)
    assert tensors_key(store, "t") is None
    assert metadata_of(store, "t") == {}


def test_a_file_that_cannot_be_finished_leaves_the_old_one_and_nothing_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.of(str(tmp_path))
    store.write("a/file", b"old")

    def full(handle: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("pipelines.storage.os.fsync", full)
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


def test_an_unknown_kind_of_uri_is_refused_in_one_sentence() -> None:
    with pytest.raises(UsageError, match="nfs9://host/folder: "):
        Store.of("nfs9://host/folder")


def test_a_store_travels_to_other_processes(store: Store) -> None:
    import pickle

    store.write("a", b"x")
    copy = pickle.loads(pickle.dumps(store))
    assert copy.read("a") == b"x"
    assert isinstance(copy.filesystem, pafs.FileSystem)
    assert json.dumps(copy.uri)
