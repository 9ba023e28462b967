"""The graph in onnxruntime is the Detector, whatever the model is made of; one that is not is rejected."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from reconpatch.detector.detector import Detector
from reconpatch.exceptions import ExportError
from reconpatch.export.onnx_check import TOLERANCE, compare, trial_pictures
from reconpatch.export.onnx_graph import trace
from tests.reconpatch.export.small_models import PICTURES, fitted, network, run


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: fitted(network(1), adapter=16, full_frame=False), id="adapter, center crop"),
        pytest.param(
            lambda: fitted(network(2, (4, 2, 1)), aggregation="patchcore", patch_size=5, score_neighbors=1),
            id="three levels, patchcore's aggregation, no reweighting",
        ),
        pytest.param(
            lambda: fitted(network(3), network(4, (8, 2)), adapter=12, fusion="image"),
            id="two members on different grids, image fusion",
        ),
        pytest.param(lambda: fitted(network(5), entries=1), id="one entry in the bank"),
    ],
)
def test_a_graph_is_its_detector(make) -> None:
    detector = make()
    found = compare(detector, trace(detector), PICTURES)
    assert found.pictures == len(PICTURES)
    assert found.before <= 1e-5
    assert found.after <= 1e-5
    assert found.score <= 1e-3  # a float16 may have fallen to the other side


def test_scores_and_maps_are_the_detectors(small: Detector, graph: onnx.ModelProto) -> None:
    found = compare(small, graph, PICTURES)
    assert max(found.before, found.after) <= 1e-5
    for picture in PICTURES:
        (score,), patches = run(graph, picture[None])
        assert abs(score - small.score(picture).score) <= 1e-3 * max(1.0, abs(score))
        assert patches.shape == (1, 12, 12)
        assert score == patches.max()


def changed(graph: onnx.ModelProto, shape: tuple[int, ...], factor: float) -> onnx.ModelProto:
    """The graph with its only constant of that shape multiplied."""
    other = onnx.ModelProto()
    other.CopyFrom(graph)
    (constant,) = (each for each in other.graph.initializer if tuple(each.dims) == shape)
    values = numpy_helper.to_array(constant) * np.float32(factor)
    constant.CopyFrom(numpy_helper.from_array(values.astype(np.float32), constant.name))
    return other


@pytest.mark.parametrize(
    ("shape", "where"),
    [pytest.param((12, 8, 3, 3), "before", id="network"), pytest.param((40, 20), "after", id="bank")],
)
def test_a_graph_that_differs_is_refused(
    small: Detector, graph: onnx.ModelProto, shape: tuple[int, ...], where: str
) -> None:
    assert TOLERANCE == 1e-4
    compare(small, changed(graph, shape, 1.0), PICTURES)
    for factor in (1.002, math.nan):
        with pytest.raises(ExportError, match=f"what comes {where} patch features are rounded moves scores"):
            compare(small, changed(graph, shape, factor), PICTURES)


def test_a_graph_that_does_not_round_is_refused() -> None:
    """Features far from 0 are coarse in float16; what leaves that out computes another method."""
    backbone = network(0)
    with torch.no_grad():
        for step in backbone.network.steps:
            step.bias += 5.0
    detector = fitted(backbone)
    graph = trace(detector)
    compare(detector, graph, PICTURES)
    (node,) = (each for each in graph.graph.node if each.op_type == "Cast" and each.attribute[0].i == 10)
    node.attribute[0].i = onnx.TensorProto.FLOAT
    with pytest.raises(ExportError, match="what comes after"):
        compare(detector, graph, PICTURES)


def test_a_graph_that_onnxruntime_cannot_run_is_refused(small: Detector, graph: onnx.ModelProto) -> None:
    other = onnx.ModelProto()
    other.CopyFrom(graph)
    other.graph.node[0].op_type = "Nonesuch"
    with pytest.raises(ExportError, match="onnxruntime cannot run the graph"):
        compare(small, other, PICTURES)


def test_trial_pictures_are_the_same_each_time_and_none_is_even() -> None:
    pictures = trial_pictures(64)
    assert len({picture.shape for picture in pictures}) == len(pictures)
    for picture, again in zip(pictures, trial_pictures(64), strict=True):
        assert (picture == again).all()
        assert picture.dtype == np.float32
        assert 0.0 <= picture.min() < picture.max() <= 1.0
