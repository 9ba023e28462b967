"""Tests of Ray tasks with a limited number in flight, and of actors that restart when their process dies."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import ray

from pipelines.runtime.tasks import TaskPool, actor_beside_driver, run_tasks
from tests.pipelines.runs import ray_here


@pytest.fixture(autouse=True)
def session() -> None:
    ray_here()


def halve(number: int) -> float:
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number / 2


def test_each_item_is_returned_with_its_result_or_its_error() -> None:
    pool = TaskPool(name="half", at_once=2, options={"num_cpus": 0.5})
    results = dict(run_tasks(halve, [2, 3, 8], lambda number: (number,), pool))
    assert (results[2], results[8]) == (1.0, 4.0)
    assert isinstance(results[3], ray.exceptions.RayTaskError)


def test_the_number_of_tasks_in_flight_is_limited() -> None:
    started: list[int] = []

    def arguments(number: int) -> tuple[int]:
        started.append(number)
        return (number,)

    stream = run_tasks(halve, [2, 4, 6, 8], arguments, TaskPool(name="half", at_once=1, options={"num_cpus": 0.5}))
    for finished, _ in enumerate(stream, start=1):
        assert len(started) == finished


def wait(seconds: float) -> None:
    time.sleep(seconds)


def process_title(number: int) -> str:
    return Path("/proc/self/cmdline").read_bytes().decode()


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="the test reads the process title from /proc")
def test_the_process_title_is_the_name_of_the_task() -> None:
    pool = TaskPool(name="select", at_once=1, options={"num_cpus": 0.5})
    ((_, title),) = run_tasks(process_title, [0], lambda number: (number,), pool)
    assert title.startswith("ray::select")


def test_on_wait_is_called_while_tasks_run() -> None:
    waited: list[float] = []
    pool = TaskPool(name="half", at_once=1, options={"num_cpus": 0.5}, on_wait=lambda: waited.append(time.monotonic()))
    assert [result for _, result in run_tasks(wait, [2.5], lambda seconds: (seconds,), pool)] == [None]
    assert waited


class Process:
    """An actor that returns the id of its process."""

    def pid(self) -> int:
        return os.getpid()


def test_an_actor_restarts_when_its_process_dies() -> None:
    actor = actor_beside_driver(Process)
    first = ray.get(actor.pid.remote())
    os.kill(first, 9)
    assert ray.get(actor.pid.remote(), timeout=60) != first
    ray.kill(actor)
