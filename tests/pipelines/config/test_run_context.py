"""The context of a run travels whole to the processes that do its jobs."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError

import pytest

from pipelines.stages.runner import Runner


def test_a_context_travels_to_another_process_whole(runner: Runner) -> None:
    context = runner.context
    context.scratch.write("features", b"x")
    arrived = pickle.loads(pickle.dumps(context))
    assert arrived.config == context.config
    assert arrived.provenance == context.provenance
    assert (arrived.data.uri, arrived.out.uri) == (context.data.uri, context.out.uri)
    assert arrived.scratch.read("features") == b"x"


def test_a_job_cannot_change_the_context_of_the_next(runner: Runner) -> None:
    with pytest.raises(FrozenInstanceError):
        runner.context.out = runner.context.data  # type: ignore[misc]
