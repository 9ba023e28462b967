"""What is known of a backbone before it runs: its weights, and the size of its features."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.config.networks import Network, Networks, load_networks, look_for_weights
from pipelines.config.run_config import RunConfig
from pipelines.errors import BackboneError
from tests.pipelines.runs import MEMBER, SIZE

CONFIG = RunConfig(command="ensemble", data="data", out="out", members=(MEMBER,), image_size=SIZE)


def test_a_network_is_as_large_as_its_finest_layer() -> None:
    network = load_networks(CONFIG)[MEMBER.backbone]
    assert network.cells == (SIZE // 8) ** 2
    assert network.channels == 40 + 112  # of layers 2 and 3, concatenated
    assert network.bytes_per_image == 2 * network.cells * network.channels
    assert len(network.sha256) == 64


def test_layers_that_a_network_lacks_are_reported_at_once() -> None:
    with pytest.raises(BackboneError, match=r"\(2, 9\)"):
        load_networks(replace(CONFIG, members=(replace(MEMBER, layers=(2, 9)),)))


def test_a_folder_of_weights_that_is_none_is_reported_without_loading_any(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="is no folder"):
        look_for_weights(replace(CONFIG, weights=str(tmp_path / "none")))


def test_the_networks_of_a_run_are_those_of_its_members() -> None:
    networks = Networks.load(CONFIG)
    assert networks.by_backbone == load_networks(CONFIG)
    assert isinstance(networks.by_backbone[MEMBER.backbone], Network)
