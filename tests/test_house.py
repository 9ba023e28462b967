"""Rules for the source tree: imports, sizes and names of modules and folders, and documented parameters."""

from __future__ import annotations

import ast
import re
import runpy
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

# Folder of `pipelines` -> other folders that it may import. There are no circular imports.
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

# Test modules that test several modules together; every other test module is named after the module that it tests.
TESTS_OF_SEVERAL_MODULES = {
    path.relative_to(ROOT).as_posix() for path in (ROOT / "tests" / "pipelines").glob("test_*.py")
} | {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests" / "reconpatch").glob("test_*.py")}


def imports(path: Path) -> Iterator[str]:
    """Yield the full names of all modules that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def imported(path: Path) -> set[str]:
    """Return the top-level names of all modules that a file imports."""
    return {name.split(".")[0] for name in imports(path)}


def folder_of(path: Path) -> str:
    """Return the folder of `pipelines` that contains a module; the name of a module directly in `pipelines`."""
    return path.relative_to(ROOT / "pipelines").parts[0].removesuffix(".py")


def test_the_rules_cover_both_packages() -> None:
    assert {path.stem for path in METHOD} >= {"similarity", "losses", "coreset", "memory_bank", "fusion"}
    assert "torch" in imported(ROOT / "reconpatch" / "adapter" / "losses.py")
    assert {folder_of(path) for path in PIPELINES} == MAY_IMPORT.keys() | {"__init__"}


@pytest.mark.parametrize("path", METHOD, ids=lambda path: path.stem)
def test_the_method_imports_neither_ray_nor_the_command_line(path: Path) -> None:
    assert not imported(path) & {"ray", "click", "rich", "pipelines"}


@pytest.mark.parametrize(
    "path", [path for path in PIPELINES if path.stem != "__init__"], ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_a_folder_imports_only_the_allowed_folders(path: Path) -> None:
    folder = folder_of(path)
    names = {name.split(".")[1] for name in imports(path) if name.startswith("pipelines.")}
    assert names <= MAY_IMPORT[folder] | {folder}


@pytest.mark.parametrize(
    "path", [path for path in PIPELINES if path.stem == "__init__"], ids=lambda path: path.parent.name
)
def test_an_init_file_contains_only_a_docstring(path: Path) -> None:
    """A Ray worker that imports one module thus loads no other module of the folder."""
    (docstring,) = ast.parse(path.read_text()).body
    assert isinstance(docstring, ast.Expr)
    assert isinstance(docstring.value, ast.Constant)


def test_a_folder_has_at_most_12_modules() -> None:
    counts = Counter(path.parent for path in METHOD + PIPELINES if path.stem != "__init__")
    assert {str(folder.relative_to(ROOT)): count for folder, count in counts.items() if count > 12} == {}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_module_has_at_most_330_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 330


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_module_name_is_specific_and_not_in_the_standard_library(path: Path) -> None:
    assert path.stem not in {"utils", "util", "helpers", "helper", "common", "misc"}
    assert path.stem not in sys.stdlib_module_names


def test_no_two_modules_of_the_packages_have_the_same_name() -> None:
    names = [{path.stem for path in package} - {"__init__"} for package in (METHOD, PIPELINES)]
    assert names[0] & names[1] == set()


def module_tested_by(test: Path) -> Path | None:
    """Return the module <package>/<folder>/<module>.py of tests/<package>/<folder>/test_<module>[_<aspect>].py."""
    words = test.stem.removeprefix("test_").split("_")
    folder = ROOT / test.relative_to(ROOT / "tests").parent
    names = ["_".join(words[:count]) for count in range(len(words), 0, -1)]
    return next((folder / f"{name}.py" for name in names if (folder / f"{name}.py").exists()), None)


def module_tests() -> list[Path]:
    """Return all test modules of the two packages."""
    return [path for package in ("pipelines", "reconpatch") for path in (ROOT / "tests" / package).rglob("test_*.py")]


def test_a_test_module_is_named_after_its_module() -> None:
    unmatched = {path.relative_to(ROOT).as_posix() for path in module_tests() if module_tested_by(path) is None}
    assert unmatched - TESTS_OF_SEVERAL_MODULES == set()


def test_every_module_has_a_test_module() -> None:
    modules = {path for path in METHOD + PIPELINES if path.stem not in ("__init__", "__main__")}
    untested = modules - {module_tested_by(path) for path in module_tests()}
    assert sorted(path.relative_to(ROOT).as_posix() for path in untested) == []


def test_the_architecture_page_shows_the_code_as_it_is() -> None:
    """After a change of modules, `python docs/drawings/architecture.py` writes the picture and the table again."""
    written = runpy.run_path(str(ROOT / "docs" / "drawings" / "architecture.py"))
    page = written["PAGE"].read_text()
    assert all(f"| `{path.stem}` |" in page for path in METHOD + PIPELINES if path.stem != "__init__")
    assert written["with_tables"](page) == page
    assert written["drawing"]() == written["PICTURE"].read_text()


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
    """Each Ray worker imports the module of its function, so unneeded imports would delay the start of every run."""
    program = f"import sys, {module}; print([name for name in {sorted(without)} if name in sys.modules])"
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    assert printed.strip() == "[]"


def public_functions(node: ast.AST, owner: ast.ClassDef | None = None) -> Iterator[tuple[ast.FunctionDef, str]]:
    """Yield each public function and method with its docstring; that of `__init__` includes the class docstring.

    Commands and groups of click are exempt, because the help texts of their options document the parameters.
    """
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from public_functions(child, child)
        elif isinstance(child, ast.FunctionDef):
            is_public = not child.name.startswith("_") or child.name in ("__init__", "__call__")
            decorators = " ".join(ast.unparse(decorator) for decorator in child.decorator_list)
            if is_public and not re.search(r"\b(command|group)\(", decorators):
                documented_in = (child, owner) if owner is not None and child.name == "__init__" else (child,)
                yield child, "\n".join(ast.get_docstring(part) or "" for part in documented_in)


def undocumented_parameters(function: ast.FunctionDef, docstring: str) -> list[str]:
    """Return the parameters that have no entry in the section `Args:` of a Google-style docstring."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg]
    parameters = [argument.arg for argument in named if argument is not None and argument.arg not in ("self", "cls")]
    entries = "".join(re.findall(r"^Args:\n((?:[ \t].*\n?|\n)*)", docstring, re.MULTILINE))
    documented = set(re.findall(r"\w+", " ".join(re.findall(r"^ {4}(\*{0,2}\w[\w, *]*):", entries, re.MULTILINE))))
    return [name for name in parameters if name not in documented]


def test_an_undocumented_parameter_is_found() -> None:
    docstring = "Add numbers.\n\nArgs:\n    a, b: Summands.\n        The c: is in the text only.\n"
    module = ast.parse(f"def add(a, b, c, **rest):\n    {docstring!r}\n\ndef _private(d): ...\n")
    assert [undocumented_parameters(*found) for found in public_functions(module)] == [["c", "rest"]]


@pytest.mark.parametrize("path", METHOD + PIPELINES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_parameter_of_a_public_function_is_documented(path: Path) -> None:
    missing = {
        f"{function.name} (line {function.lineno})": undocumented
        for function, docstring in public_functions(ast.parse(path.read_text()))
        if (undocumented := undocumented_parameters(function, docstring))
    }
    assert missing == {}


def test_the_citation_and_the_changelog_have_the_version_of_the_code() -> None:
    program = "import reconpatch; print(reconpatch.__version__)"
    version = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.strip()
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    newest = re.search(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == version
