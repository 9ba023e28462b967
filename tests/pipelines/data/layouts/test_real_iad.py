"""Layouts of Real-IAD and Real-IAD D3."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import UsageError
from tests.pipelines.trees import fields_by_path, look, touch

OK = "OK/S0001/nut_0001_OK_C{}_2023.jpg"
NG = "NG/AK/S0040/nut__0040_NG_AK_C{}_2023.{}"  # some names have two underscores


def write(root: Path, name: str, halves: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Write a JSON file with the lists of a category."""
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(json.dumps({"meta": {"normal_class": "OK", "prefix": "nut/"}, **halves}))


def entry(path: str, name: str = "OK", mask: str | None = None) -> dict[str, Any]:
    """Return the entry of an image."""
    return {"category": "nut", "anomaly_class": name, "image_path": path, "mask_path": mask}


def make(root: Path) -> None:
    """Write two views of a good part, and of a defective part with one defective view."""
    images = [
        OK.format(1),
        OK.format(2),
        NG.format(1, "jpg"),
        NG.format(2, "jpg"),
        "NG/AK/S0041/nut_0041_NG_AK_C1_1.jpg",
    ]
    touch(root / "realiad_1024" / "nut", *images, NG.format(1, "png"), "OK/S0009/nut_0009_OK_C1_9.jpg")
    train = [entry(images[0]), entry(images[1]), entry(images[4], "AK", "NG/AK/S0041/nut_0041_NG_AK_C1_1.png")]
    test = [entry(images[2], "AK", NG.format(1, "png")), entry(images[3]), entry("OK/S0002/nut_0002_OK_C1_1.jpg")]
    for folder in ("realiad_jsons", "realiad_jsons_sv"):
        write(root, f"realiad_jsons/{folder}/nut.json", {"train": train, "test": test})


def test_the_json_files_list_images_parts_and_views(tmp_path: Path) -> None:
    make(tmp_path)
    touch(tmp_path, "realiad_256/nut/OK/S0001/a.jpg", "realiad_1024/bolt/OK/S0001/a.jpg")
    listing, base = look(tmp_path), "realiad_1024/nut/"
    assert (listing.layout, listing.categories) == ("real_iad", ("nut",))
    assert fields_by_path(listing) == {
        base + OK.format(1): ("nut", "train", "good", 0, None),
        base + OK.format(2): ("nut", "train", "good", 0, None),
        base + NG.format(1, "jpg"): ("nut", "test", "AK", 1, base + NG.format(1, "png")),
        base + NG.format(2, "jpg"): ("nut", "test", "good", 0, None),
    }
    assert {(image.part_id, image.view) for image in listing.images} == {
        ("S0001", "C1"),
        ("S0001", "C2"),
        ("S0040", "C1"),
        ("S0040", "C2"),
    }
    table = "realiad_jsons/realiad_jsons/nut.json"
    assert listing.warnings == (
        "The lists in realiad_jsons/realiad_jsons are used, not those in realiad_jsons_sv.",
        "The images in realiad_1024 are used, not those in realiad_256.",
        f"{base}NG/AK/S0041/nut_0041_NG_AK_C1_1.jpg: excluded from training, because it is defective.",
        f"{base}OK/S0002/nut_0002_OK_C1_1.jpg: excluded, because the file does not exist; {table} lists it.",
        f"{base}OK/S0009/nut_0009_OK_C1_9.jpg: excluded, because {table} does not list it.",
    )


@pytest.mark.parametrize("below", ["realiad_1024", "realiad_1024/nut"])
def test_images_below_the_lists_are_refused_with_the_folder_above(tmp_path: Path, below: str) -> None:
    make(tmp_path)
    with pytest.raises(UsageError) as raised:
        look(tmp_path / below)
    assert str(raised.value) == (
        f"--data {tmp_path / below} contains images of Real-IAD without their lists, which are in the folder above. "
        f"Give --data {tmp_path}."
    )


