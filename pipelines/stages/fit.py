"""Training of the members' adapters (section 3.2 of the paper) on the workers of Ray Train.

A member is trained by one worker, because its loss couples all patches of a mini-batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from pipelines.config.run_context import RunContext
from pipelines.errors import error_line
from pipelines.planning.jobs import MemberJob
from pipelines.planning.stage import Counted, Crew, JobFailure, JobTask, Progress, Stage, StageResult, run_job
from pipelines.runtime.unit_queue import FitResult
from pipelines.storage.feature_shards import read_category
from pipelines.storage.parquet import write_rows
from pipelines.storage.paths import adapter_name, checkpoint_file, model_folder, training_name
from pipelines.storage.schemas import TRAINING
from pipelines.storage.tensors import read_tensors, tensors_key, write_tensors
from reconpatch.adapter.training import Adapter, TrainingProgress, train_adapter


def fit_member(job: MemberJob, context: RunContext, progress: Progress) -> StageResult:
    """Train the adapter of a member and write it; resume from the checkpoint of an interrupted training.

    Args:
        job: Member whose adapter is due.
        context: Configuration and stores of the run.
        progress: Called after every training step with (steps done, total steps).

    Returns:
        Result of the job, whose detail has the training schedule and the last loss.
    """
    config, scratch = context.config, context.scratch
    checkpoint, key = checkpoint_file(*job.name), f"{job.keys.adapter} on {config.device}"
    rows = read_category(scratch, job.fit_shards)
    adapter = train_adapter(
        rows.features,
        config.adapter_config(job.member),
        per_image=rows.grid[0] * rows.grid[1],
        device=config.device,
        progress=TrainingProgress(
            on_step=progress,
            checkpoint=read_tensors(scratch, checkpoint) if tensors_key(scratch, checkpoint) == key else None,
            save_checkpoint=lambda arrays: write_tensors(scratch, checkpoint, arrays, key),
        ),
    )
    folder = context.out.below(model_folder(job.category))
    write_rows(folder, training_name(job.backbone), _curve(job, adapter), TRAINING)
    # The adapter is written last, because its key marks the member as trained.
    write_tensors(folder, adapter_name(job.backbone), {"f.weight": adapter.weight}, job.keys.adapter)
    last_loss = float(adapter.losses[-1]) if len(adapter.losses) else None
    return StageResult(detail={**asdict(adapter.schedule), "last_loss": last_loss})


def train_members(jobs: Sequence[MemberJob], crew: Crew) -> Iterator[tuple[MemberJob, StageResult]]:
    """Run the jobs of the fit stage in one Ray Train run.

    Args:
        jobs: Members whose adapters are due, at least one.
        crew: Context, number of workers and progress callback.

    Yields:
        Each job with its result, after all jobs have finished.
    """
    from pipelines.runtime.trainer import TrainingJobs, train_jobs  # Ray Train takes a second to import

    config = crew.context.config
    training = TrainingJobs(
        run=_fit_in_worker,
        jobs={job.name: job for job in jobs},
        images={job.name: job.fit_images for job in jobs},
        context=replace(crew.context, config=replace(config, data="", out="", scratch=None)),
    )
    fitted = train_jobs(training, config, crew.context.scratch, workers=crew.workers, on_progress=crew.report)
    results = [_as_result(job, result) for job, result in zip(jobs, fitted, strict=True)]
    capped = [result.detail["lr"] for result in results if result.detail.get("lr_capped")]
    if capped:
        sentence = (
            f"--max-steps {config.max_steps} requires a learning rate above {max(capped):g} in {len(capped)} of "
            f"{len(jobs)} members; the rate is limited to that value. A larger --max-steps avoids the limit."
        )
        results[-1] = replace(results[-1], warnings=(sentence,))
    yield from zip(jobs, results, strict=True)


def _fit_in_worker(job: MemberJob, context: RunContext, progress: Callable[[int, int], None]) -> FitResult:
    """Train a member in a worker of Ray Train and return the result or the error."""
    try:
        threads = context.config.threads_per_unit
        result = run_job(JobTask(run=fit_member, job=job, context=context, progress=progress, threads=threads))
    except Exception as error:  # a failed member must not stop the others
        return FitResult(job.name, error=error_line(error))
    schedule = {name: value for name, value in result.detail.items() if name != "last_loss"}
    return FitResult(job.name, schedule, result.detail["last_loss"], result.seconds, result.peak_bytes)


def _as_result(job: MemberJob, fitted: FitResult) -> StageResult:
    """Convert the result of a worker to the result of the job."""
    if fitted.error is not None:
        return StageResult(failures=(JobFailure(category=job.category, backbone=job.backbone, error=fitted.error),))
    detail = {**fitted.schedule, "last_loss": fitted.last_loss}
    return StageResult(seconds=fitted.seconds, peak_bytes=fitted.peak_bytes, detail=detail)


def _curve(job: MemberJob, adapter: Adapter) -> list[dict[str, Any]]:
    """Return the rows of training.parquet, one per training step."""
    rows = []
    for step, loss in enumerate(adapter.losses.tolist(), start=1):
        spread = adapter.spreads.get(step)
        columns = {} if spread is None else asdict(spread)
        rows.append({"category": job.category, "backbone": job.backbone, "step": step, "loss": loss, **columns})
    return rows


FIT = Stage[MemberJob](
    name="fit",
    counted=Counted.MEMBERS,
    due=lambda plan: [job for job in plan.members if job.fit],
    run=fit_member,
    launch=train_members,
)
