"""Drawn masks, compared with boxes by hand, with a test of each pixel's center, and with lists of runs."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from reconpatch.exceptions import ImageError
from reconpatch.imaging.shapes import draw


def drawn(*shapes: Any, height: int = 6, width: int = 8) -> NDArray[np.bool_]:
    return draw(json.dumps(shapes), height, width)


def is_inside(x: float, y: float, corners: list[list[float]]) -> bool:
    """Return whether the ray from a point to the left crosses an odd number of edges."""
    odd = False
    for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
        if (y0 <= y) != (y1 <= y) and x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x:
            odd = not odd
    return odd


@pytest.mark.parametrize(
    ("box", "rows", "cols"),
    [
        ([2, 1, 5, 4], slice(1, 4), slice(2, 5)),
        ([1.5, 0.4, 3.5, 2.6], slice(0, 3), slice(1, 3)),  # the center 1.5 is at the left border, 3.5 at the right one
        ([5, 4, 2, 1], slice(1, 4), slice(2, 5)),
        ([-3, -2, 100, 1], slice(0, 1), slice(0, 8)),
        ([2.6, 1, 3.4, 4], slice(0), slice(0)),
        ([20, 20, 30, 30], slice(0), slice(0)),
    ],
)
def test_a_box_covers_the_pixels_whose_centers_are_in_it(box, rows, cols):
    expected = np.zeros((6, 8), bool)
    expected[rows, cols] = True
    np.testing.assert_array_equal(drawn({"box": box}), expected)
    x0, y0, x1, y1 = box
    np.testing.assert_array_equal(drawn({"polygon": [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]}), expected)
    shares = [x0 / 8, y0 / 6, x1 / 8, y1 / 6]
    np.testing.assert_array_equal(drawn({"box": shares, "relative": True}), expected)


@pytest.mark.parametrize("seed", range(25))
def test_a_polygon_covers_the_pixels_whose_centers_are_inside(seed):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-4, 24, (rng.integers(3, 9), 2))
    if seed % 2:
        corners = np.round(corners * 2) / 2  # corners and edges through centers of pixels
    expected = [[is_inside(c + 0.5, r + 0.5, corners.tolist()) for c in range(20)] for r in range(17)]
    np.testing.assert_array_equal(drawn({"polygon": corners.tolist()}, height=17, width=20), expected)
    shares = (corners / (20, 17)).tolist()
    if not seed % 2:  # no center is on an edge, so rounding does not matter
        again = drawn({"polygon": shares, "relative": True}, height=17, width=20)
        np.testing.assert_array_equal(again, expected)


def test_polygons_that_share_an_edge_share_no_pixel():
    first, second = [[0, 0], [7.5, 0.5], [3.2, 6]], [[7.5, 0.5], [8, 6], [3.2, 6]]
    assert not (drawn({"polygon": first}) & drawn({"polygon": second})).any()


def test_a_polygon_that_crosses_itself_is_filled_by_the_even_odd_rule():
    twice = [[0, 0], [6, 0], [6, 6], [0, 6], [0, 0], [4, 0], [4, 4], [0, 4]]
    expected = np.zeros((6, 8), bool)
    expected[:, :6] = True
    expected[:4, :4] = False
    np.testing.assert_array_equal(drawn({"polygon": twice}), expected)


def test_runs_are_column_by_column():
    columns = np.zeros(48, bool)
    columns[[0, 5, 6, 7, 47]] = True
    expected = np.array([[columns[c * 6 + r] for c in range(8)] for r in range(6)])
    np.testing.assert_array_equal(drawn({"rle": [0, 1, 5, 3, 47, 1]}), expected)


def test_shapes_are_united_and_none_is_an_empty_mask():
    both = drawn({"box": [0, 0, 2, 2]}, {"rle": [47, 1]})
    np.testing.assert_array_equal(both, drawn({"box": [0, 0, 2, 2]}) | drawn({"rle": [47, 1]}))
    assert both.sum() == 5
    assert not drawn().any()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[{", "The outlines of the defects are not valid JSON (Expecting property name"),
        ('{"box":[0,0,1,1]}', "The outlines of the defects are not a JSON list. Correct the annotations."),
        ("[3]", "Shape 1 of the outlines of the defects is malformed: it must have one of the keys polygon, box, rle,"),
        ('[{"box":[0,0,1,1]},{"circle":[0,0,1]}]', "Shape 2 of the outlines of the defects is malformed: it must have"),
        ('[{"box":[0,0,1,1],"rle":[]}]', "it must have one of the keys"),
        ('[{"box":[0,0,1]}]', "[0, 0, 1] is not a list of 4 finite numbers. Correct the annotations."),
        ('[{"box":[0,0,1,NaN]}]', "[0, 0, 1, nan] is not a list of 4 finite numbers."),
        ('[{"box":[0,0,1,"1"]}]', "[0, 0, 1, '1'] is not a list of 4 finite numbers."),
        ('[{"polygon":[[0,0],[1,1]]}]', "a polygon must have at least three corners."),
        ('[{"polygon":[[0,0],[1,1],[2]]}]', "[2] is not a list of 2 finite numbers."),
        ('[{"polygon":7}]', "a polygon must have at least three corners."),
        ('[{"rle":[0,1,2]}]', "an rle must have a length for every start."),
        ('[{"rle":[47,2]}]', "the run of 2 pixels from pixel 47 is not within 48 pixels."),
        ('[{"rle":[-1,2]}]', "the run of 2 pixels from pixel -1 is not within 48 pixels."),
        ('[{"rle":[0.5,2]}]', "the run of 2 pixels from pixel 0.5 is not within 48 pixels."),
        ('[{"rle":[0,1],"relative":true}]', "the runs of an rle cannot be relative."),
    ],
)
def test_malformed_text_is_described(text, reason):
    with pytest.raises(ImageError) as raised:
        draw(text, 6, 8)
    assert reason in str(raised.value)
