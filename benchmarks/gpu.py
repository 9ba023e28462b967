"""What a GPU does of the work that units do there, against all the CPUs beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch

from benchmarks.compare import Row, faster, medians
from benchmarks.nights import drawn_backbone
from pipelines.config import ENSEMBLE_BACKBONES, Member, resolve_members
from pipelines.usage import UsageError
from reconpatch.adapter import train_adapter
from reconpatch.coreset import farthest_first
from reconpatch.patches import extract_features
from reconpatch.schedule import AdapterConfig
from reconpatch.scoring import MemoryBank

_SIZE, _IMAGES, _CELLS = 480, 16, 3600
_STEPS = 60
_ROWS, _WIDTH, _GROUPS = 300_000, 512, 200
_GPU = "cuda"


def run(threads: int) -> Iterator[Row]:
    """The paper's ensemble at 480 px, and what follows its features, of sizes that a CPU does in seconds.

    Raises:
        UsageError: there is no GPU.
    """
    if not torch.cuda.is_available():
        raise UsageError("gpu: torch finds no GPU here; run it where there is one.")
    name = f"{torch.cuda.get_device_name()} against {threads} threads"
    for member in resolve_members("ensemble", ENSEMBLE_BACKBONES, _SIZE, {}):
        yield from _extraction(member, name)
    random = np.random.default_rng(0)
    centres = 3.0 * random.standard_normal((_GROUPS, _WIDTH), np.float32)
    features = centres[random.integers(0, _GROUPS, _ROWS)]
    features += random.standard_normal((_ROWS, 32), np.float32) @ random.standard_normal((32, _WIDTH), np.float32)
    features += 0.1 * random.standard_normal(features.shape, np.float32)
    config = AdapterConfig(dim=_WIDTH, epochs=1000, max_steps=_STEPS, lr=1e-4)
    sizes = f"N {config.batch_size}, C' {_WIDTH}, D {_WIDTH}; {name}"
    yield _row("training", f"{_STEPS} steps", sizes, lambda device: train_adapter(features, config, device=device))
    sizes = f"n {_ROWS:,}, D {_WIDTH}, 1 %; {name}"
    yield _row("selection", "the coreset", sizes, lambda device: farthest_first(features, 0.01, device=device))
    banks = {device: MemoryBank(features[:6_000], device=device) for device in (_GPU, "cpu")}
    queries = features[-_IMAGES * _CELLS :]
    sizes = f"n {len(queries):,}, |M| 6,000, D {_WIDTH}; {name}"
    yield _row("scores", f"{_IMAGES} images, eqs. 9 and 10", sizes, lambda device: banks[device].query(queries))


def _extraction(member: Member, name: str) -> Iterator[Row]:
    batch = np.random.default_rng(0).random((_IMAGES, 3, _SIZE, _SIZE), np.float32)
    networks = {device: drawn_backbone(member, _SIZE, device) for device in (_GPU, "cpu")}

    def work(device: str) -> None:
        extract_features(networks[device], batch, member.patch_size, member.aggregation)

    sizes = f"{member.backbone}, {_SIZE} px, {_IMAGES} images; {name}"
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    yield _row("extraction", "patch features", sizes, work)
    taken = torch.cuda.max_memory_reserved() / 2**30
    yield Row("extraction", "memory at most, CUDA's own aside", sizes, taken, unit="GiB")


def _row(name: str, what: str, sizes: str, work: Callable[[str], object]) -> Row:
    ways = {device: partial(work, device) for device in (_GPU, "cpu")}
    medians(ways, rounds=1)  # the first time loads what computes it
    seconds = medians(ways, rounds=3)
    return faster(name, what, sizes, seconds[_GPU], seconds["cpu"], "the CPUs")
