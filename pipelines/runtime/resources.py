"""What a task may use (threads, memory), and what it took: wall time and the peak of its process's resident memory."""

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

# Environment of a process that keeps freed memory for its next batch. The feature maps of a batch are tens of megabytes
# each. By default glibc requests such blocks from the kernel one by one and returns them at once, and the kernel zeroes
# every page each time: half of a small network's time and more. Allocators of other systems ignore these variables.
KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str((1 << 31) - 1),
    "MALLOC_ARENA_MAX": "1",  # actors' methods run in threads, whose own arenas are split into small heaps
}


@dataclass
class Usage:
    """What a block took; set when the `measured` block ends.

    Attributes:
        seconds: wall time.
        peak_bytes: highest resident size of the process.
    """

    seconds: float = 0.0
    peak_bytes: int = 0


@contextmanager
def measured() -> Iterator[Usage]:
    """Measure the block: its wall time and the highest resident size of this process while it runs.

    Ray reuses worker processes, so the kernel's high-water mark is reset first. Where that is impossible (no Linux
    /proc), the mark since the start of the process is taken. Memory-mapped features count while they are resident.
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
    """Decorate a task so that it frees the GPU memory of its process, which Ray reuses, but for CUDA's context.

    The alternative, to end the process after each task, takes longer than most tasks: a new one has to start.
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
    """Set the number of torch's threads: a reused Ray worker keeps the OMP_NUM_THREADS that it was started with."""
    torch.set_num_threads(count)


@contextmanager
def threads_set(count: int) -> Iterator[None]:
    """Set the number of torch's threads while the block runs."""
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
