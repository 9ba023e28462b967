"""One trial: a recipe on one half of a category's test images, with one seed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.data.records import ImageRecord
from reconpatch.adapter.schedule import AdapterConfig
from reconpatch.detector.fusion import fuse_maps, image_scores, modified_z_score
from reconpatch.evaluation.metrics import image_auroc, image_metrics
from reconpatch.imaging.anomaly_maps import anomaly_map
from study.data import Category, half_of
from study.features import FeatureSpec, FeatureStore, on_picture
from study.keys import file_name
from study.member import MemberImages, MemberResult, score_member
from study.recipe import Recipe
from study.results import Costs, TrialResult

_STRIDE = 2  # in both dimensions: every second pixel counts in the pixel AUROC


@dataclass(frozen=True)
class StudyFolder:
    """Folder in which the study stores features, scores and results.

    Attributes:
        root: Path of the folder.
    """

    root: Path

    @property
    def features(self) -> Path:
        """Folder of the patch features."""
        return self.root / "features"

    def trial(self, name: str) -> Path:
        """Return the file with the result of a trial.

        Args:
            name: `Trial.name`.
        """
        return self.root / "trials" / f"{name}.json"

    def member(self, name: str) -> Path:
        """Return the file with the scores of a member.

        Args:
            name: `Trial.name` of the trial with this member alone.
        """
        return self.root / "members" / f"{name}.npz"


@dataclass(frozen=True)
class Trial:
    """A recipe on one half of a category's test images, with one seed.

    Attributes:
        category: Category of the images.
        recipe: Recipe of the trial.
        seed: Seed of the adapter and of the choice of the first bank entry, on which the greedy selection depends.
        half: Half of the test images that is scored, 'A' or 'B'.
    """

    category: Category
    recipe: Recipe
    seed: int
    half: str

    @property
    def images(self) -> tuple[ImageRecord, ...]:
        """The test images that are scored."""
        return self.category.half(self.half)

    @property
    def name(self) -> str:
        """Name of the trial's files.

        It does not depend on fields with their default value, so a new field does not change the names of stored
        trials. If a default changes, all stored trials must be deleted, because their names remain valid.
        """
        recipe = self.recipe
        members = [_changed(spec) for spec in recipe.members]
        return file_name(
            [self.category.name, members, _changed(recipe.adapter), _changed(recipe), self.seed, self.half]
        )

    def of_member(self, spec: FeatureSpec) -> Trial:
        """Return the trial with one member alone.

        Args:
            spec: Feature settings of the member.
        """
        return replace(self, recipe=replace(self.recipe, members=(spec,), fusion="patch"))


def run_trial(trial: Trial, folder: StudyFolder) -> TrialResult:
    """Return the result of a trial. It is read if it is stored, otherwise computed and stored.

    Args:
        trial: Trial to run.
        folder: Folder of the stored features, scores and results.
    """
    file = folder.trial(trial.name)
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        result = _run(trial, folder)
        unfinished = file.with_suffix(".unfinished")
        unfinished.write_text(json.dumps({"recipe": asdict(trial.recipe), **result.as_json()}))
        unfinished.rename(file)
    return TrialResult.of_json(json.loads(file.read_text()))


def member_result(trial: Trial, spec: FeatureSpec, folder: StudyFolder) -> MemberResult:
    """Return the scores of one member of a trial. They are read if they are stored, otherwise computed and stored.

    Args:
        trial: Trial with the member.
        spec: Feature settings of the member.
        folder: Folder of the stored features and scores.
    """
    alone = trial.of_member(spec)
    file = folder.member(alone.name)
    if not file.exists():
        result = _member(alone, spec, folder)
        file.parent.mkdir(parents=True, exist_ok=True)
        result.save(file)
    return MemberResult.load(file)


def _changed(options: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that differ from their defaults, except `members` and `adapter`."""
    plain = [option for option in fields(options) if option.name not in ("members", "adapter")]
    changed = {option.name: value for option in plain if (value := getattr(options, option.name)) != option.default}
    return {name: asdict(value) if isinstance(value, AdapterConfig) else value for name, value in changed.items()}


