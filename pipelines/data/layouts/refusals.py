"""Messages for a data root that no layout fits: what is in it, and which folder or file to give instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import PurePosixPath

from pipelines.data.discovery import image_folders, named
from pipelines.data.mask_files import half_of, is_good_name, is_mask_folder
from pipelines.errors import UsageError
from pipelines.storage.store import Store
from reconpatch.imaging.images import SUFFIXES

_MOST_FOLDERS = 200  # folders that are listed to say where images are
_MOST_TRIED = 20  # subfolders that are tried as data roots
_MOST_ABOVE = 4  # folders above the data root that are looked at
_WAYS = (
    "ReConPatch learns from good images alone. Put them into <category>/train/good or <category>/good, or give a CSV "
    "or Parquet file that lists the images with their labels as --data."
)
Claims = Callable[[Store], bool]


def half_refusal(data: Store, claims: Claims) -> str | None:
    """Return the message for a data root that is one half of a category, such as <category>/train.

    Args:
        data: Data root.
        claims: Whether a layout finds categories in a data root.

    Returns:
        The message; None if the data root is not a half, or if no layout fits the folder above.
    """
    category = _above(data)
    if half_of(_name(data)) is None or category is None:
        return None
    others = [name for name in _folders(category) if half_of(name) is not None and name != _name(data)]
    if not others or not _fits(category, claims):
        return None
    dataset = _above(category)
    all_of_it = "" if dataset is None else f", or --data {dataset.uri} for all categories beside it"
    return (
        f"--data {data.uri}: this is the half '{_name(data)}' of {category.uri}. Give --data {category.uri}{all_of_it}."
    )


def refusal(data: Store, claims: Claims) -> str:
    """Return the message for a data root in which no layout finds a category.

    Args:
        data: Data root, an existing folder.
        claims: Whether a layout finds categories in a data root.

    Returns:
        One or two sentences that say what is in the folder and what to give instead.
    """
    start = f"--data {data.uri}: no category found"
    if (better := next(_better_roots(data, claims), None)) is not None:
        return f"{start}. Give --data {better.uri}, in which categories are found."
    folders, is_complete = _folders_with_images(data)
    if not folders:
        where = "" if is_complete else f" in its first {_MOST_FOLDERS} folders"
        return f"{start}, and no image{where}. {_WAYS}"
    if folders == [""]:
        return f"{start}. The images are directly in this folder, so nothing tells which of them are good. {_WAYS}"
    shown = named([folder or "." for folder in folders])
    if any(is_good_name(part) for folder in folders for part in folder.split("/")):
        return f"{start}. It contains images in {shown}, but no good training images. {_WAYS}"
    return (
        f"{start}. Nothing in it is marked as good: it contains images in {shown}, no folder with images is called "
        f"good, ok or normal, and no file with labels was recognized. {_WAYS}"
    )


def _better_roots(data: Store, claims: Claims) -> Iterator[Store]:
    """Yield folders below and above the data root in which categories are found, the nearest ones first."""
    waiting, tried = [data], 0
    while waiting and tried < _MOST_TRIED:
        parent = waiting.pop(0)
        for name in _folders(parent):
            if half_of(name) is None and not is_mask_folder(name):
                waiting.append(parent.below(name))
                tried += 1
                if _fits(waiting[-1], claims):
                    yield waiting[-1]
    chain: list[Store] = []
    above: Store | None = data
    while above is not None and len(chain) <= _MOST_ABOVE:
        chain.append(above)
        above = _above(above)
    parts = [place for place, store in enumerate(chain) if _is_part(_name(store))]
    candidates = chain[parts[-1] + 1 : parts[-1] + 3] if parts else []  # the category, and the folder of categories
    yield from (store for store in candidates if _fits(store, claims))


def _is_part(name: str) -> bool:
    """Return whether a folder is named like a part of a category."""
    return half_of(name) is not None or is_good_name(name) or is_mask_folder(name)


def _fits(root: Store, claims: Claims) -> bool:
    with suppress(OSError, UsageError):  # it is only tried; what is wrong with it does not concern the user's folder
        return claims(root)
    return False


def _folders(store: Store) -> list[str]:
    with suppress(OSError):  # a folder above the data root may not be readable
        return image_folders(store)
    return []


def _name(store: Store) -> str:
    return PurePosixPath(store.root).name


def _above(store: Store) -> Store | None:
    """Return the folder that contains a folder; None at the top of a disk or bucket."""
    root, slash, _ = store.root.rpartition("/")
    if not root or not slash:
        return None
    return Store(store.filesystem, root, store.uri.partition("?")[0].rstrip("/").rpartition("/")[0])


def _folders_with_images(data: Store) -> tuple[list[str], bool]:
    """Return the folders that contain images, '' for the data root, and whether all folders have been listed."""
    found, waiting = [], [""]
    for _ in range(_MOST_FOLDERS):
        if not waiting:
            break
        folder = waiting.pop(0)
        contents = data.contents(folder, recursive=False)
        if any(PurePosixPath(info.path).suffix.lower() in SUFFIXES for info in contents.files):
            found.append(folder)
        waiting += [f"{folder}/{info.base_name}".lstrip("/") for info in contents.folders if info.base_name[0] != "."]
    return found, not waiting
