"""How many jobs run at once, and with how many threads each."""

from __future__ import annotations

from collections.abc import Mapping

import ray

from pipelines.config.run_config import RunConfig
from pipelines.errors import UsageError


def threads_for(config: RunConfig, workers: int, jobs: int) -> int:
    """Return the threads of a job: if there are more workers than jobs, those of several workers.

    A job runs on one node, so it gets at most as many as the largest node has CPUs.

    Args:
        config: its `threads_per_unit` is the unit.
        workers: how many jobs can run at once.
        jobs: how many are due, at least one.
    """
    cpus = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    shared = max(1, workers // jobs)
    fitting = int(max(cpus)) // config.threads_per_unit
    return config.threads_per_unit * max(1, min(shared, fitting))


def cpus_per_job(config: RunConfig) -> int:
    """Return the CPUs that a job can use: those of its threads, or its GPU's share of the CPUs of nodes with GPUs.

    A GPU computes faster than a CPU decodes, so the tasks that feed it use the CPUs beside it.
    """
    if not config.gpus_per_actor:
        return config.threads_per_unit
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    with_gpu = [resources for resources in nodes if resources.get("GPU", 0) > 0]
    if not with_gpu:
        return config.threads_per_unit
    jobs = max(1, int(sum(resources["GPU"] for resources in with_gpu) / config.gpus_per_actor))
    return max(config.threads_per_unit, int(sum(resources.get("CPU", 0) for resources in with_gpu)) // jobs)


def workers_of(config: RunConfig, resources: Mapping[str, float], *, grows: bool) -> int:
    """Return how many jobs run at once: `--workers`, or as many as there are CPUs and GPUs for.

    Args:
        config: what a job needs.
        resources: of the cluster, by Ray's names.
        grows: whether the cluster may scale up: `--workers` may then exceed what there is now.

    Raises:
        UsageError: the resources do not suffice for one job, and `--workers` does not say how many there will be.
    """
    fitting = int(resources.get("CPU", 0)) // config.threads_per_unit
    needed = f"{config.threads_per_unit} CPUs"
    if config.gpus_per_actor:
        fitting = min(fitting, int(resources.get("GPU", 0) / config.gpus_per_actor))
        needed += f" and {config.gpus_per_actor:g} GPUs"
    if grows and config.workers is not None:
        return config.workers
    if fitting < 1:
        raise UsageError(
            f"The Ray cluster has {resources.get('CPU', 0):g} CPUs and {resources.get('GPU', 0):g} GPUs, and a job "
            f"needs {needed}: add nodes, set --workers to how many jobs will fit, or lower --threads-per-unit."
        )
    return min(config.workers or fitting, fitting)
