"""How many units run at once, and how many threads a unit gets where there are more workers than units."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import ray

from pipelines.config import RunConfig
from pipelines.session import cpus_of_unit, session_with_networks, threads_for, workers_of
from pipelines.stages import Stages
from pipelines.usage import UsageError
from reconpatch.backbones import BackboneError
from tests.pipelines.runs import MEMBER, SIZE

CONFIG = RunConfig("ensemble", "data", "out", (MEMBER,), SIZE)


@pytest.mark.parametrize(
    ("cpus", "per_unit", "workers", "units", "threads"),
    [
        ([2], 1, 2, 1, 2),  # one unit on a laptop: both CPUs
        ([8], 1, 8, 3, 2),
        ([8], 1, 8, 20, 1),
        ([8], 2, 4, 1, 8),
        ([4, 4, 4], 1, 12, 1, 4),  # a task lives on one node
        ([4, 3], 2, 3, 1, 4),
    ],
)
def test_few_units_share_the_workers_of_a_node(
    monkeypatch: pytest.MonkeyPatch, cpus: list[int], per_unit: int, workers: int, units: int, threads: int
) -> None:
    gone = {"Alive": False, "Resources": {"CPU": 64}}
    nodes = [gone, *({"Alive": True, "Resources": {"CPU": float(count)}} for count in cpus)]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    assert threads_for(replace(CONFIG, threads_per_unit=per_unit), workers, units) == threads


@pytest.mark.parametrize(
    ("options", "resources", "grows", "workers"),
    [
        ({}, {"CPU": 8.0}, False, 8),
        ({"threads_per_unit": 3}, {"CPU": 8.0}, False, 2),
        ({"workers": 3}, {"CPU": 8.0}, False, 3),
        ({"workers": 30}, {"CPU": 8.0}, False, 8),
        ({"workers": 30}, {"CPU": 8.0}, True, 30),
        ({"workers": 30}, {}, True, 30),
        ({"gpus_per_actor": 1.0}, {"CPU": 64.0, "GPU": 4.0}, False, 4),  # more would wait for GPUs that never come
        ({"gpus_per_actor": 0.5}, {"CPU": 6.0, "GPU": 4.0}, False, 6),
    ],
)
def test_as_many_units_run_as_there_are_cpus_and_gpus_for(
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
        ({"gpus_per_actor": 1.0}, [{"CPU": 64.0}, {"CPU": 8.0, "GPU": 1.0}], 8),  # another node's are not beside it
        ({"gpus_per_actor": 1.0}, [{"CPU": 64.0}], 1),  # none is there yet
        ({"gpus_per_actor": 1.0}, [{"CPU": 2.0, "GPU": 4.0}], 1),
        ({"gpus_per_actor": 1.0, "threads_per_unit": 4}, [{"CPU": 4.0, "GPU": 2.0}], 4),
    ],
)
def test_a_unit_on_a_gpu_has_the_cpus_that_fall_to_it(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, float], nodes: list[dict[str, float]], cpus: int
) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": node} for node in nodes])
    assert cpus_of_unit(replace(CONFIG, **options)) == cpus  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("gpus", "on_device", "alone", "expected"),
    [
        (0.0, True, False, ({"num_cpus": 2}, 4)),
        (0.0, False, False, ({"num_cpus": 2}, 4)),
        (1.0, True, False, ({"num_cpus": 2, "num_gpus": 1.0}, 4)),
        (1.0, False, False, ({"num_cpus": 2}, 16)),
        (1.0, False, True, ({"num_cpus": 2}, 1)),
    ],
)
def test_tasks_that_need_no_gpu_hold_none_and_wait_for_none(
    stages: Stages,
    monkeypatch: pytest.MonkeyPatch,
    gpus: float,
    on_device: bool,
    alone: bool,
    expected: tuple[dict[str, float], int],
) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 32.0, "GPU": 4.0}}])
    monkeypatch.setattr("pipelines.stages.run_tasks", lambda *given: iter([(given[4], given[3])]))
    some = replace(stages, config=replace(stages.config, gpus_per_actor=gpus, threads_per_unit=2))
    assert list(some.tasks(len, [], tuple, on_device=on_device, alone=alone)) == [expected]


@pytest.mark.parametrize("options", [{"threads_per_unit": 9}, {"gpus_per_actor": 1.0}])
def test_a_cluster_without_room_for_a_unit_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="has 8 CPUs and 0 GPUs, and a unit wants"):
        workers_of(replace(CONFIG, **options), {"CPU": 8.0}, grows=True)  # type: ignore[arg-type]


def test_a_weights_folder_that_is_none_is_said_before_ray_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.session.ray_session", lambda config: pytest.fail("Ray was started"))
    config = replace(CONFIG, weights=str(tmp_path / "nowhere"))
    with pytest.raises(BackboneError, match="nowhere is no folder"), session_with_networks(config):
        pass
