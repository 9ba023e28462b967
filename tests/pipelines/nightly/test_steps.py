"""Names of tasks and stages: they stay the same, because files of earlier nightly runs contain them."""

from __future__ import annotations

import json

from pipelines.nightly.steps import NightStage, NightTask
from pipelines.stages.runner import STAGES


def test_the_stored_names_of_tasks_do_not_change() -> None:
    """Later versions read costs.json and run.json in a registry."""
    assert [task.value for task in NightTask] == ["learn", "judge"]
    assert json.loads(json.dumps({NightTask.TRAIN: 1})) == {"learn": 1}


def test_the_stored_names_of_stages_do_not_change() -> None:
    assert [stage.value for stage in NightStage] == ["repair", "plan", "train", "acceptance test", "predict", "prune"]


def test_the_names_differ_from_those_of_a_runs_stages() -> None:
    assert not {stage.value for stage in NightStage} & {stage.name for stage in STAGES}
