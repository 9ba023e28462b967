"""Clusters of several nodes on this machine: the same scores on any of them, and a node that is lost in any stage."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipelines.storage import Store
from tests.faults.places import STAGES, Place, finish, outcome_of, place_in
from tests.object_stores import copy_into, options_of
from tests.pipelines.processes import wait_for_process

RESERVED_FOR = 180  # seconds, in which Ray keeps what a training had that has vanished without a word

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds Ray's processes in /proc")]


@contextmanager
def cluster_of(nodes: int) -> Iterator[Any]:
    """A head that does no unit of work, and nodes of one CPU each."""
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
def lake(calm: Place, object_store: tuple[str, int], request: pytest.FixtureRequest) -> tuple[str, str]:
    """Everything in an object store, so that no node has anything of its own: where, and the URIs' options."""
    options = options_of(*object_store)
    root = f"s3://lake/{request.node.name.replace('[', '/').replace(']', '')}"
    copy_into(calm.data, f"{root}/data?{options}")
    return root, options


@pytest.mark.fault("1, 2 and 3 nodes without a shared disk", stages=tuple(STAGES))
@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_scores_are_the_same_on_any_number_of_nodes(calm: Place, lake: tuple[str, str], nodes: int) -> None:
    with cluster_of(nodes) as cluster:
        place = place_in(*lake, "--address", cluster.address)
        finish(place)
    assert outcome_of(Store.of(place.out)) == calm.outcome()


@pytest.mark.fault("SIGINT, on a cluster that lives on", stages=("fit",))
def test_an_interrupted_training_gives_its_workers_back(calm: Place, struck: Place) -> None:
    with cluster_of(1) as cluster:
        place = Place(struck.data, struck.out, ("--address", cluster.address))
        running = place.start()
        wait_for_process(running, STAGES["fit"], among=os.getpid())
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=60)
        assert (running.returncode, errors.splitlines()[-1]) == (130, "interrupted")
        since = time.monotonic()
        finish(place)
        assert time.monotonic() - since < RESERVED_FOR
    assert place.outcome() == calm.outcome()


@pytest.mark.fault("loss of a node, of two and of three", stages=tuple(STAGES))
@pytest.mark.parametrize("nodes", [2, 3])
def test_what_a_lost_node_had_in_hand_is_done_elsewhere(calm: Place, lake: tuple[str, str], nodes: int) -> None:
    """A node is lost in every stage, and another comes in its place."""
    with cluster_of(nodes) as cluster:
        place = place_in(*lake, "--address", cluster.address)
        running = place.start()
        for stage in STAGES:
            if running.poll() is not None:  # a category has lost too much, and says so
                assert running.returncode == 1, running.communicate()
                running = place.start()
            victim = wait_for_process(running, STAGES[stage], among=os.getpid())
            cluster.remove_node(node_of(cluster, victim), allow_graceful=False)
            cluster.add_node(num_cpus=1)
        output, errors = running.communicate(timeout=420)
        assert running.returncode in (0, 1), output + errors
        assert "Traceback" not in errors
        if running.returncode:
            finish(place)
    assert outcome_of(Store.of(place.out)) == calm.outcome()


def node_of(cluster: Any, pid: int) -> Any:
    """The node whose raylet started a process."""
    parent = int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    for node in cluster.worker_nodes:
        for processes in node.all_processes.values():
            if any(each.process.pid == parent for each in processes):
                return node
    raise AssertionError(f"no node has started the process {pid}")
