"""What no process survives is given up after as many attempts as a task has, and is not touched again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import ray

from pipelines import attempts
from pipelines.attempts import Attempts, GiveUp
from pipelines.chunks import Chunk, View
from pipelines.decode import try_chunk
from pipelines.extract import _Extract, extract
from pipelines.stages import Stages
from pipelines.walk import Image
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


class _Stream:
    """A data set of no rows, whatever is done with it."""

    def map(self, *given: Any, **options: Any) -> _Stream:
        return self

    def iter_rows(self) -> Iterator[dict[str, Any]]:
        return iter(())


def test_the_counting_ends_with_the_extraction(stages: Stages, monkeypatch: pytest.MonkeyPatch) -> None:
    """A night extracts many times: its counters would be so many processes."""
    ended: list[object] = []
    monkeypatch.setattr("pipelines.extract.accounts", lambda kind: kind)
    monkeypatch.setattr(ray, "kill", ended.append)
    monkeypatch.setattr(ray.data, "from_items", lambda *given, **options: _Stream())
    image = Image("cloth", "train", "good", "cloth/train/good/0.png")
    view = View.of(MEMBER, stages.config)
    chunk = Chunk("cloth", view, stages.data, "shard", (image,))
    assert list(extract([chunk], stages.config, stages.scratch, 1)) == []
    assert ended == [Attempts]
