"""Compare the work of jobs on a GPU with the same work on all CPUs of the machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch

from benchmarks.compare import Case, Row, faster, medians
from benchmarks.nightly.measure import untrained_backbone
from pipelines.config.member import Member
from pipelines.config.presets import ENSEMBLE_BACKBONES, resolve_members
from pipelines.errors import UsageError
from reconpatch.adapter.schedule import AdapterConfig
from reconpatch.adapter.training import train_adapter
from reconpatch.features.patches import extract_features
from reconpatch.neighbors.coreset import farthest_first
from reconpatch.neighbors.memory_bank import MemoryBank

_SIZE, _IMAGES, _CELLS = 480, 16, 3600
_STEPS = 60
_ROWS, _WIDTH, _GROUPS = 300_000, 512, 200
_GPU = "cuda"


def run(threads: int) -> Iterator[Row]:
    """Yield rows for the paper's ensemble at 480 px, and for the later stages at sizes that take a CPU seconds.

    Args:
        threads: Number of torch threads, for the rows; the caller sets it in torch.

    Raises:
        UsageError: torch finds no GPU.
    """
    if not torch.cuda.is_available():
        raise UsageError("gpu: torch finds no GPU. Run this benchmark on a machine with a GPU.")
    name = f"{torch.cuda.get_device_name()}, {threads} CPU threads"
    for member in resolve_members("ensemble", ENSEMBLE_BACKBONES, _SIZE, {}):
        yield from _extraction(member, name)
    random = np.random.default_rng(0)
    centers = 3.0 * random.standard_normal((_GROUPS, _WIDTH), np.float32)
    features = centers[random.integers(0, _GROUPS, _ROWS)]
    features += random.standard_normal((_ROWS, 32), np.float32) @ random.standard_normal((32, _WIDTH), np.float32)
    features += 0.1 * random.standard_normal(features.shape, np.float32)
    config = AdapterConfig(dim=_WIDTH, epochs=1000, max_steps=_STEPS, lr=1e-4)
    sizes = f"N {config.batch_size}, C' {_WIDTH}, D {_WIDTH}; {name}"
    case = Case("training", f"{_STEPS} steps", sizes)
    yield _row(case, lambda device: train_adapter(features, config, device=device))
    sizes = f"n {_ROWS:,}, D {_WIDTH}, 1 %; {name}"
    case = Case("selection", "the coreset", sizes)
    yield _row(case, lambda device: farthest_first(features, 0.01, device=device))
    banks = {device: MemoryBank(features[:6_000], device=device) for device in (_GPU, "cpu")}
    queries = features[-_IMAGES * _CELLS :]
    sizes = f"n {len(queries):,}, |M| 6,000, D {_WIDTH}; {name}"
    case = Case("scores", f"{_IMAGES} images, eqs. 9 and 10", sizes)
    yield _row(case, lambda device: banks[device].query(queries))


def _extraction(member: Member, name: str) -> Iterator[Row]:
    batch = np.random.default_rng(0).random((_IMAGES, 3, _SIZE, _SIZE), np.float32)
    networks = {device: untrained_backbone(member, _SIZE, device) for device in (_GPU, "cpu")}

    def work(device: str) -> None:
        extract_features(networks[device], batch, member.patch_size, member.aggregation)

    sizes = f"{member.backbone}, {_SIZE} px, {_IMAGES} images; {name}"
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    yield _row(Case("extraction", "patch features", sizes), work)
    reserved = torch.cuda.max_memory_reserved() / 2**30
    yield Row(Case("extraction", "peak memory, without CUDA's own", sizes), reserved, unit="GiB")


def _row(case: Case, work: Callable[[str], object]) -> Row:
    ways = {device: partial(work, device) for device in (_GPU, "cpu")}
    medians(ways, rounds=1)  # The first call loads the kernels.
    seconds = medians(ways, rounds=3)
    return faster(case, seconds[_GPU], seconds["cpu"], rival="all CPUs")
