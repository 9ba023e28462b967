"""A category's model: its members, the statistics and threshold of their scores, and what it predicts of images.

`reconpatch.detector.model_json` stores it; adapters and memory banks are safetensors files beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from reconpatch.arrays import Array
from reconpatch.detector.fusion import (
    Peaks,
    ScoreStatistics,
    find_peaks,
    fuse_maps,
    image_scores,
    largest_scores,
    modified_z_score,
    score_statistics,
)
from reconpatch.detector.thresholds import conformal_threshold, p_values
from reconpatch.exceptions import ModelError
from reconpatch.imaging.geometry import Geometry

# Version of the numbers that this code computes: raised with a change after which older features or scores do not
# compare with new ones.
CODE_VERSION = 2
FUSIONS = ("patch", "image")
# A model's folder holds the first; the others are in one folder per member, named like its backbone.
MODEL_FILE = "model.json"
ADAPTER_FILE, BANK_FILE, BANK_INDEX_FILE = "adapter.safetensors", "memory_bank.safetensors", "bank_index.parquet"


@dataclass(frozen=True)
class MemberModel:
    """One network of a category's model.

    Attributes:
        backbone: timm's name of the network.
        layers: layers of the network whose feature maps are used (timm's `out_indices`).
        patch_size: side of a patch in cells of the feature map, odd.
        aggregation: how patch features are pooled, one of `AGGREGATIONS`.
        dim: D, the width of the adapter's output; 0 for the identity.
        weights: where the backbone's weights came from.
        weights_sha256: digest of the backbone's weights.
        key: SHA-256 of everything that adapter and bank depend on.
        median: s̃ of equation 11, over the fit images; None until they are scored.
        mad: MAD of equation 11, likewise.
        beta: β of equation 11, likewise.
        grid: rows and columns of patches, to which an entry's row and column refer; None until then.
    """

    backbone: str
    layers: tuple[int, ...]
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
        """Check that weights are those that this member was fitted with.

        Args:
            source: where the weights came from, as `Backbone.weights_source`.
            sha256: their digest, as `Backbone.weights_sha256`.

        Raises:
            ModelError: they are different weights.
        """
        if sha256 != self.weights_sha256:
            raise ModelError(
                f"{self.backbone}: the weights from {source} have SHA-256 {sha256[:12]}, but the model was fitted with "
                f"{self.weights_sha256[:12]} from {self.weights}; name the folder that holds those as the weights."
            )


@dataclass(frozen=True)
class Model:
    """A category's model.

    Attributes:
        category: name of the category.
        version: version of this model, written into every row that it scores.
        members: its networks.
        image_size: side of the networks' input, in pixels.
        full_frame: whether images are resized without a center crop.
        bit_depth: significant bits per channel of images with more than 8 bits.
        chunk: images of a forward pass.
        fusion: 'patch' or 'image': which scores equation 11 normalizes.
        score_neighbors: b of equation 10.
        false_alarms: target false-positive rate.
        code_version: `CODE_VERSION` of the code that made it.
        holdout_scores: fused image scores of the held-out good images, ascending.
        threshold: see `conformal_threshold`; None where nothing is held out.
        false_alarm_bound: guaranteed bound on the false-positive rate; None likewise.
    """

    category: str
    version: str
    members: tuple[MemberModel, ...]
    image_size: int
    full_frame: bool
    bit_depth: int
    chunk: int
    fusion: str
    score_neighbors: int
    false_alarms: float
    code_version: int
    holdout_scores: tuple[float, ...] = ()
    threshold: float | None = None
    false_alarm_bound: float | None = None

    def geometry(self, height: int, width: int) -> Geometry:
        """Return how an image of this height and width, in pixels, maps to the networks' input."""
        return Geometry.of(height, width, self.image_size, self.full_frame)


@dataclass(frozen=True)
class Prediction:
    """Scores of a batch of B images.

    Attributes:
        scores: (B,) float64 fused image scores, eq. 11.
        fused: (B, H, W) float32 fused map of modified z-scores.
        member_scores: (members, B) float64, each member's largest modified z-score.
        peaks: location of the maximum of each fused map.
        p_values: (B,) float64, or None where nothing is held out.
        is_anomaly: (B,) bool, or None likewise.
    """

    scores: npt.NDArray[np.float64]
    fused: npt.NDArray[np.float32]
    member_scores: npt.NDArray[np.float64]
    peaks: Peaks
    p_values: npt.NDArray[np.float64] | None
    is_anomaly: npt.NDArray[np.bool_] | None


def normalize(model: Model, fit_maps: Sequence[npt.NDArray[np.float32]]) -> tuple[Model, list[ScoreStatistics]]:
    """Compute each member's median and MAD over the fit images' scores.

    Args:
        model: model whose members' statistics are replaced.
        fit_maps: one (n, H, W) array of the fit images' patch scores per member.

    Returns:
        The model with statistics, and the statistics of each member.

    Raises:
        ValueError: the scores have no spread; the message names the category and the member.
    """
    members, statistics = [], []
    for member, maps in zip(model.members, fit_maps, strict=True):
        try:
            of_member = score_statistics(maps if model.fusion == "patch" else largest_scores(maps))
        except ValueError as error:
            raise ValueError(f"{model.category}, {member.backbone}: {error}") from error
        grid = int(maps.shape[1]), int(maps.shape[2])
        members.append(replace(member, median=of_member.median, mad=of_member.mad, beta=of_member.beta, grid=grid))
        statistics.append(of_member)
    return replace(model, members=tuple(members)), statistics


def calibrate(model: Model, holdout_scores: npt.ArrayLike) -> Model:
    """Return the model with held-out scores, and the threshold and guaranteed bound computed from them.

    Args:
        model: model with the target false-positive rate.
        holdout_scores: (n,) fused image scores in any order; empty where nothing is held out.

    Raises:
        ValueError: a score is not finite.
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
    """Return the model with another target false-positive rate. No image is scored again.

    Args:
        model: model with held-out scores.
        false_alarms: target false-positive rate, in (0, 1).

    Raises:
        ValueError: the rate is outside (0, 1).
    """
    return calibrate(replace(model, false_alarms=false_alarms), model.holdout_scores)


def normalized_scores(model: Model, scores: Sequence[Array]) -> list[Array]:
    """Return the members' patch scores as modified z-scores s̄, eq. 11.

    Args:
        model: model with its members' statistics.
        scores: one array or tensor of any shape per member, in the members' order.

    Returns:
        Modified z-scores of the same number, shapes and kinds.

    Raises:
        ModelError: a member has no statistics.
    """
    normalized = []
    for member, member_scores in zip(model.members, scores, strict=True):
        if member.median is None or member.mad is None or member.beta is None:
            raise ModelError(f"{model.category}, {member.backbone}: the model has no median and MAD; fit it again.")
        normalized.append(modified_z_score(member_scores, member.median, member.mad, member.beta))
    return normalized


def predict(model: Model, maps: Sequence[npt.NDArray[np.float32]]) -> Prediction:
    """Fuse the members' patch scores of a batch of images, and compare the image scores with the threshold.

    Args:
        model: model with its members' statistics; without a threshold where it is not calibrated.
        maps: one (B, H, W) array of patch scores per member, in the members' order; NaN where a patch has no score.

    Raises:
        ModelError: a member has no statistics.
    """
    normalized = normalized_scores(model, maps)
    fused = fuse_maps(normalized)
    largest = np.stack([largest_scores(member_scores) for member_scores in normalized]).astype(np.float64)
    scores = image_scores(fused, normalized, model.fusion)
    return Prediction(
        scores=scores,
        fused=np.asarray(fused, dtype=np.float32),
        member_scores=largest,
        peaks=find_peaks(fused, normalized),
        p_values=p_values(scores, model.holdout_scores),
        is_anomaly=None if model.threshold is None else scores > model.threshold,
    )
