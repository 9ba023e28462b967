"""Scoring one image in process, without Ray, by the functions that a run uses."""

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
from reconpatch.deprecated_arguments import RenamedAttribute
from reconpatch.detector.model import ADAPTER_FILE, BANK_FILE, BANK_INDEX_FILE, MODEL_FILE, Model, Prediction, predict
from reconpatch.detector.model_json import from_json
from reconpatch.exceptions import ModelError
from reconpatch.features.backbones import Backbone, load_backbone
from reconpatch.features.patches import extract_features, feature_channels
from reconpatch.imaging.anomaly_maps import anomaly_map, to_original
from reconpatch.imaging.geometry import Geometry
from reconpatch.imaging.images import preprocess, read_image
from reconpatch.neighbors.memory_bank import MemoryBank, PatchScores

# The columns of bank_index.parquet that a verdict contains.
_BANK_INDEX = pa.schema(
    [
        pa.field("image_path", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("col", pa.int64(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Verdict:
    """A model's prediction for one image; the columns of scores/fused.

    Attributes:
        score: fused image score, eq. 11.
        p_value: conformal p-value; None where the model has no held-out images.
        threshold: the model's threshold; None likewise.
        is_anomaly: whether the score is above the threshold; None likewise.
        map: (height, width) float32 anomaly map on the image's own pixels, NaN outside of the center crop.
        peak_row: row of the image's pixel under the center of the patch with the largest fused score.
        peak_col: its column.
        nearest_backbone: the member with the highest score there.
        nearest_image: training image with the bank entry that this patch was compared with.
        nearest_row: row of that entry on the member's grid.
        nearest_col: its column.
        member_scores: backbone → its largest modified z-score.

    Example:
        >>> from reconpatch import Detector
        >>> verdict = Detector.load("run/models/bolt").score("bolt/test/bent/000.png")  # doctest: +SKIP
        >>> verdict.score, verdict.is_anomaly  # doctest: +SKIP
        (7.31, True)
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
    """One network of a loaded model.

    Attributes:
        backbone: the network, with its weights.
        weight: (D, C') float32, its adapter; None for the identity.
        bank: memory bank with entries (M, D).
        bank_index: origin of each entry: image_path, row and col, M of each.
    """

    backbone: Backbone
    weight: npt.NDArray[np.float32] | None
    bank: MemoryBank
    bank_index: dict[str, list[object]]

    places = RenamedAttribute("bank_index")


@dataclass(frozen=True, eq=False)
class Detector:
    """A category's loaded model: `Detector.load(path).score(image)`.

    Attributes:
        model: members, statistics and threshold.
        chunk: images of a forward pass, see `load`.
        members: the loaded networks, in the order of the model's members.
    """

    judge = RenamedAttribute("predict")

    model: Model
    chunk: int
    members: tuple[LoadedMember, ...]

    @classmethod
    def load(
        cls, path: str | Path, weights: str | Path | None = None, *, chunk: int = 1, device: str = "cpu"
    ) -> Detector:
        """Load models/<category> of a run.

        Args:
            path: folder that contains model.json.
            weights: folder with the backbones' weights; without it an installed weight package, then timm's hub.
            chunk: images of a forward pass; all but the first are black. With the model's own chunk, on the same
                machine, scores are bit-identical to a run's; with 1 they agree up to rounding and take a fraction of
                the time.
            device: device of the networks and memory banks.

        Raises:
            ModelError: there is no model, it is damaged or of a later format, or the weights are not those it was
                fitted with.
            BackboneError: a backbone has no weights.
        """
        folder = Path(path)
        try:
            model = from_json((folder / MODEL_FILE).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            raise ModelError(f"{folder}: there is no {MODEL_FILE}; give models/<category> of a run.") from None
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
                raise ModelError(f"{member_folder}: the model is not whole ({reason}); fit it again.") from error
            members.append(LoadedMember(backbone, weight, bank, bank_index))
        return cls(model, chunk, tuple(members))

    def score(self, image: str | Path | bytes | npt.NDArray[np.float32]) -> Verdict:
        """Score one image.

        Args:
            image: path or bytes of an image file, or (H, W, 3) float32 in [0, 1].

        Raises:
            ImageError: the file cannot be read.
            ValueError: the array has another shape or is of integers.
        """
        if isinstance(image, str | Path):
            image = Path(image).read_bytes()
        if isinstance(image, bytes):
            image = read_image(image, self.model.bit_depth)
        batch, geometry = self.network_input(image)
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
        """Return the networks' input for an image, and how the image's pixels map to it.

        Args:
            image: (H, W, 3) float32 in [0, 1].

        Returns:
            (chunk, 3, S, S) float32, the image first and the others black, and the geometry of the mapping.
        """
        geometry = self.model.geometry(*image.shape[:2])
        batch = np.zeros((self.chunk, 3, self.model.image_size, self.model.image_size), np.float32)
        batch[0] = np.asarray(preprocess(image, geometry))
        return batch, geometry

    def predict(
        self, features: Sequence[npt.NDArray[np.floating]], grids: Sequence[tuple[int, int]]
    ) -> tuple[Prediction, list[PatchScores]]:
        """Score an image's patch features: eqs. 9 to 11.

        Args:
            features: one (H·W, C') array per member, rounded to float16 as `extract_features` returns them.
            grids: (H, W) of each member.

        Returns:
            The prediction of a batch of one, and each member's patch scores.
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
    """Return a member's adapter, bank entries and bank index.

    Args:
        folder: folder of the member's files.
        channels: C' of its patch features.
        adapted: whether it has an adapter.

    Raises:
        ValueError: the files do not belong together. Damaged files raise what their readers raise.
    """
    weight = load_file(folder / ADAPTER_FILE)["f.weight"] if adapted else None
    entries = load_file(folder / BANK_FILE)["entries"]
    # Not by path: pyarrow takes a folder name like a=b for a partition.
    with (folder / BANK_INDEX_FILE).open("rb") as file:
        bank_index = pq.read_table(file).select(_BANK_INDEX.names).cast(_BANK_INDEX).to_pydict()
    for name, array, width in (
        ("adapter", weight, channels),
        ("bank", entries, channels if weight is None else len(weight)),
    ):
        if array is None:
            continue
        if array.dtype != np.float32 or array.ndim != 2 or array.shape[1] != width or not np.isfinite(array).all():
            raise ValueError(f"the {name}, {array.dtype} {array.shape}, is not of finite float32 and width {width}")
    if len(bank_index["row"]) != len(entries):
        raise ValueError(f"the bank has {len(entries)} entries, and its index {len(bank_index['row'])}")
    return weight, entries, bank_index
