"""One member of a trial: its adapter, its memory bank, and its patch scores."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reconpatch.adapter.training import embed
from reconpatch.detector.fusion import score_statistics
from reconpatch.neighbors.coreset import farthest_first
from reconpatch.neighbors.memory_bank import MemoryBank
from study.adapters import weight_of
from study.features import Features
from study.recipe import Recipe
from study.results import Costs
from study.robust import isolation, supported

_NORMALIZED_BY = 100  # fit images whose scores give the median and MAD of equation 11
_MAPS = ("test", "holdout", "pasted")
_OTHERS = "told"  # array of a stored file with the other fields, as JSON


@dataclass(frozen=True, kw_only=True)
class MemberImages:
    """Patch features of the images that a member is fitted on, and of those that it scores.

    Attributes:
        fit: (k, H·W, C') float16 of the training images.
        test: of the test images.
        held_out: (m, H·W, C') float16 of the held-out good images.
        pasted: (m, H·W, C') float16 of their copies with pasted defects; empty where they are not scored.
    """

    fit: npt.NDArray[np.float16]
    test: Features
    held_out: npt.NDArray[np.float16]
    pasted: npt.NDArray[np.float16]


@dataclass(frozen=True, kw_only=True)
class MemberResult:
    """Scores of one member, and their cost.

    Attributes:
        test: (n, H, W) float32 patch scores of the test images.
        holdout: (m, H, W) patch scores of the held-out images.
        pasted: (m, H, W) patch scores of their copies with pasted defects.
        median, mad, beta: of equation 11.
        costs: of the member.
    """

    test: npt.NDArray[np.float32]
    holdout: npt.NDArray[np.float32]
    pasted: npt.NDArray[np.float32]
    median: float
    mad: float
    beta: float
    costs: Costs

    def save(self, file: Path) -> None:
        """Write the result to a file that appears whole."""
        others = {name: value for name, value in asdict(self).items() if name not in _MAPS}
        unfinished = file.with_suffix(".unfinished.npz")
        arrays: dict[str, Any] = {name: getattr(self, name) for name in _MAPS}
        arrays[_OTHERS] = np.array(json.dumps(others))
        np.savez(unfinished, **arrays)
        unfinished.rename(file)

    @classmethod
    def load(cls, file: Path) -> MemberResult:
        """Read what `save` wrote."""
        with np.load(file) as stored:
            others = json.loads(str(stored[_OTHERS]))
            return cls(**{name: stored[name] for name in _MAPS}, **{**others, "costs": Costs(**others["costs"])})


@dataclass(frozen=True, kw_only=True)
class _Scorer:
    """Scores images by nearest neighbors in a memory bank.

    Attributes:
        weight: of f; None for the identity.
        bank: the memory bank.
        grid: (H, W) patches of an image.
    """

    weight: npt.NDArray[np.float32] | None
    bank: MemoryBank
    grid: tuple[int, int]

    def maps(self, values: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
        """Return patch scores (n, H, W) of (n, H·W, C') features."""
        scores = [self.bank.score(embed(image, self.weight)) for image in values]
        return np.array(scores, np.float32).reshape(-1, *self.grid)


def score_member(images: MemberImages, recipe: Recipe, seed: int) -> MemberResult:
    """Fit a member and score images with it.

    Args:
        images: features of the images.
        recipe: what is tried.
        seed: of the adapter and of the first entry of the memory bank.
    """
    per_image, grid = images.fit.shape[1], images.test.grid
    rows = images.fit.reshape(-1, images.fit.shape[2])
    started = time.perf_counter()
    weight = weight_of(rows, recipe.adapter, per_image, seed)
    trained = time.perf_counter()
    if weight is not None:
        rows = embed(rows, weight)
    picked = _select(rows, recipe, per_image, seed)
    bank = MemoryBank(np.asarray(rows[picked], np.float32), recipe.score_neighbors)
    scorer = _Scorer(weight=weight, bank=bank, grid=grid)
    selected = time.perf_counter()
    maps = scorer.maps(images.test.values)
    scored = time.perf_counter()
    holdout = _left_out(images.fit, scorer, picked, recipe) if recipe.left_out else scorer.maps(images.held_out)
    statistics = score_statistics(_leave_one_out(rows, picked, bank, per_image))
    costs = Costs(
        extract_seconds_per_image=images.test.seconds_per_image,
        score_seconds_per_image=(scored - selected) / len(images.test.values),
        train_seconds=trained - started,
        select_seconds=selected - trained,
        bank_bytes=float(bank.entries.numel() * 4),
        bank_entries=float(len(picked)),
    )
    return MemberResult(
        test=maps,
        holdout=holdout,
        pasted=scorer.maps(images.pasted),
        median=statistics.median,
        mad=statistics.mad,
        beta=statistics.beta,
        costs=costs,
    )


def _select(rows: npt.NDArray[Any], recipe: Recipe, per_image: int, seed: int) -> npt.NDArray[np.int64]:
    """Return the rows that are entries of the memory bank."""
    first = int(np.random.default_rng(seed).integers(len(rows)))
    picked: npt.NDArray[np.int64] = farthest_first(rows, recipe.coreset, first=first).indices
    if not recipe.trim:
        return picked
    distances = isolation(np.asarray(rows[picked], np.float32), picked // per_image, rows, per_image)
    trimmed: npt.NDArray[np.int64] = picked[supported(distances, recipe.trim)]
    return trimmed


def _left_out(
    values: npt.NDArray[np.float16], scorer: _Scorer, picked: npt.NDArray[np.int64], recipe: Recipe
) -> npt.NDArray[np.float32]:
    """Return patch scores of the fit images, each without its own entries in the memory bank."""
    image_of = picked // values.shape[1]
    maps = []
    for number, image in enumerate(values):
        bank = MemoryBank(scorer.bank.entries[image_of != number], recipe.score_neighbors)
        maps.append(_Scorer(weight=scorer.weight, bank=bank, grid=scorer.grid).maps(image[None]))
    return np.concatenate(maps)


def _leave_one_out(
    rows: npt.NDArray[Any], picked: npt.NDArray[np.int64], bank: MemoryBank, per_image: int
) -> npt.NDArray[np.float32]:
    """Return scores of the first fit images' patches, where no entry is compared with itself."""
    some = min(len(rows), _NORMALIZED_BY * per_image)
    own = np.full(len(rows), -1)
    own[picked] = np.arange(len(picked))
    return np.asarray(bank.query(np.asarray(rows[:some], np.float32), own[:some]).scores)
