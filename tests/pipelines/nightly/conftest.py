"""Fixture for nightly runs that have not done anything yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.config.networks import Networks
from pipelines.config.nightly_options import NightOptions
from pipelines.nightly.deadline import Costs
from pipelines.nightly.night_info import NightInfo
from pipelines.nightly.state import NightRun
from pipelines.registry.registry import Registry
from pipelines.stages.runner import Runner
from pipelines.storage.store import Store


@pytest.fixture
def night_of(runner: Runner, tmp_path: Path) -> Callable[..., NightRun]:
    """Return a function that creates a nightly run.

    Its arguments are the selected categories (none: all) and the state of the previous run.
    """

    def make(*categories: str, previous: NightInfo | None = None) -> NightRun:
        context = replace(runner.context, config=replace(runner.context.config, categories=categories))
        return NightRun(
            options=NightOptions(str(tmp_path / "registry"), str(tmp_path / "scores")),
            registry=Registry(Store.of(str(tmp_path / "registry"))),
            runner=replace(runner, context=context),
            out=runner.record.out.below("scores"),
            networks=Networks({}, None),
            costs=Costs(),
            previous=previous or NightInfo(),
            deadline=None,
        )

    return make
