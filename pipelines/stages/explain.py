"""Explanation of scores: the position of a patch in the image, and the good patch that it was compared with."""

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
    """Images with the scores of each member and of the ensemble.

    Attributes:
        stored: Model of the category and its folder.
        images: B images.
        members: Scores of the B images by each member, in the order of the model's members.
        prediction: Fused scores and maps of the B images.
    """

    stored: StoredModel
    images: Sequence[ImageRecord]
    members: Sequence[MemberScores]
    prediction: Prediction


@dataclass(frozen=True, kw_only=True)
class NearestPatch:
    """The good patch that a patch was compared with.

    Attributes:
        nearest_backbone: Backbone of the member that compared them.
        nearest_image: Path of the good image; None if the patch was compared with no other patch.
        nearest_row: Row of the good patch in the member's grid; None likewise.
        nearest_col: Column of the good patch in the member's grid; None likewise.
    """

    nearest_backbone: str
    nearest_image: str | None
    nearest_row: int | None
    nearest_col: int | None


def geometry_of(image: ImageRecord, model: Model) -> Geometry:
    """Return how the pixels of an image map to the input of a model's backbones.

    Args:
        image: Image with its height and width.
        model: Model that scores the image.

    Returns:
        The mapping.

    Raises:
        ValueError: The image has no height or width.
    """
    if image.height is None or image.width is None:
        raise ValueError(f"{image.image_path} has scores but no height and width. Read the images again with --rehash.")
    return model.geometry(image.height, image.width)


def nearest_patch(backbone: str, bank_index: Mapping[str, Sequence[Any]], entry: int) -> NearestPatch:
    """Return the patch that a bank entry was made from.

    Args:
        backbone: Backbone of the member that the bank belongs to.
        bank_index: Columns of the member's bank_index.parquet.
        entry: Row of the entry in the bank; -1 for no entry.

    Returns:
        The patch; its image, row and column are None if there is no entry.
    """
    image, row, col = (bank_index[name][entry] if entry >= 0 else None for name in ("image_path", "row", "col"))
    return NearestPatch(nearest_backbone=backbone, nearest_image=image, nearest_row=row, nearest_col=col)


def nearest_patches(scored: ScoredImages) -> list[NearestPatch]:
    """Return the good patch that the peak of each image's fused map was compared with.

    At each peak, the comparison of the member with the highest normalized score counts.

    Args:
        scored: B images with their scores.

    Returns:
        B patches.
    """
    bank_indices, backbones = read_bank_indices(scored.stored), scored.stored.backbones
    peaks = scored.prediction.peaks
    cells = zip(peaks.member.tolist(), peaks.member_row.tolist(), peaks.member_col.tolist(), strict=True)
    return [
        nearest_patch(backbones[member], bank_indices[member], int(scored.members[member].nearest[number, row, col]))
        for number, (member, row, col) in enumerate(cells)
    ]
