"""Tests of the errors that end a Ray Train run: deaths of processes, and other errors."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import ray
import ray.train

from pipelines.runtime.trainer import _fit


@pytest.fixture
def restored_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore the health-check interval, which `_fit` sets in the environment of its process, here that of the test."""
    monkeypatch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.1")


def trainer_that_ends(error: Exception) -> SimpleNamespace:
    def fit() -> None:
        raise error

    return SimpleNamespace(fit=fit)


@pytest.mark.usefixtures("restored_interval")
@pytest.mark.parametrize(
    "death",
    [ray.exceptions.RayActorError(), ray.train.ControllerError(ray.exceptions.RayActorError())],
    ids=["controller", "worker while the group starts"],
)
def test_the_death_of_a_process_is_raised_so_that_the_training_starts_again(death: Exception) -> None:
    with pytest.raises(type(death)):
        _fit(trainer_that_ends(death))


@pytest.mark.usefixtures("restored_interval")
@pytest.mark.parametrize(
    "error",
    [
        ray.train.WorkerGroupError("no  more", {0: ray.exceptions.RayActorError()}),  # Ray retries this itself
        ray.train.ControllerError(OSError("no  more")),
        OSError("no  more"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_any_other_error_is_returned_as_one_line(error: Exception) -> None:
    assert str(_fit(trainer_that_ends(error))).endswith("no more")
