"""Rows and tables as zstd-compressed Parquet files with metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import UsageError, error_line
from pipelines.storage.schemas import Row
from pipelines.storage.store import Store, is_unavailable

SCHEMA_VERSION = "2"  # 2: other words for the statuses in night.parquet
_FOOTER_BYTES = 1 << 16  # of a file's end, which mostly hold its whole footer


def write_rows(
    store: Store,
    name: str,
    rows: Sequence[Mapping[str, Any] | Row],
    schema: pa.Schema,
    *,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write rows as one Parquet file.

    Args:
        store: the folder.
        name: of the file in it.
        rows: dicts, in which a missing key is null, or rows with a type.
        schema: of the file.
        metadata: beside `schema_version`.
    """
    dicts = [row.row() if isinstance(row, Row) else row for row in rows]
    write_table(store, name, pa.Table.from_pylist(dicts, schema=schema), metadata)


def write_table(store: Store, name: str, table: pa.Table, metadata: Mapping[str, str] | None = None) -> None:
    """Write a table as one Parquet file.

    Args:
        store: the folder.
        name: of the file in it.
        table: what is written; metadata of its own is dropped.
        metadata: beside `schema_version`.
    """
    table = table.replace_schema_metadata({"schema_version": SCHEMA_VERSION, **(metadata or {})})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    store.write(name, sink.getvalue())


def read_table(
    store: Store, name: str, columns: Sequence[str] | None = None, filters: Sequence[tuple[str, str, Any]] | None = None
) -> pa.Table:
    """Read a Parquet file, whoever wrote it.

    Args:
        store: the folder.
        name: of the file in it.
        columns: that are read; by default all.
        filters: on rows, as pyarrow's.

    Raises:
        OSError: the file is not there, or a disk or an object store does not return it.
        UsageError: it is no Parquet file, or a damaged one.
    """
    # Not by path: pyarrow takes a folder name like a=b for a partition and adds a column of it.
    with store.filesystem.open_input_file(store.path(name)) as file:
        expressions = None if filters is None else list(filters)
        try:
            return pq.read_table(file, columns=columns, filters=expressions, page_checksum_verification=True)
        except (pa.ArrowException, OSError) as error:  # which do not name the file
            if is_unavailable(error):
                raise
            sentence = f"{store.below(name).uri}: is no Parquet, or a damaged one: {error_line(error, limit=200)}"
            raise UsageError(sentence) from error


def read_rows(store: Store, name: str) -> list[dict[str, Any]]:
    """Read the rows of a Parquet file of this project, as dicts.

    Raises:
        OSError: as `read_table`.
        UsageError: as `read_table`, or a later version of this project wrote the file.
    """
    table = read_table(store, name)
    version = (table.schema.metadata or {}).get(b"schema_version", b"").decode(errors="replace")
    if version.isdecimal() and int(version) > int(SCHEMA_VERSION):
        raise UsageError(
            f"{store.below(name).uri}: has schema version {version}, and this version of reconpatch-ray reads up to "
            f"{SCHEMA_VERSION}; install a later one."
        )
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def rows_if_there(store: Store, name: str) -> list[dict[str, Any]]:
    """Read as `read_rows`; return no rows where there is no such file."""
    return read_rows(store, name) if store.exists(name) else []


def metadata_of(store: Store, name: str) -> dict[str, str]:
    """Return the metadata of a Parquet file; nothing where there is no such file, or it is no Parquet."""
    if not store.exists(name):
        return {}
    # Read before it is parsed: a store that is unavailable is no damaged file.
    with store.filesystem.open_input_file(store.path(name)) as file:
        size = file.size()
        end = file.read_at(min(size, _FOOTER_BYTES), max(0, size - _FOOTER_BYTES))
        length = int.from_bytes(end[-8:-4], "little") + 8
        if len(end) < length <= size:
            end = file.read_at(length, size - length)
    try:
        metadata = pq.read_schema(pa.BufferReader(end)).metadata or {}
        return {key.decode(): value.decode() for key, value in metadata.items()}
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        return {}
