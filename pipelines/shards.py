"""Feature shards: one chunk's patch features, uncompressed, so that a local disk's can be memory-mapped."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from pipelines.storage import Store

SHARD = pa.schema([("image_path", pa.string()), ("features", pa.large_binary())])


@dataclass(frozen=True)
class Shard:
    """One chunk's patch features: features[i] is (H·W, C') float16 of image_paths[i]."""

    image_paths: list[str]
    features: list[np.ndarray]
    grid: tuple[int, int]


def write_shard(
    store: Store, name: str, image_paths: Sequence[str], features: Sequence[np.ndarray], grid: tuple[int, int]
) -> None:
    """A float16 (H·W, C') cell an image, as Arrow IPC."""
    cells = pa.array([array.astype(np.float16, copy=False).tobytes() for array in features], pa.large_binary())
    channels = features[0].shape[1] if features else 0
    metadata = {"grid_height": str(grid[0]), "grid_width": str(grid[1]), "channels": str(channels)}
    table = pa.table([pa.array(image_paths, pa.string()), cells], schema=SHARD.with_metadata(metadata))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    store.write(name, sink.getvalue())


def read_shard(store: Store, name: str) -> Shard:
    """Mapped from a local disk; fetched from an object store."""
    source = pa.memory_map(store.path(name)) if store.is_local else pa.BufferReader(store.read(name))
    with source:
        table = pa.ipc.open_file(source).read_all()
    metadata = {key.decode(): int(value) for key, value in table.schema.metadata.items()}
    paths = table["image_path"].to_pylist()
    cells = table["features"].chunks[0] if paths else None
    features = [] if cells is None else _cells(cells, metadata["channels"])
    return Shard(paths, features, (metadata["grid_height"], metadata["grid_width"]))


@dataclass(frozen=True)
class CategoryFeatures:
    """Several shards' patch features under each other: features is (n, D), n = images · H·W."""

    image_paths: list[str]
    features: np.ndarray
    grid: tuple[int, int]


def read_category(
    store: Store, names: Sequence[str], convert: Callable[[np.ndarray], np.ndarray] | None = None
) -> CategoryFeatures:
    """A category's features as one array that takes no memory of this process: mapped from a file without a name.

    The file lies beside a local disk's shards, else in the node's temporary folder; having no name, it is gone with
    the array, whatever becomes of the process.

    Args:
        convert: from an image's (H·W, C') float16 to the rows that are wanted; None for these themselves.

    Raises:
        ValueError: no shard holds an image.
    """
    image_paths: list[str] = []
    rows = np.empty((0, 0), np.float16)
    grid = (0, 0)
    with tempfile.TemporaryFile(dir=store.path() if store.is_local else None) as file:
        for name in names:
            shard = read_shard(store, name)
            for path, cell in zip(shard.image_paths, shard.features, strict=True):
                rows = cell if convert is None else convert(cell)
                file.write(np.ascontiguousarray(rows).data)
                image_paths.append(path)
                grid = shard.grid
        if not image_paths:
            raise ValueError("No good image of this category could be read.")
        file.flush()
        shape = (len(image_paths) * grid[0] * grid[1], rows.shape[1])
        return CategoryFeatures(image_paths, np.memmap(file, rows.dtype, "r", shape=shape), grid)


def _cells(column: pa.LargeBinaryArray, channels: int) -> list[np.ndarray]:
    """Views of the column's own bytes: a scalar of Arrow's would be a copy."""
    _, offsets, data = column.buffers()
    starts = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
    values = np.frombuffer(data, np.float16)
    width = np.dtype(np.float16).itemsize
    return [
        values[start // width : end // width].reshape(-1, channels)
        for start, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
    ]
