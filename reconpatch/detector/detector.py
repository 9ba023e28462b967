"""Scoring of single images in the current process, without Ray, by the functions that a run uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.numpy import load_file

from reconpatch.adapter.training import embed
from reconpatch.arrays import Array
from reconpatch.deprecated_arguments import RenamedAttribute
from reconpatch.detector.inputs import pixels_of
from reconpatch.detector.model import ADAPTER_FILE, BANK_FILE, BANK_INDEX_FILE, MODEL_FILE, Model, Prediction, predict
from reconpatch.detector.model_json import from_json
from reconpatch.exceptions import ModelError
from reconpatch.features.backbones import Backbone, load_backbone
from reconpatch.features.patches import extract_features, feature_channels
from reconpatch.imaging.anomaly_maps import anomaly_map, to_original
from reconpatch.imaging.geometry import Geometry
from reconpatch.imaging.images import preprocess
from reconpatch.neighbors.memory_bank import MemoryBank, PatchScores

# The columns of bank_index.parquet that a verdict uses.
_BANK_INDEX = pa.schema(
    [
        pa.field("image_path", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("col", pa.int64(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Verdict:
    """A model's prediction for one image, with the same content as a row of scores/fused and the anomaly map.

    Attributes:
        score: Anomaly score of the image: the fused score of eq. 11, in robust standard deviations.
        p_value: Conformal p-value in (0, 1]; None if the model has no calibration images.
        threshold: Threshold of the model; None if it has no calibration images.
        is_anomaly: Whether the image is flagged (score above the threshold); None without a threshold.
        map: (H, W) float32 anomaly map at the size of the image, NaN outside the center crop.
        peak_row: Row, in pixels of the image, of the center of the patch with the highest fused score.
        peak_col: Column of that center, in pixels of the image.
        nearest_backbone: Backbone of the member with the highest score at the peak.
        nearest_image: Path of the training image that contains the nearest bank entry of this member's patch.
        nearest_row: Row of that entry on the member's patch grid.
        nearest_col: Column of that entry on the member's patch grid.
        member_scores: Largest modified z-score of each member, by backbone.

    Examples:
        Run this in a checkout of the repository, whose test data contain a run directory:

        >>> from reconpatch import Detector
        >>> detector = Detector.load("tests/data/first_round/run/models/cloth")
        >>> verdict = detector.score("tests/data/first_round/data/cloth/test/blot/000.png")
        >>> verdict.map.shape, verdict.peak_row, verdict.peak_col
        ((64, 56), 24, 35)
        >>> sorted(verdict.member_scores)
        ['tf_efficientnet_lite0', 'tf_efficientnet_lite1']
    """

    score: float
    p_value: float | None
    threshold: float | None
    is_anomaly: bool | None
    map: npt.NDArray[np.float32]
    peak_row: int
    peak_col: int
    nearest_backbone: str
    nearest_image: str
    nearest_row: int
    nearest_col: int
    member_scores: dict[str, float]


@dataclass(frozen=True)
class LoadedMember:
    """One member of a loaded model.

    Attributes:
        backbone: Backbone with its pretrained weights.
        weight: (D, C') float32 weight of the adapter; None for the identity.
        bank: Memory bank with (M, D) entries.
        bank_index: Origin of each bank entry: lists of length M by the names image_path, row and col.
    """

    backbone: Backbone
    weight: npt.NDArray[np.float32] | None
    bank: MemoryBank
    bank_index: dict[str, list[object]]

    places = RenamedAttribute("bank_index")


@dataclass(frozen=True, eq=False)
class Detector:
    """A category's model, loaded and ready to score images.

    Attributes:
        model: Description of the members, their statistics and the threshold.
        chunk: Number of images per forward pass, see `load`.
        members: Loaded members, in the order of the model's members.

    Examples:
        Run this in a checkout of the repository, whose test data contain a run directory:

        >>> from reconpatch import Detector
        >>> detector = Detector.load("tests/data/first_round/run/models/cloth")
        >>> good = detector.score("tests/data/first_round/data/cloth/test/good/000.png")
        >>> defective = detector.score("tests/data/first_round/data/cloth/test/blot/000.png")
        >>> round(good.score), round(defective.score), round(detector.model.threshold)
        (4, 97, 8)
        >>> good.is_anomaly, defective.is_anomaly
        (False, True)
    """

    judge = RenamedAttribute("predict")

    model: Model
    chunk: int
    members: tuple[LoadedMember, ...]

    @classmethod
    def load(
        cls, path: str | Path, weights: str | Path | None = None, *, chunk: int = 1, device: str = "cpu"
    ) -> Detector:
        """Load the model of a category from a run directory or a registry.

        Args:
            path: Folder that contains model.json: `models/<category>` of a run directory or `<category>/<version>` of a
                registry.
            weights: Folder with the weights of the backbones. None uses an installed weight package, or timm's hub if
                there is no such package.
            chunk: Number of images per forward pass, at least 1. The images after the first are black. With the
                model's own chunk, scores on the same machine are bit-identical to those of a run; with 1, they differ
                by rounding and are computed several times faster.
            device: torch device of the backbones and memory banks.

        Returns:
            The loaded model.

        Raises:
            ModelError: The folder contains no model, the model is damaged or of another version, or the weights are
                not those with which it was fitted.
            BackboneError: There are no weights for a backbone.
        """
        folder = Path(path)
        try:
            model = from_json((folder / MODEL_FILE).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            raise ModelError(
                f"{folder} contains no {MODEL_FILE}. Pass the folder models/<category> of a run directory."
            ) from None
        members = []
        for member in model.members:
            backbone = load_backbone(
                member.backbone, member.layers, image_size=model.image_size, weights=weights, device=device
            )
            member.require_weights(backbone.weights_source, backbone.weights_sha256)
            channels = feature_channels(backbone.channels, member.aggregation)
            member_folder = folder / member.backbone
            try:
                weight, entries, bank_index = _read_member(member_folder, channels, adapted=member.dim > 0)
                bank = MemoryBank(entries, model.score_neighbors, device)
            except (OSError, KeyError, ValueError, TypeError, SafetensorError, pa.ArrowException) as error:
                reason = " ".join(str(error).split())[:200]
                raise ModelError(
                    f"{member_folder}: the model is incomplete or damaged ({reason}). Fit it again."
                ) from error
            members.append(LoadedMember(backbone, weight, bank, bank_index))
        return cls(model, chunk, tuple(members))

    def score(self, image: str | Path | bytes | Array) -> Verdict:
        """Score one image.

        Args:
            image: Path or content of an image file, which is read with the bit depth of the model; or a float32 array
                or tensor in [0, 1], (H, W, 3) with the channels red, green and blue, or (H, W) for a gray image. Other
                floating-point dtypes are converted to float32.

        Returns:
            Score, p-value, threshold, anomaly map and peak of the image.

        Raises:
            ImageError: The file cannot be decoded; the message starts with the path if one was given.
            OSError: The file cannot be opened.
            ValueError: The array has another shape (for example channels first), an integer dtype, NaN or infinite
                values, or values outside [0, 1].
            TypeError: The image is of another type, for example a Pillow image.
        """
        batch, geometry = self.network_input(pixels_of(image, self.model.bit_depth))
        features_and_grids = [
            extract_features(loaded.backbone, batch, member.patch_size, member.aggregation)
            for loaded, member in zip(self.members, self.model.members, strict=True)
        ]
        grids = [grid for _, grid in features_and_grids]
        predicted, patch_scores = self.predict([features[0] for features, _ in features_and_grids], grids)
        peaks, fused = predicted.peaks, predicted.fused[0]
        highest = int(peaks.member[0])
        cell = int(peaks.member_row[0]) * grids[highest][1] + int(peaks.member_col[0])
        entry = int(patch_scores[highest].nearest[cell])
        bank_index = self.members[highest].bank_index
        peak = geometry.patch_center(int(peaks.row[0]), int(peaks.col[0]), (fused.shape[0], fused.shape[1]))
        network_map = anomaly_map(fused, self.model.image_size)
        return Verdict(
            score=float(predicted.scores[0]),
            p_value=None if predicted.p_values is None else float(predicted.p_values[0]),
            threshold=self.model.threshold,
            is_anomaly=None if predicted.is_anomaly is None else bool(predicted.is_anomaly[0]),
            map=np.asarray(to_original(network_map, geometry)),
            peak_row=peak[0],
            peak_col=peak[1],
            nearest_backbone=self.model.members[highest].backbone,
            nearest_image=str(bank_index["image_path"][entry]),
            nearest_row=int(str(bank_index["row"][entry])),
            nearest_col=int(str(bank_index["col"][entry])),
            member_scores={
                member.backbone: float(predicted.member_scores[number, 0])
                for number, member in enumerate(self.model.members)
            },
        )

    def network_input(self, image: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], Geometry]:
        """Return the input batch of the backbones for an image, and the geometry of its resize and crop.

        Args:
            image: (H, W, 3) float32 array in [0, 1].

        Returns:
            (chunk, 3, S, S) float32 batch in [0, 1] with the image first and black images after it, and the geometry
            that maps the pixels of the image to the batch.
        """
        geometry = self.model.geometry(*image.shape[:2])
        batch = np.zeros((self.chunk, 3, self.model.image_size, self.model.image_size), np.float32)
        batch[0] = np.asarray(preprocess(image, geometry))
        return batch, geometry

    def predict(
        self, features: Sequence[npt.NDArray[np.floating]], grids: Sequence[tuple[int, int]]
    ) -> tuple[Prediction, list[PatchScores]]:
        """Score the patch features of one image (eqs. 9 to 11).

        Args:
            features: One (H·W, C') array of patch features per member, rounded to float16 as `extract_features`
                returns them.
            grids: Patch grid (H, W) of each member.

        Returns:
            The prediction for a batch of one image, and the patch scores of each member.
        """
        patch_scores = [
            member.bank.query(embed(of_member, member.weight, member.bank.entries.device))
            for member, of_member in zip(self.members, features, strict=True)
        ]
        maps = [
            np.asarray(of_member.scores, np.float32).reshape(1, *grid)
            for of_member, grid in zip(patch_scores, grids, strict=True)
        ]
        return predict(self.model, maps), patch_scores


def _read_member(
    folder: Path, channels: int, *, adapted: bool
) -> tuple[npt.NDArray[np.float32] | None, npt.NDArray[np.float32], dict[str, list[object]]]:
    """Return a member's adapter weight, bank entries and bank index.

    Args:
        folder: Folder of the member's files.
        channels: C', the number of channels of its patch features.
        adapted: Whether it has an adapter.

    Raises:
        ValueError: The files do not belong together. For damaged files, the exceptions of their readers are raised.
    """
    weight = load_file(folder / ADAPTER_FILE)["f.weight"] if adapted else None
    entries = load_file(folder / BANK_FILE)["entries"]
    # The file is opened here because pyarrow interprets a folder name such as a=b as a partition.
    with (folder / BANK_INDEX_FILE).open("rb") as file:
        bank_index = pq.read_table(file).select(_BANK_INDEX.names).cast(_BANK_INDEX).to_pydict()
    for name, array, width in (
        ("adapter", weight, channels),
        ("bank", entries, channels if weight is None else len(weight)),
    ):
        if array is None:
            continue
        if array.dtype != np.float32 or array.ndim != 2 or array.shape[1] != width or not np.isfinite(array).all():
            raise ValueError(
                f"the {name} must contain finite float32 values and have width {width}; "
                f"it has dtype {array.dtype} and shape {array.shape}"
            )
    if len(bank_index["row"]) != len(entries):
        raise ValueError(f"the bank has {len(entries)} entries, but its index has {len(bank_index['row'])} rows")
    return weight, entries, bank_index
