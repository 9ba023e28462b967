"""Tests of the number of jobs that run at the same time, and of the threads and CPUs of a job."""

from __future__ import annotations

from dataclasses import replace

import pytest
import ray

from pipelines.config.run_config import RunConfig
from pipelines.errors import UsageError
from pipelines.runtime.capacity import cpus_per_job, threads_for, workers_of
from tests.pipelines.runs import MEMBER, SIZE

CONFIG = RunConfig(command="ensemble", data="data", out="out", members=(MEMBER,), image_size=SIZE)


@pytest.mark.parametrize(
    ("cpus", "given", "threads"),  # given: (threads per unit, workers, jobs)
    [
        ([2], (1, 2, 1), 2),  # one job on a laptop uses both CPUs
        ([8], (1, 8, 3), 2),
        ([8], (1, 8, 20), 1),
        ([8], (2, 4, 1), 8),
        ([4, 4, 4], (1, 12, 1), 4),  # a job runs on one node
        ([4, 3], (2, 3, 1), 4),
    ],
)
def test_few_jobs_share_the_workers_of_a_node(
    monkeypatch: pytest.MonkeyPatch, cpus: list[int], given: tuple[int, int, int], threads: int
) -> None:
    per_unit, workers, jobs = given
    dead_node = {"Alive": False, "Resources": {"CPU": 64}}
    nodes = [dead_node, *({"Alive": True, "Resources": {"CPU": float(count)}} for count in cpus)]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    assert threads_for(replace(CONFIG, threads_per_unit=per_unit), workers, jobs) == threads


@pytest.mark.parametrize(
    ("options", "resources", "grows", "workers"),
    [
        ({}, {"CPU": 8.0}, False, 8),
        ({"threads_per_unit": 3}, {"CPU": 8.0}, False, 2),
        ({"workers": 3}, {"CPU": 8.0}, False, 3),
        ({"workers": 30}, {"CPU": 8.0}, False, 8),
        ({"workers": 30}, {"CPU": 8.0}, True, 30),
        ({"workers": 30}, {}, True, 30),
        ({"gpus_per_actor": 1.0}, {"CPU": 64.0, "GPU": 4.0}, False, 4),  # further jobs would wait for GPUs forever
        ({"gpus_per_actor": 0.5}, {"CPU": 6.0, "GPU": 4.0}, False, 6),
    ],
)
def test_the_number_of_jobs_fits_the_cpus_and_gpus(
    options: dict[str, float], resources: dict[str, float], grows: bool, workers: int
) -> None:
    assert workers_of(replace(CONFIG, **options), resources, grows=grows) == workers  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "nodes", "cpus"),
    [
        ({}, [{"CPU": 8.0, "GPU": 1.0}], 1),
        ({"threads_per_unit": 3}, [{"CPU": 8.0}], 3),
        ({"gpus_per_actor": 1.0}, [{"CPU": 16.0, "GPU": 1.0}], 16),
        ({"gpus_per_actor": 0.5}, [{"CPU": 8.0, "GPU": 1.0}] * 2, 4),
        (
            {"gpus_per_actor": 1.0},
            [{"CPU": 64.0}, {"CPU": 8.0, "GPU": 1.0}],
            8,
        ),  # CPUs of nodes without GPUs do not count
        ({"gpus_per_actor": 1.0}, [{"CPU": 64.0}], 1),  # the cluster has no GPU yet
        ({"gpus_per_actor": 1.0}, [{"CPU": 2.0, "GPU": 4.0}], 1),
        ({"gpus_per_actor": 1.0, "threads_per_unit": 4}, [{"CPU": 4.0, "GPU": 2.0}], 4),
    ],
)
def test_a_job_with_a_gpu_gets_its_share_of_the_cpus(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, float], nodes: list[dict[str, float]], cpus: int
) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": node} for node in nodes])
    assert cpus_per_job(replace(CONFIG, **options)) == cpus  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"threads_per_unit": 9}, {"gpus_per_actor": 1.0}])
def test_a_cluster_that_is_too_small_for_a_job_is_an_error(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="has 8 CPUs and 0 GPUs, but a job needs"):
        workers_of(replace(CONFIG, **options), {"CPU": 8.0}, grows=True)  # type: ignore[arg-type]
