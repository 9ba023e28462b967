"""Statuses of the results of a nightly run and of the events of a model version, as they are stored in files.

Files of schema version 1 contain other values for three of them; `current_word` translates these.
"""

from __future__ import annotations

from enum import StrEnum

_RENAMED = {"refused": "rejected", "unproven": "inconclusive", "held back": "on hold"}


class TrainingResult(StrEnum):
    """Result of training a category in a nightly run; column `learned` of night.parquet.

    Attributes:
        PASSED: A new model passed the acceptance test and is active.
        INCONCLUSIVE: A new model is active, but its acceptance test had too few calibration images for a decision, or
            the previous model could not be compared.
        REJECTED: A new model failed the acceptance test; the previous model stays active.
        ON_HOLD: The version for these images was rejected, rolled back or set aside earlier.
        UNCHANGED: The active model was trained on these images.
        DEFERRED: Training did not fit before the deadline.
        FAILED: Training or the acceptance test failed; failures.parquet contains the error.
    """

    PASSED = "passed"
    INCONCLUSIVE = "inconclusive"
    REJECTED = "rejected"
    ON_HOLD = "on hold"
    UNCHANGED = "unchanged"
    DEFERRED = "deferred"
    FAILED = "failed"


class ScoringResult(StrEnum):
    """Result of scoring the new images of a category in a nightly run; column `judged` of night.parquet.

    Attributes:
        DONE: Every readable image has a score.
        FAILED: Scoring failed; failures.parquet contains the error.
        DEFERRED: Scoring did not fit before the deadline.
        NO_MODEL: The category has no active model.
        NO_IMAGES: There is no readable new image.
    """

    DONE = "done"
    FAILED = "failed"
    DEFERRED = "deferred"
    NO_MODEL = "no model"
    NO_IMAGES = "no images"


class EventType(StrEnum):
    """Type of an event of a version in history.json.

    Attributes:
        PROMOTED: The version became the active version.
        REJECTED: The version failed the acceptance test.
        ROLLED_BACK: The version was active, and the version before it became active again.
        SET_ASIDE: The version was active, and another version was promoted by hand.
    """

    PROMOTED = "promoted"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled back"
    SET_ASIDE = "set aside"


def current_word(word: str) -> str:
    """Return the current value of a stored status.

    Args:
        word: Status in a file of any schema version.
    """
    return _RENAMED.get(word, word)
