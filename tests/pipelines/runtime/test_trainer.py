"""What a Ray Train run does of a death, and of what else ends it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import ray
import ray.train

from pipelines.runtime.trainer import _fit


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
