"""What a piece of work may use, and what it took: wall seconds and the peak of its process's resident memory."""

from __future__ import annotations

import resource
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch

_P = ParamSpec("_P")
_R = TypeVar("_R")

# The environment of a process that keeps the memory it frees for its next batch. A batch's maps are tens of megabytes
# each; glibc asks the kernel for such pieces one by one and gives them back at once, and the kernel zeroes every page
# each time: half of a small network's time and more. Other systems' allocators do not look at these.
KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str((1 << 31) - 1),
    "MALLOC_ARENA_MAX": "1",  # an actor's methods run in a thread, and threads' own arenas are cut into small heaps
}


@dataclass
class Usage:
    """Seconds and bytes; filled in when the `measured` block ends."""

    seconds: float = 0.0
    peak_bytes: int = 0


@dataclass(frozen=True)
class Done:
    """A finished task: what it was, what it took, and what it has to say."""

    name: tuple[str, ...]
    seconds: float
    peak_bytes: int
    detail: dict[str, Any]


@contextmanager
def measured() -> Iterator[Usage]:
    """Measure the block: its seconds and the highest resident size of this process while it ran.

    Ray reuses worker processes, so the kernel's high-water mark is reset first; where it cannot be (no Linux /proc),
    the mark of the process's whole life stands in its place. Memory-mapped features count while they are resident.
    """
    reset = _reset_high_water_mark()
    usage = Usage()
    start = time.perf_counter()
    try:
        yield usage
    finally:
        usage.seconds = time.perf_counter() - start
        usage.peak_bytes = _high_water_mark(reset)


def gives_gpu_back(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """A task whose process, which waits for the next, keeps nothing on a GPU that others share but CUDA's context.

    Ray would end a process after each such task; to start one takes longer than most of them.
    """

    @wraps(function)
    def task(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            traceback.clear_frames(error.__traceback__)  # which hold what did not fit
            raise
        finally:
            torch.cuda.empty_cache()

    return task


def use_threads(count: int) -> None:
    """Ray sets OMP_NUM_THREADS when a worker starts, and a reused worker keeps it: set torch's own count."""
    torch.set_num_threads(count)


@contextmanager
def threads_set(count: int) -> Iterator[None]:
    """Another number of threads for a block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _reset_high_water_mark() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _high_water_mark(reset: bool) -> int:
    if reset:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
