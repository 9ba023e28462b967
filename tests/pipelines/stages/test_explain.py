"""Tests of explanations: the position of a patch in the image, and the good patch that it was compared with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.stages.explain import NearestPatch, geometry_of, nearest_patch, nearest_patches
from pipelines.storage.store import Store
from tests.pipelines.stages.hand_made import GRID, IMAGES, MODEL, MadeUp, image, scored_images

BANK_INDEX = {"image_path": ["x.png", "y.png"], "row": [3, 5], "col": [4, 6]}


def test_a_bank_entry_is_mapped_to_its_patch() -> None:
    assert nearest_patch("a", BANK_INDEX, 1) == NearestPatch(
        nearest_backbone="a", nearest_image="y.png", nearest_row=5, nearest_col=6
    )


def test_no_bank_entry_is_mapped_to_no_patch() -> None:
    assert nearest_patch("a", BANK_INDEX, -1) == NearestPatch(
        nearest_backbone="a", nearest_image=None, nearest_row=None, nearest_col=None
    )


def test_the_peak_is_explained_by_the_member_that_scores_highest_there(tmp_path: Path) -> None:
    """The member is compared at the peak of the fused map, also if its own maximum is elsewhere."""
    maps = np.zeros((2, 3, *GRID), np.float32)
    nearest = np.zeros((2, 3, *GRID), np.int64)
    maps[0, 0, 1, 2], maps[1, 0, 1, 2], nearest[:, 0, 1, 2] = 5, 9, (3, 4)  # member b is higher here
    maps[0, 1, 0, 1], maps[1, 1, 0, 1], nearest[:, 1, 0, 1] = 9, 5, (1, 2)  # member a is higher here
    maps[1, 1, 1, 1] = 10  # the maximum of b alone is not the maximum of the fused map
    maps[0, 2, 0, 0], nearest[0, 2, 0, 0] = 7, -1  # a patch without a comparison
    members = [MadeUp(maps[number], nearest[number], [None] * 3) for number in range(2)]
    folder = Store.of(str(tmp_path))
    assert nearest_patches(scored_images(folder, members, IMAGES[-3:])) == [
        NearestPatch(nearest_backbone="b", nearest_image="104.png", nearest_row=4, nearest_col=8),
        NearestPatch(nearest_backbone="a", nearest_image="1.png", nearest_row=1, nearest_col=2),
        NearestPatch(nearest_backbone="a", nearest_image=None, nearest_row=None, nearest_col=None),
    ]


def test_positions_are_pixels_of_the_original_image() -> None:
    large = replace(image("large"), height=960, width=480)
    assert geometry_of(large, MODEL).patch_center(1, 2, GRID) == (720, 400)


def test_an_image_without_a_size_has_no_position() -> None:
    with pytest.raises(ValueError, match=r"nut/train/x\.png has scores but no height and width"):
        geometry_of(replace(image("x"), width=None), MODEL)
