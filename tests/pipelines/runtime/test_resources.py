"""Tests of the measurement and the limits of the resources of a task."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.runtime.resources import Usage, gives_gpu_back, measured, threads_set, use_threads

MEGABYTE = 1 << 20


def test_time_and_peak_memory_are_measured_even_if_the_block_fails() -> None:
    usages: list[Usage] = []

    def fail() -> None:
        with measured() as usage:
            usages.append(usage)
            time.sleep(0.05)
            raise RuntimeError("broke")

    with pytest.raises(RuntimeError, match="broke"):
        fail()
    assert 0.05 <= usages[0].seconds < 5
    assert usages[0].peak_bytes > 10 * MEGABYTE


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux can reset the peak")
def test_the_peak_of_an_earlier_block_does_not_count() -> None:
    with measured() as large:
        np.ones(400 * MEGABYTE, np.uint8)
    with measured() as small:
        pass
    assert large.peak_bytes - small.peak_bytes > 300 * MEGABYTE


def test_threads_are_set_for_a_block_or_permanently() -> None:
    before = torch.get_num_threads()
    with threads_set(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    use_threads(before)
    assert torch.get_num_threads() == before


def test_a_task_frees_gpu_memory_on_success_and_on_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    freed: list[bool] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: freed.append(True))

    @gives_gpu_back
    def divide(dividend: int, *, by: int) -> float:
        return dividend / by

    assert divide(6, by=3) == 2.0
    with pytest.raises(ZeroDivisionError) as raised:
        divide(6, by=0)
    assert len(freed) == 2
    innermost = raised.tb
    while innermost.tb_next is not None:
        innermost = innermost.tb_next
    assert "dividend" not in innermost.tb_frame.f_locals  # the frames keep no tensors alive
