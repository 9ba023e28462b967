"""Tests of the context of a run, which is sent to Ray tasks."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError

import pytest

from pipelines.stages.runner import Runner


def test_a_context_is_complete_after_pickling(runner: Runner) -> None:
    context = runner.context
    context.scratch.write("features", b"x")
    received = pickle.loads(pickle.dumps(context))
    assert received.config == context.config
    assert received.provenance == context.provenance
    assert (received.data.uri, received.out.uri) == (context.data.uri, context.out.uri)
    assert received.scratch.read("features") == b"x"


def test_a_job_cannot_change_the_context(runner: Runner) -> None:
    with pytest.raises(FrozenInstanceError):
        runner.context.out = runner.context.data  # type: ignore[misc]
