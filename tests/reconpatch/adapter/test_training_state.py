"""A training that is interrupted goes on where it was, and ends as if nothing had happened."""

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


@pytest.mark.parametrize("at", [1, 7, 104, 149])  # within an epoch of seven batches, at its end, after a look, the last
def test_going_on_gives_the_same_to_the_bit(features: np.ndarray, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    monkeypatch.setattr(adapter, "KEEP_EVERY", 0)
    whole = train_adapter(features, CONFIG)
    kept: list[bytes] = []

    def interrupt(step: int, steps: int) -> None:
        if step == at + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_adapter(
            features,
            CONFIG,
            progress=TrainingProgress(on_step=interrupt, save_checkpoint=lambda arrays: kept.append(save(arrays))),
        )
    assert len(kept) == at
    seen: list[int] = []
    resumed = TrainingProgress(checkpoint=load(kept[-1]), on_step=lambda step, steps: seen.append(step))
    again = train_adapter(features, CONFIG, progress=resumed)
    assert seen == list(range(at + 1, 151))
    assert again.weight.tobytes() == whole.weight.tobytes()
    assert again.losses.tobytes() == whole.losses.tobytes()
    assert again.spreads == whole.spreads
    assert again.schedule == whole.schedule


def test_what_is_kept_does_not_change_with_the_training(features: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "KEEP_EVERY", 0)
    kept: list[dict[str, np.ndarray]] = []
    first: dict[str, bytes] = {}

    def keep(arrays: dict[str, np.ndarray]) -> None:
        kept.append(arrays)
        first.update({name: array.tobytes() for name, array in arrays.items()} if not first else {})

    train_adapter(features, CONFIG, progress=TrainingProgress(save_checkpoint=keep))
    assert {name: array.tobytes() for name, array in kept[0].items()} == first
    assert kept[-1]["f"].tobytes() != first["f"]


def test_nothing_is_kept_of_a_training_that_is_soon_over(features: np.ndarray) -> None:
    train_adapter(features, CONFIG, progress=TrainingProgress(save_checkpoint=lambda arrays: pytest.fail("saved")))
