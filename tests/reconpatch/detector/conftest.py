"""Fixture of the detector tests: a fitted and calibrated model."""

from __future__ import annotations

import pytest

from reconpatch.detector.model import Model, calibrate, normalize, predict
from tests.reconpatch.detector.models import maps, model


@pytest.fixture
def fitted() -> Model:
    normalized, _ = normalize(model(), maps(0, 30))
    return calibrate(normalized, predict(normalized, maps(1, 40)).scores)
