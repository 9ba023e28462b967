"""Tests that anomaly maps are returned in the pixels of the image, for each frame."""

from __future__ import annotations

import numpy as np
import pytest

from study.features import FeatureSpec, on_picture

FRAMES = ("crop", "whole", "padded")


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("shape", [(90, 60), (60, 90), (75, 75), (61, 90)])
def test_a_spot_in_the_center_stays_in_the_center(frame: str, shape: tuple[int, int]) -> None:
    spot = np.zeros((64, 64), np.float32)
    spot[31:33, 31:33] = 1.0
    values = on_picture(spot, FeatureSpec(size=64, frame=frame), shape)
    assert values.shape == shape
    rows, cols = np.nonzero(np.nan_to_num(values) > 0.5)
    assert abs(rows.mean() + 0.5 - shape[0] / 2) <= 1.0
    assert abs(cols.mean() + 0.5 - shape[1] / 2) <= 1.0


def test_only_the_crop_excludes_parts_of_the_image() -> None:
    has_excluded_pixels = {
        frame: np.isnan(on_picture(np.ones((64, 64), np.float32), FeatureSpec(size=64, frame=frame), (90, 60))).any()
        for frame in FRAMES
    }
    assert has_excluded_pixels == {"crop": True, "whole": False, "padded": False}


def test_padding_keeps_the_aspect_ratio() -> None:
    """On the image, a row of the map of the backbone's input is as high as a column is wide."""
    stripe = np.zeros((64, 64), np.float32)
    stripe[32:] = 1.0
    rows = on_picture(stripe, FeatureSpec(size=64, frame="padded"), (40, 80))
    cols = on_picture(stripe.T.copy(), FeatureSpec(size=64, frame="padded"), (40, 80))
    assert np.diff(rows[:, 0]).max() == pytest.approx(np.diff(cols[0]).max())
