"""The configuration of a member: one backbone of an ensemble, with its part of the recipe."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.config.option import Option, Section
from reconpatch.adapter.initialization import INITIALIZATIONS
from reconpatch.features.patches import AGGREGATIONS

BY_PRESET = "by preset"


@dataclass(frozen=True, kw_only=True)
class Member:
    """The configuration of one backbone of an ensemble. The option of each field documents the field.

    Fields that the user does not set get their values from a preset (`pipelines.config.presets`).
    """

    backbone: str = field(
        metadata=Option(
            Section.RECIPE,
            "Name of the backbone in timm. Repeat the option for an ensemble.",
            is_multiple=True,
            redoes="extract",
        ).metadata
    )
    layers: tuple[int, ...] = field(
        metadata=Option(
            Section.FEATURES,
            "Layers of the backbone whose feature maps are used: timm's out_indices, separated by commas (2,3).",
            former=("levels",),
            shown_default=BY_PRESET,
            redoes="extract",
        ).metadata
    )
    patch_size: int = field(
        metadata=Option(
            Section.FEATURES,
            "Side s of the window that is averaged into a patch feature, in cells of the feature map (odd).",
            shown_default=BY_PRESET,
            redoes="extract",
        ).metadata
    )
    aggregation: str = field(
        metadata=Option(
            Section.FEATURES,
            "How the layers are combined into patch features: 'patchcore' pools them to 1024 channels, 'concat' "
            "concatenates their channels.",
            choices=AGGREGATIONS,
            shown_default=BY_PRESET,
            redoes="extract",
        ).metadata
    )
    dim: int = field(
        metadata=Option(
            Section.TRAINING,
            "Output dimension D of the adapter (at least 1). Ignored without training.",
            shown_default=BY_PRESET,
            redoes="fit",
        ).metadata
    )
    coreset: float = field(
        metadata=Option(
            Section.SCORES,
            "Share of the training patches that the memory bank keeps (above 0, at most 1).",
            shown_default=BY_PRESET,
            redoes="select",
        ).metadata
    )
    epochs: int = field(
        metadata=Option(
            Section.TRAINING,
            "Training epochs of the adapter (0 or more). 0 disables the training; with --init raw this is PatchCore.",
            shown_default=BY_PRESET,
            redoes="fit",
        ).metadata
    )
    lr: float = field(
        metadata=Option(
            Section.TRAINING,
            "Initial learning rate (above 0, at most 1). It is raised if --max-steps shortens the training.",
            shown_default=BY_PRESET,
            redoes="fit",
        ).metadata
    )
    init: str = field(
        default="raw",
        metadata=Option(
            Section.TRAINING,
            "Linear map from which the adapter's training starts. Without training, it is the adapter.",
            former=("start",),
            former_values={"neighbours": "neighbors"},
            choices=INITIALIZATIONS,
            shown_default=BY_PRESET,
            redoes="fit",
        ).metadata,
    )

    @property
    def adapted(self) -> bool:
        """Whether the adapter differs from the identity, through training or through its initialization."""
        return self.epochs > 0 or self.init != "raw"
