"""Parquet files: rows are read as they were written, with the metadata of the file."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors import UsageError
from pipelines.storage import parquet
from pipelines.storage.parquet import metadata_of, read_rows, read_table, rows_if_there, write_rows
from pipelines.storage.schemas import FAILURES, FailureRow
from pipelines.storage.store import Store

ROW = {"category": "c", "backbone": None, "stage": "index", "image_path": "c/a.png", "error": "empty"}


def test_rows_are_written_as_zstd_parquet_with_a_schema_version(store: Store) -> None:
    write_rows(store, "f=1/f.parquet", [ROW], FAILURES, metadata={"key": "k"})
    assert metadata_of(store, "f=1/f.parquet") == {"schema_version": "2", "key": "k"}
    assert read_rows(store, "f=1/f.parquet") == rows_if_there(store, "f=1/f.parquet") == [ROW]
    file = pq.ParquetFile(pa.BufferReader(store.read("f=1/f.parquet")))
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_a_missing_file_has_neither_rows_nor_metadata(store: Store) -> None:
    assert metadata_of(store, "nothing") == {}
    assert rows_if_there(store, "nothing") == []


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 40])
def test_a_damaged_file_has_no_metadata(store: Store, content: bytes) -> None:
    store.write("t", content)
    assert metadata_of(store, "t") == {}


def test_typed_rows_are_written_like_dicts(store: Store) -> None:
    write_rows(store, "f", [FailureRow.from_row(ROW), ROW], FAILURES)
    assert read_rows(store, "f") == [ROW, ROW]


@pytest.mark.parametrize("version", ["1", "2", "of another program"])
def test_files_of_earlier_versions_are_read(store: Store, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(parquet, "SCHEMA_VERSION", version)
    write_rows(store, "f", [ROW], FAILURES)
    monkeypatch.undo()
    assert read_rows(store, "f") == [ROW]


def test_a_file_of_a_later_version_is_rejected(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "SCHEMA_VERSION", "3")
    write_rows(store, "f", [ROW], FAILURES)
    monkeypatch.undo()
    sentence = r"/f has schema version 3, but this version of reconpatch-ray reads versions up to 2\."
    with pytest.raises(UsageError, match=sentence):
        read_rows(store, "f")
    assert read_table(store, "f").num_rows == 1  # a list of images may be derived from such a file
