"""One image, in process, without Ray: the same functions as the batch, on a stored model."""

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

from reconpatch.adapter import embed
from reconpatch.backbones import Backbone, load_backbone
from reconpatch.geometry import Geometry
from reconpatch.images import preprocess, read_image
from reconpatch.maps import anomaly_map, to_original
from reconpatch.model import (
    ADAPTER_FILE,
    BANK_FILE,
    BANK_INDEX_FILE,
    MODEL_FILE,
    Judgement,
    Model,
    ModelError,
    from_json,
    judge,
)
from reconpatch.patches import extract_features, feature_channels
from reconpatch.scoring import MemoryBank, PatchScores

# Of bank_index.parquet, what a verdict tells.
_PLACES = pa.schema(
    [
        pa.field("image_path", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("col", pa.int64(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Verdict:
    """What a model says of one image; the columns of scores/fused.

    Attributes:
        score: fused image score, eq. 11.
        p_value, threshold, is_anomaly: None where the model has no held-out images to promise anything from.
        map: (height, width) float32 on the picture's own pixels, NaN where the crop did not look.
        peak_row, peak_col: the picture's pixel under the centre of the patch with the largest fused score.
        nearest_backbone: the member that is loudest there.
        nearest_image, nearest_row, nearest_col: the good patch it was compared with, on that member's grid.
        member_scores: backbone → its largest modified z-score.
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
        weight: (D, C') float32 of its adapter; None for the identity.
        bank: with entries (M, D).
        places: where each entry is from: image_path, row and col, M of each.
    """

    backbone: Backbone
    weight: npt.NDArray[np.float32] | None
    bank: MemoryBank
    places: dict[str, list[object]]


@dataclass(frozen=True, eq=False)
class Detector:
    """A category's model, loaded: `Detector.load(path).score(image)`.

    Attributes:
        chunk: images of a forward pass, see `load`.
        members: in the order of the model's.
    """

    model: Model
    chunk: int
    members: tuple[LoadedMember, ...]

    @classmethod
    def load(
        cls, path: str | Path, weights: str | Path | None = None, *, chunk: int = 1, device: str = "cpu"
    ) -> Detector:
        """Load models/<category> of a run.

        Args:
            path: the folder that holds model.json.
            weights: folder with the backbones' weights; without it an installed weight package, then timm's hub.
            chunk: images of a forward pass, the rest of them black. With the model's own chunk, on the same machine,
                scores are the batch's to the bit; with 1 they are as near as rounding and many times faster.
            device: where the networks and the banks run.

        Raises:
            ModelError: there is no model, it is damaged or of a later format, or the weights found are not those
                it was fitted with.
            BackboneError: a backbone without weights.
        """
        folder = Path(path)
        try:
            model = from_json((folder / MODEL_FILE).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            raise ModelError(f"{folder}: there is no {MODEL_FILE}; give models/<category> of a run.") from None
        members = []
        for each in model.members:
            backbone = load_backbone(
                each.backbone, each.levels, image_size=model.image_size, weights=weights, device=device
            )
            each.require_weights(backbone.weights_source, backbone.weights_sha256)
            channels = feature_channels(backbone.channels, each.aggregation)
            place = folder / each.backbone
            try:
                weight, entries, places = _read_member(place, channels, adapted=each.dim > 0)
                bank = MemoryBank(entries, model.reweight, device)
            except (OSError, KeyError, ValueError, TypeError, SafetensorError, pa.ArrowException) as error:
                reason = " ".join(str(error).split())[:200]
                raise ModelError(f"{place}: the model is not whole ({reason}); fit it again.") from error
            members.append(LoadedMember(backbone, weight, bank, places))
        return cls(model, chunk, tuple(members))

    def score(self, image: str | Path | bytes | npt.NDArray[np.float32]) -> Verdict:
        """Score one image.

        Args:
            image: a file's path or its bytes, or (H, W, 3) float32 in [0, 1].

        Raises:
            ImageError: the file cannot be read.
            ValueError: an array of another shape or of integers.
        """
        if isinstance(image, str | Path):
            image = Path(image).read_bytes()
        if isinstance(image, bytes):
            image = read_image(image, self.model.bit_depth)
        batch, geometry = self.network_input(image)
        seen = [
            extract_features(member.backbone, batch, each.patch_size, each.aggregation)
            for member, each in zip(self.members, self.model.members, strict=True)
        ]
        judged, found = self.judge([features[0] for features, _ in seen], [grid for _, grid in seen])
        loudest = int(judged.peaks.member[0])
        cell = int(judged.peaks.member_row[0]) * seen[loudest][1][1] + int(judged.peaks.member_col[0])
        entry = int(found[loudest].nearest[cell])
        places = self.members[loudest].places
        peak = geometry.patch_centre(
            int(judged.peaks.row[0]), int(judged.peaks.col[0]), (judged.fused.shape[1], judged.fused.shape[2])
        )
        network_map = anomaly_map(judged.fused[0], self.model.image_size)
        return Verdict(
            score=float(judged.scores[0]),
            p_value=None if judged.p_values is None else float(judged.p_values[0]),
            threshold=self.model.threshold,
            is_anomaly=None if judged.is_anomaly is None else bool(judged.is_anomaly[0]),
            map=np.asarray(to_original(network_map, geometry)),
            peak_row=peak[0],
            peak_col=peak[1],
            nearest_backbone=self.model.members[loudest].backbone,
            nearest_image=str(places["image_path"][entry]),
            nearest_row=int(str(places["row"][entry])),
            nearest_col=int(str(places["col"][entry])),
            member_scores={
                each.backbone: float(judged.member_scores[position, 0])
                for position, each in enumerate(self.model.members)
            },
        )

    def network_input(self, image: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], Geometry]:
        """What the networks see of a picture, and how it came there.

        Args:
            image: (H, W, 3) float32 in [0, 1].

        Returns:
            (chunk, 3, S, S) float32, the first image its own and the others black; and where its pixels are in that.
        """
        geometry = self.model.geometry(*image.shape[:2])
        batch = np.zeros((self.chunk, 3, self.model.image_size, self.model.image_size), np.float32)
        batch[0] = np.asarray(preprocess(image, geometry))
        return batch, geometry

    def judge(
        self, features: Sequence[npt.NDArray[np.floating]], grids: Sequence[tuple[int, int]]
    ) -> tuple[Judgement, list[PatchScores]]:
        """What follows from an image's patch features: eqs. 9 to 11.

        Args:
            features: one (H·W, C') a member, rounded to float16 as `extract_features` gives them.
            grids: (H, W) of each.

        Returns:
            The judgement of a batch of one, and each member's patch scores.
        """
        found = [
            member.bank.query(embed(each, member.weight, member.bank.entries.device))
            for member, each in zip(self.members, features, strict=True)
        ]
        maps = [np.asarray(each.scores, np.float32).reshape(1, *grid) for each, grid in zip(found, grids, strict=True)]
        return judge(self.model, maps), found


def _read_member(
    place: Path, channels: int, *, adapted: bool
) -> tuple[npt.NDArray[np.float32] | None, npt.NDArray[np.float32], dict[str, list[object]]]:
    """A member's adapter, bank and bank index.

    Args:
        channels: C' of its patch features.
        adapted: whether it has an adapter.

    Raises:
        ValueError: they do not belong together; what the readers raise where a file is damaged.
    """
    weight = load_file(place / ADAPTER_FILE)["f.weight"] if adapted else None
    entries = load_file(place / BANK_FILE)["entries"]
    # Not by path: pyarrow takes a folder name like a=b for a partition.
    with (place / BANK_INDEX_FILE).open("rb") as file:
        places = pq.read_table(file).select(_PLACES.names).cast(_PLACES).to_pydict()
    for name, array, width in (
        ("adapter", weight, channels),
        ("bank", entries, channels if weight is None else len(weight)),
    ):
        if array is None:
            continue
        if array.dtype != np.float32 or array.ndim != 2 or array.shape[1] != width or not np.isfinite(array).all():
            raise ValueError(f"the {name}, {array.dtype} {array.shape}, is not of finite float32 and width {width}")
    if len(places["row"]) != len(entries):
        raise ValueError(f"the bank has {len(entries)} entries, and its index {len(places['row'])}")
    return weight, entries, places
