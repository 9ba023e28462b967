"""Listing of folders; local folders are listed as pyarrow lists them, as far as pyarrow supports their names."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow.fs as pafs

from pipelines.storage.listing import Contents, contents_of, is_absent
from pipelines.storage.store import Store
from tests.object_stores import put, remote
from tests.pipelines.trees import touch


def test_local_files_equal_those_that_pyarrow_lists(tmp_path: Path) -> None:
    touch(tmp_path, "b/2", "b/1", "a/3", "c", "b-c", "b/.d/4", "ü")
    os.utime(tmp_path / "c", ns=(0, 1_700_000_000_123_456_789))
    selector = pafs.FileSelector(str(tmp_path), recursive=True)
    infos = [info for info in pafs.LocalFileSystem().get_file_info(selector) if info.type == pafs.FileType.File]
    expected = [(info.path, info.type, info.size, info.mtime_ns) for info in sorted(infos, key=lambda info: info.path)]
    listed = Store.of(str(tmp_path)).files()
    assert [(info.path, info.type, info.size, info.mtime_ns) for info in listed] == expected


def test_a_path_that_is_no_folder_is_listed_as_empty(tmp_path: Path) -> None:
    touch(tmp_path, "c")
    for name in ("c", "nothing", "x" * 300):
        assert contents_of(pafs.LocalFileSystem(), str(tmp_path / name), recursive=True) == Contents()


def test_invalid_names_and_links_to_a_parent_are_listed_separately(tmp_path: Path) -> None:
    touch(tmp_path, "a/1", b"a/\xff")
    (tmp_path / "a" / "up").symlink_to("..")
    (tmp_path / "a" / "nowhere").symlink_to("nothing")
    contents = contents_of(pafs.LocalFileSystem(), str(tmp_path), recursive=True)
    assert [info.path for info in contents.files] == [str(tmp_path / "a" / "1")]
    assert [info.base_name for info in contents.folders] == ["a", "up"]
    assert contents.unnamable == (os.fsdecode(os.fsencode(tmp_path) + b"/a/\xff"),)
    assert contents.loops == (str(tmp_path / "a" / "up"),)


def test_keys_with_dots_in_an_object_store_are_invalid_names() -> None:
    store = remote()
    for name in ("a/1", "a/../b"):
        put(store, name)
    contents = store.contents()
    assert [store.name_of(info) for info in contents.files] == ["a/1"]
    assert [path.removeprefix("lake/") for path in contents.unnamable] == ["a/..", "a/../b"]


def test_an_absent_file_differs_from_one_that_cannot_be_read() -> None:
    assert is_absent(FileNotFoundError(2, "no such file"))
    assert is_absent(OSError(36, "name too long"))
    assert not is_absent(PermissionError(13, "no permission"))
