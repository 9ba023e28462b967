"""Names of the tasks and stages of a nightly run in its files."""

from __future__ import annotations

from enum import StrEnum


class NightTask(StrEnum):
    """Task of a nightly run that is deferred if it does not fit before the deadline; a key of costs.json and run.json.

    Attributes:
        TRAIN: Train a model and run its acceptance test.
        SCORE: Score the new images.
    """

    TRAIN = "learn"
    SCORE = "judge"


class NightStage(StrEnum):
    """Stage of a nightly run, in column `stage` of failures.parquet, beside the stages of any run such as 'extract'.

    Attributes:
        REPAIR: Finish an interrupted change of the registry.
        PLAN: Determine which files are missing or out of date.
        TRAIN: Prepare the training.
        ACCEPT: Run the acceptance test.
        SCORE: Score the new images.
        PRUNE: Remove old versions.
    """

    REPAIR = "repair"
    PLAN = "plan"
    TRAIN = "train"
    ACCEPT = "acceptance test"
    SCORE = "predict"
    PRUNE = "prune"
