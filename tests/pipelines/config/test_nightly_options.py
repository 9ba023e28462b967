"""Tests of the options of a nightly run."""

from __future__ import annotations

import pytest

from pipelines.config.nightly_options import AcceptanceConfig, NightOptions
from pipelines.errors import UsageError


@pytest.mark.parametrize("options", [{"margin": -0.1}, {"margin": float("nan")}, {"suspects": float("inf")}])
def test_invalid_limits_are_an_error(options: dict[str, float]) -> None:
    (name,) = options
    with pytest.raises(UsageError, match=f"--acceptance-{name} .*: give a finite number of at least 0"):
        AcceptanceConfig(**options)


def test_the_defaults() -> None:
    options = NightOptions("registry", "scores")
    assert (options.keep, options.wait, options.deadline, options.images) == (5, False, None, None)
    assert options.acceptance == AcceptanceConfig(margin=0.02, suspects=0.05)
