"""The house rules that a script can hold: who imports whom, how large modules and folders are, what they are called."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
METHOD = sorted((ROOT / "reconpatch").rglob("*.py"))
PIPELINES = sorted((ROOT / "pipelines").rglob("*.py"))
MODULES = [
    *METHOD,
    *PIPELINES,
    *(path for package in ("benchmarks", "study") for path in sorted((ROOT / package).rglob("*.py"))),
]

# What a folder of `pipelines` may import of the others. Imports only go down.
MAY_IMPORT = {
    "errors": set(),
    "storage": {"errors"},
    "config": {"storage", "errors"},
    "registry": {"storage", "errors"},
    "tracking": {"config", "storage", "errors"},
    "runtime": {"config", "storage", "errors"},
    "data": {"runtime", "storage", "errors"},
    "planning": {"data", "runtime", "config", "storage", "errors"},
    "stages": {"planning", "data", "runtime", "tracking", "config", "storage", "errors"},
}
MAY_IMPORT["report"] = {"stages", "registry", *MAY_IMPORT["stages"]}
MAY_IMPORT["nightly"] = {"report", *MAY_IMPORT["report"]}
MAY_IMPORT["commands"] = MAY_IMPORT["nightly"]
MAY_IMPORT["cli"] = {"commands", "nightly", *MAY_IMPORT["commands"]}
MAY_IMPORT["__main__"] = {"cli"}

# Tests of several modules together; every other test module is called after the one module that it tests.
TESTS_OF_THE_WHOLE = {
    path.relative_to(ROOT).as_posix() for path in (ROOT / "tests" / "pipelines").glob("test_*.py")
} | {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests" / "reconpatch").glob("test_*.py")}


def imports(path: Path) -> Iterator[str]:
    """Full names of all modules that a file imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def imported(path: Path) -> set[str]:
    """Top-level names of everything that a file imports."""
    return {name.split(".")[0] for name in imports(path)}


def folder_of(path: Path) -> str:
    """The folder of `pipelines` that a module is in, or its own name right below `pipelines`."""
    return path.relative_to(ROOT / "pipelines").parts[0].removesuffix(".py")


def test_the_rules_see_the_packages() -> None:
    assert {path.stem for path in METHOD} >= {"similarity", "losses", "coreset", "memory_bank", "fusion"}
    assert "torch" in imported(ROOT / "reconpatch" / "adapter" / "losses.py")
    assert {folder_of(path) for path in PIPELINES} == MAY_IMPORT.keys() | {"__init__"}


@pytest.mark.parametrize("path", METHOD, ids=lambda path: path.stem)
def test_the_method_knows_neither_ray_nor_the_command_line(path: Path) -> None:
    assert not imported(path) & {"ray", "click", "rich", "pipelines"}


@pytest.mark.parametrize(
    "path", [path for path in PIPELINES if path.stem != "__init__"], ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_imports_only_go_down(path: Path) -> None:
    folder = folder_of(path)
    names = {name.split(".")[1] for name in imports(path) if name.startswith("pipelines.")}
    assert names <= MAY_IMPORT[folder] | {folder}


@pytest.mark.parametrize(
    "path", [path for path in PIPELINES if path.stem == "__init__"], ids=lambda path: path.parent.name
)
def test_a_folder_imports_nothing_with_itself(path: Path) -> None:
    """A Ray worker that imports one module loads no neighbors."""
    (docstring,) = ast.parse(path.read_text()).body
    assert isinstance(docstring, ast.Expr)
    assert isinstance(docstring.value, ast.Constant)


def test_a_folder_has_one_subject() -> None:
    counts = Counter(path.parent for path in METHOD + PIPELINES if path.stem != "__init__")
    assert {str(folder.relative_to(ROOT)): count for folder, count in counts.items() if count > 12} == {}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_module_has_one_subject(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 330


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_module_is_called_by_its_subject(path: Path) -> None:
    assert path.stem not in {"utils", "util", "helpers", "helper", "common", "misc"}
    assert path.stem not in sys.stdlib_module_names


def test_no_module_is_called_alike_in_both_packages() -> None:
    names = [{path.stem for path in package} - {"__init__"} for package in (METHOD, PIPELINES)]
    assert names[0] & names[1] == set()


def module_tested_by(test: Path) -> Path | None:
    """tests/<package>/<folder>/test_<module>.py, or test_<module>_<aspect>.py -> <package>/<folder>/<module>.py"""
    words = test.stem.removeprefix("test_").split("_")
    folder = ROOT / test.relative_to(ROOT / "tests").parent
    names = ["_".join(words[:count]) for count in range(len(words), 0, -1)]
    return next((folder / f"{name}.py" for name in names if (folder / f"{name}.py").exists()), None)


def module_tests() -> list[Path]:
    """All tests of the two packages."""
    return [path for package in ("pipelines", "reconpatch") for path in (ROOT / "tests" / package).rglob("test_*.py")]


def test_a_test_is_found_by_the_name_of_its_module() -> None:
    strays = {path.relative_to(ROOT).as_posix() for path in module_tests() if module_tested_by(path) is None}
    assert strays - TESTS_OF_THE_WHOLE == set()


def test_every_module_has_its_test() -> None:
    modules = {path for path in METHOD + PIPELINES if path.stem not in ("__init__", "__main__")}
    untested = modules - {module_tested_by(path) for path in module_tests()}
    assert sorted(path.relative_to(ROOT).as_posix() for path in untested) == []


def test_the_map_of_the_modules_names_each_of_them_and_no_other() -> None:
    method, pipelines = (ROOT / "docs" / "modules.md").read_text().split("## Where it runs")
    for package, text in (("reconpatch", method), ("pipelines", pipelines)):
        there = {path.stem for path in (ROOT / package).rglob("*.py")} - {"__init__"}
        named = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\|[^|]+\|([^|]+)\|", text, re.MULTILINE))))
        assert sorted(named) == sorted(there), package


@pytest.mark.parametrize(
    ("module", "without"),
    [
        ("reconpatch", {"torch", "numpy", "timm"}),
        ("pipelines.errors", {"torch", "pyarrow", "ray"}),
        ("pipelines.runtime.progress_actor", {"torch", "pyarrow", "rich"}),
        ("pipelines.stages.decode", {"timm", "torchvision", "ray"}),
        ("pipelines.stages.score", {"timm", "torchvision", "ray", "pandas"}),
        ("pipelines.cli.main", {"ray", "timm", "torchvision", "pandas", "scipy", "jinja2"}),
    ],
)
def test_a_process_imports_no_more_than_it_needs(module: str, without: set[str]) -> None:
    """Seconds of every run's start: a worker of Ray imports the module of the function that it is given."""
    program = f"import sys, {module}; print([name for name in {sorted(without)} if name in sys.modules])"
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    assert printed.strip() == "[]"
