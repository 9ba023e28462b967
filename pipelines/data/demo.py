"""Data of the demo: images of real solar cells from the package elpv-dataset, linked into the layout of MVTec AD.

ELPV (Buerhop-Lope et al. 2018; Deitsch et al. 2019, CC BY-NC-SA 4.0) has 2,624 electroluminescence images of cells
from 44 modules, 300 x 300 pixels, 8-bit gray, each with the probability of a defect. Cells with probability 0 are used
as good and cells with probability 1 as defective. All other cells are excluded.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.errors import UsageError

# The demo uses a deterministic subset, so that it takes minutes on two cores: for each kind of cell, the images whose
# names have the smallest SHA-256.
FIT_GOOD = 100
TEST_GOOD = 50
TEST_DEFECT = 50
CELL_KINDS = {"mono": "elpv_mono", "poly": "elpv_poly"}  # kind of cell -> category


def prepare_demo(out: Path) -> Path:
    """Link the demo's images into the folder <out>-data.

    Args:
        out: Output folder of the demo run; the folder with the data is created beside it.

    Returns:
        Path of the folder <out>-data, a data root in the layout of MVTec AD.

    Raises:
        UsageError: The package elpv-dataset is not installed, or the folder contains other files.
    """
    root = out.with_name(f"{out.name}-data")
    for kind in CELL_KINDS:
        good, defect = cell_names(kind)
        folders = {
            "train/good": good[:FIT_GOOD],
            "test/good": good[FIT_GOOD : FIT_GOOD + TEST_GOOD],
            "test/defect": defect[:TEST_DEFECT],
        }
        link_cells(root, kind, folders)
    return root


def cell_names(kind: str) -> tuple[list[str], list[str]]:
    """Return the names of the good and of the defective cells of a kind, each sorted by the SHA-256 of the name.

    Args:
        kind: Kind of cell, a key of `CELL_KINDS`.

    Returns:
        File names of the good cells and of the defective cells, relative to `cells_folder`.

    Raises:
        UsageError: The package elpv-dataset is not installed.
    """
    with (cells_folder() / "labels.csv").open() as lines:
        rows = [line.split() for line in lines]
    chosen = [(path, float(probability)) for path, probability, cell in rows if cell == kind]
    chosen.sort(key=lambda row: hashlib.sha256(row[0].encode()).hexdigest())
    return [path for path, probability in chosen if probability == 0.0], [
        path for path, probability in chosen if probability == 1.0
    ]


def link_cells(root: Path, kind: str, folders: Mapping[str, Sequence[str]]) -> None:
    """Create the folders of a category and link cells into them; existing links are replaced.

    Args:
        root: Data root.
        kind: Kind of cell, a key of `CELL_KINDS`.
        folders: Folder below the category, such as 'train/good' -> names of its cells.

    Raises:
        UsageError: A folder contains files that are not links, or the package elpv-dataset is not installed.
    """
    for folder, names in folders.items():
        _link(names, root / CELL_KINDS[kind] / folder)


def cells_folder() -> Path:
    """Return the folder of the package elpv-dataset that contains labels.csv and the images.

    Returns:
        Path of the folder.

    Raises:
        UsageError: The package elpv-dataset is not installed.
    """
    package = importlib.util.find_spec("elpv_dataset")
    if package is None or package.origin is None:
        raise UsageError("The images of the demo are not installed. Run: pip install 'reconpatch-ray[demo]'.")
    return Path(package.origin).parent / "data"


def _link(names: Sequence[str], folder: Path) -> None:
    """Replace the links of a folder by links to the named cells."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if not old.is_symlink():
            raise UsageError(f"{old} is not a link created by the demo. Give the demo another --out.")
        old.unlink()
    source = cells_folder()
    for name in names:
        (folder / Path(name).name).symlink_to((source / name).resolve())
