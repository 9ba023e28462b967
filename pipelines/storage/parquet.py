"""Reading and writing of rows and tables as zstd-compressed Parquet files with metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import UsageError, error_line
from pipelines.storage.schemas import Row
from pipelines.storage.store import Store, is_unavailable

SCHEMA_VERSION = "2"  # version 2 renamed statuses in night.parquet
_FOOTER_BYTES = 1 << 16  # size of the end of a file that usually contains the whole footer


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
        store: Folder of the file.
        name: Name of the file below the folder.
        rows: Dicts, in which a missing key means null, or `Row` objects.
        schema: Schema of the file.
        metadata: Entries of the file's metadata in addition to `schema_version`; None for none.
    """
    dicts = [row.row() if isinstance(row, Row) else row for row in rows]
    write_table(store, name, pa.Table.from_pylist(dicts, schema=schema), metadata)


def write_table(store: Store, name: str, table: pa.Table, metadata: Mapping[str, str] | None = None) -> None:
    """Write a table as one Parquet file.

    Args:
        store: Folder of the file.
        name: Name of the file below the folder.
        table: Table to write. The metadata of its schema is not written.
        metadata: Entries of the file's metadata in addition to `schema_version`; None for none.
    """
    table = table.replace_schema_metadata({"schema_version": SCHEMA_VERSION, **(metadata or {})})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    store.write(name, sink.getvalue())


def read_table(
    store: Store, name: str, columns: Sequence[str] | None = None, filters: Sequence[tuple[str, str, Any]] | None = None
) -> pa.Table:
    """Read a Parquet file, which any program may have written.

    Args:
        store: Folder of the file.
        name: Name of the file below the folder.
        columns: Names of the columns to read; None for all.
        filters: Filters on rows, as in `pyarrow.parquet.read_table`; None for all rows.

    Returns:
        The selected columns and rows.

    Raises:
        OSError: The file does not exist, or a disk or an object store does not return it.
        UsageError: The file is damaged or is not a Parquet file.
    """
    # The file is opened here because pyarrow, given a path, treats a folder named a=b as a partition and adds a column.
    with store.filesystem.open_input_file(store.path(name)) as file:
        expressions = None if filters is None else list(filters)
        try:
            return pq.read_table(file, columns=columns, filters=expressions, page_checksum_verification=True)
        except (pa.ArrowException, OSError) as error:  # their messages do not contain the file name
            if is_unavailable(error):
                raise
            reason = error_line(error, limit=200)
            sentence = f"{store.below(name).uri} is damaged or not a Parquet file ({reason}). Restore it from a backup."
            raise UsageError(sentence) from error


def read_rows(store: Store, name: str) -> list[dict[str, Any]]:
    """Read the rows of a Parquet file that this project wrote.

    Args:
        store: Folder of the file.
        name: Name of the file below the folder.

    Returns:
        One dict per row, with a key per column.

    Raises:
        OSError: As for `read_table`.
        UsageError: As for `read_table`, or a later version of this project wrote the file.
    """
    table = read_table(store, name)
    version = (table.schema.metadata or {}).get(b"schema_version", b"").decode(errors="replace")
    if version.isdecimal() and int(version) > int(SCHEMA_VERSION):
        raise UsageError(
            f"{store.below(name).uri} has schema version {version}, but this version of reconpatch-ray reads versions "
            f"up to {SCHEMA_VERSION}. Install a later version of reconpatch-ray."
        )
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def rows_if_there(store: Store, name: str) -> list[dict[str, Any]]:
    """Read the rows of a Parquet file, if it exists.

    Args:
        store: Folder of the file.
        name: Name of the file below the folder.

    Returns:
        One dict per row as from `read_rows`; an empty list if the file does not exist.

    Raises:
        OSError: As for `read_table`.
        UsageError: As for `read_rows`.
    """
    return read_rows(store, name) if store.exists(name) else []


def metadata_of(store: Store, name: str) -> dict[str, str]:
    """Return the metadata of a Parquet file.

    Args:
        store: Folder of the file.
        name: Name of the file below the folder.

    Returns:
        Metadata of the schema; empty if the file does not exist, is damaged or is not a Parquet file.

    Raises:
        OSError: A disk or an object store does not return the file.
    """
    if not store.exists(name):
        return {}
    # The bytes are read before they are parsed, so that an unavailable store is not mistaken for a damaged file.
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
