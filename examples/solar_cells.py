"""Sample images for the examples: real solar cells, in the folder layout of MVTec AD.

The images come with the package elpv-dataset (`pip install 'reconpatch-ray[demo]'`; CC BY-NC-SA 4.0) and are linked,
not copied.
"""

from __future__ import annotations

from pathlib import Path

from pipelines.data.demo import cell_names, link_cells

CATEGORY = "elpv_mono"


def link_solar_cells(root: Path, *, train: int = 40, test: int = 10) -> Path:
    """Link good and defective cells below a folder, so that it can be given as `--data`.

    Args:
        root: Folder to create; the images are put into root/elpv_mono/train/good, test/good and test/defect.
        train: Number of good training images.
        test: Number of good and of defective test images, each.

    Returns:
        The folder.
    """
    good, defective = cell_names("mono")
    folders = {
        "train/good": good[:train],
        "test/good": good[train : train + test],
        "test/defect": defective[:test],
    }
    link_cells(root, "mono", folders)
    return root
