"""Tests that results of trials are read as they were written."""

from __future__ import annotations

import json

from study.results import Costs, TrialResult
from tests.study.results import result


def test_a_result_is_read_as_it_was_written_and_other_keys_are_ignored() -> None:
    stored = json.loads(json.dumps({"recipe": {}, **result().as_json()}))
    assert TrialResult.of_json(stored) == result()


def test_costs_are_summed_over_members() -> None:
    costs = result().costs
    total = Costs.total([costs, costs])
    assert (total.train_seconds, total.bank_bytes) == (2 * costs.train_seconds, 2 * costs.bank_bytes)
