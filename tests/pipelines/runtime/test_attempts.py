"""Work that no process survives is given up after as many attempts as a task has."""

from __future__ import annotations

from pipelines.runtime.attempts import RetryLimit


def test_the_fifth_attempt_is_not_made(give_up: RetryLimit) -> None:
    reasons = [give_up("a") for _ in range(5)]
    assert reasons == ["", "", "", "", "The process that worked on it ended 4 times before it was done."]
    assert give_up("b") == ""
