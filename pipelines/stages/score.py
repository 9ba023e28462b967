"""Scoring of a category's images by its members (equations 9 and 10), one Ray task per member."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.config.run_context import RunContext
from pipelines.planning.jobs import MemberJob
from pipelines.planning.stage import Counted, Progress, Stage, StageResult
from pipelines.runtime.resources import threads_set
from pipelines.stages.member_scores import ShardScores, member_table
from pipelines.storage.feature_shards import Shard, read_shard
from pipelines.storage.parquet import read_rows, read_table, write_table
from pipelines.storage.paths import bank_index_name, member_scores_file, model_folder
from pipelines.storage.schemas import MEMBER_SCORES
from pipelines.storage.store import Store
from pipelines.storage.stored_model import read_adapter, read_bank
from reconpatch.adapter.training import embed
from reconpatch.evaluation.outliers import unexplained
from reconpatch.neighbors.memory_bank import MemoryBank

# Image path -> (patch row, patch column, bank entry) of the bank entries that are patches of the image.
OwnEntries = Mapping[str, Sequence[tuple[int, int, int]]]


@dataclass(frozen=True, kw_only=True)
class MemberScorer:
    """Scorer of patch features with the adapter and the memory bank of one member.

    Attributes:
        bank: Memory bank of the member.
        weight: (D, C') float32 weight of the adapter f; None for the identity.
        own: Bank entries that are patches of the scored images, for leave-one-out scores; empty for new images.
        threads: Number of CPU threads that compute f(p), which is bit-identical only for the same number.
    """

    bank: MemoryBank
    weight: np.ndarray | None
    own: OwnEntries
    threads: int

    def score(self, shard: Shard, audited: Collection[str] = ()) -> ShardScores:
        """Score the images of a shard.

        f(p) is computed image by image, so that it is bit-identical in every shard. Distances are computed from
        differences and do not depend on the number of threads.

        Args:
            shard: Patch features of images.
            audited: Paths of the images to audit, for which the result has the patch that the bank entries of other
                images explain worst.

        Returns:
            The scores, in the order of the shard.
        """
        with threads_set(self.threads):
            embedded = [embed(features, self.weight, self.bank.entries.device) for features in shard.features]
        scored = self.bank.query(np.concatenate(embedded), _own_rows(shard, self.own))
        nearest = np.split(scored.nearest, len(embedded))
        audits = [
            unexplained(features, entries, self.bank, self._entries_of(path)) if path in audited else None
            for path, features, entries in zip(shard.image_paths, embedded, nearest, strict=True)
        ]
        return ShardScores(np.split(scored.scores, len(embedded)), nearest, audits)

    def _entries_of(self, image_path: str) -> np.ndarray:
        """Return the (m,) int64 bank entries that are patches of an image."""
        return np.array([entry for *_, entry in self.own.get(image_path, ())], np.int64)


def score_member(job: MemberJob, context: RunContext, progress: Progress) -> StageResult:
    """Score the images of a member and write scores/members/<category>/<backbone>.parquet.

    The stored rows of images that are unchanged since the same bank scored them are kept.

    Args:
        job: Member whose scores are due.
        context: Configuration and stores of the run.
        progress: Called before each shard with (shards done, total shards).

    Returns:
        Result of the job, whose detail has the numbers of scored images and of kept rows.
    """
    config, out = context.config, context.out
    folder = out.below(model_folder(job.category))
    scorer = MemberScorer(
        bank=read_bank(folder, job.backbone, score_neighbors=config.score_neighbors, device=config.device),
        weight=read_adapter(folder, job.backbone) if job.member.adapted else None,
        own=_own_entries(read_rows(folder, bank_index_name(job.backbone))),
        threads=config.threads_per_unit,
    )
    provenance = context.provenance.columns(job.keys.rows[:12])
    images = {image.image_path: image for image in job.images}
    tables = []
    for number, name in enumerate(job.score_shards):
        progress(number, len(job.score_shards))
        shard = read_shard(context.scratch, name)
        if shard.image_paths:
            good = {path for path in shard.image_paths if images[path].makes_model}
            scores = scorer.score(shard, good)
            tables.append(member_table([images[path] for path in shard.image_paths], scores, shard.grid, provenance))
    scored = sum(table.num_rows for table in tables)
    table = _in_order(job, tables, out)
    metadata = {"key": job.keys.scores, "rows_key": job.keys.rows, "model_key": job.keys.model}
    write_table(out, member_scores_file(*job.name), table, metadata)
    return StageResult(detail={"images": scored, "kept": table.num_rows - scored})


def _in_order(job: MemberJob, tables: Sequence[pa.Table], out: Store) -> pa.Table:
    """Return the new rows and the kept rows of the stored file, in the order of the job's images."""
    table = pa.concat_tables([MEMBER_SCORES.empty_table(), *tables])
    row_of = {path: row for row, path in enumerate(table["image_path"].to_pylist())}
    missing = [image for image in job.images if image.image_path not in row_of]
    if missing:
        old = read_table(out, member_scores_file(*job.name)).replace_schema_metadata(None)
        contents = zip(old["image_path"].to_pylist(), old["content_sha256"].to_pylist(), strict=True)
        old_row_of = {content: row for row, content in enumerate(contents)}
        kept = [old_row_of[image.image_path, str(image.content_sha256)] for image in missing]
        row_of |= {image.image_path: table.num_rows + row for row, image in enumerate(missing)}
        table = pa.concat_tables([table, old.take(kept)])
    return table.take([row_of[image.image_path] for image in job.images]).combine_chunks()


def _own_entries(bank_index: Sequence[dict[str, Any]]) -> OwnEntries:
    """Group the rows of a bank index by image."""
    own: dict[str, list[tuple[int, int, int]]] = {}
    for entry, row in enumerate(bank_index):
        own.setdefault(row["image_path"], []).append((row["row"], row["col"], entry))
    return own


def _own_rows(shard: Shard, own: OwnEntries) -> np.ndarray:
    """Return the bank entry that each patch of a shard became, -1 for none, to exclude it from its own comparison."""
    rows = np.full((len(shard.image_paths), *shard.grid), -1, np.int64)
    for number, path in enumerate(shard.image_paths):
        for row, col, entry in own.get(path, ()):
            rows[number, row, col] = entry
    return rows.reshape(-1)


SCORE = Stage[MemberJob](
    name="score",
    counted=Counted.MEMBERS,
    due=lambda plan: [job for job in plan.members if job.score],
    run=score_member,
)
