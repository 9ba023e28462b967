"""One Ray Train run for many training jobs, whose workers take the jobs from a queue.

All jobs share one trainer because each trainer costs 10-18 s of overhead. The module contains workarounds for the
following behavior of Ray 2.51 to 2.60:

* The health checks add seconds to each fit (`RAY_TRAIN_HEALTH_CHECK_INTERVAL_S`).
* Only Ray's v2 API exports `DataParallelTrainer`, and its default callbacks wait for all workers (`_Trainer`).
* The CPUs of a worker group stay reserved after its controller died (`_give_back_bundles`).
* The CPUs of an interrupted trainer stay reserved for three minutes unless it ends its own group (`_fit_watched`,
  `_fit`).
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
_GIVES_BACK_WITHIN = 8.0  # seconds in which an interrupted trainer ends its worker group
_GONE_WITHIN = 5.0  # seconds in which the processes that a dead task started end
_RAY_FOLDER = "train"  # folder in the scratch space for files of Ray Train, which are not read
JobName = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class TrainingJobs:
    """The jobs of one Ray Train run.

    Attributes:
        run: Function that does a job, given the job, the context and a progress callback. It must not raise.
        jobs: Name (category, backbone) -> job.
        images: Name -> number of images that the job is fitted on; the largest jobs run first.
        context: Value that `run` gets with each job. It must not contain a URI with credentials, because Ray displays
            and exports it.
    """

    run: Callable[[Any, Any, ProgressReporter], FitResult]
    jobs: Mapping[JobName, Any]
    images: Mapping[JobName, int]
    context: Any


def train_jobs(
    training: TrainingJobs, config: RunConfig, scratch: Store, *, workers: int, on_progress: Callable[[float], None]
) -> list[FitResult]:
    """Do all jobs on the workers of Ray Train. A job that fails does not affect the other jobs.

    Args:
        training: Jobs to do.
        config: Run configuration with the resources of a worker.
        scratch: Scratch space for the file of the queue and the folder of Ray Train.
        workers: Maximum number of jobs that run at the same time, at least 1.
        on_progress: Function that is called about twice per second with the number of finished jobs, including the
            shares of running jobs.

    Returns:
        One result per job, in the order of the jobs. A job that was not finished has a result with an error.
    """
    name = f"fit-{uuid.uuid4().hex}"  # a new name, because Ray resumes a run of a known name
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
            # The queue abandons a job that keeps killing its process. This limit applies if a group ends otherwise.
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
    unfinished = error or "The worker group ended before the adapter was trained."
    return [results.get(job) or FitResult(job, error=unfinished) for job in training.jobs]


def _scaling(config: RunConfig, workers: int) -> Any:
    resources = {"CPU": float(config.threads_per_unit)}
    if config.gpus_per_actor:
        resources["GPU"] = config.gpus_per_actor
    scaling: Any = ray.train.ScalingConfig  # Ray's type stubs describe the older class
    return scaling(
        # If a node is lost, the group continues with fewer workers. It must not grow again, because growing restarts
        # the group and interrupts the running jobs.
        num_workers=(1, workers),
        elastic_resize_monitor_interval_s=_NEVER,
        use_gpu=config.gpus_per_actor > 0,
        resources_per_worker=resources,
    )


def _work(loop: dict[str, Any]) -> None:
    """Run a Ray Train worker: take jobs until none is left, then report once, as Ray requires of each rank."""
    queue, training = loop["queue"], loop["training"]
    use_threads(loop["threads"])
    group = ray.train.get_context()
    rank = group.get_world_rank()
    ray.get(queue.join.remote(rank, group.get_world_size()))
    while (name := ray.get(queue.take.remote(rank))) is not None:
        result = training.run(training.jobs[name], training.context, ProgressReporter(loop["progress"], name))
        ray.get(queue.finish.remote(rank, result))
        if result.error is None:
            loop["scratch"].remove(checkpoint_file(*name))  # until here, a retry resumes from the checkpoint
    ray.train.report({})


class _Trainer(DataParallelTrainer):
    """A trainer with independent workers: no process group, and no callback that waits for all workers.

    If a worker is killed while a process group forms, Ray's controller neither ends nor replaces the group: it waits
    for the CPUs of the dead worker. Without the default callbacks, Ray's cleanup process is not started either. It
    removes the placement group after the death of the controller, but stays on the cluster forever if the controller
    dies too early. Here, `_give_back_bundles` removes the placement group, and Ray does so when its job ends.
    """

    def _create_default_callbacks(self) -> list[Any]:
        return []


def _fit_watched(trainer: Any, look: Callable[[], None], *, lives_on: bool) -> str | None:
    """Run the trainer in a Ray task.

    If the task or Ray's controller of the worker group dies, the trainer starts again and its jobs resume from their
    checkpoints.

    Args:
        trainer: Trainer to run.
        look: Function that is called about twice per second.
        lives_on: Whether the cluster continues to exist after this call. If the call is interrupted, such a cluster
            keeps the CPUs of the workers reserved for three minutes, in which no training can start, unless the
            trainer ends its group.

    Returns:
        The error of the worker group in one line; None if there was none.
    """
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    # With max_calls=1, the process ends with the task and also ends Ray Train's controller, which takes 0.7 GB.
    # With max_retries=0, Ray does not retry the task; a retry by Ray would wait for the CPUs of the dead task.
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
                with suppress(Exception):  # Ray may no longer exist
                    ray.cancel(running, recursive=False)  # the trainer ends its own group
                    ray.wait([running], timeout=_GIVES_BACK_WITHIN + 3)
            raise
        try:
            sentence = ray.get(running)
            break
        except ray.exceptions.RayError as death:
            sentence = error_line(death)
            time.sleep(_GONE_WITHIN)  # a controller that still runs would reserve CPUs again
            _give_back_bundles()
    return sentence


def _give_back_bundles() -> None:
    """Remove the placement groups of this Ray job; otherwise a dead controller keeps its CPUs until the job ends."""
    job = ray.get_runtime_context().get_job_id()
    for name, group in ray.util.placement_group_table().items():
        if name.endswith(job) and group["state"] != "REMOVED":  # a group's id ends with its job's id
            ray.util.remove_placement_group(PlacementGroup(PlacementGroupID.from_hex(name)))


def _fit(trainer: Any) -> str | None:
    """Run the trainer; return an error of its worker group in one line, and raise only if a process of Ray died."""
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.1")
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    try:
        trainer.fit()
    except KeyboardInterrupt:
        # Ray interrupts a canceled task every two seconds, but a group that is still starting needs longer to end. It
        # has been asked to end and does so while this process lives.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        time.sleep(_GIVES_BACK_WITHIN)
        raise
    except Exception as error:
        # The controller died, or a worker died while the group started, in which case the controller gives up.
        if isinstance(getattr(error, "controller_failure", error), ray.exceptions.RayActorError):
            raise
        # Any other error is the reason why the unfinished jobs of the group failed.
        return " ".join(error_line(error).split())  # Ray's messages contain line breaks and repeated spaces
    return None
