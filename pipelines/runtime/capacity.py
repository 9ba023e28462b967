"""The number of jobs that run at the same time, and the threads and CPUs of each job."""

from __future__ import annotations

from collections.abc import Mapping

import ray

from pipelines.config.run_config import RunConfig
from pipelines.errors import UsageError


def threads_for(config: RunConfig, workers: int, jobs: int) -> int:
    """Return the number of threads of a job. If there are more workers than jobs, a job gets those of several workers.

    A job runs on one node, so the number is limited by the CPUs of the largest node.

    Args:
        config: Run configuration; `threads_per_unit` is the number of threads per worker.
        workers: Number of jobs that can run at the same time, at least 1.
        jobs: Number of jobs to run, at least 1.

    Returns:
        A multiple of `threads_per_unit`, at least `threads_per_unit`.
    """
    cpus = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    shared = max(1, workers // jobs)
    fitting = int(max(cpus)) // config.threads_per_unit
    return config.threads_per_unit * max(1, min(shared, fitting))


def cpus_per_job(config: RunConfig) -> int:
    """Return the number of CPUs that a job can use.

    Without a GPU, this is the number of its threads. A job with a GPU gets an equal share of the CPUs of the nodes with
    GPUs, because a GPU computes faster than one CPU decodes images.

    Args:
        config: Run configuration with the threads and GPUs of a job.
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
    """Return the number of jobs that run at the same time: `--workers`, or as many as fit on the CPUs and GPUs.

    Args:
        config: Run configuration with `workers` and with the threads and GPUs of a job.
        resources: Resources of the cluster by Ray's names ('CPU', 'GPU').
        grows: Whether the cluster may scale up. `--workers` may then exceed what fits on the present resources.

    Raises:
        UsageError: The resources are not sufficient for one job, and the cluster does not scale up or `--workers` is
            not given.
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
            f"The Ray cluster has {resources.get('CPU', 0):g} CPUs and {resources.get('GPU', 0):g} GPUs, but a job "
            f"needs {needed}. Add nodes or lower --threads-per-unit; if the cluster scales up, set --workers to the "
            "number of jobs that will fit."
        )
    return min(config.workers or fitting, fitting)
