"""One trial: a recipe on one category with one seed; what it scored, and what it cost."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.walk import Image
from reconpatch.adapter import embed
from reconpatch.coreset import farthest_first
from reconpatch.fusion import fuse_maps, image_scores, modified_z_score, score_statistics
from reconpatch.maps import anomaly_map
from reconpatch.metrics import image_auroc, image_metrics
from reconpatch.schedule import AdapterConfig
from reconpatch.scoring import MemoryBank
from study.adapters import AdapterRecipe, weight_of
from study.data import Category, digest, half_of
from study.features import View, features, on_picture
from study.robust import isolation, supported

_MAPS = ("test", "holdout", "pasted")
_NORMALISED_BY = 100  # fit images whose scores give eq. 11's median and MAD
_STRIDE = 2  # of the pixels that count in pixel AUROC, in rows and in columns


@dataclass(frozen=True)
class Recipe:
    """What is tried.

    Attributes:
        views: the members; fused by eq. 11 where there are several.
        adapter: f.
        coreset: the bank's share of the fit patches.
        reweight: b of eq. 10.
        fusion: what eq. 11 normalises, 'patch' or 'image' scores.
        fit_images: no more good images than this are learned from; None for all.
        fold: (f, K): every K-th good image, from the f-th, is held out and scored; None for none.
        pasted: whether copies of the held-out images with pasted defects are scored too.
        dirt: defective images of the test set's other half among those learned from, as a share of the good ones.
        trim: the share of the bank's entries that is dropped, those farthest from all other images first.
        left_out: whether the images learned from are scored in place of held-out ones, each with its own entries
            left out of the bank.
    """

    views: tuple[View, ...] = (View(),)
    adapter: AdapterRecipe = field(default_factory=AdapterRecipe)
    coreset: float = 0.01
    reweight: int = 9
    fusion: str = "patch"
    fit_images: int | None = None
    fold: tuple[int, int] | None = None
    pasted: bool = False
    dirt: float = 0.0
    trim: float = 0.0
    left_out: bool = False


@dataclass(frozen=True)
class Place:
    """Where a study keeps what it has computed."""

    root: Path

    @property
    def features(self) -> Path:
        return self.root / "features"

    def trial(self, name: str) -> Path:
        return self.root / "trials" / f"{name}.json"

    def member(self, name: str) -> Path:
        return self.root / "members" / f"{name}.npz"


@dataclass(frozen=True)
class MemberResult:
    """Scores of one member, and what they cost.

    Attributes:
        test: (n, H, W) float32 patch scores of the test images.
        holdout: (m, H, W) of the held-out images.
        pasted: the same of their copies with pasted defects.
        median, mad, beta: of eq. 11.
        costs: seconds and bytes, by what they were for.
    """

    test: npt.NDArray[np.float32]
    holdout: npt.NDArray[np.float32]
    pasted: npt.NDArray[np.float32]
    median: float
    mad: float
    beta: float
    costs: dict[str, float]


def run_trial(category: Category, recipe: Recipe, seed: int, half: str, place: Place) -> dict[str, Any]:
    """A trial's row, read where it has been run: metrics of the half's images, their scores, seconds an image and
    bytes of the bank.

    The first bank entry is drawn by the seed, since greedy selection alone is noisy.
    """
    file = place.trial(_name(category, recipe, seed, half))
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        found = _run(category, recipe, seed, half, place)
        unfinished = file.with_suffix(".unfinished")
        unfinished.write_text(json.dumps({"recipe": asdict(recipe), **found}))
        unfinished.rename(file)
    row: dict[str, Any] = json.loads(file.read_text())
    return row


def _name(category: Category, recipe: Recipe, seed: int, half: str) -> str:
    """Fields of `Recipe`, `View` and `AdapterRecipe` at their defaults are left out, so that a new field changes no
    older trial's name; a default that changes makes all trials old, therefore."""
    told = [category.name, [_changed(view) for view in recipe.views], _changed(recipe.adapter), _changed(recipe)]
    return digest(json.dumps([*told, seed, half]))[:24]


def _changed(options: Any) -> dict[str, Any]:
    plain = [each for each in fields(options) if each.name not in ("views", "adapter")]
    changed = {each.name: value for each in plain if (value := getattr(options, each.name)) != each.default}
    return {name: asdict(value) if isinstance(value, AdapterConfig) else value for name, value in changed.items()}


def _run(category: Category, recipe: Recipe, seed: int, half: str, place: Place) -> dict[str, Any]:
    images = category.half(half)
    members = [_member(category, recipe, view, seed, half, place) for view in recipe.views]
    scores, fused = _fuse(members, [each.test for each in members], recipe.fusion)
    held_out, _ = _fuse(members, [each.holdout for each in members], recipe.fusion)
    pasted, _ = _fuse(members, [each.pasted for each in members], recipe.fusion)
    labels = np.array([image.label for image in images])
    found = image_metrics(scores, labels)
    return {
        "category": category.name,
        "seed": seed,
        "half": half,
        "image_auroc": found.auroc,
        "image_ap": found.ap,
        "d_prime": found.d_prime,
        "pixel_auroc": _pixel_auroc(category, images, recipe.views[0], fused, place),
        "costs": {name: sum(member.costs[name] for member in members) for name in members[0].costs},
        "paths": [image.image_path for image in images],
        "labels": labels.tolist(),
        "scores": scores.tolist(),
        "holdout_scores": held_out.tolist(),
        "pasted_scores": pasted.tolist(),
    }


