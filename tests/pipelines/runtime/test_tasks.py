"""Ray tasks in a bounded number, and actors beside the driver that survive their process."""

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


def test_an_item_comes_back_with_its_answer_or_its_error() -> None:
    pool = TaskPool(name="half", at_once=2, options={"num_cpus": 0.5})
    answers = dict(run_tasks(halve, [2, 3, 8], lambda number: (number,), pool))
    assert (answers[2], answers[8]) == (1.0, 4.0)
    assert isinstance(answers[3], ray.exceptions.RayTaskError)


def test_no_more_tasks_than_allowed_are_in_flight() -> None:
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


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="reads the process's title in /proc")
def test_a_process_is_called_by_the_task_it_does() -> None:
    pool = TaskPool(name="select", at_once=1, options={"num_cpus": 0.5})
    ((_, title),) = run_tasks(process_title, [0], lambda number: (number,), pool)
    assert title.startswith("ray::select")


def test_who_waits_is_called_meanwhile() -> None:
    waited: list[float] = []
    pool = TaskPool(name="half", at_once=1, options={"num_cpus": 0.5}, on_wait=lambda: waited.append(time.monotonic()))
    assert [answer for _, answer in run_tasks(wait, [2.5], lambda seconds: (seconds,), pool)] == [None]
    assert waited


class Process:
    """An actor that knows its process."""

    def pid(self) -> int:
        return os.getpid()


def test_an_actor_starts_again_when_its_process_dies() -> None:
    actor = actor_beside_driver(Process)
    first = ray.get(actor.pid.remote())
    os.kill(first, 9)
    assert ray.get(actor.pid.remote(), timeout=60) != first
    ray.kill(actor)
