"""Fit the cost of each stage of a nightly run: a constant, a cost per category, and a cost per unit of its work.

The unit of work is an image, a training step or a product of matrices. The three costs are fitted to the seconds of a
few small nights. The fit minimizes relative errors, so that the largest night does not dominate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from pipelines.config.presets import RECIPES
from pipelines.errors import UsageError

STAGES = ("index", "extract", "fit", "select", "score", "fuse", "predict", "report", "driver")
_HOLDOUT, _BATCH = 0.2, 512
_SHORT = 0.05  # seconds below which the time of a stage is noise


@dataclass(frozen=True)
class NetworkCosts:
    """The sizes and costs of a network of the ensemble.

    Attributes:
        cells: patches per image.
        width: channels of a patch before the adapter.
        dim: D, channels of a patch after the adapter.
        coreset: share of the patches in the bank.
        epochs: epochs of the adapter's training, limited by the maximum number of steps.
        forward: core-seconds of the network per image.
        decode: core-seconds of decoding and preprocessing per image.
    """

    cells: int
    width: int
    dim: int
    coreset: float
    epochs: int
    forward: float
    decode: float

    @property
    def step(self) -> float:
        """Multiplications and additions of a training step, in billions: f forward and backward, and all pairs."""
        return 1e-9 * _BATCH * self.dim * (3 * self.width + 3 * _BATCH)


@dataclass(frozen=True)
class NightSize:
    """The size of a nightly run.

    Attributes:
        categories: number of categories.
        learned: number of categories that are trained.
        good: training images of each category.
        today: images of each category to score.
    """

    categories: int
    learned: int
    good: int
    today: int

    @property
    def images(self) -> int:
        """Number of images that pass through the networks."""
        return self.learned * self.good + self.categories * self.today

    @property
    def listed(self) -> int:
        """Number of images that are listed and compared with the previous night."""
        return self.categories * (self.good + self.today)


# The small ones are run and fitted, the large one is predicted and run.
SMALL = (
    NightSize(2, 2, 30, 20),
    NightSize(2, 2, 80, 20),
    NightSize(6, 6, 30, 20),
    NightSize(3, 3, 30, 80),
    NightSize(24, 24, 6, 4),
)
LARGE = NightSize(12, 12, 90, 60)


@dataclass(frozen=True)
class NightCosts:
    """The costs of a nightly run, measured with one network.

    Attributes:
        network: the network.
        start: stage -> constant seconds.
        category: stage -> core-seconds per category.
        work: stage -> core-seconds per unit of its work (`work_amounts`).
        cores: CPU cores of the machine.
        listing: seconds and bytes of the driver per listed image.
        bank_bytes: bytes per number of a bank.
        score_bytes: bytes per scored image.
        report_bytes: bytes of the page of a category.
        products: multiplications and additions per second of one core.
    """

    network: NetworkCosts
    start: dict[str, float]
    category: dict[str, float]
    work: dict[str, float]
    cores: int
    listing: tuple[float, float]
    bank_bytes: float
    score_bytes: float
    report_bytes: float
    products: float

    def save(self, path: Path) -> None:
        """Write the costs to a JSON file."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> NightCosts:
        """Read costs from a file of `save`.

        Raises:
            UsageError: another version of this program wrote the file.
        """
        stored = json.loads(path.read_text())
        expected = {field.name for field in fields(NetworkCosts)}
        if expected != set(stored["network"]) or set(STAGES) != set(stored["start"]):
            raise UsageError(
                f"{path}: does not hold the costs {', '.join(sorted(expected))} of a network and those of the stages "
                f"{', '.join(STAGES)}. Measure them again."
            )
        return cls(**{**stored, "network": NetworkCosts(**stored["network"]), "listing": tuple(stored["listing"])})


def work_amounts(night: NightSize, network: NetworkCosts) -> dict[str, tuple[float, float]]:
    """Return for each stage its number of categories, and of units of work: images, or billions of products.

    The acceptance test scores the calibration images of a trained category twice: with and without pasted defects.
    """
    patches = (1.0 - _HOLDOUT) * night.good * network.cells
    steps, entries = steps_and_entries(night, network)
    product = 1e-9 * entries * network.dim * network.cells  # an image against the bank
    tested = 2 * _HOLDOUT * night.good * night.learned
    trained, scored = night.learned * night.good, night.categories * night.today
    return {
        "index": (night.categories, trained + scored),
        "extract": (night.categories, trained + tested / 2 + scored),
        "fit": (night.learned, night.learned * steps * network.step),
        "select": (night.learned, night.learned * 1e-9 * patches * entries * network.dim),
        "score": (night.learned, trained * product),
        "fuse": (night.learned, trained),
        "predict": (night.categories, (tested + scored) * product),
        "report": (night.categories, scored),
        "driver": (night.categories, 0.0),
    }


def steps_and_entries(night: NightSize, network: NetworkCosts) -> tuple[float, float]:
    """Return the training steps of a category and the entries of its bank."""
    patches = (1.0 - _HOLDOUT) * night.good * network.cells
    steps = min(np.ceil(network.epochs * patches / _BATCH), RECIPES["default"]["max_steps"])
    return float(steps), max(1.0, network.coreset * patches)


def seconds(costs: NightCosts, night: NightSize, cores: int) -> dict[str, float]:
    """Return the wall seconds of each stage with the measured network.

    Args:
        costs: the measured costs.
        night: size of the night.
        cores: CPU cores that share the work; the driver is always one process.
    """
    wall = {}
    for stage, (categories, amount) in work_amounts(night, costs.network).items():
        busy = costs.category[stage] * categories + costs.work[stage] * amount
        wall[stage] = costs.start[stage] + busy / (1 if stage == "driver" else cores)
    return wall


def fit(
    taken: Mapping[str, Sequence[float]], network: NetworkCosts, cores: int
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Fit the costs of each stage, none of them negative, to the seconds of the nights of `SMALL`.

    Args:
        taken: stage -> seconds in each night of `SMALL`.
        network: the network of these nights.
        cores: CPU cores of the machine.

    Returns:
        Stage -> constant seconds, core-seconds per category, core-seconds per unit of work.
    """
    start, category, work = {}, {}, {}
    for stage in STAGES:
        amounts = np.array([work_amounts(size, network)[stage] for size in SMALL])
        scale = np.maximum(amounts.mean(axis=0), 1e-9)
        design = np.column_stack([np.ones(len(SMALL)), amounts / scale])
        measured = np.maximum(taken[stage], _SHORT)
        (start[stage], *slopes), _ = nnls(design / measured[:, None], np.ones(len(SMALL)))
        category[stage], work[stage] = np.array(slopes) / scale * (1 if stage == "driver" else cores)
    return start, category, work
