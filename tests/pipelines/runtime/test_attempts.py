"""Tests of the limit of retries for work that kills its process."""

from __future__ import annotations

from pipelines.runtime.attempts import RetryLimit


def test_the_fifth_attempt_is_rejected(give_up: RetryLimit) -> None:
    reasons = [give_up("a") for _ in range(5)]
    assert reasons == ["", "", "", "", "The process died in all 4 attempts."]
    assert give_up("b") == ""
