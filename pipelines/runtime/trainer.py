"""Ray Train: one run for many jobs, whose workers pull the jobs from a queue; with the work-arounds that this takes.

One trainer for all jobs, because a trainer costs 10-18 s whatever it does. All of this holds for Ray 2.51 to 2.60:

* a fit costs seconds of health checks: `RAY_TRAIN_HEALTH_CHECK_INTERVAL_S`;
* `DataParallelTrainer` is exported by Ray's v2 API alone, and its default callbacks wait for each other (`_Trainer`);
* a controller that died keeps the CPUs of its group until they are given back (`_give_back_bundles`);
* an interrupted trainer keeps them for three minutes unless it ends its own group (`_fit_watched`, `_fit`).
"""

from __future__ import annotations

import logging
import os
import signal
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
import ray.train
from ray._raylet import PlacementGroupID
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.util.placement_group import PlacementGroup

from pipelines.config.run_config import RunConfig
from pipelines.errors import error_line
from pipelines.runtime.progress_actor import ProgressActor, ProgressReporter
from pipelines.runtime.resources import use_threads
from pipelines.runtime.session import address_of
from pipelines.runtime.tasks import RETRIES, actor_beside_driver, beside_driver
from pipelines.runtime.unit_queue import FitResult, UnitQueue
from pipelines.storage.paths import checkpoint_file, queue_file
from pipelines.storage.store import Store

_NEVER = 1e9  # seconds
_GIVES_BACK_WITHIN = 8.0  # seconds, an interrupted trainer
_GONE_WITHIN = 5.0  # seconds, what a process that died has begun
_RAY_FOLDER = "train"  # in scratch: what Ray Train writes of a run, which nobody reads
JobName = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class TrainingJobs:
    """Jobs for one Ray Train run.

    Attributes:
        run: does a job, given the job, the context and a progress callback; does not raise.
        jobs: name (category, backbone) -> job.
        images: name -> how many images it is fitted on: the largest jobs go first.
        context: handed to `run` with each job. Ray shows and exports it: it must hold no address with credentials.
    """

    run: Callable[[Any, Any, ProgressReporter], FitResult]
    jobs: Mapping[JobName, Any]
    images: Mapping[JobName, int]
    context: Any


def train_jobs(
    training: TrainingJobs, config: RunConfig, scratch: Store, *, workers: int, on_progress: Callable[[float], None]
) -> list[FitResult]:
    """Do every job on Ray Train's workers; a job's failure is its own, not the run's.

    Args:
        training: the jobs.
        config: of the run, for what a worker may use.
        scratch: where the queue keeps its file and Ray Train its folder.
        workers: how many jobs run at once.
        on_progress: called now and then with how many jobs are done, shares included.

    Returns:
        One result a job, in their order; also for jobs that a killed worker group never got to.
    """
    name = f"fit-{uuid.uuid4().hex}"  # never used before: Ray resumes a run of a known name
    queue = actor_beside_driver(UnitQueue, dict(training.images), scratch, queue_file(name), RETRIES)
    progress = actor_beside_driver(ProgressActor)
    trainer = _Trainer(
        _work,
        train_loop_config={
            "queue": queue,
            "training": training,
            "progress": progress,
            "scratch": scratch,
            "threads": config.threads_per_unit,
        },
        scaling_config=_scaling(config, min(workers, len(training.jobs))),
        run_config=ray.train.RunConfig(
            name=name,
            storage_path=scratch.path(_RAY_FOLDER),
            storage_filesystem=scratch.filesystem,
            # The queue gives a job up that its process does not survive; this is for what ends groups otherwise.
            failure_config=ray.train.FailureConfig(max_failures=(1 + RETRIES) * len(training.jobs)),
        ),
    )

    def look() -> None:
        done = [result.unit for result in ray.get(queue.done.remote())]
        on_progress(ray.get(progress.reached.remote(done)))

    error = _fit_watched(trainer, look, lives_on=address_of(config) != "local")
    results = {result.unit: result for result in ray.get(queue.done.remote())}
    ray.kill(queue)
    scratch.remove(queue_file(name))
    scratch.remove_folder(f"{_RAY_FOLDER}/{name}")
    unfinished = error or "The worker group ended before this unit was fitted."
    return [results.get(job) or FitResult(job, error=unfinished) for job in training.jobs]


