"""Units are fitted, from their checkpoints where a worker died."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import ray
import ray.train

from pipelines.config import RunConfig, resolve_members
from pipelines.fit import _fit, _fit_unit
from pipelines.keys import Keys
from pipelines.networks import Network
from pipelines.plan import Unit
from pipelines.rundir import adapter_name, checkpoint_file, model_folder, training_name
from pipelines.shards import write_shard
from pipelines.storage import Store
from pipelines.tensors import write_tensors
from pipelines.walk import Image
from reconpatch import adapter


def one_unit() -> Unit:
    (member,) = resolve_members("ensemble", ["tf_efficientnet_lite0"], 224, {})
    keys, network = Keys("", "", "", "", ""), Network("", "", 1, 1)
    images = tuple(Image("", "train", "good", str(image), part="fit") for image in range(4))
    return Unit("cloth", member, keys, network, images, ("shard",), (), True, True, True)


def test_a_unit_whose_worker_died_goes_on_from_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "KEEP_EVERY", 0)
    scratch, unit = Store.of(str(tmp_path / "scratch")), one_unit()
    features = np.random.default_rng(0).normal(size=(4, 16, 6)).astype(np.float16)
    write_shard(scratch, "shard", list("0123"), list(features), (4, 4))
    unit = replace(unit, member=replace(unit.member, dim=8, epochs=50))
    config = RunConfig("ensemble", "", "", (unit.member,), 96, batch_size=16, max_steps=40)
    steps: list[int] = []

    def until(last: int) -> Callable[[int, int], None]:
        def on_step(step: int, of: int) -> None:
            steps.append(step)
            if step == last:
                raise KeyboardInterrupt  # which no unit survives

        return on_step

    whole, parts = Store.of(str(tmp_path / "whole")), Store.of(str(tmp_path / "parts"))
    assert _fit_unit(unit, config, whole, scratch, until(0)).error is None
    assert steps == list(range(1, 41))
    scratch.remove(checkpoint_file(*unit.name))  # as the worker does that has been heard
    steps.clear()
    for last in (15, 31):
        with pytest.raises(KeyboardInterrupt):
            _fit_unit(unit, config, parts, scratch, until(last))
    assert _fit_unit(unit, config, parts, scratch, until(0)).error is None
    assert steps == [*range(1, 16), *range(15, 32), *range(31, 41)]  # a step is told of before it is kept
    for name in (adapter_name(unit.backbone), training_name(unit.backbone)):
        place = model_folder(unit.category)
        assert whole.below(place).read(name) == parts.below(place).read(name)
    steps.clear()  # a worker that dies before it can say that it is done goes on from there too
    assert _fit_unit(unit, config, parts, scratch, until(0)).error is None
    assert len(steps) <= 1


def test_a_checkpoint_of_another_training_is_not_gone_on_from(tmp_path: Path) -> None:
    scratch, unit = Store.of(str(tmp_path)), one_unit()
    write_shard(scratch, "shard", list("0123"), list(np.ones((4, 4, 6), np.float16)), (2, 2))
    write_tensors(scratch, checkpoint_file(*unit.name), {"f": np.zeros((2, 2))}, "another key")
    unit = replace(unit, member=replace(unit.member, dim=8, epochs=5))
    config = RunConfig("ensemble", "", "", (unit.member,), 96, batch_size=16, max_steps=4)
    steps: list[int] = []
    _fit_unit(unit, config, scratch, scratch, lambda step, of: steps.append(step))
    assert steps[:1] == [1]


@pytest.fixture
def own_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """`_fit` sets it in its process, which is that of the tests here."""
    monkeypatch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.1")


def trainer_that_ends(error: Exception) -> SimpleNamespace:
    def fit() -> None:
        raise error

    return SimpleNamespace(fit=fit)


@pytest.mark.usefixtures("own_interval")
@pytest.mark.parametrize(
    "death",
    [ray.exceptions.RayActorError(), ray.train.ControllerError(ray.exceptions.RayActorError())],
    ids=["the controller", "a worker while the group begins"],
)
def test_a_training_ended_by_a_death_is_to_begin_again(death: Exception) -> None:
    with pytest.raises(type(death)):
        _fit(trainer_that_ends(death))


@pytest.mark.usefixtures("own_interval")
@pytest.mark.parametrize(
    "error",
    [
        ray.train.WorkerGroupError("no  more", {0: ray.exceptions.RayActorError()}),  # tried again by Ray
        ray.train.ControllerError(OSError("no  more")),
        OSError("no  more"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_else_ends_a_training_is_said_in_a_line(error: Exception) -> None:
    assert str(_fit(trainer_that_ends(error))).endswith("no more")
