"""What a night takes at any size, from what small nights take on this machine; and whether that can be believed.

Each stage of a night takes a start and a cost a unit of its own work (an image, a training step, a product). Both are
fitted to a few small nights; a night at least four times as large is predicted and then run. With the costs, seconds
and bytes of 10 to 100,000 categories are sums.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from benchmarks.inputs import folder_of
from benchmarks.processes import run

_BACKBONE = "tf_efficientnet_lite0"
_CELLS, _CHANNELS = 28 * 28, 152  # of this network at 224 px
_CORESET, _BATCH, _COPY, _HOLDOUT = 0.02, 512, 2, 0.2
_STAGES = ("index", "extract", "fit", "select", "score", "fuse", "judge", "driver")
_SIZES = (  # categories, images a day
    (10, 10**4),
    (100, 10**4),
    (100, 10**5),
    (1_000, 10**5),
    (1_000, 10**6),
    (10_000, 10**6),
    (10_000, 10**7),
    (100_000, 10**7),
    (100_000, 10**8),
)
_NIGHTS_HOURS = 8.0
_NODE_CORES, _NODE_SCRATCH = 32, 1.0e12


@dataclass(frozen=True)
class Night:
    """A night's size.

    Attributes:
        categories: how many there are.
        learned: how many of them are learned.
        good, today: images of a category, to learn from and to be judged.
    """

    categories: int
    learned: int
    good: int
    today: int

    @property
    def images(self) -> int:
        return self.learned * self.good + self.categories * self.today


# The first are fitted, the last is predicted.
SMALL = (Night(2, 2, 30, 20), Night(2, 2, 80, 20), Night(6, 6, 30, 20), Night(3, 3, 30, 80))
LARGE = Night(12, 12, 90, 60)


@dataclass(frozen=True)
class Costs:
    """What was measured.

    Attributes:
        start: seconds of each stage, however little there is to do.
        work: core-seconds of each stage a unit of its work (`works`).
        cores: of the machine.
        bank_bytes, score_bytes: of a bank entry, and of a judged image's row.
    """

    start: dict[str, float]
    work: dict[str, float]
    cores: int
    bank_bytes: float
    score_bytes: float


def works(night: Night) -> dict[str, float]:
    """How much there is to do for each stage: images, steps, or multiplications and additions in billions."""
    fitted = (1.0 - _HOLDOUT) * night.good
    patches = fitted * _CELLS
    entries = max(1.0, _CORESET * patches)
    product = 2e-9 * entries * _CHANNELS * _CELLS
    asked = 2 * _HOLDOUT * night.good * night.learned
    learned, judged = night.learned * night.good, night.categories * night.today
    return {
        "index": learned + judged,
        "extract": learned + asked / 2 + judged,
        "fit": night.learned * np.ceil(patches / _BATCH),
        "select": night.learned * 2e-9 * patches * entries * _CHANNELS,
        "score": night.learned * night.good * product,
        "fuse": learned,
        "judge": (asked + judged) * product,
        "driver": night.categories,
    }


def seconds(costs: Costs, night: Night, cores: int, waves: int = 1) -> dict[str, float]:
    """Wall seconds of each stage on `cores` cores; the driver is one process, whatever there is."""
    found = {}
    for stage, amount in works(night).items():
        share = 1 if stage == "driver" else cores
        found[stage] = waves * costs.start[stage] + costs.work[stage] * amount / share
    return found


def measure(threads: int) -> tuple[Costs, dict[str, float], dict[str, float]]:
    """Run the small nights, fit the costs, and run the large one: costs, seconds predicted, and seconds it took."""
    told = [_night(size) for size in SMALL]
    start, work = {}, {}
    for stage in _STAGES:
        amounts = np.array([works(size)[stage] for size in SMALL])
        scale = amounts.mean() / (1 if stage == "driver" else threads)
        design = np.stack([np.ones(len(SMALL)), amounts / amounts.mean()], axis=1)
        taken = np.array([each["seconds"][stage] for each in told])
        (start[stage], slope), _ = nnls(design / np.maximum(taken, 0.05)[:, None], np.ones(len(SMALL)))
        work[stage] = slope / scale
    costs = Costs(start, work, threads, told[-1]["bank_bytes"], told[-1]["score_bytes"])
    return costs, seconds(costs, LARGE, threads), _night(LARGE)["seconds"]


def _night(size: Night) -> dict[str, Any]:
    """Seconds of a first night's stages, and bytes of what it left."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = folder_of(root / "data", size.categories, size.good, size.today)
        place = ["--data", str(data), "--registry", str(root / "registry"), "--scores", str(root / "scores")]
        network = ["--image-size", "224", "--backbone", _BACKBONE]
        run([sys.executable, "-m", "pipelines.cli", "nightly", *place, *network])
        (told,) = (json.loads(path.read_text()) for path in root.glob("scores/*/run.json"))
        stages = {name: each["seconds"] for name, each in told["stages"].items()}
        taken = {**{name: stages.get(name, 0.0) for name in _STAGES[:-1]}}
        taken["driver"] = told["seconds"] - sum(taken.values())
        banks = [path.stat().st_size for path in root.glob("registry/*/*/*/memory_bank.safetensors")]
        entries = _CORESET * (1.0 - _HOLDOUT) * size.good * _CELLS
        scores = sum(path.stat().st_size for path in root.glob("scores/*/scores/fused/*/*.parquet"))
    judged = size.categories * size.today
    return {"seconds": taken, "bank_bytes": np.mean(banks) / entries, "score_bytes": scores / judged}


