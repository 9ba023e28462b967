"""Select the members' memory banks: a greedy coreset of the fit images' patches, one Ray task a member."""

from __future__ import annotations

from functools import partial

import numpy as np

from pipelines.config.run_context import RunContext
from pipelines.planning.jobs import MemberJob
from pipelines.planning.stage import Counted, Progress, Stage, StageResult
from pipelines.runtime.resources import threads_set
from pipelines.storage.feature_shards import CategoryFeatures, read_category
from pipelines.storage.parquet import write_rows
from pipelines.storage.paths import bank_index_name, bank_name, model_folder
from pipelines.storage.schemas import BANK_INDEX
from pipelines.storage.stored_model import read_adapter
from pipelines.storage.tensors import write_tensors
from reconpatch.adapter.training import embed
from reconpatch.neighbors.coreset import farthest_first


def select_member(job: MemberJob, context: RunContext, progress: Progress) -> StageResult:
    """Write a greedy coreset of all fit patches' f(p), and where each of its entries came from.

    Args:
        job: a member whose bank is due.
        context: of the run.
        progress: called after picks.
    """
    config = context.config
    folder = context.out.below(model_folder(job.category))
    rows = _embedded(job, context)
    selection = farthest_first(rows.features, job.member.coreset, on_pick=progress, device=config.device)
    positions = np.stack(np.unravel_index(selection.indices, (len(rows.image_paths), *rows.grid)), axis=1)
    index = [
        {"category": job.category, "image_path": rows.image_paths[image], "row": row, "col": col}
        for image, row, col in positions.tolist()
    ]
    tensors = {
        "entries": np.asarray(rows.features[selection.indices], np.float32),
        "radius": np.array([selection.radius]),
    }
    write_rows(folder, bank_index_name(job.backbone), index, BANK_INDEX, metadata={"key": job.keys.model})
    write_tensors(folder, bank_name(job.backbone), tensors, job.keys.model)
    detail = {"patches": len(rows.features), "entries": len(index), "radius": float(selection.radius)}
    return StageResult(detail=detail)


def _embedded(job: MemberJob, context: RunContext) -> CategoryFeatures:
    """The fit patches' f(p), computed image by image and always with the same threads: the same to the bit anywhere."""
    config = context.config
    weight = read_adapter(context.out.below(model_folder(job.category)), job.backbone) if job.member.adapted else None
    # Without an adapter, float16 features stay what they are.
    convert = None if weight is None else partial(embed, weight=weight, device=config.device)
    with threads_set(config.threads_per_unit):
        return read_category(context.scratch, job.fit_shards, convert)


SELECT = Stage[MemberJob](
    name="select",
    counted=Counted.MEMBERS,
    due=lambda plan: [job for job in plan.members if job.select],
    run=select_member,
)
