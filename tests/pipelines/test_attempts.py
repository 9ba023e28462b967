"""What no process survives is given up after as many attempts as a task has, and is not touched again."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines import attempts
from pipelines.attempts import Attempts, GiveUp
from pipelines.chunks import View
from pipelines.decode import try_chunk
from pipelines.extract import _Extract
from pipelines.stages import Stages
from tests.pipelines.runs import MEMBER


@pytest.fixture
def give_up(monkeypatch: pytest.MonkeyPatch) -> GiveUp:
    """Of an actor in this process."""
    told = Attempts()

    class Actor:
        class begin:  # noqa: N801 (as Ray's handles have it)
            @staticmethod
            def remote(work: Any) -> int:
                return told.begin(work)

    monkeypatch.setattr(attempts.ray, "get", lambda answer: answer)
    return GiveUp(Actor, 3)


def test_the_fifth_attempt_is_not_made(give_up: GiveUp) -> None:
    said = [give_up("a") for _ in range(5)]
    assert said == ["", "", "", "", "The process that worked on it ended 4 times before it was done."]
    assert give_up("b") == ""


def test_what_is_given_up_is_neither_read_nor_written(give_up: GiveUp, stages: Stages) -> None:
    views = [View.of(MEMBER, stages.config)]
    row = {"category": "nut", "view": 0, "source": 0, "shard": "s", "paths": ["a.png"], "contents": [None]}
    for step in ("decode", "extract"):
        for _ in range(4):
            give_up((step, "s"))
    decoded = try_chunk(row, give_up, views, [stages.data])
    assert "ended 4 times" in decoded["given_up"]
    assert (list(decoded["paths"]), list(decoded["errors"])) == ([], [])  # a.png is not there
    actor = _Extract(stages.config, views, stages.scratch, give_up)
    for batch in (decoded, {**decoded, "given_up": ""}):
        assert "ended 4 times" in actor(batch)["given_up"]
        assert not stages.scratch.exists("s")
