"""Fixtures of the export tests: a small model and its graph, which is traced only once."""

from __future__ import annotations

import onnx
import pytest

from reconpatch.detector.detector import Detector
from reconpatch.export.onnx_graph import trace
from tests.reconpatch.export.small_models import fitted, network


@pytest.fixture(scope="session")
def small() -> Detector:
    return fitted(network(0))


@pytest.fixture(scope="session")
def graph(small: Detector) -> onnx.ModelProto:
    return trace(small)
