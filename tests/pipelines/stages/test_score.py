"""Tests of scoring: the device of f(p), and leave-one-out scores of patches in the bank."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.stages import score
from pipelines.storage.feature_shards import read_shard, write_shard
from pipelines.storage.store import Store
from reconpatch.neighbors.memory_bank import MemoryBank


class _DeviceError(Exception):
    """Raised instead of a computation, with the requested device, so that the test needs no GPU."""


def _raise_device(*given: Any) -> None:
    raise _DeviceError(given[-1])


@pytest.fixture
def scratch(tmp_path: Path) -> Store:
    found = Store.of(str(tmp_path / "scratch"))
    features = np.random.default_rng(0).normal(size=(4, 16, 6)).astype(np.float16)
    write_shard(found, "shard", list("0123"), list(features), grid=(4, 4))
    return found


def test_features_are_embedded_on_the_device_of_the_bank(scratch: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    class _Bank:
        entries = torch.empty(3, 6, device="meta")

    monkeypatch.setattr(score, "embed", _raise_device)
    bank: Any = _Bank()
    with pytest.raises(_DeviceError) as raised:
        score.MemberScorer(bank=bank, weight=None, own={}, threads=1).score(read_shard(scratch, "shard"))
    assert raised.value.args == (torch.device("meta"),)


def test_a_patch_in_the_bank_is_not_compared_with_itself(scratch: Store) -> None:
    """Without leave-one-out, the patch would score 0."""
    shard = read_shard(scratch, "shard")
    entries = np.concatenate([features[:4] for features in shard.features]).astype(np.float32)
    own = {path: [(0, col, 4 * number + col) for col in range(4)] for number, path in enumerate(shard.image_paths)}
    bank = MemoryBank(entries, 1)
    alone = score.MemberScorer(bank=bank, weight=None, own=own, threads=1).score(shard)
    included = score.MemberScorer(bank=bank, weight=None, own={}, threads=1).score(shard)
    for number in range(4):
        np.testing.assert_array_equal(included.scores[number][:4], 0.0)
        assert (alone.scores[number][:4] > 0.1).all()
        np.testing.assert_array_equal(alone.scores[number][4:], included.scores[number][4:])
