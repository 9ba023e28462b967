"""Fit the cost of each stage of a nightly run: a constant, a cost per category, and a cost per unit of work.

The unit of work of a stage is an image, or a billion multiplications and additions. The three costs are fitted to the
times of a few small nightly runs. The fit minimizes relative errors, so that the largest run does not dominate.
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
_SHORT = 0.05  # seconds; shorter times of a stage are noise


@dataclass(frozen=True)
class NetworkCosts:
    """Sizes and costs of one member of the ensemble.

    Attributes:
        cells: Patches per image.
        width: C', channels of a patch feature before the adapter.
        dim: D, channels of a patch feature after the adapter.
        coreset: Share of the patches in the memory bank, 0 to 1.
        epochs: Epochs of the adapter's training, which the maximum number of steps limits.
        forward: Core-seconds per image of the backbone and the patch features.
        decode: Core-seconds per image of decoding and preprocessing.
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
    """Size of a nightly run.

    Attributes:
        categories: Number of categories.
        learned: Number of categories that are trained.
        good: Number of training images of each category.
        today: Number of images of each category to score.
    """

    categories: int
    learned: int
    good: int
    today: int

    @property
    def images(self) -> int:
        """Number of images that pass through the backbones."""
        return self.learned * self.good + self.categories * self.today

    @property
    def listed(self) -> int:
        """Number of images that are listed and compared with the previous nightly run."""
        return self.categories * (self.good + self.today)


# Costs are fitted to the small nightly runs. The large one is predicted from them, and then run.
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
    """Costs of nightly runs, measured with one backbone.

    Attributes:
        network: Sizes and costs of the member.
        start: Stage -> constant seconds.
        category: Stage -> core-seconds per category.
        work: Stage -> core-seconds per unit of work (see `work_amounts`).
        cores: Number of CPU cores of the machine.
        listing: Seconds and bytes of the driver per listed image.
        bank_bytes: Bytes of a stored model per number in its memory bank.
        score_bytes: Bytes of the score files per scored image.
        report_bytes: Bytes of the report per category.
        products: Multiplications and additions per second of one core.
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
        """Write the costs to a JSON file.

        Args:
            path: File to write.
        """
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> NightCosts:
        """Read the costs from a file that `save` wrote.

        Args:
            path: JSON file.

        Raises:
            UsageError: Another version of this program wrote the file.
        """
        stored = json.loads(path.read_text())
        expected = {field.name for field in fields(NetworkCosts)}
        if expected != set(stored["network"]) or set(STAGES) != set(stored["start"]):
            raise UsageError(
                f"{path}: does not contain the costs {', '.join(sorted(expected))} of a member and those of the stages "
                f"{', '.join(STAGES)}. Delete the file and measure the costs again."
            )
        return cls(**{**stored, "network": NetworkCosts(**stored["network"]), "listing": tuple(stored["listing"])})


def work_amounts(night: NightSize, network: NetworkCosts) -> dict[str, tuple[float, float]]:
    """Return the amount of work of each stage.

    The acceptance test scores the calibration images of a trained category twice: with and without pasted defects.

    Args:
        night: Size of the nightly run.
        network: Sizes of the member.

    Returns:
        Stage -> number of categories, and units of work: images, or billions of multiplications and additions.
    """
    patches = (1.0 - _HOLDOUT) * night.good * network.cells
    steps, entries = steps_and_entries(night, network)
    product = 1e-9 * entries * network.dim * network.cells  # of one image with the bank
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
    """Return the number of training steps of a category, and the number of entries of its memory bank.

    Args:
        night: Size of the nightly run.
        network: Sizes of the member.
    """
    patches = (1.0 - _HOLDOUT) * night.good * network.cells
    steps = min(np.ceil(network.epochs * patches / _BATCH), RECIPES["default"]["max_steps"])
    return float(steps), max(1.0, network.coreset * patches)


def seconds(costs: NightCosts, night: NightSize, cores: int) -> dict[str, float]:
    """Return the predicted wall time of each stage with the measured backbone, in seconds.

    Args:
        costs: Measured costs.
        night: Size of the nightly run.
        cores: Number of CPU cores that share the work. The driver is always one process.
    """
    wall = {}
    for stage, (categories, amount) in work_amounts(night, costs.network).items():
        busy = costs.category[stage] * categories + costs.work[stage] * amount
        wall[stage] = costs.start[stage] + busy / (1 if stage == "driver" else cores)
    return wall


def fit(
    taken: Mapping[str, Sequence[float]], network: NetworkCosts, cores: int
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Fit nonnegative costs of each stage to the times of the nightly runs in `SMALL`.

    Args:
        taken: Stage -> seconds in each nightly run of `SMALL`.
        network: Sizes of the member of these runs.
        cores: Number of CPU cores of the machine.

    Returns:
        Three dicts of stage -> constant seconds, core-seconds per category, and core-seconds per unit of work.
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
