"""Ray tasks, an item each, a bounded number of them in flight."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

RETRIES = 3  # of a task, or a training, whose process has died


def run_tasks(
    function: Callable[..., Any],
    items: Sequence[Any],
    arguments: Callable[[Any], tuple[Any, ...]],
    at_once: int,
    options: Mapping[str, Any],
    on_wait: Callable[[], None] = lambda: None,
) -> Iterator[tuple[Any, Any]]:
    """Yields (item, answer or exception), in the order of finishing.

    Args:
        arguments: of the function, from an item; asked for when the item's turn has come.
        at_once: how many tasks are in flight.
        options: of Ray's `remote`.
        on_wait: called while none has finished, now and then.
    """
    remote: Any = ray.remote(function).options(**options, max_retries=RETRIES)
    waiting = list(reversed(items))
    running: dict[Any, Any] = {}
    while waiting or running:
        while waiting and len(running) < at_once:
            item = waiting.pop()
            running[remote.remote(*arguments(item))] = item
        ready, _ = ray.wait(list(running), timeout=1.0)
        if not ready:
            on_wait()
            continue
        item = running.pop(ready[0])
        try:
            yield item, ray.get(ready[0])
        except ray.exceptions.RayError as error:
            yield item, error


def beside_driver() -> dict[str, Any]:
    """Options of Ray's `remote` for what keeps the driver's accounts: no CPU, and on its node, since a lost node takes
    all that is on it along."""
    node = ray.get_runtime_context().get_node_id()
    return {"num_cpus": 0, "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}


def accounts(kind: Callable[..., Any], *arguments: Any) -> Any:
    """An actor that keeps the driver's accounts, beside it.

    Its process may die: it begins anew with the same arguments, and what was asked of it and not answered is asked
    again.
    """
    actor: Any = ray.remote(kind)
    return actor.options(**beside_driver(), max_restarts=-1, max_task_retries=-1).remote(*arguments)


def cause_of(error: Exception) -> Exception:
    """What a task raised, out of what Ray has wrapped it in; any other error as it is."""
    cause: Exception = getattr(error, "cause", None) or error
    return cause


def sentence_of(error: Exception) -> str:
    """What went wrong in a task, in one line."""
    cause = cause_of(error)
    return f"{type(cause).__name__}: {' '.join(str(cause).split())}"[:500]
