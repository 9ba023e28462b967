"""Rows come back from Parquet as they were, with what the file says of itself."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.rundir import FAILURES
from pipelines.storage import Store
from pipelines.tables import metadata_of, read_rows, rows_if_there, write_rows

ROW = {"category": "c", "backbone": None, "stage": "index", "image_path": "c/a.png", "error": "empty"}


def test_rows_become_zstd_parquet_with_a_version(store: Store) -> None:
    write_rows(store, "f=1/f.parquet", [ROW], FAILURES, {"key": "k"})
    assert metadata_of(store, "f=1/f.parquet") == {"schema_version": "1", "key": "k"}
    assert read_rows(store, "f=1/f.parquet") == rows_if_there(store, "f=1/f.parquet") == [ROW]
    file = pq.ParquetFile(pa.BufferReader(store.read("f=1/f.parquet")))
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_where_there_is_no_file_there_are_no_rows(store: Store) -> None:
    assert metadata_of(store, "nothing") == {}
    assert rows_if_there(store, "nothing") == []


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 40])
def test_a_damaged_file_says_nothing_of_itself(store: Store, content: bytes) -> None:
    store.write("t", content)
    assert metadata_of(store, "t") == {}
