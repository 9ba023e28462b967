"""Selection of the members' memory banks as greedy coresets of the fit images' patches, one Ray task per member."""

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
    """Select the memory bank of a member and write it with its index.

    The bank is a greedy coreset of the features f(p) of all patches of the fit images. The index has the image, row and
    column of each bank entry.

    Args:
        job: Member whose bank is due.
        context: Configuration and stores of the run.
        progress: Called during the selection with (entries selected, total entries).

    Returns:
        Result of the job, whose detail has the numbers of patches and entries and the radius of the coreset.
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
    """Return f(p) of the fit images' patches.

    It is computed image by image with a fixed number of threads, so that it is bit-identical in every process.
    """
    config = context.config
    weight = read_adapter(context.out.below(model_folder(job.category)), job.backbone) if job.member.adapted else None
    # Without an adapter the features stay float16.
    convert = None if weight is None else partial(embed, weight=weight, device=config.device)
    with threads_set(config.threads_per_unit):
        return read_category(context.scratch, job.fit_shards, convert)


SELECT = Stage[MemberJob](
    name="select",
    counted=Counted.MEMBERS,
    due=lambda plan: [job for job in plan.members if job.select],
    run=select_member,
)
