"""Ray tasks, one an item, a bounded number of them in flight; and the actors that run beside the driver."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

RETRIES = 3  # of a task, or a training, whose process has died
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class TaskPool:
    """How Ray tasks are run.

    Attributes:
        name: of the tasks: what their processes and Ray's dashboard call them.
        at_once: how many are in flight.
        options: of Ray's `remote`: `num_cpus`, `num_gpus`.
        on_wait: called about once a second while none has finished.
    """

    name: str
    at_once: int
    options: Mapping[str, float]
    on_wait: Callable[[], None] = lambda: None


def run_tasks(
    function: Callable[..., Any], items: Sequence[_T], arguments: Callable[[_T], tuple[Any, ...]], pool: TaskPool
) -> Iterator[tuple[_T, Any]]:
    """Run a Ray task an item; yields (item, answer or exception) in the order of finishing.

    Args:
        function: what a task calls.
        items: one a task.
        arguments: of the function, from an item; asked for when the item's turn has come.
        pool: how many run at once, with what.
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
    """Return options of Ray's `remote` for what does the driver's accounting.

    It takes no CPU and runs on the driver's node, since a lost node takes all that is on it along.
    """
    node = ray.get_runtime_context().get_node_id()
    return {"num_cpus": 0, "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}


def actor_beside_driver(kind: Callable[..., Any], *arguments: Any) -> Any:
    """Start an actor beside the driver.

    If its process dies, it starts again with the same arguments, and calls that were not answered are repeated.

    Args:
        kind: the actor's class.
        arguments: of its constructor.
    """
    actor: Any = ray.remote(kind)
    return actor.options(**beside_driver(), max_restarts=-1, max_task_retries=-1).remote(*arguments)
