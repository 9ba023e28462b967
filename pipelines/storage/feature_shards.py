"""Feature shards: the patch features of a batch of images, uncompressed, so that local files can be memory-mapped."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from pipelines.storage.store import Store

SHARD = pa.schema([("image_path", pa.string()), ("features", pa.large_binary())])


@dataclass(frozen=True)
class Shard:
    """The patch features of a batch of images.

    Attributes:
        image_paths: of the images.
        features: one array an image, (H·W, C') float16.
        grid: H and W.
    """

    image_paths: list[str]
    features: list[np.ndarray]
    grid: tuple[int, int]


def write_shard(
    store: Store, name: str, image_paths: Sequence[str], features: Sequence[np.ndarray], *, grid: tuple[int, int]
) -> None:
    """Write a shard as Arrow IPC.

    Args:
        store: the folder.
        name: of the file in it.
        image_paths: of the images.
        features: one array an image, (H·W, C'), which is stored as float16.
        grid: H and W.
    """
    cells = pa.array([array.astype(np.float16, copy=False).tobytes() for array in features], pa.large_binary())
    channels = features[0].shape[1] if features else 0
    metadata = {"grid_height": str(grid[0]), "grid_width": str(grid[1]), "channels": str(channels)}
    table = pa.table([pa.array(image_paths, pa.string()), cells], schema=SHARD.with_metadata(metadata))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    store.write(name, sink.getvalue())


def read_shard(store: Store, name: str) -> Shard:
    """Return a shard: mapped from a local disk, fetched from an object store."""
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
    """The patch features of several shards in one array.

    Attributes:
        image_paths: of the images, in the order of their features.
        features: (n, D) with n = images · H·W.
        grid: H and W.
    """

    image_paths: list[str]
    features: np.ndarray
    grid: tuple[int, int]


def read_category(
    store: Store, names: Sequence[str], convert: Callable[[np.ndarray], np.ndarray] | None = None
) -> CategoryFeatures:
    """Return the features of several shards as one array that is mapped from a file and takes no memory of its own.

    The file is on the disk of local shards, else in the node's temporary folder. It has no name, so that it is deleted
    with the array even if the process is killed.

    Args:
        store: the folder of the shards.
        names: of the shards.
        convert: from an image's (H·W, C') float16 features to the rows of the array; None for no conversion.

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
    """Return views of the column's own bytes: a scalar of Arrow's would be a copy."""
    _, offsets, data = column.buffers()
    bounds = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
    values = np.frombuffer(data, np.float16)
    width = np.dtype(np.float16).itemsize
    return [
        values[start // width : end // width].reshape(-1, channels)
        for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
    ]
