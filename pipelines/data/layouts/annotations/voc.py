"""Layout of VOC exports: masks of classes, or XML files with boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from xml.etree import ElementTree

from pipelines.data.discovery import File, Truth
from pipelines.data.layouts.annotations.exports import Annotated, Export, Files, exports, half_of_subset, malformed
from pipelines.data.layouts.annotations.outlines import Shape, numbers
from pipelines.data.layouts.categories import Categories
from pipelines.data.mask_files import half_of
from pipelines.errors import IMAGE_READ_ERRORS, error_line
from pipelines.storage.store import Store, side_by_side
from reconpatch.imaging.images import SUFFIXES, read_mask

_KIND = "VOC"
_MASKS = "SegmentationClass"
_BOX = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class _Folders:
    """Folders of images and of XML files, below the folder of the export; `half` is empty without halves."""

    images: str
    boxes: str
    half: str = ""


def voc(data: Store) -> Categories:
    """Find VOC exports: JPEGImages with SegmentationClass or Annotations, and subsets in ImageSets/<task>/<subset>.txt.

    Also found are folders `images` and `annotations` with XML files, and such folders in <split>. An image without a
    mask, or with a mask of the background only, and without boxes, is good. Masks are read, which takes seconds for
    thousands of masks.

    Args:
        data: Data root.

    Raises:
        UsageError: No training image is good, or an XML file is not valid.
    """
    return exports(data, _KIND, _read)


def _read(data: Store, prefix: str) -> Export | None:
    folders = _folders(data, prefix)
    if not folders:
        return None
    export = Export()
    files = Files.below(data, prefix, export)
    tables = [name for place in folders for name in _inside(files, place.boxes) if name.endswith(".xml")]
    masks = _masks(files)
    if not tables and not masks:
        return None
    marked = _marked(data, files, masks)
    trees = dict(zip(tables, side_by_side(lambda name: _objects(data, files.by_name[name][0]), tables), strict=True))
    subsets = _subsets(data, files)
    for place in folders:
        for name, image in files.images(f"{place.images}/").items():
            stem = str(PurePosixPath(name.removeprefix(f"{place.images}/")).with_suffix(""))
            if subsets and stem not in subsets:
                export.passed_over(image[0], "excluded, because no file of ImageSets lists it.")
                continue
            subset = place.half or subsets.get(stem, "")
            table = _table(trees, place, stem)
            is_marked = marked.get(stem)
            if isinstance(is_marked, Exception):
                export.passed_over(image[0], f"excluded, because its mask cannot be read: {error_line(is_marked)}")
            elif is_marked:
                defects = sorted({word for word, _ in trees.get(table, ())}) or ["defect"]
                truth = Truth(masks=(masks[stem],))
                export.images.append(Annotated(image=image, subset=subset, defects=defects, truth=truth))
            else:
                export.add(image, subset, trees.get(table, ()), files.by_name.get(table, image))
    return export


def _folders(data: Store, prefix: str) -> list[_Folders]:
    """Return the folders of images and XML files of an export; none if there is no export."""
    names = set(data.folders(prefix.rstrip("/")))
    if "JPEGImages" in names and names & {_MASKS, "Annotations"}:
        return [_Folders("JPEGImages", "Annotations")]
    if {"images", "annotations"} <= names:
        return [_Folders("images", "annotations")]
    halves = sorted(name for name in names if half_of(name))
    inside = side_by_side(lambda name: set(data.folders(f"{prefix}{name}")), halves)
    return [
        _Folders(f"{half}/images", f"{half}/annotations", half)
        for half, folders in zip(halves, inside, strict=True)
        if {"images", "annotations"} <= folders
    ]


def _inside(files: Files, folder: str) -> list[str]:
    return [name for name in files.by_name if name.startswith(f"{folder}/")]


def _table(trees: Mapping[str, object], place: _Folders, stem: str) -> str:
    """Return the name of the XML file of an image; XML files need not be in the subfolders of the images."""
    name = f"{place.boxes}/{stem}.xml"
    return name if name in trees else f"{place.boxes}/{PurePosixPath(stem).name}.xml"


def _masks(files: Files) -> dict[str, File]:
    """Return the stem of an image -> its mask."""
    return {
        str(PurePosixPath(name.removeprefix(f"{_MASKS}/")).with_suffix("")): files.by_name[name]
        for name in _inside(files, _MASKS)
        if PurePosixPath(name).suffix.lower() in SUFFIXES
    }


def _marked(data: Store, files: Files, masks: Mapping[str, File]) -> dict[str, bool | Exception]:
    """Return stem -> whether the mask marks a pixel, or the error if it cannot be read."""
    stems = [stem for stem, _ in masks.items()]
    results = dict(zip(stems, side_by_side(lambda stem: _is_marked(data, masks[stem][0]), stems), strict=True))
    images = {str(PurePosixPath(name).with_suffix("")).partition("/")[2] for name in files.images("JPEGImages/")}
    for stem in stems:
        if stem not in images:
            files.export.passed_over(masks[stem][0], "mask not used, because there is no image of that name.")
    return results


def _is_marked(data: Store, mask: str) -> bool | Exception:
    try:
        return bool(read_mask(data.read_picture(mask)).any())
    except (*IMAGE_READ_ERRORS, ValueError) as error:
        return error


def _subsets(data: Store, files: Files) -> dict[str, str]:
    """Return the stem of an image -> its subset, from ImageSets; empty without such files.

    A subset that is named after a split goes before another one, because `trainval` lists images of two splits.
    """
    names = [name for name in _inside(files, "ImageSets") if name.endswith(".txt")]
    names.sort(key=lambda name: half_of(PurePosixPath(name).stem) is None)
    subsets: dict[str, str] = {}
    for name in names:
        subset = PurePosixPath(name).stem
        subset = subset if half_of_subset(subset) else ""
        for line in data.read(files.by_name[name][0]).decode("utf-8-sig", errors="replace").splitlines():
            if words := line.split():
                subsets.setdefault(words[0], subset)
    return subsets


def _objects(data: Store, name: str) -> Sequence[tuple[str, Shape]]:
    """Return name and box of each object of an XML file."""
    try:
        root = ElementTree.fromstring(data.read(name))
        return [(_text(entry, "name"), _box(entry)) for entry in root.iter("object")]
    except (ElementTree.ParseError, ValueError) as error:
        raise malformed(data, name, _KIND, error) from error


def _box(entry: ElementTree.Element) -> Shape:
    """Return the box of an object; its corners are pixels counted from 1, and both belong to it."""
    place = entry.find("bndbox")
    if place is None:
        raise ValueError("an object has no bndbox")
    left, top, right, bottom = numbers([float(_text(place, word)) for word in _BOX])
    return {"box": [left - 1, top - 1, right, bottom]}


def _text(entry: ElementTree.Element, word: str) -> str:
    text = entry.findtext(word)
    if not text or not text.strip():
        raise ValueError(f"{entry.tag} has no {word}")
    return text.strip()
