"""The options that only `reconpatch-run nightly` has."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from pipelines.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class AcceptanceConfig:
    """What a candidate has to reach.

    Attributes:
        margin: AUROC by which it may be worse than the active model, at least 0.
        suspects: share of training outliers among the good images above which it is rejected, at least 0; a single
            outlier never rejects it, and 1 accepts any number.
    """

    margin: float = 0.02
    suspects: float = 0.05

    def __post_init__(self) -> None:
        for name in ("margin", "suspects"):
            value = getattr(self, name)
            if not 0.0 <= value < math.inf:  # false for NaN as well
                raise UsageError(f"--acceptance-{name} {value}: give a finite number, at least 0.")


@dataclass(frozen=True)
class NightOptions:
    """The options that only `reconpatch-run nightly` has.

    Attributes:
        registry: path or URI of the models.
        scores: path or URI of the folder in which each run makes a folder of scores.
        images: path or URI of the new images; None for those beside the training images.
        deadline: HH:MM, by which all has to be done; None for no deadline.
        keep: how many old versions of a category are kept.
        wait: whether to wait for another run in the same registry.
        acceptance: what a candidate has to reach.
    """

    registry: str
    scores: str
    images: str | None = None
    deadline: str | None = None
    keep: int = 5
    wait: bool = False
    acceptance: AcceptanceConfig = field(default_factory=AcceptanceConfig)
