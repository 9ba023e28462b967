"""Ray tasks with a limited number in flight, and actors on the node of the driver."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

RETRIES = 3  # retries of a task, or of a training, whose process died
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class TaskPool:
    """The settings with which a group of Ray tasks runs.

    Attributes:
        name: Name of the tasks in process titles and in Ray's dashboard.
        at_once: Maximum number of tasks in flight, at least 1.
        options: Options of Ray's `remote`, such as `num_cpus` and `num_gpus`.
        on_wait: Function that is called about once per second while no task finishes.
    """

    name: str
    at_once: int
    options: Mapping[str, float]
    on_wait: Callable[[], None] = lambda: None


def run_tasks(
    function: Callable[..., Any], items: Sequence[_T], arguments: Callable[[_T], tuple[Any, ...]], pool: TaskPool
) -> Iterator[tuple[_T, Any]]:
    """Run one Ray task per item.

    Args:
        function: Function that the tasks call.
        items: Items, one per task.
        arguments: Function that returns the arguments of a task, given its item. It is called just before the task is
            submitted.
        pool: Settings of the tasks.

    Yields:
        Pairs (item, result or Ray's exception), in the order in which the tasks finish.
    """
    remote: Any = ray.remote(function).options(**pool.options, name=pool.name, max_retries=RETRIES)
    waiting = list(reversed(items))
    running: dict[Any, _T] = {}
    while waiting or running:
        while waiting and len(running) < pool.at_once:
            item = waiting.pop()
            running[remote.remote(*arguments(item))] = item
        ready, _ = ray.wait(list(running), timeout=1.0)
        if not ready:
            pool.on_wait()
            continue
        item = running.pop(ready[0])
        try:
            yield item, ray.get(ready[0])
        except ray.exceptions.RayError as error:
            yield item, error


def beside_driver() -> dict[str, Any]:
    """Return the options of Ray's `remote` for an actor or task that serves the driver.

    It reserves no CPU and runs on the node of the driver, so the loss of another node does not affect it.
    """
    node = ray.get_runtime_context().get_node_id()
    return {"num_cpus": 0, "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}


def actor_beside_driver(kind: Callable[..., Any], *arguments: Any) -> Any:
    """Start an actor on the node of the driver.

    If the process of the actor dies, Ray starts the actor again with the same arguments and repeats the calls that
    have not returned.

    Args:
        kind: Class of the actor.
        *arguments: Arguments of its constructor.

    Returns:
        The handle of the actor.
    """
    actor: Any = ray.remote(kind)
    return actor.options(**beside_driver(), max_restarts=-1, max_task_retries=-1).remote(*arguments)
