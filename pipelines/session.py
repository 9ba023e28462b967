"""The Ray session of a run: the cluster that was named, or one started here and ended with the run."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import ray
import ray.data

from pipelines.config import RunConfig
from pipelines.networks import Networks, look_for_weights
from pipelines.usage import UsageError


def address_of(config: RunConfig) -> str:
    """That of the cluster; 'local' for a Ray that is started here and ends with the run."""
    return config.address or os.environ.get("RAY_ADDRESS") or "local"


@contextmanager
def ray_session(config: RunConfig) -> Iterator[int]:
    """Connect to `--address` (or RAY_ADDRESS), or start a local Ray; yields how many workers the run uses.

    A session that the caller has started already is used, and left running.

    Raises:
        UsageError: the cluster cannot be reached, or has too few CPUs for one unit.
    """
    address = address_of(config)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # Ray's C++ side writes to the terminal behind Python's back, about matters that are no user's business.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # A stage's processes wait for the next stage: new ones would import torch again. A Ray started here reads it.
    os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", "60000")
    if ray.is_initialized():
        yield workers_of(config, ray.cluster_resources(), grows=False)  # type: ignore[no-untyped-call]
        return
    dashboard = False if address == "local" else None
    on_sigterm = signal.getsignal(signal.SIGTERM)  # ray.init puts a handler of its own in place
    try:
        with _without_lines("Set ray log level from environment variable"):
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=dashboard)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(f"Ray at '{address}' cannot be used: {' '.join(str(error).split())[:200]}") from error
    signal.signal(signal.SIGTERM, on_sigterm)
    try:
        grows = address != "local"
        yield workers_of(config, ray.cluster_resources(), grows=grows)  # type: ignore[no-untyped-call]
    finally:
        ray.shutdown()


@contextmanager
def session_with_networks(config: RunConfig) -> Iterator[tuple[int, Networks]]:
    """As `ray_session`, with the networks of the run's members, which are loaded while Ray starts.

    Raises:
        BackboneError: as `load_networks`; before Ray is started where `--weights` is no folder.
    """
    look_for_weights(config)
    with ThreadPoolExecutor(1) as aside:
        loading = aside.submit(Networks.load, config)
        with ray_session(config) as workers:
            yield workers, loading.result()


@contextmanager
def _without_lines(text: str) -> Iterator[None]:
    """Hold standard error back, that of C++ too, and pass it on afterwards without the lines that contain `text`."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            held.seek(0)
            sys.stderr.writelines(
                line for line in held.read().decode(errors="replace").splitlines(True) if text not in line
            )


def threads_for(config: RunConfig, workers: int, units: int) -> int:
    """Threads of a unit where `units` are due: those of several workers where there are more workers than units.

    A task lives on one node: it gets no more than the largest has.
    """
    nodes = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    shared = max(1, workers // units)
    fitting = int(max(nodes)) // config.threads_per_unit
    return config.threads_per_unit * max(1, min(shared, fitting))


def cpus_of_unit(config: RunConfig) -> int:
    """CPUs that a unit has the use of: its threads', or all that fall to its GPU on the nodes that have some now.

    A GPU computes faster than a CPU decodes: what feeds it, and what needs none, has the CPUs beside it.
    """
    if not config.gpus_per_actor:
        return config.threads_per_unit
    found = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    nodes = [resources for resources in found if resources.get("GPU", 0) > 0]
    if not nodes:
        return config.threads_per_unit
    units = max(1, int(sum(resources["GPU"] for resources in nodes) / config.gpus_per_actor))
    return max(config.threads_per_unit, int(sum(resources.get("CPU", 0) for resources in nodes)) // units)


def workers_of(config: RunConfig, resources: Mapping[str, float], *, grows: bool) -> int:
    """How many units run at once: `--workers`, else as many as there are CPUs and GPUs for.

    Args:
        resources: of the cluster, as Ray names them.
        grows: whether it may get more nodes than it has: `--workers` is then taken at its word.

    Raises:
        UsageError: there is no room for one unit, and nobody said how many there will be.
    """
    fitting = int(resources.get("CPU", 0)) // config.threads_per_unit
    wanted = f"{config.threads_per_unit} CPUs"
    if config.gpus_per_actor:
        fitting = min(fitting, int(resources.get("GPU", 0) / config.gpus_per_actor))
        wanted += f" and {config.gpus_per_actor:g} GPUs"
    if grows and config.workers is not None:
        return config.workers
    if fitting < 1:
        raise UsageError(
            f"The Ray cluster has {resources.get('CPU', 0):g} CPUs and {resources.get('GPU', 0):g} GPUs, and a unit "
            f"wants {wanted}: add nodes, say with --workers how many units will have room, or lower --threads-per-unit."
        )
    return min(config.workers or fitting, fitting)
