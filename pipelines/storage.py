"""Folders on local disks and object stores, and files in them that appear whole or not at all."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from safetensors.numpy import load, save

from pipelines.config import UsageError

SCHEMA_VERSION = "1"
_REQUESTS = 32
_LISTS = (".csv", ".parquet")
_T = TypeVar("_T")
_R = TypeVar("_R")


@dataclass(frozen=True)
class Store:
    """A folder that may be on a local disk or in an object store, named by a path or a URI of pyarrow's filesystems.

    Names below it are '/'-separated. Objects of this class travel to Ray's workers.

    Attributes:
        filesystem: pyarrow's.
        root: the folder's path there.
        uri: what it was named by, credentials masked.
        listed: of images, the file in it that lists them; empty where its folders say what they are.
    """

    filesystem: pafs.FileSystem
    root: str
    uri: str
    listed: str = ""

    @classmethod
    def of(cls, where: str) -> Store:
        """The folder of a path (made absolute: Ray's workers have working directories of their own) or URI.

        Raises:
            UsageError: a URI that pyarrow does not know.
        """
        if "://" not in where:
            path = str(Path(where).resolve())
            return cls(pafs.LocalFileSystem(), path, path)
        try:
            filesystem, root = pafs.FileSystem.from_uri(where)
        except (pa.ArrowInvalid, OSError, NotImplementedError) as error:
            raise UsageError(f"{masked(where)}: {' '.join(str(error).split())[:200]}") from error
        return cls(filesystem, root.rstrip("/"), masked(where))

    @classmethod
    def of_data(cls, where: str) -> Store:
        """The root of images: a folder, or that of a list of them, a CSV or Parquet file.

        Raises:
            UsageError: as `of`.
        """
        place, mark, options = where.partition("?") if "://" in where else (where, "", "")
        folder, slash, name = place.rpartition("/")
        if not name.lower().endswith(_LISTS):
            return cls.of(where)
        listed = unquote(name) if "://" in where else name
        return replace(cls.of(f"{folder or slash or '.'}{mark}{options}"), listed=listed)

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    def below(self, name: str) -> Store:
        return Store(self.filesystem, self.path(name), f"{self.uri.partition('?')[0].rstrip('/')}/{name}")

    def path(self, name: str = "") -> str:
        return f"{self.root}/{name}" if name else self.root

    def read(self, name: str) -> bytes:
        """The whole file. Raises OSError where it is not there or cannot be read."""
        with self.filesystem.open_input_file(self.path(name)) as file:
            data: bytes = file.read()
        return data

    def read_json(self, name: str) -> Any:
        """The file's JSON, or None where there is no such file."""
        return json.loads(self.read(name)) if self.exists(name) else None

    def exists(self, name: str) -> bool:
        found: bool = self.filesystem.get_file_info(self.path(name)).type == pafs.FileType.File
        return found

    def holds_something(self) -> bool:
        selector = pafs.FileSelector(self.path(), allow_not_found=True)
        return bool(self.filesystem.get_file_info(selector))

    def files(self, folder: str = "", *, recursive: bool = True) -> list[pafs.FileInfo]:
        """All files below a folder, at any depth or right in it, sorted by path; none where there is no such folder."""
        selector = pafs.FileSelector(self.path(folder), recursive=recursive, allow_not_found=True)
        found = [info for info in self.filesystem.get_file_info(selector) if info.type == pafs.FileType.File]
        return sorted(found, key=lambda info: info.path)

    def folders(self, folder: str = "") -> list[str]:
        """Names of the folders in a folder, sorted."""
        selector = pafs.FileSelector(self.path(folder), allow_not_found=True)
        found = self.filesystem.get_file_info(selector)
        return sorted(info.base_name for info in found if info.type == pafs.FileType.Directory)

    def name_of(self, info: pafs.FileInfo) -> str:
        """A listed file's name below this folder."""
        name: str = info.path[len(self.root) + 1 :]
        return name

    def write(self, name: str, data: bytes | pa.Buffer) -> None:
        """Locally: aside, fsync, rename. On an object store: one upload of what is already serialised."""
        if not self.is_local:
            with self.filesystem.open_output_stream(self.path(name)) as stream:
                stream.write(data)
            return
        path = Path(self.path(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:80]}.", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(aside, 0o644)
            os.replace(aside, path)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise

    def write_json(self, name: str, value: Mapping[str, Any] | Sequence[Any]) -> None:
        self.write(name, json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n")

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        if self.exists(name):
            self.filesystem.delete_file(self.path(name))

    def remove_folder(self, name: str = "") -> None:
        """Remove a folder and all in it, if it is there."""
        if self.filesystem.get_file_info(self.path(name)).type == pafs.FileType.Directory:
            self.filesystem.delete_dir(self.path(name))


def side_by_side(work: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
    """Work that waits for files, on many items at once: an object store answers each request after tens of
    milliseconds, however many there are."""
    with ThreadPoolExecutor(_REQUESTS) as pool:
        return list(pool.map(work, items))


def named_below(where: str, name: str) -> str:
    """The path or URI of a folder in another one; a URI keeps its options, credentials and all, at its end."""
    place, mark, options = where.partition("?") if "://" in where else (where, "", "")
    return f"{place.rstrip('/')}/{name}{mark}{options}"


def masked(uri: str) -> str:
    """A URI without its credentials: what may be shown and written."""
    uri = re.sub(r"://[^/@]*@", "://***@", uri)
    return re.sub(r"(?i)\b((?:access|secret|session|account)[a-z_]*(?:key|token))=[^&]*", r"\1=***", uri)


def write_tensors(store: Store, name: str, tensors: Mapping[str, np.ndarray], key: str) -> None:
    """Tensors and the key of what they came from, the only metadata: safetensors writes several in any order."""
    contiguous = {each: np.ascontiguousarray(tensor) for each, tensor in tensors.items()}
    store.write(name, save(contiguous, metadata={"key": key}))


def read_tensors(store: Store, name: str) -> dict[str, np.ndarray]:
    tensors: dict[str, np.ndarray] = load(store.read(name))
    return tensors


def tensors_key(store: Store, name: str) -> str | None:
    """The key of a file of tensors, from its header alone; None where there is no such file, or it is no such file."""
    if not store.exists(name):
        return None
    with store.filesystem.open_input_file(store.path(name)) as file:
        length = int.from_bytes(file.read(8), "little")
        if length > file.size():
            return None
        try:
            header = json.loads(file.read(length))
        except ValueError:
            return None
    metadata = header.get("__metadata__", {}) if isinstance(header, dict) else {}
    key: str | None = metadata.get("key")
    return key


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
    table = table.replace_schema_metadata({"schema_version": SCHEMA_VERSION, **(metadata or {})})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    store.write(name, sink.getvalue())


def read_table(
    store: Store, name: str, columns: Sequence[str] | None = None, filters: Sequence[tuple[str, str, Any]] | None = None
) -> pa.Table:
    """A Parquet file, or some of its columns and rows; `filters` as pyarrow's."""
    # Not by path: pyarrow takes a folder name like a=b for a partition and adds a column of it.
    with store.filesystem.open_input_file(store.path(name)) as file:
        return pq.read_table(file, columns=columns, filters=None if filters is None else list(filters))


def read_rows(store: Store, name: str, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read_table(store, name, columns).to_pylist()
    return rows


def metadata_of(store: Store, name: str) -> dict[str, str]:
    """A Parquet file's metadata; empty where there is no such file, or it is no Parquet."""
    if not store.exists(name):
        return {}
    try:
        with store.filesystem.open_input_file(store.path(name)) as file:
            found = pq.read_schema(file).metadata or {}
    except pa.ArrowInvalid:
        return {}
    return {key.decode(): value.decode() for key, value in found.items()}
