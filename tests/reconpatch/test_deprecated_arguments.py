"""Old names of arguments and attributes work for one more release, and the warning names the caller's line."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from reconpatch import AdapterConfig, Backbone, Detector, Geometry, MemoryBank, load_backbone, train_adapter
from reconpatch.adapter.initialization import initial_map
from reconpatch.adapter.training import TrainingProgress, TrainingVariant
from reconpatch.deprecated_arguments import RenamedAttribute, renamed_arguments
from reconpatch.deprecated_paths import RenamedWarning
from reconpatch.detector.detector import LoadedMember
from reconpatch.evaluation.acceptance import Comparison, Evidence, acceptance_test, too_many_outliers
from reconpatch.evaluation.comparison import resampled_differences
from reconpatch.evaluation.outliers import outlier_scores
from reconpatch.imaging.rendering import close_up

CONFIG = AdapterConfig(dim=4, epochs=2, batch_size=16, lr=1e-2)


def features() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(48, 6)).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Group:
    first: int = 1
    second: int = 2


@renamed_arguments({"colour": "color", "first": "group.first", "second": "group.second"}, {"group": Group})
def paint(size: int, color: str = "red", *, width: int = 1, group: Group | None = None) -> tuple[Any, ...]:
    return size, color, width, group


class Shape:
    colour = RenamedAttribute("color")
    color = "red"


def warned(call: Callable[[], Any], *messages: str) -> Any:
    """Return the result of a call; assert that it issues exactly these warnings, at a line of this file."""
    with pytest.warns(RenamedWarning) as caught:
        result = call()
    assert [str(warning.message).removesuffix(" The next release removes the old form.") for warning in caught] == [
        *messages
    ]
    assert {warning.filename for warning in caught} == {__file__}
    return result


def test_an_old_keyword_is_passed_on_under_its_new_name() -> None:
    assert warned(lambda: paint(3, colour="blue"), "paint: the argument 'colour' is now 'color'.") == (
        (3, "blue", 1, None)
    )


def test_old_keywords_of_a_group_set_its_fields_and_keep_the_others() -> None:
    first = "paint: the argument 'first' is now 'group.first'."
    assert warned(lambda: paint(3, first=5), first)[3] == Group(first=5)
    assert warned(lambda: paint(3, first=5, group=Group(second=7)), first)[3] == Group(first=5, second=7)
    both = warned(lambda: paint(3, first=5, second=6), first, first.replace("first", "second"))
    assert both[3] == Group(first=5, second=6)


def test_keyword_only_arguments_are_accepted_by_position() -> None:
    assert warned(lambda: paint(3, "blue", 4), "paint: pass width by keyword.") == (3, "blue", 4, None)


def test_new_arguments_cause_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    assert paint(3, "blue", width=2) == (3, "blue", 2, None)
    assert not recwarn.list


def test_both_names_together_and_too_many_arguments_raise() -> None:
    with (
        pytest.warns(RenamedWarning),
        pytest.raises(TypeError, match=r"paint\(\) got both 'color' and its old name 'colour'"),
    ):
        paint(3, color="red", colour="blue")
    with pytest.raises(TypeError, match="positional"):
        paint(3, "blue", 4, None, 5)
    with pytest.raises(TypeError, match="unexpected keyword argument 'hue'"):
        paint(3, hue="blue")


def test_an_old_attribute_returns_the_new_one() -> None:
    assert warned(lambda: Shape().colour, "Shape.colour is now Shape.color.") == "red"


def test_a_decorated_function_keeps_its_signature_and_can_be_pickled() -> None:
    assert list(inspect.signature(paint).parameters) == ["size", "color", "width", "group"]
    assert list(inspect.signature(AdapterConfig).parameters)[:2] == ["init", "dim"]
    assert pickle.loads(pickle.dumps(train_adapter)) is train_adapter


def test_adapter_config() -> None:
    config = warned(
        lambda: AdapterConfig(start="white", neighbours=7),
        "AdapterConfig: the argument 'start' is now 'init'.",
        "AdapterConfig: the argument 'neighbours' is now 'contrastive_neighbors'.",
    )
    assert config == AdapterConfig(init="white", contrastive_neighbors=7)
    assert warned(lambda: config.start, "AdapterConfig.start is now AdapterConfig.init.") == "white"
    named = "AdapterConfig.neighbours is now AdapterConfig.contrastive_neighbors."
    assert warned(lambda: config.neighbours, named) == 7
    assert replace(config, seed=1).seed == 1


def test_load_backbone_and_its_layers() -> None:
    backbone = warned(
        lambda: load_backbone("tf_efficientnet_lite0", levels=(2,), image_size=64),
        "load_backbone: the argument 'levels' is now 'layers'.",
    )
    assert backbone.layers == (2,)
    assert warned(lambda: backbone.levels, "Backbone.levels is now Backbone.layers.") == (2,)
    values = {name: getattr(backbone, name) for name in inspect.signature(Backbone).parameters if name != "layers"}
    made = warned(lambda: Backbone(levels=(2,), **values), "Backbone: the argument 'levels' is now 'layers'.")
    assert made.layers == (2,)


def test_renamed_attributes_and_methods() -> None:
    geometry = Geometry.of(100, 100, 224)
    message = "Geometry.patch_centre is now Geometry.patch_center."
    assert warned(lambda: geometry.patch_centre(3, 4, (28, 28)), message) == geometry.patch_center(3, 4, (28, 28))
    detector = Detector(None, 1, ())  # type: ignore[arg-type]
    assert warned(lambda: detector.judge, "Detector.judge is now Detector.predict.") == detector.predict
    bank = MemoryBank(features(), 3)
    message = "MemoryBank.neighbours is now MemoryBank.neighbors."
    assert warned(lambda: bank.neighbours, message) is bank.neighbors
    member = LoadedMember(None, None, bank, {"row": [1]})  # type: ignore[arg-type]
    assert warned(lambda: member.places, "LoadedMember.places is now LoadedMember.bank_index.") == {"row": [1]}
    comparison = Comparison("pasted", 0.8, 0.9, 1.0)
    assert warned(lambda: comparison.champion, "Comparison.champion is now Comparison.active.") == 0.9


def test_train_adapter() -> None:
    steps: list[int] = []
    rows = np.arange(20)
    with pytest.warns(RenamedWarning) as caught:
        old = train_adapter(  # type: ignore[call-arg]
            features(),
            CONFIG,
            draw=lambda step: rows,
            weigh=lambda z_bar: z_bar @ z_bar.T,
            on_step=lambda step, _: steps.append(step),
            begun=None,
            keep=None,
        )
    new = train_adapter(
        features(),
        CONFIG,
        variant=TrainingVariant(draw=lambda step: rows, weigh=lambda z_bar: z_bar @ z_bar.T),
        progress=TrainingProgress(),
    )
    np.testing.assert_array_equal(old.weight, new.weight)
    assert steps == list(range(1, 7))
    assert [str(warning.message).split("'")[3] for warning in caught] == [
        "variant.draw",
        "variant.weigh",
        "progress.on_step",
        "progress.checkpoint",
        "progress.save_checkpoint",
    ]


def test_functions_of_the_evaluation_and_of_images() -> None:
    good = np.random.default_rng(0).normal(size=60)
    evidence, labels = Evidence(good, good + 2.0, np.empty(0)), np.empty(0)
    champion = "acceptance_test: the argument 'champion' is now 'active'."
    result = warned(
        lambda: acceptance_test(evidence, champion=evidence, labels=labels, false_alarms=0.01),  # type: ignore[call-arg]
        champion,
    )
    assert result == acceptance_test(evidence, evidence, labels, 0.01)
    by_position = warned(
        lambda: acceptance_test(evidence, None, labels, 0.01, 0.5),  # type: ignore[call-arg,misc]
        "acceptance_test: pass margin by keyword.",
    )
    assert by_position == acceptance_test(evidence, None, labels, 0.01, margin=0.5)
    suspects = "too_many_outliers: the argument 'suspects' is now 'outliers'."
    assert warned(lambda: too_many_outliers(suspects=2, images=10, share=0.0), suspects)  # type: ignore[call-arg]
    scores = outlier_scores(np.ones((1, 4)))
    message = "OutlierScores.suspicious is now OutlierScores.is_outlier."
    assert not warned(lambda: scores.suspicious, message).any()


def test_resampled_differences_and_close_up_by_position() -> None:
    scores, labels = np.arange(8.0), np.arange(8) % 2
    differences = warned(
        lambda: resampled_differences(lambda s, _: {"mean": float(s.mean())}, scores, scores + 1, labels, 5),  # type: ignore[call-arg,misc]
        "resampled_differences: pass resamples by keyword.",
    )
    assert differences["mean"].value == -1.0
    pixels = np.zeros((8, 8, 3), np.float32)
    window = warned(lambda: close_up(pixels, 4, 4, 4, 2), "close_up: pass side, size by keyword.")  # type: ignore[call-arg,misc]
    assert window.shape == (2, 2, 3)


def test_the_old_value_of_an_initialization_is_accepted() -> None:
    rows = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    with pytest.warns(RenamedWarning, match="'neighbours' is now 'neighbors'"):
        assert AdapterConfig(init="neighbours") == AdapterConfig(init="neighbors")
    with pytest.warns(RenamedWarning, match="'neighbours' is now 'neighbors'"):
        old = initial_map(rows, "neighbours", per_image=4)
    np.testing.assert_array_equal(old, initial_map(rows, "neighbors", per_image=4))
