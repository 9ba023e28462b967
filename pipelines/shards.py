"""Feature shards: one chunk's patch features, uncompressed, so that a local disk's can be memory-mapped."""

from __future__ import annotations

from collections.abc import Sequence
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
