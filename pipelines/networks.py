"""Backbones that have been found and looked at; those of older models are added as they are met."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.config import Member, RunConfig
from pipelines.plan import Network, load_networks, network_of
from reconpatch.model import MemberModel, Model


@dataclass
class Networks:
    """What is known of each backbone.

    Attributes:
        by_backbone: name → the network of a run's member of that name, or of the first model that was met with it.
        weights: the folder of `--weights`.
    """

    by_backbone: dict[str, Network]
    weights: str | None
    _views: dict[tuple[object, ...], Network] = field(default_factory=dict)

    @classmethod
    def load(cls, config: RunConfig) -> Networks:
        """Those of a run's members. Raises BackboneError as `load_networks`."""
        found = load_networks(config)
        views = {_view(member, config.image_size): found[member.backbone] for member in config.members}
        return cls(found, config.weights, views)

    def add(self, model: Model) -> None:
        """Those of a stored model.

        Raises:
            BackboneError: a backbone that is not there or has no weights.
            ModelError: other weights than the model was fitted with.
        """
        for member in model.members:
            view = _view(member, model.image_size)
            if view not in self._views:
                self._views[view] = network_of(member, model.image_size, self.weights)
            found = self._views[view]
            self.by_backbone.setdefault(member.backbone, found)
            member.require_weights(found.source, found.sha256)

    def bytes_per_image(self, model: Model) -> int:
        """Of the features of one image, as a model that has been added looks at it, at all its members."""
        return sum(self._views[_view(member, model.image_size)].bytes_per_image for member in model.members)


def _view(member: Member | MemberModel, image_size: int) -> tuple[object, ...]:
    """What a network's weights and sizes depend on."""
    return member.backbone, member.levels, member.aggregation, image_size
