"""One member of a trial: adapter, memory bank and patch scores."""

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

_NORMALIZED_BY = 100  # training images whose scores give the median and MAD of equation 11
_MAPS = ("test", "holdout", "pasted")
_FIELDS = "told"  # Array of a stored file with the other fields as JSON. The name is that of the stored files.


@dataclass(frozen=True, kw_only=True)
class MemberImages:
    """Patch features of the images on which a member is fitted, and of those that it scores.

    Attributes:
        fit: Features of the training images, (k, H·W, C') float16.
        test: Features of the test images.
        held_out: Features of the held-out good images, (m, H·W, C') float16.
        pasted: Features of the held-out images with pasted defects, (m, H·W, C') float16; empty if the trial does not
            score them.
    """

    fit: npt.NDArray[np.float16]
    test: Features
    held_out: npt.NDArray[np.float16]
    pasted: npt.NDArray[np.float16]


@dataclass(frozen=True, kw_only=True)
class MemberResult:
    """Patch scores of one member, and their cost.

    Attributes:
        test: Patch scores of the test images, (n, H, W) float32.
        holdout: Patch scores of the held-out images, (m, H, W) float32.
        pasted: Patch scores of the held-out images with pasted defects, (m, H, W) float32.
        median: Median of equation 11.
        mad: Median absolute deviation of equation 11.
        beta: β of equation 11.
        costs: Costs of the member.
    """

    test: npt.NDArray[np.float32]
    holdout: npt.NDArray[np.float32]
    pasted: npt.NDArray[np.float32]
    median: float
    mad: float
    beta: float
    costs: Costs

    def save(self, file: Path) -> None:
        """Write the result to a file. It is renamed when it is complete, so no partial file gets the final name.

        Args:
            file: npz file to write.
        """
        other_fields = {name: value for name, value in asdict(self).items() if name not in _MAPS}
        unfinished = file.with_suffix(".unfinished.npz")
        arrays: dict[str, Any] = {name: getattr(self, name) for name in _MAPS}
        arrays[_FIELDS] = np.array(json.dumps(other_fields))
        np.savez(unfinished, **arrays)
        unfinished.rename(file)

    @classmethod
    def load(cls, file: Path) -> MemberResult:
        """Read a result from a file that `save` wrote.

        Args:
            file: npz file.
        """
        with np.load(file) as stored:
            fields = json.loads(str(stored[_FIELDS]))
            return cls(**{name: stored[name] for name in _MAPS}, **{**fields, "costs": Costs(**fields["costs"])})


@dataclass(frozen=True, kw_only=True)
class _Scorer:
    """A model that scores patches by their nearest neighbors in a memory bank.

    Attributes:
        weight: Weight of f, (D, C') float32; None for the identity.
        bank: Memory bank.
        grid: (H, W), numbers of rows and columns of patches in an image.
    """

    weight: npt.NDArray[np.float32] | None
    bank: MemoryBank
    grid: tuple[int, int]

    def maps(self, values: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
        """Return patch scores, (n, H, W) float32.

        Args:
            values: Patch features, (n, H·W, C') float16.
        """
        scores = [self.bank.score(embed(image, self.weight)) for image in values]
        return np.array(scores, np.float32).reshape(-1, *self.grid)


def score_member(images: MemberImages, recipe: Recipe, seed: int) -> MemberResult:
    """Fit a member and score images with it.

    Args:
        images: Patch features of the images.
        recipe: Recipe of the trial.
        seed: Seed of the adapter and of the choice of the first bank entry.
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
    """Return the indices of the rows that become entries of the memory bank."""
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
    """Return patch scores of the training images; the bank entries of an image do not take part in its scores."""
    image_of = picked // values.shape[1]
    maps = []
    for number, image in enumerate(values):
        bank = MemoryBank(scorer.bank.entries[image_of != number], recipe.score_neighbors)
        maps.append(_Scorer(weight=scorer.weight, bank=bank, grid=scorer.grid).maps(image[None]))
    return np.concatenate(maps)


def _leave_one_out(
    rows: npt.NDArray[Any], picked: npt.NDArray[np.int64], bank: MemoryBank, per_image: int
) -> npt.NDArray[np.float32]:
    """Return patch scores of the first training images; no bank entry is compared with itself."""
    some = min(len(rows), _NORMALIZED_BY * per_image)
    own = np.full(len(rows), -1)
    own[picked] = np.arange(len(picked))
    return np.asarray(bank.query(np.asarray(rows[:some], np.float32), own[:some]).scores)
