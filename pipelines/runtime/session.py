"""The Ray session of a run: a given cluster, or a local Ray that starts and ends with the run."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import ray
import ray.data

from pipelines.config.networks import Networks, look_for_weights
from pipelines.config.run_config import RunConfig
from pipelines.errors import UsageError, error_line
from pipelines.runtime.capacity import workers_of


def address_of(config: RunConfig) -> str:
    """Return the address of the Ray cluster, or 'local' for a Ray that starts and ends with the run.

    Args:
        config: Run configuration; its `address` takes precedence over RAY_ADDRESS.
    """
    return config.address or os.environ.get("RAY_ADDRESS") or "local"


@contextmanager
def ray_session(config: RunConfig) -> Iterator[int]:
    """Connect to the cluster of `--address` or RAY_ADDRESS for a block, or start a local Ray.

    If this process is already connected to Ray, that connection is used and stays open.

    Args:
        config: Run configuration with the address, the workers and the resources of a job.

    Yields:
        The number of jobs that run at the same time.

    Raises:
        UsageError: The cluster cannot be reached, or has too few CPUs or GPUs for one job.
    """
    address = address_of(config)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # Ray's C++ code writes messages that are of no use to users directly to the terminal.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # Idle processes stay alive for the next stage; new processes would import torch again. Only a local Ray reads this.
    os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", "60000")
    if ray.is_initialized():
        yield workers_of(config, ray.cluster_resources(), grows=False)  # type: ignore[no-untyped-call]
        return
    dashboard = False if address == "local" else None
    on_sigterm = signal.getsignal(signal.SIGTERM)  # ray.init replaces the handler
    try:
        with _without_lines("Set ray log level from environment variable"):
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=dashboard)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(f"Cannot use Ray at '{address}': {error_line(error, limit=200)}") from error
    signal.signal(signal.SIGTERM, on_sigterm)
    try:
        grows = address != "local"
        yield workers_of(config, ray.cluster_resources(), grows=grows)  # type: ignore[no-untyped-call]
    finally:
        ray.shutdown()


@contextmanager
def session_with_networks(config: RunConfig) -> Iterator[tuple[int, Networks]]:
    """Open a session as `ray_session` does, and load the members' backbones while Ray starts.

    Args:
        config: Run configuration with the members and the values that `ray_session` uses.

    Yields:
        The number of jobs that run at the same time, and the properties of the members' backbones.

    Raises:
        BackboneError: A backbone is unknown, has no weights, or lacks one of the layers; or the folder of `--weights`
            does not exist, which is detected before Ray starts.
        UsageError: The cluster cannot be reached, or has too few CPUs or GPUs for one job.
    """
    look_for_weights(config)
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(Networks.load, config)
        with ray_session(config) as workers:
            yield workers, loading.result()


@contextmanager
def _without_lines(text: str) -> Iterator[None]:
    """Remove lines that contain `text` from standard error while a block runs; output of C++ code is included."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as buffer:
        os.dup2(buffer.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            buffer.seek(0)
            sys.stderr.writelines(
                line for line in buffer.read().decode(errors="replace").splitlines(True) if text not in line
            )
