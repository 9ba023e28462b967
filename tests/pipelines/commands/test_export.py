"""The command `export`: the file gives the results of the Detector, and a graph that differs is not written."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from pipelines.storage.store import Store
from reconpatch import Detector
from reconpatch.export.onnx_check import trial_pictures
from reconpatch.export.onnx_graph import metadata, trace, without_features
from tests.pipelines.runs import Finished, call

PAGE = Path(__file__).parents[3] / "docs" / "export.md"


def export(model: Path | str, out: Path | str, *more: str, category: str = "cloth") -> Finished:
    return call("export", "--model", str(model), "--category", category, "--out", str(out), *more)


@pytest.fixture(scope="module")
def detector(finished: Finished) -> Detector:
    return Detector.load(finished.out / "models" / "cloth")


@dataclass(frozen=True)
class Exported:
    """An exported file and the graph that was traced for it.

    Attributes:
        file: Path of the ONNX file.
        graph: Traced graph, before its feature output is removed.
    """

    file: Path
    graph: onnx.ModelProto


@pytest.fixture(scope="module")
def exported(finished: Finished, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    graphs = []

    def trace_and_keep(detector: Detector) -> onnx.ModelProto:
        graphs.append(trace(detector))
        return graphs[-1]

    file = tmp_path_factory.mktemp("station") / "cloth.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.commands.export.trace", trace_and_keep)
        done = export(finished.out, file, "--images", str(data / "cloth" / "test"))
    assert done.code == 0, done.stderr
    # The command compares six generated images and ten of the eleven images in the folder: one is damaged.
    assert "checked  on 16 images; largest differences: " in done.stdout
    assert "good/cut.png: The image is damaged" in done.stderr
    assert [path.name for path in file.parent.iterdir()] == ["cloth.onnx"]
    return Exported(file, graphs[0])


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch, exported: Exported) -> onnx.ModelProto:
    """Let export use a copy of the traced graph, which a test can change, and only two generated images."""
    copy = onnx.ModelProto()
    copy.CopyFrom(exported.graph)
    monkeypatch.setattr("pipelines.commands.export.trace", lambda _: copy)
    monkeypatch.setattr("pipelines.commands.export.trial_pictures", lambda side: trial_pictures(side)[:2])
    return copy


def test_the_program_in_the_documentation_scores_with_the_file_alone(
    exported: Exported, detector: Detector, data: Path, tmp_path: Path
) -> None:
    """Run the program of docs/export.md in a process that can import neither this package nor torch."""
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.S | re.M)
    program = block.replace('"screw.onnx"', f'"{exported.file}"')
    names = sorted(str(path) for path in (data / "cloth" / "test").rglob("*.png") if path.name != "cut.png")
    without = "for name in ('torch', 'timm', 'ray', 'reconpatch', 'pipelines'): sys.modules[name] = None"
    scored = "    score, is_anomaly, peak = score_image(name)\n    print(float(score), int(is_anomaly), *peak)"
    loop = f"for name in {names}:\n{scored}"
    program = "\n".join(["import sys", without, program, loop])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    printed = np.array([line.split() for line in done.stdout.splitlines()], float)
    verdicts = [detector.score(name) for name in names]
    scores = np.array([verdict.score for verdict in verdicts])
    differences = np.abs(printed[:, 0] - scores) / np.maximum(1.0, np.abs(scores))
    assert np.median(differences) <= 1e-4
    assert differences.max() <= 1e-3  # A value can be rounded to the neighboring float16.
    assert printed[:, 1].tolist() == [verdict.is_anomaly for verdict in verdicts]
    assert printed[:, 2:].tolist() == [[verdict.peak_row, verdict.peak_col] for verdict in verdicts]


def test_the_file_has_the_metadata_of_its_model(exported: Exported, detector: Detector) -> None:
    stored = {entry.key: entry.value for entry in onnx.load(exported.file).metadata_props}
    assert stored == metadata(detector.model)
    assert (stored["category"], stored["image_size"]) == ("cloth", "96")
    assert [member["backbone"] for member in json.loads(stored["members"])] == [
        member.backbone for member in detector.model.members
    ]
    assert str(Path(__file__).parents[3]).encode() not in exported.file.read_bytes()


def test_a_graph_that_differs_is_not_written(finished: Finished, traced: onnx.ModelProto, tmp_path: Path) -> None:
    bank = next(tensor for tensor in traced.graph.initializer if tensor.name.endswith("entries"))
    bank.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bank) + np.float32(0.05), bank.name))
    done = export(finished.out, tmp_path / "new" / "cloth.onnx")
    assert done.code == 1
    assert done.stderr.startswith(
        "error: The graph does not match the Detector: the computation after the rounding of patch features changes"
    )
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "new").exists()
    (tmp_path / "old.onnx").write_bytes(b"last week's")
    assert export(finished.out, tmp_path / "old.onnx").code == 1
    assert (tmp_path / "old.onnx").read_bytes() == b"last week's"


def test_models_and_files_can_be_in_an_object_store(
    finished: Finished, bucket: str, traced: onnx.ModelProto, tmp_path: Path
) -> None:
    base, query = bucket.split("?")
    remote, local = Store.of(f"{base}/export/run?{query}"), Store.of(str(finished.out))
    for name in ["run.json", *(local.name_of(info) for info in local.files("models/cloth"))]:
        remote.write(name, local.read(name))
    done = export(f"{base}/export/run?{query}", f"{base}/export/stations/cloth.onnx?{query}")
    assert done.code == 0, done.stderr
    written = Store.of(f"{base}/export/stations?{query}").read("cloth.onnx")
    assert written == without_features(traced)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"category": "bolt"}, "has no model of category 'bolt'"),
        ({"out": "."}, "is a folder. Give the path of a file."),
        ({"images": "/nowhere"}, "--images /nowhere: the folder does not exist or is empty."),
        ({"weights": "/nowhere"}, "The weights folder /nowhere is not a folder"),
    ],
)
def test_bad_usage_is_a_message_of_one_line(
    *, finished: Finished, tmp_path: Path, options: dict[str, str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    usual = {"model": str(finished.out), "category": "cloth", "out": "cloth.onnx", **options}
    done = call("export", *(word for name, value in usual.items() for word in (f"--{name}", value)))
    assert done.code == 2
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_missing_packages_are_named(finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name.startswith("onnx") else find(name, *rest)
    )
    done = export(finished.out, tmp_path / "cloth.onnx")
    assert done.code == 2
    assert done.stderr == (
        "error: export requires onnx and onnxscript and onnxruntime. Install: pip install 'reconpatch-ray[export]'.\n"
    )