def _scaling(config: RunConfig, workers: int) -> Any:
    resources = {"CPU": float(config.threads_per_unit)}
    if config.gpus_per_actor:
        resources["GPU"] = config.gpus_per_actor
    scaling: Any = ray.train.ScalingConfig  # Ray's stubs know the older one
    return scaling(
        # When a node is lost, the others go on with fewer; a group that grew again would lose what it has in hand.
        num_workers=(1, workers),
        elastic_resize_monitor_interval_s=_NEVER,
        use_gpu=config.gpus_per_actor > 0,
        resources_per_worker=resources,
    )


def _work(loop: dict[str, Any]) -> None:
    """Run a Ray Train worker: pull jobs until none is left, then report once, as every rank does."""
    queue, training = loop["queue"], loop["training"]
    use_threads(loop["threads"])
    group = ray.train.get_context()
    rank = group.get_world_rank()
    ray.get(queue.join.remote(rank, group.get_world_size()))
    while (name := ray.get(queue.take.remote(rank))) is not None:
        result = training.run(training.jobs[name], training.context, ProgressReporter(loop["progress"], name))
        ray.get(queue.finish.remote(rank, result))
        if result.error is None:
            loop["scratch"].remove(checkpoint_file(*name))  # whoever is killed before this goes on from it
    ray.train.report({})


class _Trainer(DataParallelTrainer):
    """A trainer whose workers have nothing in common: no process group, and no callback that waits for all of them.

    A worker that is killed while such a group forms leaves a group that Ray's controller neither ends nor gets round:
    it waits for the CPUs of the dead worker. Nor does it start Ray's cleaner, a process that removes the group's
    bundles when the controller has died, and that stays on the cluster for ever if that happens too early. Ray removes
    the bundles itself when the job ends; before that `_give_back_bundles` does.
    """

    def _create_default_callbacks(self) -> list[Any]:
        return []


def _fit_watched(trainer: Any, look: Callable[[], None], *, lives_on: bool) -> str | None:
    """Run the trainer in a task and look now and then; return an error of the group as one line.

    Where the task dies, or Ray's own process that leads the group, the trainer starts again: its jobs go on from their
    checkpoints.

    Args:
        trainer: to be fitted.
        look: called about twice a second.
        lives_on: whether the cluster outlives this call. If the call is interrupted, such a cluster reserves the
            workers' CPUs for three minutes, in which no training starts, unless they are given back.
    """
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    # A process of its own that ends with it, and takes along what Ray Train would leave: a controller of 0.7 GB.
    # Not tried again by Ray, which would wait for the CPUs of the one that died.
    task: Any = ray.remote(**beside_driver(), max_calls=1, max_retries=0)(_fit)
    sentence: str | None = None
    for _ in range(1 + RETRIES):
        running = task.remote(trainer)
        try:
            while not ray.wait([running], timeout=0.5)[0]:
                look()
            look()
        except BaseException:
            if lives_on:
                with suppress(Exception):  # of a Ray that has gone
                    ray.cancel(running, recursive=False)  # the trainer itself ends what it has begun
                    ray.wait([running], timeout=_GIVES_BACK_WITHIN + 3)
            raise
        try:
            sentence = ray.get(running)
            break
        except ray.exceptions.RayError as death:
            sentence = error_line(death)
            time.sleep(_GONE_WITHIN)  # a controller that is still going would ask for bundles anew
            _give_back_bundles()
    return sentence


def _give_back_bundles() -> None:
    """Give back the CPUs of this job's worker groups: Ray keeps them for a dead controller as long as the job runs."""
    job = ray.get_runtime_context().get_job_id()
    for name, group in ray.util.placement_group_table().items():
        if name.endswith(job) and group["state"] != "REMOVED":  # a group's id ends with its job's
            ray.util.remove_placement_group(PlacementGroup(PlacementGroupID.from_hex(name)))


def _fit(trainer: Any) -> str | None:
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.1")
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    try:
        trainer.fit()
    except KeyboardInterrupt:
        # A cancelled task is told so every two seconds, and a group that still starts is not ended within two: it has
        # been told to end, and does while its owner lives.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        time.sleep(_GIVES_BACK_WITHIN)
        raise
    except Exception as error:
        # The controller's own death, or that of a worker while the group begins, at which Ray's controller gives up.
        if isinstance(getattr(error, "controller_failure", error), ray.exceptions.RayActorError):
            raise
        # Whatever else ended the group is the failure of the jobs that it had not finished.
        return " ".join(error_line(error).split())  # Ray's have several lines
    return None
