"""The steps of a nightly run, by the names that its files have for them."""

from __future__ import annotations

from enum import StrEnum


class NightTask(StrEnum):
    """What takes time and may be deferred, in costs.json and run.json.

    Attributes:
        TRAIN: training a model, with its acceptance test.
        SCORE: scoring the new images.
    """

    TRAIN = "learn"
    SCORE = "judge"


class NightStage(StrEnum):
    """What a category can fail in, in failures.parquet; the stages of a run, such as 'extract', have their own names.

    Attributes:
        REPAIR: finishing an interrupted change in the registry.
        PLAN: comparing what is there with what should be.
        TRAIN: preparing the training.
        ACCEPT: the acceptance test.
        SCORE: scoring the new images.
        PRUNE: removing old versions.
    """

    REPAIR = "repair"
    PLAN = "plan"
    TRAIN = "train"
    ACCEPT = "acceptance test"
    SCORE = "predict"
    PRUNE = "prune"
