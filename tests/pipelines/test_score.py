"""Coresets, f(p) and scores are computed where a run's units are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines import score
from pipelines.config import RunConfig
from pipelines.keys import Keys
from pipelines.networks import Network
from pipelines.plan import Unit
from pipelines.rundir import bank_name
from pipelines.shards import read_shard, write_shard
from pipelines.storage import Store
from pipelines.tensors import write_tensors
from pipelines.walk import Image
from tests.pipelines.runs import MEMBER


class _AskedError(Exception):
    """What was asked for, instead of an answer: there need be no GPU."""


def _ask(*given: Any, **options: Any) -> None:
    raise _AskedError(options.get("device", given[-1]))


@pytest.fixture
def scratch(tmp_path: Path) -> Store:
    found = Store.of(str(tmp_path / "scratch"))
    features = np.random.default_rng(0).normal(size=(4, 16, 6)).astype(np.float16)
    write_shard(found, "shard", list("0123"), list(features), (4, 4))
    return found


DEVICES = pytest.mark.parametrize(("gpus", "device"), [(0.0, "cpu"), (0.5, "cuda")])


@DEVICES
def test_coresets(scratch: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: float, device: str) -> None:
    monkeypatch.setattr(score, "farthest_first", _ask)
    member = replace(MEMBER, epochs=0)
    images = tuple(Image("cloth", "train", "good", str(image), part="fit") for image in range(4))
    keys, network = Keys("", "", "", "", ""), Network("", "", 1, 1)
    unit = Unit("cloth", member, keys, network, images, ("shard",), ("shard",), False, True, True)
    config = RunConfig("ensemble", "", "", (member,), 96, gpus_per_actor=gpus)
    with pytest.raises(_AskedError) as asked:
        score.select_unit(unit, config, Store.of(str(tmp_path / "run")), scratch, 1, lambda *_: None)
    assert asked.value.args == (device,)


@DEVICES
def test_banks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: float, device: str) -> None:
    monkeypatch.setattr(score, "MemoryBank", _ask)
    place = Store.of(str(tmp_path / "model"))
    write_tensors(place, bank_name(MEMBER.backbone), {"entries": np.zeros((3, 6), np.float32)}, "")
    config = RunConfig("ensemble", "", "", (MEMBER,), 96, gpus_per_actor=gpus)
    with pytest.raises(_AskedError) as asked:
        score.read_bank(place, MEMBER.backbone, 9, config.device)
    assert asked.value.args == (device,)


def test_features_are_embedded_where_their_bank_is(scratch: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    class _Bank:
        entries = torch.empty(3, 6, device="meta")

    monkeypatch.setattr(score, "embed", _ask)
    bank: Any = _Bank()
    with pytest.raises(_AskedError) as asked:
        score.score_shard(read_shard(scratch, "shard"), bank, None, {}, 1)
    assert asked.value.args == (torch.device("meta"),)
