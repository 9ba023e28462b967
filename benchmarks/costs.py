"""What each stage of a night costs: a start, a cost a category, and a cost a unit of its own work.

The unit is an image, a training step or a product of matrices. The three are fitted to what a few small nights took,
each relative to what it took, so that none outweighs the others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from pipelines.config import RECIPES
from pipelines.usage import UsageError

STAGES = ("index", "extract", "fit", "select", "score", "fuse", "judge", "report", "driver")
_HOLDOUT, _BATCH = 0.2, 512
_SHORT = 0.05  # seconds below which a stage is all noise


@dataclass(frozen=True)
class NetworkCosts:
    """What a network of the ensemble makes an image into, and what that takes.

    Attributes:
        cells: patches of an image.
        width: channels of a patch, before the adapter.
        dim: D, behind it.
        coreset: the bank's share of the patches.
        epochs: of the adapter's training, as far as the most steps allow.
        forward, decode: core-seconds of the network, and of what comes before it, an image.
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
        """Multiplications and additions of a training step, in billions: through f and back, and all pairs."""
        return 1e-9 * _BATCH * self.dim * (3 * self.width + 3 * _BATCH)


@dataclass(frozen=True)
class NightSize:
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
        """That go through the networks, once."""
        return self.learned * self.good + self.categories * self.today

    @property
    def listed(self) -> int:
        """That are looked for and compared with the night before's."""
        return self.categories * (self.good + self.today)


# The first are run and fitted, the last is predicted.
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
    """What was measured with one network, `network`.

    Attributes:
        start: seconds of each stage, however little there is to do.
        category, work: core-seconds of each stage a category, and a unit of its work (`works`).
        cores: of the machine.
        listing: seconds and bytes of the driver, an image that is listed.
        bank_bytes, score_bytes: of a number in a bank, and of a judged image's row.
        report_bytes: of a category's page.
        products: a core's multiplications and additions a second.
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
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> NightCosts:
        """Raises UsageError where they are of another version."""
        told = json.loads(path.read_text())
        wanted, found = {each.name for each in fields(NetworkCosts)}, set(told["network"])
        if wanted != found:
            raise UsageError(
                f"{path}: has other costs of a network than {', '.join(sorted(wanted))}; measure them again."
            )
        return cls(**{**told, "network": NetworkCosts(**told["network"]), "listing": tuple(told["listing"])})


def works(night: NightSize, network: NetworkCosts) -> dict[str, tuple[float, float]]:
    """Categories, and units of its own work, that each stage has to do: images, or billions of products.

    Of the held-out images of a category that is learned the gate asks twice: as they are, and with pasted defects.
    """
    patches = (1.0 - _HOLDOUT) * night.good * network.cells
    steps, entries = steps_and_entries(night, network)
    product = 1e-9 * entries * network.dim * network.cells  # an image against the bank
    asked = 2 * _HOLDOUT * night.good * night.learned
    learned, judged = night.learned * night.good, night.categories * night.today
    return {
        "index": (night.categories, learned + judged),
        "extract": (night.categories, learned + asked / 2 + judged),
        "fit": (night.learned, night.learned * steps * network.step),
        "select": (night.learned, night.learned * 1e-9 * patches * entries * network.dim),
        "score": (night.learned, learned * product),
        "fuse": (night.learned, learned),
        "judge": (night.categories, (asked + judged) * product),
        "report": (night.categories, judged),
        "driver": (night.categories, 0.0),
    }


def steps_and_entries(night: NightSize, network: NetworkCosts) -> tuple[float, float]:
    """Training steps of a category, and entries of its bank."""
    patches = (1.0 - _HOLDOUT) * night.good * network.cells
    steps = min(np.ceil(network.epochs * patches / _BATCH), RECIPES["default"]["max_steps"])
    return float(steps), max(1.0, network.coreset * patches)


def seconds(costs: NightCosts, night: NightSize, cores: int) -> dict[str, float]:
    """Wall seconds of each stage with the network that was measured; the driver is one process, whatever there is."""
    found = {}
    for stage, (categories, amount) in works(night, costs.network).items():
        busy = costs.category[stage] * categories + costs.work[stage] * amount
        found[stage] = costs.start[stage] + busy / (1 if stage == "driver" else cores)
    return found


def fit(
    taken: Mapping[str, Sequence[float]], network: NetworkCosts, cores: int
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Start, cost a category and cost a unit of work of each stage, none below nothing, from seconds of `SMALL`.

    Each night counts by what is wrong of it in parts of what it took, so that the largest does not decide alone.
    """
    start, category, work = {}, {}, {}
    for stage in STAGES:
        amounts = np.array([works(size, network)[stage] for size in SMALL])
        scale = np.maximum(amounts.mean(axis=0), 1e-9)
        design = np.column_stack([np.ones(len(SMALL)), amounts / scale])
        seconds_of = np.maximum(taken[stage], _SHORT)
        (start[stage], *slopes), _ = nnls(design / seconds_of[:, None], np.ones(len(SMALL)))
        category[stage], work[stage] = np.array(slopes) / scale * (1 if stage == "driver" else cores)
    return start, category, work
