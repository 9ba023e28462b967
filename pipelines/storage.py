"""What a run directory holds: paths, schemas, and files that appear whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
from safetensors.numpy import save

SCHEMA_VERSION = "1"

_SCORED: list[tuple[str, pa.DataType]] = [
    ("run_id", pa.string()),
    ("model_version", pa.string()),
    ("scored_at", pa.timestamp("us", tz="UTC")),
]
_IMAGE: list[tuple[str, pa.DataType]] = [
    ("category", pa.string()),
    ("image_path", pa.string()),
    ("split", pa.string()),
    ("part", pa.string()),
    ("defect", pa.string()),
    ("label", pa.int8()),
]

INDEX = pa.schema(
    [
        ("category", pa.string()),
        ("split", pa.string()),
        ("part", pa.string()),
        ("defect", pa.string()),
        ("label", pa.int8()),
        ("image_path", pa.string()),
        ("mask_path", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("content_sha256", pa.string()),
        ("mask_sha256", pa.string()),
        ("fingerprint", pa.string()),
    ]
)
TRAIN = pa.schema(
    [("category", pa.string()), ("image_path", pa.string()), ("content_sha256", pa.string()), ("part", pa.string())]
)
BANK_INDEX = pa.schema(
    [("category", pa.string()), ("image_path", pa.string()), ("row", pa.int32()), ("col", pa.int32())]
)
MEMBER_SCORES = pa.schema(
    [
        *_IMAGE,
        ("score", pa.float64()),
        ("grid_height", pa.int32()),
        ("grid_width", pa.int32()),
        ("patch_scores", pa.list_(pa.float32())),
        ("patch_nearest", pa.list_(pa.int32())),
        *_SCORED,
    ]
)
MAPS = pa.schema(
    [
        ("category", pa.string()),
        ("image_path", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("map", pa.list_(pa.float32())),
        *_SCORED,
    ]
)
METRICS = pa.schema(
    [
        ("category", pa.string()),
        ("model", pa.string()),
        ("image_auroc", pa.float64()),
        ("image_ap", pa.float64()),
        ("image_f1max", pa.float64()),
        ("d_prime", pa.float64()),
        ("pixel_auroc", pa.float64()),
        ("pixel_ap", pa.float64()),
        ("pixel_f1max", pa.float64()),
        ("aupro", pa.float64()),
        ("n_good", pa.int64()),
        ("n_defect", pa.int64()),
    ]
)
FAILURES = pa.schema(
    [
        ("category", pa.string()),
        ("backbone", pa.string()),
        ("stage", pa.string()),
        ("image_path", pa.string()),
        ("error", pa.string()),
    ]
)
SHARD = pa.schema([("image_path", pa.string()), ("features", pa.large_binary())])


def fused_schema(backbones: Sequence[str]) -> pa.Schema:
    """scores/fused: one column score_<backbone> a member, the member's largest normalised score."""
    return pa.schema(
        [
            *_IMAGE,
            ("score", pa.float64()),
            ("p_value", pa.float64()),
            ("threshold", pa.float64()),
            ("is_anomaly", pa.bool_()),
            ("peak_row", pa.int32()),
            ("peak_col", pa.int32()),
            ("nearest_backbone", pa.string()),
            ("nearest_image", pa.string()),
            ("nearest_row", pa.int32()),
            ("nearest_col", pa.int32()),
            *((f"score_{backbone}", pa.float64()) for backbone in backbones),
            *_SCORED,
        ]
    )


def folder_name(category: str) -> str:
    """A category as one path component: percent-quoted, so that every name comes back exactly."""
    return quote(category, safe=" ")


@dataclass(frozen=True)
class RunPaths:
    """Where everything of a run lies, below its root."""

    root: Path

    @property
    def run(self) -> Path:
        return self.root / "run.json"

    @property
    def index(self) -> Path:
        return self.root / "index.parquet"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.parquet"

    @property
    def failures(self) -> Path:
        return self.root / "failures.parquet"

    @property
    def scratch(self) -> Path:
        return self.root / "_scratch"

    def model(self, category: str) -> Path:
        return self.root / "models" / folder_name(category)

    def member_scores(self, category: str, backbone: str) -> Path:
        return self.root / "scores" / "members" / folder_name(category) / f"{backbone}.parquet"

    def fused_scores(self, category: str) -> Path:
        return self.root / "scores" / "fused" / f"{folder_name(category)}.parquet"

    def maps(self, category: str) -> Path:
        return self.root / "maps" / f"{folder_name(category)}.parquet"

    def shards(self, category: str, backbone: str) -> Path:
        return self.scratch / "features" / folder_name(category) / backbone

    def shard(self, category: str, backbone: str, number: int) -> Path:
        return self.shards(category, backbone) / f"{number:06d}.arrow"

    def clear(self) -> None:
        """Remove what a run writes, and nothing else that may lie in the folder."""
        for folder in ("models", "scores", "maps", "report", "_scratch"):
            shutil.rmtree(self.root / folder, ignore_errors=True)
        for path in (self.run, self.index, self.metrics, self.metrics.with_suffix(".csv"), self.failures):
            path.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes | pa.Buffer) -> None:
    """Write aside, fsync, rename: a reader sees the whole file or none."""
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


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_bytes(path, json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n")


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray], key: str) -> None:
    """Tensors and the key of what they came from, the only metadata: safetensors writes several in any order."""
    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    write_bytes(path, save(contiguous, metadata={"key": key}))


def write_rows(
    path: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema, metadata: Mapping[str, str] | None = None
) -> None:
    """Rows (a dict each; a missing key is null) as one zstd Parquet file."""
    write_table(path, pa.Table.from_pylist(list(rows), schema=schema), metadata)


def write_table(path: Path, table: pa.Table, metadata: Mapping[str, str] | None = None) -> None:
    table = table.replace_schema_metadata({"schema_version": SCHEMA_VERSION, **(metadata or {})})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_bytes(path, sink.getvalue())


def read_rows(path: Path, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path, columns=columns).to_pylist()
    return rows


def write_shard(path: Path, image_paths: Sequence[str], features: Sequence[np.ndarray], grid: tuple[int, int]) -> None:
    """One chunk's patch features: a float16 (H·W, C') cell an image, uncompressed, so that it can be mapped."""
    cells = pa.array([array.astype(np.float16, copy=False).tobytes() for array in features], pa.large_binary())
    channels = features[0].shape[1] if features else 0
    metadata = {"grid_height": str(grid[0]), "grid_width": str(grid[1]), "channels": str(channels)}
    table = pa.table([pa.array(image_paths, pa.string()), cells], schema=SHARD.with_metadata(metadata))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    write_bytes(path, sink.getvalue())


@dataclass(frozen=True)
class Shard:
    """One chunk's patch features, mapped from disk: features[i] is (H·W, C') float16 of image_paths[i]."""

    image_paths: list[str]
    features: list[np.ndarray]
    grid: tuple[int, int]


def read_shard(path: Path) -> Shard:
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
    metadata = {key.decode(): int(value) for key, value in table.schema.metadata.items()}
    features = [
        np.frombuffer(cell.as_buffer(), np.float16).reshape(-1, metadata["channels"]) for cell in table["features"]
    ]
    return Shard(table["image_path"].to_pylist(), features, (metadata["grid_height"], metadata["grid_width"]))
