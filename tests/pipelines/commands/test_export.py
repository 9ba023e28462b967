"""`export`: a file with the results of the Detector; a graph that differs is not written."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import textwrap
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
    """A file that the command wrote, and what it was traced as."""

    file: Path
    graph: onnx.ModelProto


@pytest.fixture(scope="module")
def exported(finished: Finished, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    graphs = []

    def listen(detector: Detector) -> onnx.ModelProto:
        graphs.append(trace(detector))
        return graphs[-1]

    file = tmp_path_factory.mktemp("station") / "cloth.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.commands.export.trace", listen)
        done = export(finished.out, file, "--images", str(data / "cloth" / "test"))
    assert done.code == 0, done.stderr
    assert "checked  on 16 pictures: " in done.stdout  # six trial pictures, and ten of eleven in the folder
    assert "good/cut.png: The picture is damaged" in done.stderr
    assert [path.name for path in file.parent.iterdir()] == ["cloth.onnx"]
    return Exported(file, graphs[0])


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch, exported: Exported) -> onnx.ModelProto:
    """What export is given instead of tracing again; a test may change it. It is shown two of the trial pictures."""
    copy = onnx.ModelProto()
    copy.CopyFrom(exported.graph)
    monkeypatch.setattr("pipelines.commands.export.trace", lambda _: copy)
    monkeypatch.setattr("pipelines.commands.export.trial_pictures", lambda side: trial_pictures(side)[:2])
    return copy


def test_the_file_and_the_lines_of_the_page_are_enough_to_score(
    exported: Exported, detector: Detector, data: Path, tmp_path: Path
) -> None:
    """The lines of the page, in a process that can import neither this package nor torch."""
    block = PAGE.read_text().split("## At the station\n")[1].split("\n`not score")[0]
    program = textwrap.dedent(block).replace('"screw.onnx"', f'"{exported.file}"')
    names = sorted(str(path) for path in (data / "cloth" / "test").rglob("*.png") if path.name != "cut.png")
    without = "for name in ('torch', 'timm', 'ray', 'reconpatch', 'pipelines'): sys.modules[name] = None"
    loop = f"for name in {names}:\n    score, anomaly, peak = look(name)\n    print(float(score), int(anomaly), *peak)"
    program = "\n".join(["import sys", without, program, loop])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    printed = np.array([line.split() for line in done.stdout.splitlines()], float)
    verdicts = [detector.score(name) for name in names]
    scores = np.array([verdict.score for verdict in verdicts])
    differences = np.abs(printed[:, 0] - scores) / np.maximum(1.0, np.abs(scores))
    assert np.median(differences) <= 1e-4
    assert differences.max() <= 1e-3  # float16 steps
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
    assert done.stderr.startswith("error: The graph is not the Detector: what comes after patch features are rounded")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "new").exists()
    (tmp_path / "old.onnx").write_bytes(b"last week's")
    assert export(finished.out, tmp_path / "old.onnx").code == 1
    assert (tmp_path / "old.onnx").read_bytes() == b"last week's"


def test_models_and_files_may_be_in_an_object_store(
    finished: Finished, bucket: str, traced: onnx.ModelProto, tmp_path: Path
) -> None:
    base, query = bucket.split("?")
    there, here = Store.of(f"{base}/export/run?{query}"), Store.of(str(finished.out))
    for name in ["run.json", *(here.name_of(info) for info in here.files("models/cloth"))]:
        there.write(name, here.read(name))
    done = export(f"{base}/export/run?{query}", f"{base}/export/stations/cloth.onnx?{query}")
    assert done.code == 0, done.stderr
    written = Store.of(f"{base}/export/stations?{query}").read("cloth.onnx")
    assert written == without_features(traced)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"category": "bolt"}, "has no model of category 'bolt'"),
        ({"out": "."}, "is a folder; give a file"),
        ({"images": "/nowhere"}, "holds no readable image"),
        ({"weights": "/nowhere"}, "The weights folder /nowhere is no folder"),
    ],
)
def test_bad_usage_is_one_sentence(
    *, finished: Finished, tmp_path: Path, options: dict[str, str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    usual = {"model": str(finished.out), "category": "cloth", "out": "cloth.onnx", **options}
    done = call("export", *(word for name, value in usual.items() for word in (f"--{name}", value)))
    assert done.code == 2
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_without_its_packages_the_error_names_them(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name.startswith("onnx") else find(name, *rest)
    )
    done = export(finished.out, tmp_path / "cloth.onnx")
    assert done.code == 2
    assert done.stderr == (
        "error: export needs onnx and onnxscript and onnxruntime: pip install 'reconpatch-ray[export]'.\n"
    )
