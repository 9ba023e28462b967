"""`reconpatch-run export`: a category's model as one file, for a station that has neither torch nor Ray."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines.dataset import find_new
from pipelines.progress import Screen
from pipelines.registry import find_model
from pipelines.rundir import adapter_name, bank_index_name, bank_name
from pipelines.storage import Store
from pipelines.usage import UsageError
from pipelines.walk import UNREADABLE, reason_of
from reconpatch import Detector
from reconpatch.images import SUFFIXES, read_image
from reconpatch.model import MODEL_FILE, from_json
from reconpatch.onnx_check import compare, trial_pictures
from reconpatch.onnx_graph import trace, without_features

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_CHECKED = 16  # of --images, so many are compared, spread over the folder


def export(
    screen: Screen, model: str, category: str, out: str, weights: str | None = None, images: str | None = None
) -> int:
    """Write a model as an ONNX graph that has said the same as the Detector of every picture it was shown.

    Args:
        model: a run's folder, or a registry, whose version in force is taken.
        category: whose model.
        out: the file.
        weights: folder with the backbones' weights.
        images: folder of the category's own pictures, to compare on beside the trial pictures.

    Returns:
        The exit code, 0.

    Raises:
        UsageError: a package is missing, `out` names a folder, or there is no image.
        ModelError, BackboneError: as `Detector.load`.
        ExportError: the graph differs, or cannot be made; nothing is written.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"export needs {' and '.join(missing)}: pip install 'reconpatch-ray[export]'.")
    folder, name = _target(out)
    with _local(find_model(Store.of(model), category)) as place:
        detector = Detector.load(place, weights)
    pictures = trial_pictures(detector.model.image_size)
    if images is not None:
        pictures += _pictures(Store.of(images), detector.model.bit_depth, screen)
    graph = trace(detector)
    found = compare(detector, graph, pictures)
    written = without_features(graph)
    folder.write(name, written)
    screen.say(
        f"checked  on {found.pictures} pictures: {found.before:.1e} before patch features are rounded, "
        f"{found.after:.1e} after; of the whole, float16 steps and all, score {found.score:.1e} and map {found.map:.1e}"
    )
    screen.say(f"graph    {folder.below(name).uri} ({len(written) / 1e6:.0f} MB, version {detector.model.version})")
    return 0


def _target(out: str) -> tuple[Store, str]:
    """The folder and the name of a file, by path or URI."""
    if "://" not in out:
        path = Path(out).resolve()
        if path.is_dir():
            raise UsageError(f"--out {out}: is a folder; name a file in it.")
        return Store.of(str(path.parent)), path.name
    place, mark, options = out.partition("?")
    folder, _, name = place.rpartition("/")
    return Store.of(f"{folder}{mark}{options}"), name


@contextmanager
def _local(place: Store) -> Iterator[Path]:
    """The model's folder, or a copy of it from an object store."""
    if place.is_local:
        yield Path(place.path())
        return
    with tempfile.TemporaryDirectory() as folder:
        copy, names = Store.of(folder), [MODEL_FILE]
        for member in from_json(place.read(MODEL_FILE)).members:
            names += [each(member.backbone) for each in (adapter_name, bank_name, bank_index_name)]
        for name in names:
            if place.exists(name):  # a member without an adapter has no file of one; the Detector says what is missing
                copy.write(name, place.read(name))
        yield Path(folder)


def _pictures(images: Store, bit_depth: int, screen: Screen) -> list[npt.NDArray[np.float32]]:
    files, warnings = find_new(images)
    for sentence in warnings:
        screen.warn(sentence)
    found = []
    for info in files[:: -(-len(files) // _CHECKED) or 1]:
        name = images.name_of(info)
        try:
            found.append(read_image(images.read_picture(name), bit_depth))
        except UNREADABLE as error:
            screen.warn(f"{name}: {reason_of(error)}")
    if not found:
        raise UsageError(f"--images {images.uri}: no image in it that can be read ({', '.join(sorted(SUFFIXES))}).")
    return found
