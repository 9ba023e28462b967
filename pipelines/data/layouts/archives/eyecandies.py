"""Layout of Eyecandies: images of six lights with depth, normals, masks and metadata in one folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath

import yaml

from pipelines.data.discovery import File, Truth, Walk, files_below, image_folders, named, pictures_in
from pipelines.data.layouts.categories import Categories
from pipelines.data.mask_files import half_of
from pipelines.data.records import GOOD, TEST, TRAIN, VALIDATION
from pipelines.storage.store import Store, side_by_side

_DATA, _IMAGE, _MASK, _METADATA = "data", "_image_0.png", "_mask.png", "_metadata.yaml"
_ANOMALOUS = "anomalous"


def eyecandies(data: Store) -> Categories:
    """Find the layout of Eyecandies: <category>/{train,val,test_public,test_private}/data/<number>_image_0.png.

    Only the image of the first of six lights is used, and neither depth nor normals. The metadata of an image say
    whether it is defective; images without metadata, those of `test_private`, have no label. The data root may also be
    one category.

    Args:
        data: Data root.
    """
    root = PurePosixPath(data.root).name
    if halves := _halves(data, ""):
        return {root: partial(_walk, data, root, halves)}
    return {name: partial(_walk, data, name, halves) for name in image_folders(data) if (halves := _halves(data, name))}


def _halves(data: Store, folder: str) -> list[str]:
    """Return the folders with images of a category; none unless its training images are those of Eyecandies."""
    prefix = f"{folder}/" if folder else ""
    halves = [f"{prefix}{name}" for name in data.folders(folder) if half_of(name) is not None]
    halves = [half for half in halves if _DATA in data.folders(half)]
    train = [half for half in halves if half_of(PurePosixPath(half).name) == TRAIN]
    is_theirs = any(
        info.base_name.endswith(_IMAGE) for half in train for info in data.files(f"{half}/{_DATA}", recursive=False)
    )
    return halves if is_theirs else []


def _walk(data: Store, category: str, halves: Sequence[str]) -> Walk:
    walk = Walk()
    excluded, passed_over = [], []
    order = (TRAIN, VALIDATION, TEST)
    for half in sorted(halves, key=lambda half: order.index(str(half_of(PurePosixPath(half).name)))):
        split = str(half_of(PurePosixPath(half).name))
        listed = files_below(data, half, walk)
        files = dict(listed)
        pictures = pictures_in(listed, walk)
        images = [file for file in pictures if file[0].endswith(_IMAGE)]
        used = {name.removesuffix(_IMAGE) + ending for name, _ in images for ending in (_IMAGE, _MASK)}
        passed_over += [name for name, _ in pictures if name not in used]
        flags = side_by_side(partial(_flags, data, files), images)
        for image, flagged in zip(images, flags, strict=True):
            if isinstance(flagged, str):
                walk.warnings.append(f"{image[0]}: excluded, because {flagged}.")
                continue
            defect = _defect(flagged, split)
            if split != TEST and defect != GOOD:
                excluded.append(image[0])
                continue
            mask = image[0].removesuffix(_IMAGE) + _MASK
            truth = Truth(masks=((mask, files[mask]),) if mask in files else ())
            walk.add(category, image, split=split, defect=defect, truth=truth)
    if excluded:
        walk.warnings.append(f"{named(excluded)}: excluded, because its metadata say that it is defective.")
    if passed_over:
        walk.warnings.append(f"{named(passed_over)}: not used; only <number>{_IMAGE} and <number>{_MASK} are read.")
    return walk


def _flags(data: Store, files: Mapping[str, object], image: File) -> Mapping[str, object] | str | None:
    """Return the metadata of an image; None if it has none, or what is wrong with them."""
    name = image[0].removesuffix(_IMAGE) + _METADATA
    if name not in files:
        return None
    try:
        flags = yaml.safe_load(data.read(name))
    except (yaml.YAMLError, UnicodeDecodeError):
        return f"{name} is not a YAML file"
    if not isinstance(flags, dict) or flags.get(_ANOMALOUS) not in (0, 1):
        return f"{name} has no field '{_ANOMALOUS}' with the value 0 or 1"
    return flags


def _defect(flags: Mapping[str, object] | None, split: str) -> str | None:
    """Return `GOOD`, the defects joined by '+', or None if a test image has no metadata."""
    if flags is None:
        return None if split == TEST else GOOD
    if not flags[_ANOMALOUS]:
        return GOOD
    return "+".join(sorted(name for name, flag in flags.items() if name != _ANOMALOUS and flag == 1)) or "defect"
