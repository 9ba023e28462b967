"""The recipe: the options that the results depend on."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.config.member import Member
from pipelines.config.option import Option, Section
from pipelines.errors import UsageError
from reconpatch.adapter.schedule import AdapterConfig
from reconpatch.detector.model import FUSIONS
from reconpatch.features.patches import AGGREGATIONS

RECIPE_NAMES = ("default", "paper")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The part of a configuration that the results depend on. The option of each field documents the field.

    All fields enter the cache keys (`pipelines.planning.cache_keys`), directly or through values that depend on them.
    The exception is `recipe`, which only selects default values. `redoes` of a field's option names the first stage
    that a changed value repeats. The keys of the patch features also contain the device (`Execution.device`).

    Attributes:
        members: Members of the ensemble, in the order in which they are fused.

    Raises:
        UsageError: A value is out of its range, or two members have the same backbone.
    """

    members: tuple[Member, ...]
    image_size: int = field(
        metadata=Option(
            Section.INPUT, "Side S of the backbone's square input, in pixels (at least 32).", redoes="extract"
        ).metadata
    )
    full_frame: bool = field(
        default=True,
        metadata=Option(
            Section.INPUT,
            "Resize the whole image to a square, or use its central 7/8 as in the paper (center crop).",
            off="center-crop",
            former_off=("centre-crop",),
            redoes="extract",
        ).metadata,
    )
    bit_depth: int = field(
        default=16,
        metadata=Option(
            Section.INPUT,
            "Significant bits per channel of images with more than 8 bits (9-16).",
            redoes="extract",
        ).metadata,
    )
    chunk: int = field(
        default=16,
        metadata=Option(
            Section.INPUT, "Images per forward pass of the backbone (at least 1).", redoes="extract"
        ).metadata,
    )
    recipe: str = field(
        default="default",
        metadata=Option(
            Section.RECIPE,
            "Source of default values: 'default' for this project's trials, 'paper' for the paper's tables.",
            choices=RECIPE_NAMES,
            redoes="extract",
        ).metadata,
    )
    max_steps: int = field(
        default=AdapterConfig.max_steps,
        metadata=Option(
            Section.TRAINING,
            "Maximum number of training steps per category and backbone (0 or more); 0 sets no limit.",
            redoes="fit",
        ).metadata,
    )
    batch_size: int = field(
        default=AdapterConfig.batch_size,
        metadata=Option(Section.TRAINING, "Patches N per training step (at least 2).", redoes="fit").metadata,
    )
    batch_images: int = field(
        default=4,
        metadata=Option(
            Section.TRAINING,
            "Number of images that the patches of a training step are drawn from (0 to half of --batch-size); 0 draws "
            "from all images.",
            redoes="fit",
        ).metadata,
    )
    sigma: float | None = field(
        default=AdapterConfig.sigma,
        metadata=Option(
            Section.TRAINING,
            "Width of the kernel in eq. 1 (above 0); 'neighbor' uses each batch's mean squared distance to the k-th "
            "neighbor.",
            former_values={"neighbour": "neighbor"},
            word_for_none="neighbor",
            redoes="fit",
        ).metadata,
    )
    contrastive_neighbors: int = field(
        default=AdapterConfig.contrastive_neighbors,
        metadata=Option(
            Section.TRAINING,
            "Number of neighbors k in the contextual similarity, eqs. 2-5 (at least 4).",
            former=("neighbours",),
            redoes="fit",
        ).metadata,
    )
    alpha: float = field(
        default=AdapterConfig.alpha,
        metadata=Option(Section.TRAINING, "Weight of the pairwise similarity in eq. 6 (0-1).", redoes="fit").metadata,
    )
    margin: float = field(
        default=AdapterConfig.margin,
        metadata=Option(
            Section.TRAINING, "Margin m of the contrastive loss, eq. 7 (0 or more).", redoes="fit"
        ).metadata,
    )
    gamma: float = field(
        default=AdapterConfig.gamma,
        metadata=Option(
            Section.TRAINING,
            "Share of its weights that the teacher (the moving average) keeps at each step, eq. 8 (0-1). It is lowered "
            "if --max-steps shortens the training.",
            redoes="fit",
        ).metadata,
    )
    seed: int = field(
        default=AdapterConfig.seed,
        metadata=Option(
            Section.TRAINING,
            "Seed of the adapter's initial weights and of the training batches (0 or more).",
            redoes="fit",
        ).metadata,
    )
    score_neighbors: int = field(
        default=9,
        metadata=Option(
            Section.SCORES,
            "Number of neighbors b in the memory bank that reweight a patch score, eq. 10 (at least 1); 1 disables the "
            "reweighting.",
            former=("reweight",),
            redoes="score",
        ).metadata,
    )
    fusion: str = field(
        default="patch",
        metadata=Option(
            Section.THRESHOLDS,
            "Scores of the members that are normalized and averaged: those of patches or those of images.",
            choices=FUSIONS,
            redoes="fuse",
        ).metadata,
    )
    holdout: float = field(
        default=0.2,
        metadata=Option(
            Section.THRESHOLDS,
            "Share of the good training images that are held out as calibration images for the threshold (0 or more, "
            "below 1).",
            redoes="fit",
        ).metadata,
    )
    false_alarms: float = field(
        default=0.01,
        metadata=Option(
            Section.THRESHOLDS,
            "Target false-positive rate: share of good images that may be flagged (above 0, below 1).",
            redoes="fuse",
        ).metadata,
    )
    threads_per_unit: int = field(
        default=1,
        metadata=Option(Section.WHERE, "CPU threads per job (at least 1).", redoes="extract").metadata,
    )

    def __post_init__(self) -> None:
        names = [member.backbone for member in self.members]
        repeated = sorted({name for name in names if names.count(name) > 1})
        require(not repeated, f"--backbone: {', '.join(repeated)} is given more than once; give each backbone once.")
        require(self.image_size >= 32, f"--image-size {self.image_size}: give at least 32 pixels.")
        require(self.chunk >= 1, f"--chunk {self.chunk}: give at least 1 image.")
        require(
            self.score_neighbors >= 1,
            f"--score-neighbors {self.score_neighbors}: give at least 1 (1 disables the reweighting).",
        )
        require(self.fusion in FUSIONS, f"--fusion {self.fusion}: give one of {', '.join(FUSIONS)}.")
        require(9 <= self.bit_depth <= 16, f"--bit-depth {self.bit_depth}: give 9 to 16 bits.")
        require(0 <= self.holdout < 1, f"--holdout {self.holdout}: give a share of at least 0 and less than 1.")
        require(0 < self.false_alarms < 1, f"--false-alarms {self.false_alarms}: give a share above 0 and below 1.")
        require(self.threads_per_unit >= 1, f"--threads-per-unit {self.threads_per_unit}: give at least 1.")
        for member in self.members:
            self._require_valid(member)

    def _require_valid(self, member: Member) -> None:
        require(member.patch_size % 2 == 1, f"--patch-size {member.patch_size}: give an odd number such as 3 or 5.")
        require(0 < member.coreset <= 1, f"--coreset {member.coreset}: give a share above 0 and at most 1.")
        require(
            member.aggregation in AGGREGATIONS,
            f"--aggregation {member.aggregation}: give one of {', '.join(AGGREGATIONS)}.",
        )
        require(member.epochs >= 0, f"--epochs {member.epochs}: give 0 (no training) or more.")
        if member.adapted:
            try:
                self.adapter_config(member)
            except ValueError as error:
                raise UsageError(str(error)) from error

    def adapter_config(self, member: Member) -> AdapterConfig:
        """Return the training options of a member's adapter (section 3.2 of the paper).

        Args:
            member: Member whose fields are combined with those of the recipe.

        Raises:
            ValueError: A value is out of its range.
        """
        return AdapterConfig(
            init=member.init,
            dim=member.dim,
            epochs=member.epochs,
            max_steps=self.max_steps,
            lr=member.lr,
            batch_size=self.batch_size,
            batch_images=self.batch_images,
            sigma=self.sigma,
            contrastive_neighbors=self.contrastive_neighbors,
            alpha=self.alpha,
            margin=self.margin,
            gamma=self.gamma,
            seed=self.seed,
        )


def require(holds: bool, message: str) -> None:
    """Raise UsageError unless a condition holds.

    Args:
        holds: Value of the condition.
        message: Message of the error.

    Raises:
        UsageError: The condition is False.
    """
    if not holds:
        raise UsageError(message)
