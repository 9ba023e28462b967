"""What a score points at: the position on the image, and the good patch that it was compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.data.records import ImageRecord
from pipelines.stages.member_scores import MemberScores
from pipelines.storage.stored_model import StoredModel, read_bank_indices
from reconpatch.detector.model import Model, Prediction
from reconpatch.imaging.geometry import Geometry


@dataclass(frozen=True, kw_only=True)
class ScoredImages:
    """Images with what every member and the ensemble say of them.

    Attributes:
        stored: the model.
        images: B images, in the order of the members' rows.
        members: the members' scores, in the model's order.
        prediction: the ensemble's, of the same images.
    """

    stored: StoredModel
    images: Sequence[ImageRecord]
    members: Sequence[MemberScores]
    prediction: Prediction


@dataclass(frozen=True, kw_only=True)
class NearestPatch:
    """The good patch that a patch was compared with; None where there was none to compare with.

    Attributes:
        nearest_backbone: the member that compared them.
        nearest_image: the good image's path.
        nearest_row, nearest_col: the patch's row and column on the member's grid.
    """

    nearest_backbone: str
    nearest_image: str | None
    nearest_row: int | None
    nearest_col: int | None


def geometry_of(image: ImageRecord, model: Model) -> Geometry:
    """Return how an image lies on a model's grid.

    Raises:
        ValueError: the image's size is not known.
    """
    if image.height is None or image.width is None:
        raise ValueError(f"{image.image_path} has scores but was never read.")
    return model.geometry(image.height, image.width)


def nearest_patch(backbone: str, bank_index: Mapping[str, Sequence[Any]], entry: int) -> NearestPatch:
    """Return where a bank entry came from.

    Args:
        backbone: the member whose bank it is.
        bank_index: columns of the member's bank_index.parquet.
        entry: its row there; -1 for none.
    """
    image, row, col = (bank_index[name][entry] if entry >= 0 else None for name in ("image_path", "row", "col"))
    return NearestPatch(nearest_backbone=backbone, nearest_image=image, nearest_row=row, nearest_col=col)


def nearest_patches(scored: ScoredImages) -> list[NearestPatch]:
    """Return, per image, the good patch that its peak was compared with, by the member that scores highest there."""
    bank_indices, backbones = read_bank_indices(scored.stored), scored.stored.backbones
    peaks = scored.prediction.peaks
    cells = zip(peaks.member.tolist(), peaks.member_row.tolist(), peaks.member_col.tolist(), strict=True)
    return [
        nearest_patch(backbones[member], bank_indices[member], int(scored.members[member].nearest[number, row, col]))
        for number, (member, row, col) in enumerate(cells)
    ]
