"""The options of a nightly run."""

from __future__ import annotations

import pytest

from pipelines.config.nightly_options import AcceptanceConfig, NightOptions
from pipelines.errors import UsageError


@pytest.mark.parametrize("options", [{"margin": -0.1}, {"margin": float("nan")}, {"suspects": float("inf")}])
def test_limits_that_nothing_can_exceed_are_an_error(options: dict[str, float]) -> None:
    (name,) = options
    with pytest.raises(UsageError, match=f"--acceptance-{name} .*: give a finite number, at least 0"):
        AcceptanceConfig(**options)


def test_a_night_keeps_five_versions_and_waits_for_nobody_unless_it_is_told() -> None:
    options = NightOptions("registry", "scores")
    assert (options.keep, options.wait, options.deadline, options.images) == (5, False, None, None)
    assert options.acceptance == AcceptanceConfig(margin=0.02, suspects=0.05)