def _run(trial: Trial, folder: StudyFolder) -> TrialResult:
    members = [member_result(trial, spec, folder) for spec in trial.recipe.members]
    fusion = trial.recipe.fusion
    scores, fused = _fuse(members, [member.test for member in members], fusion)
    held_out, _ = _fuse(members, [member.holdout for member in members], fusion)
    pasted, _ = _fuse(members, [member.pasted for member in members], fusion)
    labels = np.array([image.label for image in trial.images])
    metrics = image_metrics(scores, labels)
    assert metrics.auroc is not None  # each half has good and defective images
    assert metrics.d_prime is not None
    return TrialResult(
        category=trial.category.name,
        seed=trial.seed,
        half=trial.half,
        image_auroc=metrics.auroc,
        image_ap=metrics.ap,
        d_prime=metrics.d_prime,
        pixel_auroc=_pixel_auroc(trial, fused, folder),
        costs=Costs.total([member.costs for member in members]),
        paths=[image.image_path for image in trial.images],
        labels=labels.tolist(),
        scores=scores.tolist(),
        holdout_scores=held_out.tolist(),
        pasted_scores=pasted.tolist(),
    )


def _fuse(
    members: Sequence[MemberResult], maps: Sequence[npt.NDArray[np.float32]], fusion: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """Return the image scores and the fused patch scores."""
    normalized = [
        modified_z_score(scores, member.median, member.mad, member.beta)
        for scores, member in zip(maps, members, strict=True)
    ]
    fused = np.asarray(fuse_maps(normalized), np.float32)
    return image_scores(fused, normalized, fusion), fused


def _member(trial: Trial, spec: FeatureSpec, folder: StudyFolder) -> MemberResult:
    """Compute adapter, memory bank and scores of the only member of a trial."""
    recipe, category = trial.recipe, trial.category
    store = FeatureStore(category, folder.features)
    good = category.train[: recipe.fit_images]
    is_held_out = _held_out(recipe, len(good))
    values = store.features(spec, good).values
    fit, held_out = values[~is_held_out], values[is_held_out]
    if recipe.dirt:
        defective = [image for image in category.test if image.label and half_of(image) not in trial.half]
        dirt = store.features(spec, defective[: round(recipe.dirt * len(fit))])
        fit = np.concatenate([fit, dirt.values])
    pasted = held_out[:0]
    if recipe.pasted:
        originals = [image for image, apart in zip(good, is_held_out, strict=True) if apart]
        pasted = store.features(spec, originals, defects=True).values
    images = MemberImages(fit=fit, test=store.features(spec, trial.images), held_out=held_out, pasted=pasted)
    return score_member(images, recipe, trial.seed)


def _held_out(recipe: Recipe, n: int) -> npt.NDArray[np.bool_]:
    first, every = recipe.fold or (1, 1)
    return np.asarray(np.arange(n) % every == first)


def _pixel_auroc(trial: Trial, fused: npt.NDArray[np.float32], folder: StudyFolder) -> float | None:
    """Return the AUROC of the pixels of the images; pixels outside the center crop get the lowest score."""
    spec = trial.recipe.members[0]
    shapes = FeatureStore(trial.category, folder.features).features(spec, trial.images).shapes
    every = slice(None, None, _STRIDE)
    scores, truth = [], []
    for image, patches, shape in zip(trial.images, fused, shapes, strict=True):
        mask = trial.category.mask(image)
        if image.label and mask is None:
            continue
        values = on_picture(np.asarray(anomaly_map(patches, spec.size)), spec, shape)
        values = np.where(np.isnan(values), fused.min() - 1.0, values)[every, every]
        scores.append(values.ravel())
        truth.append(np.zeros(values.size, bool) if mask is None else mask[every, every].ravel())
    return image_auroc(np.concatenate(scores), np.concatenate(truth))
