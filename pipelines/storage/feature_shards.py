"""Feature shards: files with the patch features of a batch of images, uncompressed to allow memory mapping."""

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
    """Patch features of a batch of images.

    Attributes:
        image_paths: Paths of the images.
        features: One array per image, (H·W, C') float16.
        grid: Height H and width W of the patch grid.
    """

    image_paths: list[str]
    features: list[np.ndarray]
    grid: tuple[int, int]


def write_shard(
    store: Store, name: str, image_paths: Sequence[str], features: Sequence[np.ndarray], *, grid: tuple[int, int]
) -> None:
    """Write a shard as an Arrow IPC file.

    Args:
        store: Folder of the file.
        name: Name of the file below the folder.
        image_paths: Paths of the images.
        features: One array per image, (H·W, C'); stored as float16.
        grid: Height H and width W of the patch grid.
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
    """Read a shard: map it from a local disk, or fetch it from an object store.

    Args:
        store: Folder of the file.
        name: Name of the file below the folder.

    Returns:
        Images of the shard and their features; the arrays are read-only.
    """
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
    """Patch features of all images of a category, in one array.

    Attributes:
        image_paths: Paths of the images, in the order of their features.
        features: (n, D) with n = number of images · H·W; memory-mapped and read-only.
        grid: Height H and width W of the patch grid.
    """

    image_paths: list[str]
    features: np.ndarray
    grid: tuple[int, int]


def read_category(
    store: Store, names: Sequence[str], convert: Callable[[np.ndarray], np.ndarray] | None = None
) -> CategoryFeatures:
    """Read several shards into one array that is memory-mapped, so that it need not fit in memory.

    The array is backed by a temporary file in the folder of local shards, or else in the node's temporary folder. The
    file has no name, so that it is deleted with the array even if the process is killed.

    Args:
        store: Folder of the shards.
        names: Names of the shards below the folder.
        convert: Function from the (H·W, C') float16 features of an image to its (H·W, D) rows of the array; None for
            no conversion.

    Returns:
        Images of all shards and their features.

    Raises:
        ValueError: The shards contain no image.
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
    """Return one (H·W, C') view per cell into the bytes of the column; Arrow's scalars would copy them."""
    _, offsets, data = column.buffers()
    bounds = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
    values = np.frombuffer(data, np.float16)
    width = np.dtype(np.float16).itemsize
    return [
        values[start // width : end // width].reshape(-1, channels)
        for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
    ]
