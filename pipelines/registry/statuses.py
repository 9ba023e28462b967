"""The words for what a nightly run did with a category and for what happened to a model version.

Files keep these words. Files of schema version 1 used others for three of them; `current_word` translates.
"""

from __future__ import annotations

from enum import StrEnum

_RENAMED = {"refused": "rejected", "unproven": "inconclusive", "held back": "on hold"}


class TrainingResult(StrEnum):
    """Column `learned` of night.parquet: what became of a category's model in a nightly run.

    Attributes:
        PASSED: a new model passed the acceptance test and is active.
        INCONCLUSIVE: a new model is active, but there were too few held-out images to prove anything.
        REJECTED: a new model did not pass the acceptance test; the previous one stays active.
        ON_HOLD: the model of these images was rejected, rolled back or set aside before.
        UNCHANGED: the active model was made from these images.
        DEFERRED: there was no time left before the deadline.
        FAILED: the failures table says why.
    """

    PASSED = "passed"
    INCONCLUSIVE = "inconclusive"
    REJECTED = "rejected"
    ON_HOLD = "on hold"
    UNCHANGED = "unchanged"
    DEFERRED = "deferred"
    FAILED = "failed"


class ScoringResult(StrEnum):
    """Column `judged` of night.parquet: whether a category's new images were scored.

    Attributes:
        DONE: every readable image has a score.
        FAILED: the failures table says why.
        DEFERRED: there was no time left before the deadline.
        NO_MODEL: no model of the category is active.
        NO_IMAGES: there is no readable new image.
    """

    DONE = "done"
    FAILED = "failed"
    DEFERRED = "deferred"
    NO_MODEL = "no model"
    NO_IMAGES = "no images"


class EventType(StrEnum):
    """What happened to a version, in history.json.

    Attributes:
        PROMOTED: it became the active version.
        REJECTED: it did not pass the acceptance test.
        ROLLED_BACK: it was active, and the version before it was made active again.
        SET_ASIDE: it was active, and somebody made another version active by hand.
    """

    PROMOTED = "promoted"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled back"
    SET_ASIDE = "set aside"


def current_word(word: str) -> str:
    """Return a stored status in the words of today.

    Args:
        word: as a file of any schema version has it.
    """
    return _RENAMED.get(word, word)
