"""Tests of the properties of a backbone that are known before it runs: weights and size of the features."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.config.networks import Network, Networks, load_networks, look_for_weights
from pipelines.config.run_config import RunConfig
from pipelines.errors import BackboneError
from tests.pipelines.runs import MEMBER, SIZE

CONFIG = RunConfig(command="ensemble", data="data", out="out", members=(MEMBER,), image_size=SIZE)


def test_the_number_of_patches_is_that_of_the_finest_layer() -> None:
    network = load_networks(CONFIG)[MEMBER.backbone]
    assert network.cells == (SIZE // 8) ** 2
    assert network.channels == 40 + 112  # channels of layers 2 and 3, concatenated
    assert network.bytes_per_image == 2 * network.cells * network.channels
    assert len(network.sha256) == 64


def test_layers_that_the_backbone_lacks_are_an_error() -> None:
    with pytest.raises(BackboneError, match=r"\(2, 9\)"):
        load_networks(replace(CONFIG, members=(replace(MEMBER, layers=(2, 9)),)))


def test_a_missing_weights_folder_is_an_error_before_weights_are_loaded(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="is not a folder"):
        look_for_weights(replace(CONFIG, weights=str(tmp_path / "none")))


def test_networks_has_the_backbones_of_the_members() -> None:
    networks = Networks.load(CONFIG)
    assert networks.by_backbone == load_networks(CONFIG)
    assert isinstance(networks.by_backbone[MEMBER.backbone], Network)
