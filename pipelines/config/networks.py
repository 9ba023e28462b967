"""The members' backbones before anything is computed: where their weights come from, how large their features are."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.config.member import Member
from pipelines.config.run_config import RunConfig
from reconpatch.detector.model import MemberModel, Model
from reconpatch.features.backbones import Backbone, find_weights, load_backbone
from reconpatch.features.patches import feature_channels

_BYTES_PER_VALUE = 2  # features are stored as float16


@dataclass(frozen=True)
class Network:
    """A member's backbone, as far as it can be known without running it.

    Attributes:
        source: where its weights came from.
        sha256: digest of its weights.
        cells: most patches of an image.
        channels: C', the dimension of a patch feature.
    """

    source: str
    sha256: str
    cells: int
    channels: int

    @classmethod
    def of(cls, backbone: Backbone, member: Member | MemberModel, image_size: int) -> Network:
        """Return the network of a member.

        Args:
            backbone: the member's, loaded.
            member: decides the aggregation.
            image_size: S, in pixels.
        """
        channels = feature_channels(backbone.channels, member.aggregation)
        side = -(-image_size // min(backbone.strides))  # or one less, where a network does not pad
        return cls(backbone.weights_source, backbone.weights_sha256, side**2, channels)

    @property
    def bytes_per_image(self) -> int:
        """Size of an image's stored features."""
        return self.cells * self.channels * _BYTES_PER_VALUE


def look_for_weights(config: RunConfig) -> None:
    """Look for the members' weights without loading any, so that a wrong folder is reported at once.

    Raises:
        BackboneError: `--weights` is no folder.
    """
    for member in config.members:
        find_weights(member.backbone, config.weights)


def load_backbones(config: RunConfig) -> dict[str, Backbone]:
    """Return every member's backbone by name, all of them in memory.

    Raises:
        BackboneError: as `load_networks`.
    """
    return {member.backbone: _load(member, config.image_size, config.weights) for member in config.members}


def load_networks(config: RunConfig) -> dict[str, Network]:
    """Load every backbone once, one after another, so that faults in weights or layers are reported before the work.

    Returns:
        Backbone -> its network.

    Raises:
        BackboneError: a backbone is unknown, has no weights, or lacks one of the layers.
    """
    return {member.backbone: network_of(member, config.image_size, config.weights) for member in config.members}


def network_of(member: Member | MemberModel, image_size: int, weights: str | None) -> Network:
    """Load a member's backbone, and return what is known of it.

    Args:
        member: of a configuration or a stored model.
        image_size: S, in pixels.
        weights: the folder of `--weights`.

    Raises:
        BackboneError: as `load_networks`.
    """
    return Network.of(_load(member, image_size, weights), member, image_size)


def _load(member: Member | MemberModel, image_size: int, weights: str | None) -> Backbone:
    return load_backbone(member.backbone, member.layers, image_size=image_size, weights=weights)


@dataclass
class Networks:
    """The networks of a run's members, and those of stored models, which are added as they are met.

    Attributes:
        by_backbone: name -> the network of a run's member of that name, or of the first model that was met with it.
        weights: the folder of `--weights`.
    """

    by_backbone: dict[str, Network]
    weights: str | None
    _by_key: dict[tuple[object, ...], Network] = field(default_factory=dict)

    @classmethod
    def load(cls, config: RunConfig) -> Networks:
        """Return the networks of a run's members.

        Raises:
            BackboneError: as `load_networks`.
        """
        networks = load_networks(config)
        by_key = {_key(member, config.image_size): networks[member.backbone] for member in config.members}
        return cls(networks, config.weights, by_key)

    def add(self, model: Model) -> None:
        """Add the networks of a stored model.

        Raises:
            BackboneError: a backbone is unknown or has no weights.
            ModelError: the weights are others than the model was fitted with.
        """
        for member in model.members:
            key = _key(member, model.image_size)
            if key not in self._by_key:
                self._by_key[key] = network_of(member, model.image_size, self.weights)
            network = self._by_key[key]
            self.by_backbone.setdefault(member.backbone, network)
            member.require_weights(network.source, network.sha256)

    def bytes_per_image(self, model: Model) -> int:
        """Return the size of one image's features for all members of a model that has been added."""
        return sum(self._by_key[_key(member, model.image_size)].bytes_per_image for member in model.members)


def _key(member: Member | MemberModel, image_size: int) -> tuple[object, ...]:
    """Return what a network's weights and sizes depend on."""
    return member.backbone, member.layers, member.aggregation, image_size
