"""Rows and tables as zstd Parquet files, and what the files say of themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.storage import Store, is_withheld
from pipelines.usage import UsageError

SCHEMA_VERSION = "1"
_FOOTER = 1 << 16  # bytes of a Parquet file's end that mostly hold all that it says of itself


def write_rows(
    store: Store,
    name: str,
    rows: Sequence[Mapping[str, Any]],
    schema: pa.Schema,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Rows (a dict each; a missing key is null) as one zstd Parquet file."""
    write_table(store, name, pa.Table.from_pylist(list(rows), schema=schema), metadata)


def write_table(store: Store, name: str, table: pa.Table, metadata: Mapping[str, str] | None = None) -> None:
    """A table as one zstd Parquet file, with `schema_version` in its metadata."""
    table = table.replace_schema_metadata({"schema_version": SCHEMA_VERSION, **(metadata or {})})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    store.write(name, sink.getvalue())


def read_table(
    store: Store, name: str, columns: Sequence[str] | None = None, filters: Sequence[tuple[str, str, Any]] | None = None
) -> pa.Table:
    """A Parquet file, or some of its columns and rows; `filters` as pyarrow's.

    Raises:
        OSError: it is not there, or is not given.
        UsageError: it is no Parquet, or a damaged one.
    """
    # Not by path: pyarrow takes a folder name like a=b for a partition and adds a column of it.
    with store.filesystem.open_input_file(store.path(name)) as file:
        chosen = None if filters is None else list(filters)
        try:
            return pq.read_table(file, columns=columns, filters=chosen, page_checksum_verification=True)
        except (pa.ArrowException, OSError) as error:  # which do not name the file
            if is_withheld(error):
                raise
            sentence = f"{store.below(name).uri}: is no Parquet, or a damaged one: {' '.join(str(error).split())[:200]}"
            raise UsageError(sentence) from error


def read_rows(store: Store, name: str) -> list[dict[str, Any]]:
    """A Parquet file's rows, a dict each. Raises as `read_table`."""
    rows: list[dict[str, Any]] = read_table(store, name).to_pylist()
    return rows


def rows_if_there(store: Store, name: str) -> list[dict[str, Any]]:
    """As `read_rows`; none where there is no such file."""
    return read_rows(store, name) if store.exists(name) else []


def metadata_of(store: Store, name: str) -> dict[str, str]:
    """A Parquet file's metadata; empty where there is no such file, or it is no Parquet."""
    if not store.exists(name):
        return {}
    # Read first: a store that does not answer is no damaged file.
    with store.filesystem.open_input_file(store.path(name)) as file:
        size = file.size()
        end = file.read_at(min(size, _FOOTER), max(0, size - _FOOTER))
        length = int.from_bytes(end[-8:-4], "little") + 8
        if len(end) < length <= size:
            end = file.read_at(length, size - length)
    try:
        found = pq.read_schema(pa.BufferReader(end)).metadata or {}
        return {key.decode(): value.decode() for key, value in found.items()}
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        return {}
