"""What a score points at: the place on the picture, and the good patch that it was compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.member_scores import MemberScores
from pipelines.rundir import bank_index_name
from pipelines.storage import Store
from pipelines.tables import read_table
from pipelines.walk import Image
from reconpatch.geometry import Geometry
from reconpatch.model import Judgement, Model

_NOBODY = {"nearest_image": None, "nearest_row": None, "nearest_col": None}


def geometry_of(image: Image, model: Model) -> Geometry:
    """How a picture lies on a model's grid."""
    if image.height is None or image.width is None:
        raise ValueError(f"{image.image_path} has scores but was never read.")
    return model.geometry(image.height, image.width)


def read_entries(model: Model, place: Store) -> list[dict[str, list[Any]]]:
    """Per member where each bank entry came from, from a model's folder."""
    return [read_table(place, bank_index_name(member.backbone)).to_pydict() for member in model.members]


def entry_columns(entries: Mapping[str, Sequence[Any]], entry: int) -> dict[str, Any]:
    """The columns nearest_image, nearest_row and nearest_col of a bank entry; nulls for -1."""
    if entry < 0:
        return dict(_NOBODY)
    return {
        "nearest_image": entries["image_path"][entry],
        "nearest_row": entries["row"][entry],
        "nearest_col": entries["col"][entry],
    }


def nearest_patches(
    model: Model, judged: Judgement, members: Sequence[MemberScores], place: Store
) -> list[dict[str, Any]]:
    """Per image the good patch its peak was compared with: the entry of the member that is loudest there.

    Args:
        place: the model's folder.
    """
    entries = read_entries(model, place)
    peaks = zip(
        judged.peaks.member.tolist(), judged.peaks.member_row.tolist(), judged.peaks.member_col.tolist(), strict=True
    )
    return [
        {
            "nearest_backbone": model.members[position].backbone,
            **entry_columns(entries[position], int(members[position].nearest[number, row, col])),
        }
        for number, (position, row, col) in enumerate(peaks)
    ]
