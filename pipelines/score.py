"""Ray tasks after the adapters: the bank of a unit, the scores of a unit, the fusion of a category."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load_file

from pipelines.config import RunConfig
from pipelines.dataset import Image
from pipelines.fit import ADAPTER_FILE, Unit
from pipelines.resources import measured, use_threads
from pipelines.storage import (
    BANK_INDEX,
    MEMBER_SCORES,
    RunPaths,
    Shard,
    read_rows,
    read_shard,
    write_rows,
    write_table,
    write_tensors,
)
from reconpatch.adapter import embed
from reconpatch.coreset import select_coreset
from reconpatch.scoring import MemoryBank

BANK_FILE = "memory_bank.safetensors"
BANK_INDEX_FILE = "bank_index.parquet"


@dataclass(frozen=True)
class Stamp:
    """What every scored row carries: which run, which model, when."""

    run_id: str
    scored_at: datetime

    def columns(self, model_version: str) -> dict[str, Any]:
        return {"run_id": self.run_id, "model_version": model_version, "scored_at": self.scored_at}


@dataclass(frozen=True)
class Done:
    """A finished task: what it was, what it took, and what it has to say."""

    name: tuple[str, ...]
    seconds: float
    peak_bytes: int
    detail: dict[str, Any]


def model_version(model_key: str) -> str:
    return model_key[:12]


def select_unit(unit: Unit, config: RunConfig, paths: RunPaths) -> Done:
    """Greedy coreset of all fit patches' f(p): memory_bank.safetensors and where each entry came from."""
    use_threads(config.threads_per_unit)
    folder = paths.model(unit.category) / unit.backbone
    with measured() as usage:
        weight = _adapter_weight(folder, unit)
        shards = [read_shard(Path(path)) for path in unit.fit_shards]
        image_paths = [path for shard in shards for path in shard.image_paths]
        if not image_paths:
            raise ValueError("No good image of this category could be read.")
        features = np.concatenate([_embed_shard(shard, weight) for shard in shards])
        grid = shards[0].grid
        coreset = select_coreset(features, unit.member.coreset)
        places = np.stack(np.unravel_index(coreset.indices, (len(image_paths), *grid)), axis=1)
        index = [
            {"category": unit.category, "image_path": image_paths[image], "row": row, "col": col}
            for image, row, col in places.tolist()
        ]
        tensors = {"entries": features[coreset.indices], "radius": np.array(coreset.radius, np.float64)}
        write_rows(folder / BANK_INDEX_FILE, index, BANK_INDEX, {"key": unit.model_key})
        write_tensors(folder / BANK_FILE, tensors, unit.model_key)
    detail = {"patches": len(features), "entries": len(index), "radius": float(coreset.radius)}
    return Done(unit.name, usage.seconds, usage.peak_bytes, detail)


def score_unit(unit: Unit, images: Sequence[Image], config: RunConfig, paths: RunPaths, stamp: Stamp) -> Done:
    """Scores of every image of a unit, eq. 9 and 10: scores/members/<category>/<backbone>.parquet."""
    use_threads(config.threads_per_unit)
    folder = paths.model(unit.category) / unit.backbone
    with measured() as usage:
        weight = _adapter_weight(folder, unit)
        bank = MemoryBank(load_file(folder / BANK_FILE)["entries"], config.reweight)
        own = _own_entries(read_rows(folder / BANK_INDEX_FILE))
        by_path = {image.image_path: image for image in images}
        rows: list[dict[str, Any]] = []
        scores: list[np.ndarray] = []
        nearest: list[np.ndarray] = []
        for path in (*unit.fit_shards, *unit.test_shards):
            shard = read_shard(Path(path))
            if not shard.image_paths:
                continue
            found = bank.query(_embed_shard(shard, weight), _own_rows(shard, own))
            for number, image_path in enumerate(shard.image_paths):
                patches = slice(number * _cells(shard), (number + 1) * _cells(shard))
                image = by_path[image_path]
                rows.append(_member_row(image, found.scores[patches], shard.grid))
                scores.append(found.scores[patches])
                nearest.append(found.nearest[patches])
        table = _member_table(rows, scores, nearest, stamp.columns(model_version(unit.model_key)))
        write_table(paths.member_scores(unit.category, unit.backbone), table, {"key": unit.model_key})
    return Done(unit.name, usage.seconds, usage.peak_bytes, {"images": len(rows)})


