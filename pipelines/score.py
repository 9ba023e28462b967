"""Ray tasks after the adapters: the bank of a unit, and the scores of a unit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.config import RunConfig
from pipelines.member_scores import ShardScores, member_table
from pipelines.plan import Unit
from pipelines.resources import Done, gives_gpu_back, measured, threads_set, use_threads
from pipelines.rundir import (
    BANK_INDEX,
    MEMBER_SCORES,
    adapter_name,
    bank_index_name,
    bank_name,
    member_scores_file,
    model_folder,
)
from pipelines.shards import Shard, read_category, read_shard
from pipelines.storage import Store
from pipelines.tables import read_rows, read_table, write_rows, write_table
from pipelines.tensors import read_tensors, write_tensors
from reconpatch.adapter import embed
from reconpatch.audit import unexplained
from reconpatch.coreset import farthest_first
from reconpatch.scoring import MemoryBank


@gives_gpu_back
def select_unit(
    unit: Unit,
    config: RunConfig,
    out: Store,
    scratch: Store,
    threads: int,
    on_pick: Callable[[int, int], None],
) -> Done:
    """Greedy coreset of all fit patches' f(p): memory_bank.safetensors and where each entry came from."""
    use_threads(config.threads_per_unit)
    with measured() as usage:
        place = out.below(model_folder(unit.category))
        weight = read_adapter(place, unit.backbone, unit.member.adapted)
        # f(p) is computed image by image, so that it is the same to the bit wherever; float16 stays what it is.
        convert = None if weight is None else partial(embed, weight=weight, device=config.device)
        rows = read_category(scratch, unit.fit_shards, convert)
        features = rows.features
        use_threads(threads)
        selection = farthest_first(features, unit.member.coreset, on_pick=on_pick, device=config.device)
        places = np.stack(np.unravel_index(selection.indices, (len(rows.image_paths), *rows.grid)), axis=1)
        index = [
            {"category": unit.category, "image_path": rows.image_paths[image], "row": row, "col": col}
            for image, row, col in places.tolist()
        ]
        tensors = {
            "entries": np.asarray(features[selection.indices], np.float32),
            "radius": np.array([selection.radius]),
        }
        write_rows(place, bank_index_name(unit.backbone), index, BANK_INDEX, {"key": unit.keys.model})
        write_tensors(place, bank_name(unit.backbone), tensors, unit.keys.model)
    detail = {"patches": len(features), "entries": len(index), "radius": float(selection.radius)}
    return Done(unit.name, usage.seconds, usage.peak_bytes, detail)


@gives_gpu_back
def score_unit(
    unit: Unit,
    config: RunConfig,
    out: Store,
    scratch: Store,
    threads: int,
    on_shard: Callable[[int, int], None],
    stamp: Mapping[str, Any],
) -> Done:
    """Scores of a unit's images, eq. 9 and 10: scores/members/<category>/<backbone>.parquet.

    Rows of images that have not changed since this bank scored them are kept as they are.
    """
    use_threads(threads)
    with measured() as usage:
        place = out.below(model_folder(unit.category))
        weight = read_adapter(place, unit.backbone, unit.member.adapted)
        bank = read_bank(place, unit.backbone, config.reweight, config.device)
        own = _own_entries(read_rows(place, bank_index_name(unit.backbone)))
        by_path = {image.image_path: image for image in unit.images}
        tables = []
        for number, name in enumerate(unit.score_shards):
            on_shard(number, len(unit.score_shards))
            shard = read_shard(scratch, name)
            if shard.image_paths:
                good = {path for path in shard.image_paths if by_path[path].split == "train"}
                found = score_shard(shard, bank, weight, own, config.threads_per_unit, good)
                tables.append(member_table([by_path[path] for path in shard.image_paths], found, shard.grid, stamp))
        scored = sum(table.num_rows for table in tables)
        table = _in_order(unit, tables, out)
        metadata = {"key": unit.keys.scores, "rows_key": unit.keys.rows, "model_key": unit.keys.model}
        write_table(out, member_scores_file(*unit.name), table, metadata)
    return Done(unit.name, usage.seconds, usage.peak_bytes, {"images": scored, "kept": table.num_rows - scored})


def read_adapter(place: Store, backbone: str, trained: bool) -> np.ndarray | None:
    """f's weight from a model's folder, or None for the identity adapter."""
    return read_tensors(place, adapter_name(backbone))["f.weight"] if trained else None


def read_bank(place: Store, backbone: str, reweight: int, device: str) -> MemoryBank:
    """A member's bank from a model's folder; `reweight` is b of eq. 10, and what is asked of it is computed on the
    device."""
    return MemoryBank(read_tensors(place, bank_name(backbone))["entries"], reweight, device)


def score_shard(
    shard: Shard,
    bank: MemoryBank,
    weight: np.ndarray | None,
    own: Mapping[str, Sequence[tuple[int, int, int]]],
    embedding_threads: int,
    audited: Collection[str] = (),
) -> ShardScores:
    """Scores of a shard's images; f(p) is computed image by image, so that it is the same to the bit wherever.

    Distances come from differences and do not depend on the number of threads; f's matrix product may.
    """
    with threads_set(embedding_threads):
        images = [embed(image, weight, bank.entries.device) for image in shard.features]
    found = bank.query(np.concatenate(images), _own_rows(shard, own))
    nearest = np.split(found.nearest, len(images))
    audits = [
        unexplained(features, mine, bank, np.array([entry for *_, entry in own.get(path, ())], np.int64))
        if path in audited
        else None
        for path, features, mine in zip(shard.image_paths, images, nearest, strict=True)
    ]
    return ShardScores(np.split(found.scores, len(images)), nearest, audits)


def _in_order(unit: Unit, tables: Sequence[pa.Table], out: Store) -> pa.Table:
    """The new rows, and of the old file those whose images have not changed, in the order of the images."""
    new = pa.concat_tables([MEMBER_SCORES.empty_table(), *tables])
    place = {path: row for row, path in enumerate(new["image_path"].to_pylist())}
    missing = [image for image in unit.images if image.image_path not in place]
    if missing:
        old = read_table(out, member_scores_file(*unit.name)).replace_schema_metadata(None)
        rows = zip(old["image_path"].to_pylist(), old["content_sha256"].to_pylist(), strict=True)
        found = {name: row for row, name in enumerate(rows)}
        kept = [found[image.image_path, str(image.content_sha256)] for image in missing]
        place |= {image.image_path: new.num_rows + row for row, image in enumerate(missing)}
        new = pa.concat_tables([new, old.take(kept)])
    return new.take([place[image.image_path] for image in unit.images]).combine_chunks()


def _own_entries(bank_index: Sequence[dict[str, Any]]) -> dict[str, list[tuple[int, int, int]]]:
    """Image path → (patch row, patch column, entry) of the bank entries that come from it."""
    own: dict[str, list[tuple[int, int, int]]] = {}
    for entry, place in enumerate(bank_index):
        own.setdefault(place["image_path"], []).append((place["row"], place["col"], entry))
    return own


def _own_rows(shard: Shard, own: Mapping[str, Sequence[tuple[int, int, int]]]) -> np.ndarray:
    """The bank entry that each of a shard's patches is itself, -1 where it is none (leave-one-out)."""
    rows = np.full((len(shard.image_paths), *shard.grid), -1, np.int64)
    for number, path in enumerate(shard.image_paths):
        for row, col, entry in own.get(path, ()):
            rows[number, row, col] = entry
    return rows.reshape(-1)
