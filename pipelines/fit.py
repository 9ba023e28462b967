"""Adapters with Ray Train: one run a wave, whose workers pull (category, backbone) units from a queue.

One trainer for all units, because a trainer costs 10-18 s whatever it does; a unit is whole on one worker, because
the pairs of a mini-batch are the batch (section 3.2).
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

import ray
import ray.train
from ray._raylet import PlacementGroupID
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.util.placement_group import PlacementGroup

from pipelines.config import RunConfig
from pipelines.plan import Unit
from pipelines.resources import measured, use_threads
from pipelines.rundir import TRAINING, adapter_name, checkpoint_file, model_folder, queue_file, training_name
from pipelines.session import address_of
from pipelines.shards import read_category
from pipelines.shares import Shares, Teller
from pipelines.storage import Store
from pipelines.tables import write_rows
from pipelines.tasks import RETRIES, accounts, beside_driver, sentence_of
from pipelines.tensors import read_tensors, tensors_key, write_tensors
from pipelines.unit_queue import Fitted, UnitQueue
from reconpatch.adapter import Adapter, train_adapter

_OF_RAYS = "train"  # in scratch: what Ray Train writes of a run, which nobody reads
_NEVER = 1e9  # seconds
_GIVES_BACK_WITHIN = 8.0  # seconds, an interrupted trainer
_GONE_WITHIN = 5.0  # seconds, what a process that died has begun


def fit_adapters(
    units: Sequence[Unit],
    config: RunConfig,
    out: Store,
    scratch: Store,
    workers: int,
    name: str,
    on_progress: Callable[[float], None],
) -> list[Fitted]:
    """Train every unit's adapter and write it; a unit's exception is its own failure, not the wave's.

    Args:
        name: of the Ray Train run, never used before: Ray resumes a run of a known name.

    Returns:
        One `Fitted` a unit, also for units that a killed worker group never got to.
    """
    sizes = {unit.name: unit.fit_images for unit in units}
    queue = accounts(UnitQueue, sizes, scratch, queue_file(name), RETRIES)
    shares = accounts(Shares)
    # Ray shows and exports it: no addresses, which may hold credentials.
    placeless = replace(config, data="", out="", scratch=None)
    resources = {"CPU": float(config.threads_per_unit)}
    if config.gpus_per_actor:
        resources["GPU"] = config.gpus_per_actor
    scaling: Any = ray.train.ScalingConfig  # Ray's stubs know the older one
    trainer = _Trainer(
        _work,
        train_loop_config={
            "queue": queue,
            "units": {unit.name: unit for unit in units},
            "shares": shares,
            "config": placeless,
            "out": out,
            "scratch": scratch,
        },
        scaling_config=scaling(
            # When a node is lost, the others go on with fewer; a group that grew again would lose what it has in hand.
            num_workers=(1, min(workers, len(units))),
            elastic_resize_monitor_interval_s=_NEVER,
            use_gpu=config.gpus_per_actor > 0,
            resources_per_worker=resources,
        ),
        run_config=ray.train.RunConfig(
            name=name,
            storage_path=scratch.path(_OF_RAYS),
            storage_filesystem=scratch.filesystem,
            # The queue gives a unit up that its process does not survive; this is for what ends groups otherwise.
            failure_config=ray.train.FailureConfig(max_failures=(1 + RETRIES) * len(units)),
        ),
    )

    def look() -> None:
        done = [fitted.unit for fitted in ray.get(queue.done.remote())]
        on_progress(ray.get(shares.reached.remote(done)))

    error = _fit_watched(trainer, look, lives_on=address_of(config) != "local")
    finished = {fitted.unit: fitted for fitted in ray.get(queue.done.remote())}
    ray.kill(queue)
    scratch.remove(queue_file(name))
    scratch.remove_folder(f"{_OF_RAYS}/{name}")
    return [
        finished.get(unit.name)
        or Fitted(unit.name, error=error or "The worker group ended before this unit was fitted.")
        for unit in units
    ]


class _Trainer(DataParallelTrainer):
    """One of workers that have nothing in common: no process group, as a TorchTrainer's have, and nothing else that is
    done on all of them between their beginning and their work. A worker that is killed in it leaves a group that Ray's
    controller neither ends nor gets round: it waits for the CPUs of the dead one.

    Nor does it start a cleaner, a process that removes the group's bundles where the controller has died, and that
    stays on the cluster for ever where that is too early; with a job Ray removes them itself, and within one
    `_give_back_bundles` does.
    """

    def _create_default_callbacks(self) -> list[Any]:
        return []


def _fit_watched(trainer: Any, look: Callable[[], None], *, lives_on: bool) -> str | None:
    """Run the trainer in a task and look now and then; an error of the group comes back as a sentence.

    Where the task dies, or Ray's own process that leads the group, the trainer begins again: its units go on from what
    is kept of them.

    Args:
        lives_on: whether the cluster does when this is interrupted: it keeps the workers' CPUs in its books for three
            minutes then, in which no training begins, unless they are given back.
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
            sentence = sentence_of(death)
            time.sleep(_GONE_WITHIN)  # a controller that is still going would ask for bundles anew
            _give_back_bundles()
    return sentence


