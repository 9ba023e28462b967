"""Properties of the members' backbones that are known before a run computes: weights and size of the features."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.config.member import Member
from pipelines.config.run_config import RunConfig
from reconpatch.detector.model import MemberModel, Model
from reconpatch.features.backbones import Backbone, find_weights, load_backbone
from reconpatch.features.patches import feature_channels

_BYTES_PER_VALUE = 2  # patch features are stored as float16


@dataclass(frozen=True)
class Network:
    """The properties of a member's backbone that are known without running it.

    Attributes:
        source: Source of the weights: the name of a package or the path of a file.
        sha256: SHA-256 digest of the weights, 64 hexadecimal digits.
        cells: Upper limit of the number of patches per image.
        channels: C', the dimension of a patch feature.
    """

    source: str
    sha256: str
    cells: int
    channels: int

    @classmethod
    def of(cls, backbone: Backbone, member: Member | MemberModel, image_size: int) -> Network:
        """Return the properties of a loaded backbone.

        Args:
            backbone: Loaded backbone of the member.
            member: Member of a configuration or of a stored model; its aggregation determines C'.
            image_size: Side S of the backbone's square input, in pixels.
        """
        channels = feature_channels(backbone.channels, member.aggregation)
        side = -(-image_size // min(backbone.strides))  # one less if the backbone does not pad
        return cls(backbone.weights_source, backbone.weights_sha256, side**2, channels)

    @property
    def bytes_per_image(self) -> int:
        """Size of the stored patch features of one image, in bytes."""
        return self.cells * self.channels * _BYTES_PER_VALUE


def look_for_weights(config: RunConfig) -> None:
    """Search for the weights of all members without loading them, so that a wrong folder is reported early.

    Args:
        config: Run configuration with the members and the folder of `--weights`.

    Raises:
        BackboneError: The folder of `--weights` does not exist.
    """
    for member in config.members:
        find_weights(member.backbone, config.weights)


def load_backbones(config: RunConfig) -> dict[str, Backbone]:
    """Load the backbones of all members and keep them in memory.

    Args:
        config: Run configuration with the members, the image size and the folder of `--weights`.

    Returns:
        Name of the backbone -> loaded backbone.

    Raises:
        BackboneError: A backbone is unknown, has no weights, or lacks one of the layers.
    """
    return {member.backbone: _load(member, config.image_size, config.weights) for member in config.members}


def load_networks(config: RunConfig) -> dict[str, Network]:
    """Return the properties of all members' backbones.

    Each backbone is loaded once, one after another, so that errors in weights or layers are reported before the run
    computes anything.

    Args:
        config: Run configuration with the members, the image size and the folder of `--weights`.

    Returns:
        Name of the backbone -> its properties.

    Raises:
        BackboneError: A backbone is unknown, has no weights, or lacks one of the layers.
    """
    return {member.backbone: network_of(member, config.image_size, config.weights) for member in config.members}


def network_of(member: Member | MemberModel, image_size: int, weights: str | None) -> Network:
    """Load a member's backbone and return its properties; the backbone itself is not kept.

    Args:
        member: Member of a configuration or of a stored model.
        image_size: Side S of the backbone's square input, in pixels.
        weights: Folder of `--weights`; None to use installed packages or timm's hub.

    Raises:
        BackboneError: The backbone is unknown, has no weights, or lacks one of the layers.
    """
    return Network.of(_load(member, image_size, weights), member, image_size)


def _load(member: Member | MemberModel, image_size: int, weights: str | None) -> Backbone:
    return load_backbone(member.backbone, member.layers, image_size=image_size, weights=weights)


@dataclass
class Networks:
    """The properties of the backbones of a run's members and of stored models that are added later.

    Attributes:
        by_backbone: Name of the backbone -> properties, from the run's member with that backbone, else from the first
            stored model that has it.
        weights: Folder of `--weights`; None to use installed packages or timm's hub.
    """

    by_backbone: dict[str, Network]
    weights: str | None
    _by_key: dict[tuple[object, ...], Network] = field(default_factory=dict)

    @classmethod
    def load(cls, config: RunConfig) -> Networks:
        """Return the properties of the backbones of a run's members.

        Args:
            config: Run configuration with the members, the image size and the folder of `--weights`.

        Raises:
            BackboneError: A backbone is unknown, has no weights, or lacks one of the layers.
        """
        networks = load_networks(config)
        by_key = {_key(member, config.image_size): networks[member.backbone] for member in config.members}
        return cls(networks, config.weights, by_key)

    def add(self, model: Model) -> None:
        """Add the properties of a stored model's backbones.

        Args:
            model: Stored model; each backbone that is not known yet is loaded once.

        Raises:
            BackboneError: A backbone is unknown, has no weights, or lacks one of the layers.
            ModelError: The weights differ from those that the model was fitted with.
        """
        for member in model.members:
            key = _key(member, model.image_size)
            if key not in self._by_key:
                self._by_key[key] = network_of(member, model.image_size, self.weights)
            network = self._by_key[key]
            self.by_backbone.setdefault(member.backbone, network)
            member.require_weights(network.source, network.sha256)

    def bytes_per_image(self, model: Model) -> int:
        """Return the size of one image's patch features for all members of a model, in bytes.

        Args:
            model: Stored model that has been added with `add`.
        """
        return sum(self._by_key[_key(member, model.image_size)].bytes_per_image for member in model.members)


def _key(member: Member | MemberModel, image_size: int) -> tuple[object, ...]:
    """Return the values that the properties of a backbone depend on."""
    return member.backbone, member.layers, member.aggregation, image_size
