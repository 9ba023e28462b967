"""The recipe: every option that a result depends on."""

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
    """What the results depend on: every field but `recipe` enters the cache keys, itself or through what it decides.

    `pipelines.planning.cache_keys` makes the keys; `redoes` of a field's option names the first stage that a changed
    value repeats. The device (`Execution.device`) enters the features' keys as well.

    Attributes:
        members: the networks, in the order in which they are fused.
    """

    members: tuple[Member, ...]
    image_size: int = field(
        metadata=Option(
            Section.INPUT, "Side S of the network's square input, in pixels (at least 32).", redoes="extract"
        ).metadata
    )
    full_frame: bool = field(
        default=True,
        metadata=Option(
            Section.INPUT,
            "Use the whole image, resized to a square, or its central 7/8 as the paper does.",
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
        metadata=Option(Section.INPUT, "Images per forward pass (at least 1).", redoes="extract").metadata,
    )
    recipe: str = field(
        default="default",
        metadata=Option(
            Section.RECIPE,
            "Source of the values that are not given: this project's trials, or 'paper' for the paper's tables.",
            choices=RECIPE_NAMES,
            redoes="extract",
        ).metadata,
    )
    max_steps: int = field(
        default=AdapterConfig.max_steps,
        metadata=Option(
            Section.TRAINING,
            "Upper limit of training steps per category and network; 0: no limit, all epochs in full.",
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
            "Images that the patches of a training step are drawn from; 0: patches of any image.",
            redoes="fit",
        ).metadata,
    )
    sigma: float | None = field(
        default=AdapterConfig.sigma,
        metadata=Option(
            Section.TRAINING,
            "Width of the kernel in eq. 1 (above 0); 'neighbor': each batch's mean squared distance to the k-th "
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
            "Neighbors k of the contextual similarity, eqs. 2-5 (at least 4).",
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
            "Share of its weights that the averaged network keeps at each step, eq. 8 (0-1); --max-steps lowers it.",
            redoes="fit",
        ).metadata,
    )
    seed: int = field(
        default=AdapterConfig.seed,
        metadata=Option(
            Section.TRAINING, "Seed of the adapter's initial weights and of the training batches.", redoes="fit"
        ).metadata,
    )
    score_neighbors: int = field(
        default=9,
        metadata=Option(
            Section.SCORES,
            "Neighbors b in the bank that reweight a patch score, eq. 10; 1: no reweighting.",
            former=("reweight",),
            redoes="score",
        ).metadata,
    )
    fusion: str = field(
        default="patch",
        metadata=Option(
            Section.THRESHOLDS,
            "Scores that are normalized before the members are averaged: each patch's or each image's.",
            choices=FUSIONS,
            redoes="fuse",
        ).metadata,
    )
    holdout: float = field(
        default=0.2,
        metadata=Option(
            Section.THRESHOLDS,
            "Share of the good training images that no model sees and that set the threshold (0 or more, below 1).",
            redoes="fit",
        ).metadata,
    )
    false_alarms: float = field(
        default=0.01,
        metadata=Option(
            Section.THRESHOLDS,
            "Target false-positive rate among good images (above 0, below 1).",
            redoes="fuse",
        ).metadata,
    )
    threads_per_unit: int = field(
        default=1,
        metadata=Option(Section.WHERE, "CPU threads per job (at least 1).", redoes="extract").metadata,
    )

    def __post_init__(self) -> None:
        names = [member.backbone for member in self.members]
        require(
            len(set(names)) == len(names), f"--backbone: {', '.join(names)} names a backbone twice; give each once."
        )
        require(self.image_size >= 32, f"--image-size {self.image_size}: give at least 32 pixels.")
        require(self.chunk >= 1, f"--chunk {self.chunk}: give at least 1 image.")
        require(
            self.score_neighbors >= 1,
            f"--score-neighbors {self.score_neighbors}: give at least 1 (1 = no reweighting).",
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
        """Return the options of one member's training (section 3.2 of the paper).

        Raises:
            ValueError: a value is out of its range.
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
    """Raise a UsageError with the message unless the condition holds."""
    if not holds:
        raise UsageError(message)
