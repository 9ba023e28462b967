"""Backbones that have been found and looked at, by name; those of older models are added as they are met."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.config import RunConfig
from pipelines.plan import Network, load_networks, network_of
from reconpatch.model import Model


@dataclass
class Networks:
    """What is known of each backbone.

    Attributes:
        weights: the folder of `--weights`.
    """

    by_backbone: dict[str, Network]
    weights: str | None

    @classmethod
    def load(cls, config: RunConfig) -> Networks:
        """Those of a run's members. Raises BackboneError as `load_networks`."""
        return cls(load_networks(config), config.weights)

    def add(self, model: Model) -> None:
        """Those of a stored model.

        Raises:
            BackboneError: a backbone that is not there or has no weights.
            ModelError: other weights than the model was fitted with.
        """
        for member in model.members:
            found = self.by_backbone.get(member.backbone)
            if found is None:
                found = network_of(member, model.image_size, self.weights)
                self.by_backbone[member.backbone] = found
            member.require_weights(found.source, found.sha256)
