"""Files appear whole or not at all, and come back as they were."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import storage


@given(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0/"), min_size=1, max_size=40))
def test_a_category_is_one_path_component_and_comes_back(category: str) -> None:
    name = storage.folder_name(category)
    assert unquote(name) == category
    assert not set(name) & set('/\\=#?:*"<>|\n')


def test_a_key_value_name_never_looks_like_a_partition() -> None:
    assert storage.folder_name("part=004711") == "part%3D004711"


def test_a_file_that_cannot_be_finished_leaves_the_old_one_and_nothing_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a" / "file"
    storage.write_bytes(path, b"old")

    def full(handle: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("pipelines.storage.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        storage.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_rows_become_zstd_parquet_with_a_version(tmp_path: Path) -> None:
    row = {"category": "c", "backbone": None, "stage": "index", "image_path": "c/a.png", "error": "empty"}
    storage.write_rows(tmp_path / "f.parquet", [row], storage.FAILURES, {"key": "k"})
    file = pq.ParquetFile(tmp_path / "f.parquet")
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    assert file.schema_arrow.metadata[b"schema_version"] == b"1"
    assert file.schema_arrow.metadata[b"key"] == b"k"
    assert storage.read_rows(tmp_path / "f.parquet") == [row]


def test_a_shard_comes_back_exactly_and_can_be_empty(tmp_path: Path) -> None:
    features = [np.random.default_rng(seed).normal(size=(6, 5)).astype(np.float16) for seed in range(3)]
    storage.write_shard(tmp_path / "s.arrow", ["a", "b", "c"], features, (2, 3))
    shard = storage.read_shard(tmp_path / "s.arrow")
    assert (shard.image_paths, shard.grid) == (["a", "b", "c"], (2, 3))
    for read, written in zip(shard.features, features, strict=True):
        assert np.array_equal(read, written)
    storage.write_shard(tmp_path / "e.arrow", [], [], (2, 3))
    assert storage.read_shard(tmp_path / "e.arrow").features == []


def test_clearing_a_run_keeps_what_is_not_the_runs(tmp_path: Path) -> None:
    paths = storage.RunPaths(tmp_path)
    storage.write_json(paths.run, {})
    storage.write_bytes(paths.fused_scores("c"), b"x")
    (tmp_path / "notes.txt").write_text("mine")
    paths.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