def check(predicted: Mapping[str, float], taken: Mapping[str, float]) -> tuple[list[str], list[list[str]]]:
    """A table: the large night's stages as predicted, and as they were."""
    lines = [[stage, f"{predicted[stage]:.1f}", f"{taken[stage]:.1f}"] for stage in _STAGES]
    both = sum(predicted.values()), sum(taken.values())
    lines.append(["all", f"{both[0]:.1f}", f"{both[1]:.1f}"])
    largest = max(size.images for size in SMALL)
    return [
        f"{LARGE.images:,} images, {LARGE.images / largest:.1f} × the largest fitted",
        "predicted, s",
        "took, s",
    ], lines


def tell(costs: Costs, members: int = 3, good: int = 200, changed: float = 0.05) -> tuple[list[str], list[list[str]]]:
    """A table of nights from 10 to 100,000 categories and 10^4 to 10^8 images a day.

    Args:
        members: networks of the ensemble, each like the one measured.
        good: images that a category learns from.
        changed: share of the categories that are learned in a night.
    """
    lines = []
    for categories, images in _SIZES:
        night = Night(categories, max(1, round(changed * categories)), good, -(-images // categories))
        core_seconds = sum(
            costs.work[stage] * amount * members for stage, amount in works(night).items() if stage != "driver"
        )
        scratch = night.images * _CELLS * _CHANNELS * 2 * _COPY * members
        nodes = max(1, int(np.ceil(core_seconds / 3600 / _NIGHTS_HOURS / _NODE_CORES)))
        waves = max(1, int(np.ceil(scratch / (_NODE_SCRATCH * nodes))))
        taken = seconds(costs, night, nodes * _NODE_CORES // members or 1, waves)
        hours = sum(taken.values()) / 3600
        entries = _CORESET * (1.0 - _HOLDOUT) * good * _CELLS
        lines.append(
            [
                f"{categories:,}",
                f"{images:,}",
                f"{core_seconds / 3600:,.1f}",
                f"{nodes:,}",
                f"{hours:,.1f}",
                f"{scratch / 1e9:,.0f}",
                f"{waves:,}",
                f"{categories * entries * costs.bank_bytes * members * 5 / 1e9:,.0f}",
                f"{images * costs.score_bytes / 1e9:,.2f}",
                max(taken, key=lambda stage: taken[stage]),
            ]
        )
    header = ["categories", "images a day", "core-hours", "nodes", "hours", "features, GB", "waves", "models, GB"]
    return [*header, "scores a day, GB", "longest stage"], lines


def save(costs: Costs, path: Path) -> None:
    path.write_text(json.dumps(asdict(costs), indent=2) + "\n")


def load(path: Path) -> Costs:
    return Costs(**json.loads(path.read_text()))


def tables(
    costs: Costs | None, threads: int, keep: Path | None
) -> Iterator[tuple[Sequence[str], Sequence[Sequence[str]]]]:
    """What is printed: the check where the costs are measured now, and the sizes."""
    if costs is None:
        costs, predicted, taken = measure(threads)
        if keep is not None:
            save(costs, keep)
        yield check(predicted, taken)
    yield (
        ["stage", "start, s", "core-seconds a unit of work"],
        [[stage, f"{costs.start[stage]:.2f}", f"{costs.work[stage]:.2e}"] for stage in _STAGES],
    )
    yield tell(costs)
