"""A category's model: what its members are, what their scores mean, and what is said of an image.

`model.json` holds it as plain JSON; adapters and memory banks lie beside it as safetensors. Nothing is pickled.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt

from reconpatch.arrays import Array
from reconpatch.fusion import (
    Peaks,
    ScoreStatistics,
    find_peaks,
    fuse_maps,
    image_scores,
    largest_scores,
    modified_z_score,
    score_statistics,
)
from reconpatch.geometry import Geometry
from reconpatch.patches import AGGREGATIONS
from reconpatch.thresholds import conformal_threshold, p_values

FORMAT = 1  # of model.json; a model of a later format is refused
# Of the numbers this code computes: raised with a change after which features or scores of before do not compare.
CODE_VERSION = 2
FUSIONS = ("patch", "image")
# A model's folder holds the first, and a folder a member, called as its backbone, the others.
MODEL_FILE = "model.json"
ADAPTER_FILE, BANK_FILE, BANK_INDEX_FILE = "adapter.safetensors", "memory_bank.safetensors", "bank_index.parquet"


class ModelError(ValueError):
    """A stored model cannot be used; the sentence says why and what to do."""


@dataclass(frozen=True)
class MemberModel:
    """One network of a category's model.

    Attributes:
        backbone: timm's name.
        levels, patch_size, aggregation: how its patch features are made.
        dim: D; 0 for the identity adapter.
        weights, weights_sha256: where the backbone's weights came from, and their digest.
        key: SHA-256 of all that adapter and bank depend on.
        median, mad, beta: of equation 11, over the fit images; None until they are scored.
        grid: patches in rows and in columns, of which an entry's row and column count; None until then.
    """

    backbone: str
    levels: tuple[int, ...]
    patch_size: int
    aggregation: str
    dim: int
    weights: str
    weights_sha256: str
    key: str
    median: float | None = None
    mad: float | None = None
    beta: float | None = None
    grid: tuple[int, int] | None = None

    def require_weights(self, source: str, sha256: str) -> None:
        """Compare the weights that were found with those that this member was fitted with.

        Args:
            source, sha256: where they are from and their digest, as `Backbone` says them.

        Raises:
            ModelError: they are others.
        """
        if sha256 != self.weights_sha256:
            raise ModelError(
                f"{self.backbone}: the weights from {source} have SHA-256 {sha256[:12]}, but the model was fitted with "
                f"{self.weights_sha256[:12]} from {self.weights}; name the folder that holds those as the weights."
            )


@dataclass(frozen=True)
class Model:
    """A category's model, whole.

    Attributes:
        image_size, full_frame, bit_depth, chunk: how pictures become the networks' input.
        fusion: 'patch' or 'image': which scores equation 11 normalises.
        reweight: b of equation 10.
        holdout_scores: the fused image scores of the held-out good images, sorted.
        false_alarms: the wished false-alarm rate.
        threshold, false_alarm_bound: of `conformal_threshold`; None where nothing is held out.
        version: of this model, in every row that it scores.
        code_version: `CODE_VERSION` of the code that made it.
    """

    category: str
    version: str
    members: tuple[MemberModel, ...]
    image_size: int
    full_frame: bool
    bit_depth: int
    chunk: int
    fusion: str
    reweight: int
    false_alarms: float
    code_version: int
    holdout_scores: tuple[float, ...] = ()
    threshold: float | None = None
    false_alarm_bound: float | None = None

    def geometry(self, height: int, width: int) -> Geometry:
        """How a picture of that many rows and columns lies on the networks' input."""
        return Geometry.of(height, width, self.image_size, self.full_frame)


@dataclass(frozen=True)
class Judgement:
    """What a model says of a batch of B images.

    Attributes:
        scores: (B,) float64 fused image scores, eq. 11.
        fused: (B, H, W) float32 fused map of modified z-scores.
        member_scores: (members, B) float64, each member's largest modified z-score.
        peaks: where each fused map is largest.
        p_values: (B,) float64, or None where nothing is held out.
        is_anomaly: (B,) bool, or None likewise.
    """

    scores: npt.NDArray[np.float64]
    fused: npt.NDArray[np.float32]
    member_scores: npt.NDArray[np.float64]
    peaks: Peaks
    p_values: npt.NDArray[np.float64] | None
    is_anomaly: npt.NDArray[np.bool_] | None


def normalise(model: Model, fit_maps: Sequence[npt.NDArray[np.float32]]) -> tuple[Model, list[ScoreStatistics]]:
    """The model with each member's median and MAD over the fit images' scores.

    Args:
        model: of which the members' statistics are replaced.
        fit_maps: one (n, H, W) array of the fit images' patch scores a member.

    Raises:
        ValueError: scores without spread; the sentence names the category and the member.
    """
    members, statistics = [], []
    for member, maps in zip(model.members, fit_maps, strict=True):
        try:
            each = score_statistics(maps if model.fusion == "patch" else largest_scores(maps))
        except ValueError as error:
            raise ValueError(f"{model.category}, {member.backbone}: {error}") from error
        grid = int(maps.shape[1]), int(maps.shape[2])
        members.append(replace(member, median=each.median, mad=each.mad, beta=each.beta, grid=grid))
        statistics.append(each)
    return replace(model, members=tuple(members)), statistics


def calibrate(model: Model, holdout_scores: npt.ArrayLike) -> Model:
    """The model with its held-out fused image scores, and the threshold and bound that follow from them.

    Args:
        model: whose wished false-alarm rate counts.
        holdout_scores: (n,) in any order; none where nothing is held out.

    Raises:
        ValueError: a score that is not finite.
    """
    scores = np.sort(np.asarray(holdout_scores, dtype=np.float64))
    threshold = conformal_threshold(scores, model.false_alarms)
    return replace(
        model,
        holdout_scores=tuple(scores.tolist()),
        threshold=None if threshold is None else threshold.value,
        false_alarm_bound=None if threshold is None else threshold.false_alarm_bound,
    )


