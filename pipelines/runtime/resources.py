"""Limits of the resources of a task (threads, memory), and measurement of its wall time and peak memory."""

from __future__ import annotations

import resource
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

import torch

_P = ParamSpec("_P")
_R = TypeVar("_R")

# Environment of a process that keeps freed memory for its next batch. The feature maps of a batch take tens of
# megabytes each. By default, glibc requests each of these blocks from the kernel and returns it immediately, and the
# kernel zeroes all of its pages each time. For a small backbone, this takes half of the time or more. The allocators of
# other systems ignore these variables.
KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str((1 << 31) - 1),
    "MALLOC_ARENA_MAX": "1",  # methods of actors run in threads, whose own arenas are split into small heaps
}


@dataclass
class Usage:
    """The resources that a block of code used. The values are set when the block of `measured` ends.

    Attributes:
        seconds: Wall time in seconds.
        peak_bytes: Peak resident memory of the process, in bytes.
    """

    seconds: float = 0.0
    peak_bytes: int = 0


@contextmanager
def measured() -> Iterator[Usage]:
    """Measure the wall time of a block and the peak resident memory of this process while the block runs.

    Ray reuses worker processes, so the kernel's high-water mark is reset first. If this is not possible (outside
    Linux), the peak since the start of the process is used. Memory-mapped patch features count while they are resident.

    Yields:
        The usage, whose values are set when the block ends.
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
    """Decorate a task so that it frees the GPU memory of its process at its end, except for the CUDA context.

    Ray reuses the process for other tasks. Ending the process instead would cost more time than most tasks take,
    because a new process would have to start.

    Args:
        function: Function of the task.

    Returns:
        A function with the same parameters and the same result.
    """

    @wraps(function)
    def task(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            traceback.clear_frames(error.__traceback__)  # the frames hold tensors
            raise
        finally:
            torch.cuda.empty_cache()

    return task


def use_threads(count: int) -> None:
    """Set the number of threads of torch. A reused Ray worker still has the OMP_NUM_THREADS of its start.

    Args:
        count: Number of threads, at least 1.
    """
    torch.set_num_threads(count)


@contextmanager
def threads_set(count: int) -> Iterator[None]:
    """Set the number of threads of torch for a block, and restore it afterwards.

    Args:
        count: Number of threads, at least 1.
    """
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