def _adapter_weight(folder: Path, unit: Unit) -> np.ndarray | None:
    if not unit.member.epochs:
        return None
    weight: np.ndarray = load_file(folder / ADAPTER_FILE)["f.weight"]
    return weight


def _embed_shard(shard: Shard, weight: np.ndarray | None) -> np.ndarray:
    """f(p) of a shard's patches. A shard at a time in both stages: a bank entry then is, to the bit, the row that its
    patch has when it is scored."""
    if not shard.features:
        return np.empty((0, 0), np.float32)
    embedded: np.ndarray = embed(np.concatenate(shard.features), weight)
    return embedded


def _cells(shard: Shard) -> int:
    return shard.grid[0] * shard.grid[1]


def _own_entries(bank_index: Sequence[dict[str, Any]]) -> dict[str, list[tuple[int, int, int]]]:
    """Image path → (patch row, patch column, entry) of the bank entries that come from it."""
    own: dict[str, list[tuple[int, int, int]]] = {}
    for entry, place in enumerate(bank_index):
        own.setdefault(place["image_path"], []).append((place["row"], place["col"], entry))
    return own


def _own_rows(shard: Shard, own: dict[str, list[tuple[int, int, int]]]) -> np.ndarray:
    """The bank entry that each of a shard's patches is itself, -1 where it is none (leave-one-out)."""
    rows = np.full((len(shard.image_paths), *shard.grid), -1, np.int64)
    for number, path in enumerate(shard.image_paths):
        for row, col, entry in own.get(path, ()):
            rows[number, row, col] = entry
    return rows.reshape(-1)


def _member_row(image: Image, scores: np.ndarray, grid: tuple[int, int]) -> dict[str, Any]:
    # The only patch of a bank of one has no leave-one-out score: it does not count in its image's maximum.
    known = scores[~np.isnan(scores)]
    return {
        "category": image.category,
        "image_path": image.image_path,
        "split": image.split,
        "part": image.part,
        "defect": image.defect,
        "label": image.label,
        "score": float(known.max()) if len(known) else None,
        "grid_height": grid[0],
        "grid_width": grid[1],
    }


def _member_table(
    rows: list[dict[str, Any]], scores: list[np.ndarray], nearest: list[np.ndarray], stamp: dict[str, Any]
) -> pa.Table:
    lists = {"patch_scores": (scores, pa.float32()), "patch_nearest": (nearest, pa.int32())}
    columns: list[pa.Array] = []
    for field in MEMBER_SCORES:
        if field.name in lists:
            columns.append(_list_column(*lists[field.name]))
        elif field.name in stamp:
            columns.append(pa.array([stamp[field.name]] * len(rows), field.type))
        else:
            columns.append(pa.array([row[field.name] for row in rows], field.type))
    return pa.Table.from_arrays(columns, schema=MEMBER_SCORES)


def _list_column(arrays: list[np.ndarray], kind: pa.DataType) -> pa.ListArray:
    """A list column; NaN becomes null, and so does entry -1 (a patch that was compared with nothing)."""
    values = np.concatenate(arrays) if arrays else np.empty(0)
    missing = np.isnan(values) if values.dtype.kind == "f" else values < 0
    offsets = np.cumsum([0, *(len(array) for array in arrays)])
    cells = pa.array(values.astype(kind.to_pandas_dtype()), kind, mask=missing)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), cells)


@dataclass(frozen=True)
class MemberScores:
    """A member's scores of one category, read back.

    Attributes:
        table: the Parquet file without its lists.
        maps: (B, H, W) float32 patch scores; NaN where a patch has none.
    """

    table: pa.Table
    maps: np.ndarray


def read_member_scores(path: Path) -> MemberScores:
    table = pq.read_table(path)
    height, width = table["grid_height"][0].as_py(), table["grid_width"][0].as_py()
    values = table["patch_scores"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    maps = values.astype(np.float32).reshape(-1, height, width)
    return MemberScores(table.drop_columns(["patch_scores", "patch_nearest"]), maps)
