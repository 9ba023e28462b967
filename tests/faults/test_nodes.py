"""Clusters of several nodes on this machine: neither their number nor the loss of a node changes the results."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipelines.storage.store import Store
from tests.faults.commands import STAGES, EnsembleCommand, command_in_store, finish, outcome_of
from tests.object_stores import copy_into, options_of
from tests.pipelines.processes import wait_for_process

RESERVED_FOR = 180  # seconds during which Ray keeps the CPUs of a killed training reserved

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds Ray's processes in /proc")]


@contextmanager
def cluster_of(nodes: int) -> Iterator[Any]:
    """Start a Ray cluster, and shut it down at the end.

    Args:
        nodes: Number of nodes with one CPU each, in addition to a head that runs no jobs.

    Yields:
        The cluster, a `ray.cluster_utils.Cluster`.
    """
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        cluster.shutdown()


@pytest.fixture
def lake(
    undisturbed: EnsembleCommand, object_store: tuple[str, int], request: pytest.FixtureRequest
) -> tuple[str, str]:
    """Folder in an object store with a copy of the data, because the nodes share no disk: its URI, and URI options."""
    options = options_of(*object_store)
    root = f"s3://lake/{request.node.name.replace('[', '/').replace(']', '')}"
    copy_into(undisturbed.data, f"{root}/data?{options}")
    return root, options


@pytest.mark.fault("1, 2 and 3 nodes without a shared disk", stages=tuple(STAGES))
@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_scores_are_the_same_on_any_number_of_nodes(
    undisturbed: EnsembleCommand, lake: tuple[str, str], nodes: int
) -> None:
    with cluster_of(nodes) as cluster:
        command = command_in_store(*lake, "--address", cluster.address)
        finish(command)
    assert outcome_of(Store.of(command.out)) == undisturbed.outcome()


@pytest.mark.fault("driver interrupted (SIGINT), on a cluster that keeps running", stages=("fit",))
def test_an_interrupted_training_releases_its_workers(undisturbed: EnsembleCommand, disturbed: EnsembleCommand) -> None:
    with cluster_of(1) as cluster:
        command = EnsembleCommand(disturbed.data, disturbed.out, ("--address", cluster.address))
        running = command.start()
        wait_for_process(running, STAGES["fit"], among=os.getpid())
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=60)
        assert (running.returncode, errors.splitlines()[-1]) == (
            130,
            "interrupted; run the same command again to resume",
        )
        since = time.monotonic()
        finish(command)
        assert time.monotonic() - since < RESERVED_FOR
    assert command.outcome() == undisturbed.outcome()


@pytest.mark.fault("loss of a node, in clusters of 2 and 3 nodes", stages=tuple(STAGES))
@pytest.mark.parametrize("nodes", [2, 3])
def test_the_jobs_of_a_lost_node_run_on_another_one(
    undisturbed: EnsembleCommand, lake: tuple[str, str], nodes: int
) -> None:
    """In every stage, one node is removed and another one is added."""
    with cluster_of(nodes) as cluster:
        command = command_in_store(*lake, "--address", cluster.address)
        running = command.start()
        for stage in STAGES:
            if running.poll() is not None:  # A category has failed after the maximum number of attempts.
                assert running.returncode == 1, running.communicate()
                running = command.start()
            victim = wait_for_process(running, STAGES[stage], among=os.getpid())
            cluster.remove_node(node_of(cluster, victim), allow_graceful=False)
            cluster.add_node(num_cpus=1)
        output, errors = running.communicate(timeout=420)
        assert running.returncode in (0, 1), output + errors
        assert "Traceback" not in errors
        if running.returncode:
            finish(command)
    assert outcome_of(Store.of(command.out)) == undisturbed.outcome()


def node_of(cluster: Any, pid: int) -> Any:
    """Return the node of a cluster whose raylet started a process.

    Args:
        cluster: Cluster from `cluster_of`.
        pid: pid of the process.

    Raises:
        AssertionError: No node has started the process.
    """
    parent = int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    for node in cluster.worker_nodes:
        for processes in node.all_processes.values():
            if any(info.process.pid == parent for info in processes):
                return node
    raise AssertionError(f"No node has started process {pid}.")
