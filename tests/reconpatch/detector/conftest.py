"""A fitted and calibrated model."""

from __future__ import annotations

import pytest

from reconpatch.detector.model import Model, calibrate, normalize, predict
from tests.reconpatch.detector.models import maps, model


@pytest.fixture
def fitted() -> Model:
    found, _ = normalize(model(), maps(0, 30))
    return calibrate(found, predict(found, maps(1, 40)).scores)