def _give_back_bundles() -> None:
    """Give back the CPUs of this job's worker groups, which are the trainer's: Ray keeps them for a controller that has
    died for as long as the job goes on."""
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
        # Whatever else ended the group is the failure of the units that it had not finished.
        return " ".join(str(error).split())[:500]
    return None


def _work(loop: dict[str, Any]) -> None:
    """A Ray Train worker: pull units until none is left, then report once, as every rank does."""
    queue, config = loop["queue"], loop["config"]
    use_threads(config.threads_per_unit)
    group = ray.train.get_context()
    rank = group.get_world_rank()
    ray.get(queue.join.remote(rank, group.get_world_size()))
    while (name := ray.get(queue.take.remote(rank))) is not None:
        fitted = _fit_unit(loop["units"][name], config, loop["out"], loop["scratch"], Teller(loop["shares"], name))
        ray.get(queue.finish.remote(rank, fitted))
        if fitted.error is None:
            loop["scratch"].remove(checkpoint_file(*name))  # whoever is killed before this goes on from it
    ray.train.report({})


def _fit_unit(unit: Unit, config: RunConfig, out: Store, scratch: Store, on_step: Callable[[int, int], None]) -> Fitted:
    kept, key = checkpoint_file(*unit.name), f"{unit.keys.adapter} on {config.device}"
    try:
        with measured() as usage:
            rows = read_category(scratch, unit.fit_shards)
            adapter = train_adapter(
                rows.features,
                config.adapter_config(unit.member),
                per_image=rows.grid[0] * rows.grid[1],
                device=config.device,
                on_step=on_step,
                begun=read_tensors(scratch, kept) if tensors_key(scratch, kept) == key else None,
                keep=lambda arrays: write_tensors(scratch, kept, arrays, key),
            )
            place = out.below(model_folder(unit.category))
            write_rows(place, training_name(unit.backbone), _curve(unit, adapter), TRAINING)
            # Last, since its key says that the unit is fitted.
            write_tensors(place, adapter_name(unit.backbone), {"f.weight": adapter.weight}, unit.keys.adapter)
    except Exception as error:  # one unit's failure is a row of failures.parquet; the others go on
        return Fitted(unit.name, error=f"{type(error).__name__}: {error}")
    return Fitted(
        unit.name,
        asdict(adapter.schedule),
        float(adapter.losses[-1]) if len(adapter.losses) else None,
        usage.seconds,
        usage.peak_bytes,
    )


def _curve(unit: Unit, adapter: Adapter) -> list[dict[str, Any]]:
    """Rows of training.parquet, one a step."""
    rows = []
    for step, loss in enumerate(adapter.losses.tolist(), start=1):
        spread = adapter.spreads.get(step)
        told = {} if spread is None else asdict(spread)
        rows.append({"category": unit.category, "backbone": unit.backbone, "step": step, "loss": loss, **told})
    return rows
