"""The queue of units: largest first, and nothing is lost when a worker dies; and nothing stays of Ray Train."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pipelines.config import resolve_members
from pipelines.fit import Fitted, UnitQueue
from pipelines.keys import Keys
from pipelines.networks import Network
from pipelines.plan import Unit
from pipelines.walk import Image
from tests.pipelines.processes import children
from tests.pipelines.runs import BACKBONES, call, make_category


def units(*images: int) -> list[Unit]:
    (member,) = resolve_members("ensemble", ["tf_efficientnet_lite0"], 224, {})
    keys, network = Keys("", "", "", "", ""), Network("", "", 1, 1)
    fit = [tuple(Image("", "train", "good", str(image), part="fit") for image in range(count)) for count in images]
    return [
        Unit(f"c{number}", member, keys, network, mine, (), (), True, True, True) for number, mine in enumerate(fit)
    ]


def test_the_largest_unit_goes_first() -> None:
    queue = UnitQueue(units(5, 50, 20))
    taken = [queue.take(0) for _ in range(4)]
    assert [unit and unit.fit_images for unit in taken] == [50, 20, 5, None]


def test_what_a_dead_worker_held_is_handed_out_again_first() -> None:
    queue = UnitQueue(units(5, 50, 20))
    held = queue.take(0)
    other = queue.take(1)
    queue.join(0, 2)
    queue.join(1, 2)
    assert [queue.take(0), queue.take(1)] == [other, held]


def test_what_ranks_held_that_are_no_more_is_handed_out_again() -> None:
    queue = UnitQueue(units(5, 50, 20))
    held = [queue.take(rank) for rank in range(2)]
    queue.join(0, 1)
    assert {unit.name for unit in (queue.take(0), queue.take(0)) if unit} == {unit.name for unit in held if unit}


def test_a_finished_unit_is_never_handed_out_again() -> None:
    queue = UnitQueue(units(5, 50))
    first = queue.take(0)
    assert first is not None
    queue.finish(0, Fitted(first.name))
    assert queue.done() == [Fitted(first.name)]
    queue.join(0, 1)
    second = queue.take(0)
    assert second is not None
    assert second.name != first.name
    assert queue.take(0) is None


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds Ray's processes in /proc")
def test_when_a_wave_is_fitted_nothing_stays_of_ray_train(tmp_path: Path) -> None:
    make_category(tmp_path / "data" / "bolt", seed=1, train=3, good=1, defects=1)
    place = ("--data", str(tmp_path / "data"), "--out", str(tmp_path / "run"))
    recipe = ("--backbone", BACKBONES[0], "--image-size", "96", "--epochs", "5", "--max-steps", "5")
    assert call("ensemble", *place, *recipe).code == 0
    names = ("TrainController", "PlacementGroupCleaner", "RayTrainWorker")
    until = time.monotonic() + 60
    while left := [command for _, command in children(os.getpid()) if any(name in command for name in names)]:
        assert time.monotonic() < until, left
        time.sleep(0.5)
