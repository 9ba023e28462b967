"""Model of a category: its members, the statistics of their scores, the threshold, and the prediction for images.

`reconpatch.detector.model_json` writes the model to model.json. Adapters and memory banks are safetensors files in the
same folder.
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

# Version of the computation. It is raised by every change after which new features or scores are no longer comparable
# with older ones.
CODE_VERSION = 2
FUSIONS = ("patch", "image")
# MODEL_FILE is in the folder of the model. The other files are in one subfolder per member, named after its backbone.
MODEL_FILE = "model.json"
ADAPTER_FILE, BANK_FILE, BANK_INDEX_FILE = "adapter.safetensors", "memory_bank.safetensors", "bank_index.parquet"


@dataclass(frozen=True)
class MemberModel:
    """Description of one member of a category's model.

    Attributes:
        backbone: timm name of the backbone.
        layers: Layers of the backbone whose feature maps are used (timm's `out_indices`).
        patch_size: Side of a patch in cells of the feature map; odd, at least 1.
        aggregation: Method that makes patch features of the feature maps, one of `AGGREGATIONS`.
        dim: D, the width of the adapter's output; 0 for the identity.
        weights: Source of the backbone's weights, as `Backbone.weights_source`.
        weights_sha256: SHA-256 of the backbone's weights (hexadecimal).
        key: Cache key: SHA-256 of everything that the adapter and the memory bank depend on (hexadecimal).
        median: Median s̃ of eq. 11 over the training images; None before `normalize`.
        mad: MAD of eq. 11 over the training images, above 0; None before `normalize`.
        beta: β of eq. 11, above 0; None before `normalize`.
        grid: Patch grid (rows, columns) to which the rows and columns of bank entries refer; None before `normalize`.
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
        """Raise ModelError unless the weights are those with which this member was fitted.

        Args:
            source: Source of the weights, as `Backbone.weights_source`; for the message.
            sha256: SHA-256 of the weights, as `Backbone.weights_sha256`.

        Raises:
            ModelError: The weights are different.
        """
        if sha256 != self.weights_sha256:
            raise ModelError(
                f"{self.backbone}: the weights from {source} have SHA-256 {sha256[:12]}, but the model was fitted with "
                f"{self.weights_sha256[:12]} from {self.weights}. Pass the folder with those weights."
            )


@dataclass(frozen=True)
class Model:
    """Model of a category, as stored in model.json.

    Attributes:
        category: Name of the category.
        version: Model version; it is written to every row of scores.
        members: Members of the model, at least one.
        image_size: S, the side of the backbones' input in pixels, at least 32.
        full_frame: Whether the whole image is resized; otherwise it is resized and center-cropped.
        bit_depth: Significant bits per channel of images with more than 8 bits (9-16).
        chunk: Number of images per forward pass, at least 1.
        fusion: Scores that eq. 11 normalizes: 'patch' for patch scores, 'image' for image scores.
        score_neighbors: b, the number of neighbors in eq. 10, at least 1.
        false_alarms: Target false-positive rate, in (0, 1).
        code_version: `CODE_VERSION` of the code that fitted the model.
        holdout_scores: Anomaly scores of the calibration images, ascending.
        threshold: Images scoring above it are flagged, see `conformal_threshold`; None without calibration images.
        false_alarm_bound: Guaranteed bound on the false-positive rate; None without calibration images.
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
        """Return the resize and crop from an image to the backbones' input.

        Args:
            height: Height of the image in pixels.
            width: Width of the image in pixels.

        Returns:
            The geometry, with this model's image size and crop.
        """
        return Geometry.of(height, width, self.image_size, self.full_frame)


@dataclass(frozen=True)
class Prediction:
    """Prediction for a batch of B images.

    Attributes:
        scores: (B,) float64 anomaly scores of the images (eq. 11).
        fused: (B, H, W) float32 fused maps of modified z-scores.
        member_scores: (members, B) float64 largest modified z-score of each member.
        peaks: Location of the maximum of each fused map.
        p_values: (B,) float64 conformal p-values in (0, 1]; None without calibration images.
        is_anomaly: (B,) bool, whether each image is flagged; None without a threshold.
    """

    scores: npt.NDArray[np.float64]
    fused: npt.NDArray[np.float32]
    member_scores: npt.NDArray[np.float64]
    peaks: Peaks
    p_values: npt.NDArray[np.float64] | None
    is_anomaly: npt.NDArray[np.bool_] | None


def normalize(model: Model, fit_maps: Sequence[npt.NDArray[np.float32]]) -> tuple[Model, list[ScoreStatistics]]:
    """Return the model with each member's median and MAD over the scores of the training images.

    Args:
        model: Model whose members' statistics are replaced.
        fit_maps: One (n, H, W) array of patch scores per member: those of the n training images from which adapter
            and memory bank were made. NaN marks a patch without a score.

    Returns:
        The model with statistics, and the statistics of each member.

    Raises:
        ValueError: The scores of a member have no spread or are not finite. The message names the category and the
            member.
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
    """Return the model with the scores of the calibration images and the threshold computed from them.

    Args:
        model: Model with the target false-positive rate.
        holdout_scores: (n,) anomaly scores of the calibration images, in any order; empty without calibration images.

    Returns:
        The model with scores, threshold and guaranteed bound.

    Raises:
        ValueError: A score is not finite.
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
    """Return the model with another target false-positive rate, computed from the stored calibration scores.

    Args:
        model: Calibrated model.
        false_alarms: Target false-positive rate, in (0, 1).

    Returns:
        The model with a new threshold and guaranteed bound.

    Raises:
        ValueError: The rate is outside (0, 1).
    """
    return calibrate(replace(model, false_alarms=false_alarms), model.holdout_scores)


def normalized_scores(model: Model, scores: Sequence[Array]) -> list[Array]:
    """Return the members' patch scores as modified z-scores s̄ (eq. 11).

    Args:
        model: Model with the statistics of its members.
        scores: One array or tensor of patch scores per member, in the order of the members, any shape.

    Returns:
        One array or tensor of modified z-scores per member, with the shapes of the scores.

    Raises:
        ModelError: A member has no statistics.
    """
    normalized = []
    for member, member_scores in zip(model.members, scores, strict=True):
        if member.median is None or member.mad is None or member.beta is None:
            raise ModelError(f"{model.category}, {member.backbone}: the model has no median and MAD. Fit it again.")
        normalized.append(modified_z_score(member_scores, member.median, member.mad, member.beta))
    return normalized


def predict(model: Model, maps: Sequence[npt.NDArray[np.float32]]) -> Prediction:
    """Fuse the members' patch scores of a batch of images, and compare the image scores with the threshold.

    Args:
        model: Model with the statistics of its members. It may have no threshold.
        maps: One (B, H, W) array of patch scores per member, in the order of the members; NaN marks a patch without a
            score.

    Returns:
        Scores, maps, peaks, p-values and verdicts of the images.

    Raises:
        ModelError: A member has no statistics.
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
