"""Backbones, looked at before anything is computed: where their weights came from, and what their features take."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.config import Member, RunConfig
from reconpatch.backbones import Backbone, find_weights, load_backbone
from reconpatch.model import MemberModel, Model
from reconpatch.patches import feature_channels


@dataclass(frozen=True)
class Network:
    """A member's backbone, as far as it can be known without running it.

    Attributes:
        source, sha256: where its weights came from, and their digest.
        cells: patches an image, at most.
        channels: C'.
    """

    source: str
    sha256: str
    cells: int
    channels: int

    @classmethod
    def of(cls, backbone: Backbone, member: Member | MemberModel, image_size: int) -> Network:
        """That of a backbone which a member looks at pictures with."""
        channels = feature_channels(backbone.channels, member.aggregation)
        side = -(-image_size // min(backbone.strides))  # or one less, where a network does not pad
        return cls(backbone.weights_source, backbone.weights_sha256, side**2, channels)

    @property
    def bytes_per_image(self) -> int:
        """Of its features, which are float16."""
        return self.cells * self.channels * 2


def look_for_weights(config: RunConfig) -> None:
    """Look for the members' weights and load none: what is known of them at once is said at once.

    Raises:
        BackboneError: `--weights` is no folder.
    """
    for member in config.members:
        find_weights(member.backbone, config.weights)


def load_backbones(config: RunConfig) -> dict[str, Backbone]:
    """Every member's backbone by name, all of them in memory. Raises as `load_networks`."""
    return {member.backbone: _load(member, config.image_size, config.weights) for member in config.members}


def load_networks(config: RunConfig) -> dict[str, Network]:
    """Load every backbone once, one after another: what is wrong with its weights or levels is said before an hour is
    spent.

    Returns:
        Backbone → its network.

    Raises:
        BackboneError: a backbone that is not there or has no weights, or levels that it does not have.
    """
    return {member.backbone: network_of(member, config.image_size, config.weights) for member in config.members}


def network_of(member: Member | MemberModel, image_size: int, weights: str | None) -> Network:
    """A member's backbone, loaded and let go again. Raises as `load_networks`."""
    return Network.of(_load(member, image_size, weights), member, image_size)


def _load(member: Member | MemberModel, image_size: int, weights: str | None) -> Backbone:
    return load_backbone(member.backbone, member.levels, image_size=image_size, weights=weights)


@dataclass
class Networks:
    """What is known of each backbone; those of older models are added as they are met.

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