def with_false_alarms(model: Model, false_alarms: float) -> Model:
    """The model with another wished false-alarm rate: no image is looked at again.

    Raises:
        ValueError: a rate outside (0, 1).
    """
    return calibrate(replace(model, false_alarms=false_alarms), model.holdout_scores)


def normalised_scores(model: Model, scores: Sequence[Array]) -> list[Array]:
    """The members' patch scores as modified z-scores s̄, eq. 11.

    Args:
        model: with its members' statistics.
        scores: one array or tensor a member, in the members' order, each of any shape.

    Returns:
        As many, of the same shapes and kinds.

    Raises:
        ModelError: a member without statistics.
    """
    normalised = []
    for member, each in zip(model.members, scores, strict=True):
        if member.median is None or member.mad is None or member.beta is None:
            raise ModelError(f"{model.category}, {member.backbone}: the model has no median and MAD; fit it again.")
        normalised.append(modified_z_score(each, member.median, member.mad, member.beta))
    return normalised


def judge(model: Model, maps: Sequence[npt.NDArray[np.float32]]) -> Judgement:
    """Fuse the members' patch scores of a batch of images, and say what the threshold makes of them.

    Args:
        model: with its members' statistics; a threshold only if it is calibrated.
        maps: one (B, H, W) array of patch scores a member, in the members' order; NaN where a patch has none.

    Raises:
        ModelError: a member without statistics.
    """
    normalised = normalised_scores(model, maps)
    fused = fuse_maps(normalised)
    largest = np.stack([largest_scores(each) for each in normalised]).astype(np.float64)
    scores = image_scores(fused, normalised, model.fusion)
    return Judgement(
        scores=scores,
        fused=np.asarray(fused, dtype=np.float32),
        member_scores=largest,
        peaks=find_peaks(fused, normalised),
        p_values=p_values(scores, model.holdout_scores),
        is_anomaly=None if model.threshold is None else scores > model.threshold,
    )


def to_json(model: Model) -> str:
    """The text of model.json: keys as the attributes above, and `format`."""
    return json.dumps({"format": FORMAT, **asdict(model)}, indent=2, ensure_ascii=False) + "\n"


def from_json(text: str | bytes) -> Model:
    """Read model.json.

    Raises:
        ModelError: it is no JSON, of a later format or of other numbers, or lacks something.
    """
    try:
        stored: dict[str, Any] = json.loads(text)
        if stored["format"] > FORMAT:
            raise ModelError(
                f"The model is of format {stored['format']}, and this version reads up to {FORMAT}; update "
                f"reconpatch-ray."
            )
        if stored["code_version"] != CODE_VERSION:
            raise ModelError(
                f"The model was made by code that computes other numbers (version {stored['code_version']}, this is "
                f"{CODE_VERSION}), so that scores would not mean what its threshold says; fit it again."
            )
        members = tuple(MemberModel(**_fields({"grid": None, **each}, MemberModel)) for each in stored["members"])
        model = Model(**{**_fields(stored, Model), "members": members})
        _require_sound(model)
        return model
    except ModelError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"model.json is damaged ({type(error).__name__}: {reason}); fit the model again.") from error


def _fields(stored: dict[str, Any], kind: type) -> dict[str, Any]:
    """What a stored object says of each field, JSON's lists as tuples; what else it says is of no concern."""
    found = {field.name: stored[field.name] for field in fields(kind)}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}


def _require_sound(model: Model) -> None:
    """ValueError unless every field is of its type and holds what a model's can."""
    for part in (model, *model.members):
        for name, kind in get_type_hints(type(part)).items():
            if not _is_a(getattr(part, name), kind):
                raise ValueError(f"{name} is {repr(getattr(part, name))[:60]}")
    sound = {
        "members": len(model.members) > 0,
        "image_size": model.image_size >= 32,
        "bit_depth": 9 <= model.bit_depth <= 16,
        "chunk": model.chunk >= 1,
        "fusion": model.fusion in FUSIONS,
        "reweight": model.reweight >= 1,
        "false_alarms": 0.0 < model.false_alarms < 1.0,
    }
    for member in model.members:
        spread = 1.0 if member.mad is None or member.beta is None else member.mad * member.beta
        sound |= {
            f"levels of {member.backbone}": len(member.levels) > 0,
            f"patch_size of {member.backbone}": member.patch_size >= 1 and member.patch_size % 2 == 1,
            f"aggregation of {member.backbone}": member.aggregation in AGGREGATIONS,
            f"dim of {member.backbone}": member.dim >= 0,
            f"mad and beta of {member.backbone}": 0.0 < spread < math.inf,
            f"grid of {member.backbone}": member.grid is None or min(member.grid) >= 1,
        }
    wrong = [name for name, is_sound in sound.items() if not is_sound]
    if wrong:
        raise ValueError(f"out of range: {', '.join(wrong)}")


def _is_a(value: Any, kind: Any) -> bool:
    """Whether a value is of a field's type; numbers are finite, and a whole one may stand for any."""
    if isinstance(kind, UnionType):
        return any(_is_a(value, each) for each in get_args(kind))
    if get_origin(kind) is tuple:
        first, last = get_args(kind)  # two of a kind, or any number of it
        length = 2 if last is first else None
        return isinstance(value, tuple) and length in (None, len(value)) and all(_is_a(each, first) for each in value)
    if kind is float:
        return type(value) in (int, float) and abs(value) <= sys.float_info.max
    return type(value) is kind
