"""The options of `reconpatch-run nightly` that no other command has."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from pipelines.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class AcceptanceConfig:
    """The limits of the acceptance test.

    Attributes:
        margin: Largest accepted loss in AUROC of a candidate against the active model, 0 or more.
        suspects: Share of training outliers among the good images above which a candidate is rejected, 0 or more. A
            single outlier never causes a rejection, and 1 accepts any number.

    Raises:
        UsageError: A value is negative, infinite or NaN.
    """

    margin: float = 0.02
    suspects: float = 0.05

    def __post_init__(self) -> None:
        for name in ("margin", "suspects"):
            value = getattr(self, name)
            if not 0.0 <= value < math.inf:  # NaN fails this test as well
                raise UsageError(f"--acceptance-{name} {value}: give a finite number of at least 0.")


@dataclass(frozen=True)
class NightOptions:
    """The options of `reconpatch-run nightly` that no other command has.

    Attributes:
        registry: Path or URI of the registry of model versions.
        scores: Path or URI of the folder in which each nightly run creates a folder for its scores.
        images: Path or URI of the new images, one subfolder per category; None to score each category's test images,
            or the images of its folder `incoming`, in the training data.
        deadline: Local time of day, HH:MM, by which the nightly run should end; None for no deadline.
        keep: Number of newest versions that are kept per category, at least 1; rejected versions are counted
            separately.
        wait: Whether to wait for another nightly run that uses the registry, instead of failing.
        acceptance: Limits of the acceptance test.
    """

    registry: str
    scores: str
    images: str | None = None
    deadline: str | None = None
    keep: int = 5
    wait: bool = False
    acceptance: AcceptanceConfig = field(default_factory=AcceptanceConfig)
