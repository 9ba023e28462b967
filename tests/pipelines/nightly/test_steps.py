"""The names of tasks and stages are those that files of earlier nightly runs have for them."""

from __future__ import annotations

import json

from pipelines.nightly.steps import NightStage, NightTask
from pipelines.stages.runner import STAGES


def test_tasks_have_the_names_of_costs_and_deferred_categories() -> None:
    """costs.json and run.json in a registry are read by the next version."""
    assert [task.value for task in NightTask] == ["learn", "judge"]
    assert json.loads(json.dumps({NightTask.TRAIN: 1})) == {"learn": 1}


def test_stages_have_the_names_of_failures() -> None:
    assert [stage.value for stage in NightStage] == ["repair", "plan", "train", "acceptance test", "predict", "prune"]


def test_no_stage_of_a_run_is_called_alike() -> None:
    assert not {stage.value for stage in NightStage} & {stage.name for stage in STAGES}
