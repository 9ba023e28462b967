"""A member: one network of an ensemble and how it is used."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.config.option import Option, Section
from reconpatch.adapter.initialization import INITIALIZATIONS
from reconpatch.features.patches import AGGREGATIONS

BY_PRESET = "by preset"


@dataclass(frozen=True, kw_only=True)
class Member:
    """One network of an ensemble, with its part of the recipe. Every field's meaning is in its option.

    The presets (`pipelines.config.presets`) decide the fields that the user does not give.
    """

    backbone: str = field(
        metadata=Option(
            Section.RECIPE,
            "Name of the network in timm. Repeat it for an ensemble.",
            is_multiple=True,
            redoes="extract",
        ).metadata
    )
    layers: tuple[int, ...] = field(
        metadata=Option(
            Section.FEATURES,
            "Layers of the network whose feature maps are used, as timm's out_indices, separated by commas (2,3).",
            former=("levels",),
            shown_default=BY_PRESET,
            redoes="extract",
        ).metadata
    )
    patch_size: int = field(
        metadata=Option(
            Section.FEATURES,
            "Side s of the window of feature-map cells that is averaged into a patch feature (odd).",
            shown_default=BY_PRESET,
            redoes="extract",
        ).metadata
    )
    aggregation: str = field(
        metadata=Option(
            Section.FEATURES,
            "How the layers become one patch feature: 'patchcore' pools them to 1024 channels, 'concat' joins all.",
            choices=AGGREGATIONS,
            shown_default=BY_PRESET,
            redoes="extract",
        ).metadata
    )
    dim: int = field(
        metadata=Option(
            Section.TRAINING,
            "Output dimension D of the adapter (at least 1); ignored without training.",
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
            "Training epochs of the adapter; 0 trains nothing, which with --init raw is PatchCore.",
            shown_default=BY_PRESET,
            redoes="fit",
        ).metadata
    )
    lr: float = field(
        metadata=Option(
            Section.TRAINING,
            "Learning rate of the paper's schedule (above 0, at most 1); --max-steps raises it.",
            shown_default=BY_PRESET,
            redoes="fit",
        ).metadata
    )
    init: str = field(
        default="raw",
        metadata=Option(
            Section.TRAINING,
            "Linear map that the adapter's training starts from.",
            former=("start",),
            former_values={"neighbours": "neighbors"},
            choices=INITIALIZATIONS,
            shown_default=BY_PRESET,
            redoes="fit",
        ).metadata,
    )

    @property
    def adapted(self) -> bool:
        """Whether the adapter is anything but the identity."""
        return self.epochs > 0 or self.init != "raw"
