"""`reconpatch-run export`: export a model as one ONNX file, for machines without torch and Ray."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines.data.dataset import find_new_images
from pipelines.data.folders import existing_folder
from pipelines.errors import IMAGE_READ_ERRORS, UsageError, error_line
from pipelines.registry.registry import find_model
from pipelines.storage.paths import adapter_name, bank_index_name, bank_name
from pipelines.storage.store import Store
from pipelines.storage.stored_model import StoredModel
from pipelines.tracking.console import Console
from reconpatch import Detector
from reconpatch.detector.model import MODEL_FILE
from reconpatch.export.onnx_check import compare, trial_pictures
from reconpatch.export.onnx_graph import trace, without_features
from reconpatch.imaging.images import SUFFIXES, read_image

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_CHECKED = 16  # maximum number of images of --images that are compared; they are spread over the folder


def export(
    console: Console, *, model: str, category: str, out: str, weights: str | None = None, images: str | None = None
) -> int:
    """Write a model as an ONNX graph after comparing the results of the graph with those of the Detector.

    Args:
        console: Console for warnings and the result of the comparison.
        model: Path or URI of a run directory or a registry. The active model of a registry is exported.
        category: Category of the model.
        out: Path or URI of the ONNX file.
        weights: Folder with the weights of the backbones; None uses installed packages, then timm's hub.
        images: Folder with images of the category, which are compared in addition to the generated images; None
            compares only the generated images.

    Returns:
        The exit code, always 0.

    Raises:
        UsageError: A package is missing, `out` is a folder, or `images` has no readable image.
        ModelError, BackboneError: As in `Detector.load`.
        ExportError: The graph cannot be created, or its results differ; nothing is written.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"export requires {' and '.join(missing)}. Install: pip install 'reconpatch-ray[export]'.")
    folder, name = _target(out)
    with _local(find_model(existing_folder("--model", model), category)) as model_folder:
        detector = Detector.load(model_folder, weights)
    pictures = trial_pictures(detector.model.image_size)
    if images is not None:
        pictures += _pictures(existing_folder("--images", images), detector.model.bit_depth, console)
    graph = trace(detector)
    differences = compare(detector, graph, pictures)
    exported = without_features(graph)
    folder.write(name, exported)
    console.say(
        f"checked  on {differences.pictures} images; largest differences: {differences.before:.1e} before patch "
        f"features are rounded to float16, {differences.after:.1e} after; with rounding, score "
        f"{differences.score:.1e}, map {differences.map:.1e}"
    )
    console.say(f"graph    {folder.below(name).uri} ({len(exported) / 1e6:.0f} MB, version {detector.model.version})")
    return 0


def _target(out: str) -> tuple[Store, str]:
    """Return the folder and the name of a file that is given by its path or URI."""
    if "://" not in out:
        path = Path(out).resolve()
        if path.is_dir():
            raise UsageError(f"--out {out} is a folder. Give the path of a file.")
        return Store.of(str(path.parent)), path.name
    location, mark, options = out.partition("?")
    folder, _, name = location.rpartition("/")
    return Store.of(f"{folder}{mark}{options}"), name


@contextmanager
def _local(model_folder: Store) -> Iterator[Path]:
    """Yield the folder of a model, or a temporary local copy if the model is in an object store."""
    if model_folder.is_local:
        yield Path(model_folder.path())
        return
    with tempfile.TemporaryDirectory() as folder:
        copy, names = Store.of(folder), [MODEL_FILE]
        for backbone in StoredModel.load(model_folder).backbones:
            names += [adapter_name(backbone), bank_name(backbone), bank_index_name(backbone)]
        for name in names:
            # The identity adapter has no file. The Detector reports any other missing file.
            if model_folder.exists(name):
                copy.write(name, model_folder.read(name))
        yield Path(folder)


def _pictures(images: Store, bit_depth: int, console: Console) -> list[npt.NDArray[np.float32]]:
    """Return at most `_CHECKED` images of a folder, and warn of those that cannot be read."""
    files, warnings = find_new_images(images)
    for sentence in warnings:
        console.warn(sentence)
    pictures = []
    for info in files[:: -(-len(files) // _CHECKED) or 1]:
        name = images.name_of(info)
        try:
            pictures.append(read_image(images.read_picture(name), bit_depth))
        except IMAGE_READ_ERRORS as error:
            console.warn(f"{name}: {error_line(error)}")
    if not pictures:
        raise UsageError(f"--images {images.uri} has no readable image. Supported: {', '.join(sorted(SUFFIXES))}.")
    return pictures
