"""Tests of decoding: each unreadable image of a batch is reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from pipelines.data.records import ImageRecord
from pipelines.planning.batches import FeatureSpec, ImageBatch
from pipelines.stages.decode import decode_batch
from pipelines.stages.runner import Runner
from pipelines.storage.store import Store
from tests.pipelines.runs import MEMBER


def test_an_image_that_does_not_fit_into_memory_is_a_failure(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_memory(*arguments: object) -> None:
        raise MemoryError

    Pillow.fromarray(np.zeros((20, 30), np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setattr("pipelines.stages.decode.read_image", fill_memory)
    spec = FeatureSpec.of(MEMBER, runner.context.config)
    image = ImageRecord("nut", "test", "cut", "a.png")
    source = Store.of(str(tmp_path))
    decoded = decode_batch(ImageBatch(category="nut", spec=spec, source=source, shard="s", images=(image,)))
    (failure,) = decoded.failures
    assert failure.image_path == "a.png"
    assert failure.error == "Out of memory. Scale the image down or cut it into tiles."
    assert decoded.image_paths == ()