def test_folders_without_lists_have_no_split(tmp_path: Path) -> None:
    touch(tmp_path / "d" / "nut", OK.format(1), NG.format(1, "jpg"), NG.format(1, "png"), NG.format(2, "jpg"), "x.jpg")
    listing = look(tmp_path / "d")
    assert listing.layout == "real_iad"
    assert fields_by_path(listing) == {
        "nut/" + OK.format(1): ("nut", "train", "good", 0, None),
        "nut/" + NG.format(1, "jpg"): ("nut", "test", "AK", 1, "nut/" + NG.format(1, "png")),
        "nut/" + NG.format(2, "jpg"): ("nut", "train", "good", 0, None),
    }
    assert listing.warnings == (
        "nut/x.jpg: excluded, because it is neither in OK nor in NG.",
        f"No realiad_jsons in {tmp_path}/d: all good images are training images, including the views of defective "
        "parts that have no mask.",
    )
    assert fields_by_path(look(tmp_path / "d" / "nut")) == {
        path.removeprefix("nut/"): (*row[:4], row[4] and row[4].removeprefix("nut/"))
        for path, row in fields_by_path(listing).items()
    }


def test_parts_of_different_folders_with_one_number_stay_apart(tmp_path: Path) -> None:
    touch(tmp_path / "nut", "OK/S0001/a_C1_1.jpg", "NG/AK/S0001/b_C1_1.jpg", "NG/AK/S0002/c_C1_1.jpg")
    parts = {image.image_path[-10]: image.part_id for image in look(tmp_path).images}
    assert parts == {"a": "OK/S0001", "b": "NG/AK/S0001", "c": "S0002"}


def test_d3_uses_the_rgb_images_of_its_lists(tmp_path: Path) -> None:
    """In D3, the class alone decides: a defective image may have no mask."""

    def d3(name: str, klass: str, mask: str | None = None) -> dict[str, Any]:
        paths = {"ps_path": f"{klass}/ps/{name}.png", "xyz_path": f"{klass}/xyz/{name}.tiff", "mask_path": mask}
        return {"image_path": f"{klass}/rgb/{name}.jpg", "anomaly_class": klass, **paths}

    halves = {
        "train": [d3("1", "GOOD")],
        "validation": [d3("2", "GOOD"), d3("3", "dent")],
        "test": [d3("4", "GOOD"), d3("5", "dent", "dent/gt/5.png")],
    }
    write(tmp_path, "realiad_d3_jsons/nut.json", halves)
    entries = [found for part in halves.values() for found in part]
    named = [str(path) for found in entries for key, path in found.items() if key.endswith("_path") and path]
    touch(tmp_path / "realiad_d3_raw" / "nut", *named)
    listing, base = look(tmp_path), "realiad_d3_raw/nut/"
    assert listing.layout == "real_iad"
    assert fields_by_path(listing) == {
        f"{base}GOOD/rgb/1.jpg": ("nut", "train", "good", 0, None),
        f"{base}GOOD/rgb/2.jpg": ("nut", "validation", "good", 0, None),
        f"{base}dent/rgb/3.jpg": ("nut", "test", "dent", 1, None),
        f"{base}GOOD/rgb/4.jpg": ("nut", "test", "good", 0, None),
        f"{base}dent/rgb/5.jpg": ("nut", "test", "dent", 1, f"{base}dent/gt/5.png"),
    }
    assert listing.warnings == ()


@pytest.mark.parametrize("text", ["{", "[]", '{"meta": {}}', '{"train": [{"image_path": null}]}', '{"train": [1]}'])
def test_an_invalid_list_is_an_error(tmp_path: Path, text: str) -> None:
    make(tmp_path)
    (tmp_path / "realiad_jsons" / "realiad_jsons" / "nut.json").write_text(text)
    with pytest.raises(UsageError, match=r"realiad_jsons/nut.json is not a list of images in the form of Real-IAD \("):
        look(tmp_path)
