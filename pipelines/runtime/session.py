"""The Ray session of a run: a cluster that was named, or a local Ray that starts and ends with the run."""

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
    """Return the address of the Ray cluster; 'local' for a Ray that starts and ends with the run."""
    return config.address or os.environ.get("RAY_ADDRESS") or "local"


@contextmanager
def ray_session(config: RunConfig) -> Iterator[int]:
    """Connect to `--address` (or RAY_ADDRESS) or start a local Ray, for the block; yield how many jobs run at once.

    A session that the process already has is used, and left running.

    Raises:
        UsageError: the cluster cannot be reached, or has too few CPUs or GPUs for one job.
    """
    address = address_of(config)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # Ray's C++ code writes to the terminal directly, about matters that do not concern users.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # The next stage reuses a stage's processes; new ones would import torch again. A Ray started here reads it.
    os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", "60000")
    if ray.is_initialized():
        yield workers_of(config, ray.cluster_resources(), grows=False)  # type: ignore[no-untyped-call]
        return
    dashboard = False if address == "local" else None
    on_sigterm = signal.getsignal(signal.SIGTERM)  # ray.init installs a handler of its own
    try:
        with _without_lines("Set ray log level from environment variable"):
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=dashboard)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(f"Ray at '{address}' cannot be used: {error_line(error, limit=200)}") from error
    signal.signal(signal.SIGTERM, on_sigterm)
    try:
        grows = address != "local"
        yield workers_of(config, ray.cluster_resources(), grows=grows)  # type: ignore[no-untyped-call]
    finally:
        ray.shutdown()


@contextmanager
def session_with_networks(config: RunConfig) -> Iterator[tuple[int, Networks]]:
    """Hold a session as `ray_session`; yield also the networks of the members, which are loaded while Ray starts.

    Raises:
        BackboneError: as `load_networks`; if `--weights` is no folder, before Ray is started.
        UsageError: as `ray_session`.
    """
    look_for_weights(config)
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(Networks.load, config)
        with ray_session(config) as workers:
            yield workers, loading.result()


@contextmanager
def _without_lines(text: str) -> Iterator[None]:
    """Buffer standard error, also of C++, while the block runs; then write it without the lines that contain a text."""
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
