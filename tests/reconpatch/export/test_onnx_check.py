"""Comparison of graph and Detector: graphs of several models match, and a graph that differs is an error."""

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
from tests.reconpatch.export.small_models import IMAGES, fitted, network, run


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: fitted(network(1), adapter=16, full_frame=False), id="adapter, center crop"),
        pytest.param(
            lambda: fitted(network(2, (4, 2, 1)), aggregation="patchcore", patch_size=5, score_neighbors=1),
            id="three layers, patchcore's aggregation, no reweighting",
        ),
        pytest.param(
            lambda: fitted(network(3), network(4, (8, 2)), adapter=12, fusion="image"),
            id="two members on different grids, image fusion",
        ),
        pytest.param(lambda: fitted(network(5), entries=1), id="one entry in the bank"),
    ],
)
def test_a_graph_matches_its_detector(make) -> None:
    detector = make()
    differences = compare(detector, trace(detector), IMAGES)
    assert differences.pictures == len(IMAGES)
    assert differences.before <= 1e-5
    assert differences.after <= 1e-5
    assert differences.score <= 1e-3  # a value can be rounded to the neighboring float16


def test_scores_and_maps_match_those_of_the_detector(small: Detector, graph: onnx.ModelProto) -> None:
    differences = compare(small, graph, IMAGES)
    assert max(differences.before, differences.after) <= 1e-5
    for image in IMAGES:
        (score,), patches = run(graph, image[None])
        assert abs(score - small.score(image).score) <= 1e-3 * max(1.0, abs(score))
        assert patches.shape == (1, 12, 12)
        assert score == patches.max()


def changed(graph: onnx.ModelProto, shape: tuple[int, ...], factor: float) -> onnx.ModelProto:
    """Return a copy of the graph in which the only constant of the given shape is multiplied by a factor."""
    other = onnx.ModelProto()
    other.CopyFrom(graph)
    (constant,) = (tensor for tensor in other.graph.initializer if tuple(tensor.dims) == shape)
    values = numpy_helper.to_array(constant) * np.float32(factor)
    constant.CopyFrom(numpy_helper.from_array(values.astype(np.float32), constant.name))
    return other


@pytest.mark.parametrize(
    ("shape", "where"),
    [pytest.param((12, 8, 3, 3), "before", id="network"), pytest.param((40, 20), "after", id="bank")],
)
def test_a_graph_that_differs_is_an_error(
    small: Detector, graph: onnx.ModelProto, shape: tuple[int, ...], where: str
) -> None:
    assert TOLERANCE == 1e-4
    compare(small, changed(graph, shape, 1.0), IMAGES)
    for factor in (1.002, math.nan):
        with pytest.raises(ExportError, match=f"computation {where} the rounding of patch features changes scores by"):
            compare(small, changed(graph, shape, factor), IMAGES)


def test_a_graph_that_does_not_round_is_an_error() -> None:
    """Rounding to float16 changes features far from 0 so much that a graph without it computes other scores."""
    backbone = network(0)
    with torch.no_grad():
        for step in backbone.network.steps:
            step.bias += 5.0
    detector = fitted(backbone)
    graph = trace(detector)
    compare(detector, graph, IMAGES)
    (cast,) = (node for node in graph.graph.node if node.op_type == "Cast" and node.attribute[0].i == 10)
    cast.attribute[0].i = onnx.TensorProto.FLOAT
    with pytest.raises(ExportError, match="computation after the rounding"):
        compare(detector, graph, IMAGES)


def test_a_graph_that_onnxruntime_cannot_run_is_an_error(small: Detector, graph: onnx.ModelProto) -> None:
    other = onnx.ModelProto()
    other.CopyFrom(graph)
    other.graph.node[0].op_type = "Nonesuch"
    with pytest.raises(ExportError, match="onnxruntime cannot run the graph"):
        compare(small, other, IMAGES)


def test_trial_images_are_reproducible_and_none_is_uniform() -> None:
    images = trial_pictures(64)
    assert len({image.shape for image in images}) == len(images)
    for image, repeated in zip(images, trial_pictures(64), strict=True):
        assert (image == repeated).all()
        assert image.dtype == np.float32
        assert 0.0 <= image.min() < image.max() <= 1.0