def _fuse(
    members: Sequence[MemberResult], maps: Sequence[npt.NDArray[np.float32]], fusion: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """Image scores, and the fused map."""
    normalised = [
        modified_z_score(scores, each.median, each.mad, each.beta) for scores, each in zip(maps, members, strict=True)
    ]
    fused = np.asarray(fuse_maps(normalised), np.float32)
    return image_scores(fused, normalised, fusion), fused


def _member(category: Category, recipe: Recipe, view: View, seed: int, half: str, place: Place) -> MemberResult:
    """From its file, or computed now: adapter, bank, scores of the half's images and of some fit images."""
    recipe = replace(recipe, views=(view,), fusion="patch")
    file = place.member(_name(category, recipe, seed, half))
    if not file.exists():
        result = _compute(category, recipe, view, seed, half, place)
        file.parent.mkdir(parents=True, exist_ok=True)
        told = {name: value for name, value in asdict(result).items() if name not in _MAPS}
        unfinished = file.with_suffix(".unfinished.npz")
        maps = {name: getattr(result, name) for name in _MAPS}
        np.savez(unfinished, **maps, told=np.array(json.dumps(told)))
        unfinished.rename(file)
    with np.load(file) as stored:
        return MemberResult(*(stored[name] for name in _MAPS), **json.loads(str(stored["told"])))


def _compute(category: Category, recipe: Recipe, view: View, seed: int, half: str, place: Place) -> MemberResult:
    good = category.train[: recipe.fit_images]
    fit = features(category, view, good, place.features)
    test = features(category, view, category.half(half), place.features)
    apart = _held_out(recipe, len(good))
    values, held_out = fit.values[~apart], fit.values[apart]
    if recipe.dirt:
        others = [image for image in category.test if image.label and half_of(image) not in half]
        dirt = features(category, view, others[: round(recipe.dirt * len(values))], place.features)
        values = np.concatenate([values, dirt.values])
    pasted = held_out[:0]
    if recipe.pasted:
        originals = [image for image, out in zip(good, apart, strict=True) if out]
        pasted = features(category, view, originals, place.features, defects=True).values
    cells = values.shape[1]
    rows = values.reshape(-1, values.shape[2])
    started = time.perf_counter()
    weight = weight_of(rows, recipe.adapter, cells, seed)
    trained = time.perf_counter()
    if weight is not None:
        rows = embed(rows, weight)
    first = int(np.random.default_rng(seed).integers(len(rows)))
    picked = farthest_first(rows, recipe.coreset, first=first).indices
    if recipe.trim:
        distances = isolation(np.asarray(rows[picked], np.float32), picked // cells, rows, cells)
        picked = picked[supported(distances, recipe.trim)]
    bank = MemoryBank(np.asarray(rows[picked], np.float32), recipe.reweight)
    selected = time.perf_counter()
    maps = _maps(bank, weight, test.values, test.grid)
    scored = time.perf_counter()
    if recipe.left_out:
        aside = np.concatenate(
            [
                _maps(
                    MemoryBank(bank.entries[picked // cells != number], recipe.reweight), weight, each[None], test.grid
                )
                for number, each in enumerate(values)
            ]
        )
    else:
        aside = _maps(bank, weight, held_out, test.grid)
    copies = _maps(bank, weight, pasted, test.grid)
    statistics = score_statistics(_leave_one_out(rows, picked, bank, cells))
    costs = {
        "extract_seconds_per_image": test.seconds_per_image,
        "score_seconds_per_image": (scored - selected) / len(test.values),
        "train_seconds": trained - started,
        "select_seconds": selected - trained,
        "bank_bytes": float(bank.entries.numel() * 4),
        "bank_entries": float(len(picked)),
    }
    return MemberResult(maps, aside, copies, statistics.median, statistics.mad, statistics.beta, costs)


def _held_out(recipe: Recipe, n: int) -> npt.NDArray[np.bool_]:
    first, every = recipe.fold or (1, 1)
    return np.asarray(np.arange(n) % every == first)


def _maps(
    bank: MemoryBank,
    weight: npt.NDArray[np.float32] | None,
    values: npt.NDArray[np.float16],
    grid: tuple[int, int],
) -> npt.NDArray[np.float32]:
    """(n, H, W) patch scores, image by image."""
    return np.array([bank.score(embed(each, weight)) for each in values], np.float32).reshape(-1, *grid)


def _leave_one_out(
    rows: npt.NDArray[Any], picked: npt.NDArray[np.int64], bank: MemoryBank, cells: int
) -> npt.NDArray[np.float32]:
    """Scores of the first fit images' patches, an entry never compared with itself."""
    some = min(len(rows), _NORMALISED_BY * cells)
    own = np.full(len(rows), -1)
    own[picked] = np.arange(len(picked))
    return np.asarray(bank.query(np.asarray(rows[:some], np.float32), own[:some]).scores)


def _pixel_auroc(
    category: Category, images: Sequence[Image], view: View, fused: npt.NDArray[np.float32], place: Place
) -> float | None:
    """Over the pictures' own pixels; what a view does not look at counts as scored lowest."""
    shapes = features(category, view, images, place.features).shapes
    every = slice(None, None, _STRIDE)
    scores, truth = [], []
    for image, patches, shape in zip(images, fused, shapes, strict=True):
        mask = category.mask(image)
        if image.label and mask is None:
            continue
        found = on_picture(np.asarray(anomaly_map(patches, view.size)), view, shape)
        found = np.where(np.isnan(found), fused.min() - 1.0, found)[every, every]
        scores.append(found.ravel())
        truth.append(np.zeros(found.size, bool) if mask is None else mask[every, every].ravel())
    return image_auroc(np.concatenate(scores), np.concatenate(truth))
