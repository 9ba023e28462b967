"""An interrupted training resumes at its checkpoint and gives the same result as without the interruption."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load, save

from reconpatch.adapter import training as adapter
from reconpatch.adapter.schedule import AdapterConfig
from reconpatch.adapter.training import TrainingProgress, train_adapter

CONFIG = AdapterConfig(dim=12, epochs=40, batch_size=32, max_steps=150, lr=1e-3)


@pytest.fixture
def features() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(200, 8)).astype(np.float16)


# Within an epoch (seven batches), at its end, after a measurement of the spread, and before the last step.
@pytest.mark.parametrize("at", [1, 7, 104, 149])
def test_a_resumed_training_is_bit_identical(features: np.ndarray, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    monkeypatch.setattr(adapter, "KEEP_EVERY", 0)
    whole = train_adapter(features, CONFIG)
    checkpoints: list[bytes] = []

    def interrupt(step: int, steps: int) -> None:
        if step == at + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_adapter(
            features,
            CONFIG,
            progress=TrainingProgress(
                on_step=interrupt, save_checkpoint=lambda arrays: checkpoints.append(save(arrays))
            ),
        )
    assert len(checkpoints) == at
    steps_done: list[int] = []
    progress = TrainingProgress(checkpoint=load(checkpoints[-1]), on_step=lambda step, steps: steps_done.append(step))
    resumed = train_adapter(features, CONFIG, progress=progress)
    assert steps_done == list(range(at + 1, 151))
    assert resumed.weight.tobytes() == whole.weight.tobytes()
    assert resumed.losses.tobytes() == whole.losses.tobytes()
    assert resumed.spreads == whole.spreads
    assert resumed.schedule == whole.schedule


def test_a_saved_checkpoint_does_not_change_with_the_training(
    features: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "KEEP_EVERY", 0)
    checkpoints: list[dict[str, np.ndarray]] = []
    first: dict[str, bytes] = {}

    def save_checkpoint(arrays: dict[str, np.ndarray]) -> None:
        checkpoints.append(arrays)
        first.update({name: array.tobytes() for name, array in arrays.items()} if not first else {})

    train_adapter(features, CONFIG, progress=TrainingProgress(save_checkpoint=save_checkpoint))
    assert {name: array.tobytes() for name, array in checkpoints[0].items()} == first
    assert checkpoints[-1]["f"].tobytes() != first["f"]


def test_a_short_training_saves_no_checkpoint(features: np.ndarray) -> None:
    train_adapter(features, CONFIG, progress=TrainingProgress(save_checkpoint=lambda arrays: pytest.fail("saved")))
