"""Tests of the documentation: links have targets, commands are valid, Python blocks run, columns are documented."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pytest

from benchmarks.__main__ import main as benchmarks
from pipelines.cli.main import main
from pipelines.commands.compare import CHANGED, COMPARISON
from pipelines.data.records import INDEX
from pipelines.registry.night_table import NIGHT
from pipelines.storage import schemas
from study.__main__ import main as study
from tests.pipelines.nights import Factory, NightOutput
from tests.pipelines.runs import Finished

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
COMMANDS: dict[str, click.Command] = {
    "reconpatch-run": main,
    "python -m benchmarks": benchmarks,
    "python -m study": study,
}


def named(page: Path) -> str:
    """Return the path of a page relative to the repository.

    Args:
        page: Markdown file.
    """
    return str(page.relative_to(ROOT))


def anchor(heading: str) -> str:
    """Return the anchor that GitHub creates for a heading: lower case, no punctuation, hyphens for spaces.

    Args:
        heading: Text of the heading.
    """
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_has_a_target(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"https?://", target):
            continue
        path, _, fragment = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if fragment:
            headings = [line for line in linked.read_text().splitlines() if line[:1] == "#"]
            assert fragment in {anchor(heading.lstrip("# ")) for heading in headings}


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        seen.add(page)
        links = re.findall(r"\]\(([^)\s#]+\.md)[^)]*\)", page.read_text())
        linked = [(page.parent / link).resolve() for link in links]
        waiting += [path for path in linked if path not in seen and path.exists()]
    assert set(PAGES) <= seen


@pytest.mark.parametrize(
    ("section", "schema"),
    [
        ("index.parquet", INDEX),
        ("scores/fused", schemas.fused_schema(["<backbone>"])),
        ("scores/members", schemas.MEMBER_SCORES),
        ("maps", schemas.MAPS),
        *(("models:", schema) for schema in (schemas.TRAIN, schemas.BANK_INDEX, schemas.TRAINING, schemas.AUDIT)),
        ("metrics.parquet", schemas.METRICS),
        ("failures.parquet", schemas.FAILURES),
        ("night.parquet", NIGHT),
        ("drift", schemas.DRIFT),
        *(("compare:", schema) for schema in (COMPARISON, CHANGED)),
    ],
)
def test_every_column_is_documented_in_the_section_of_its_file(section: str, schema: pa.Schema) -> None:
    text = (ROOT / "docs" / "schemas.md").read_text()
    (documented,) = [part for part in re.split(r"^## ", text, flags=re.M) if part.startswith(section)]
    assert set(schema.names) <= set(re.findall(r"`([^`]+)`", documented))


def shell_lines(text: str) -> Iterator[str]:
    """Yield the command lines of a page: those in ```bash blocks, indented by four spaces, or after a prompt.

    Args:
        text: Content of a Markdown file.
    """
    in_bash = False
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        if fence := re.match(r"\s*```(\w*)", line):
            in_bash = fence[1] == "bash"
        elif in_bash:
            yield line.strip().removeprefix("$ ")
        elif typed := re.match(r"(?:    |\$ )(.*)", line):
            yield typed[1]


def test_commands_are_found_in_fenced_and_in_indented_blocks() -> None:
    text = "```bash\na --b \\\n    --c\n$ d\n```\n\n    e\n$ f\n\n```text\ng\n```\n\nh\n"
    assert list(shell_lines(text)) == ["a --b  --c", "d", "e", "f"]


def commands() -> Iterator[Any]:
    """Yield a parameter set for each documented command: its name and its arguments."""
    for page in PAGES:
        for line in shell_lines(page.read_text()):
            for name in COMMANDS:
                if line.startswith(name + " ") and "..." not in line:
                    yield pytest.param(name, line.removeprefix(name).split("#")[0], id=f"{named(page)}: {line[:60]}")


@pytest.mark.parametrize(("name", "words"), list(commands()))
def test_commands_are_valid(name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "DATA").mkdir()
    configuration = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs" / "command-line.md").read_text(), re.S | re.M)[0]
    (tmp_path / "line3.yaml").write_text(configuration)
    words = re.sub(r"\[(.*?)\]", r"\1", words)
    parse(COMMANDS[name], name, shlex.split(words))


def parse(command: click.Command, name: str, words: list[str], parent: click.Context | None = None) -> None:
    """Parse a command line without running the command; click raises an error if an option or a value is not valid.

    Args:
        command: Command or group of commands.
        name: Name of the command.
        words: Arguments.
        parent: Context of the group; None for the whole program.
    """
    if isinstance(command, click.Group) and words and not words[0].startswith("-"):
        # The context of the group is needed because click stores the help options of the first context.
        context = click.Context(command, parent, name, **command.context_settings)
        parse(command.commands[words[0]], words[0], words[1:], context)
        return
    try:
        command.make_context(name, words, parent)
    except click.exceptions.Exit as end:  # -h prints the help and ends the program.
        if end.exit_code:
            raise


@pytest.fixture(scope="module")
def workspace(
    finished: Finished, factory: Factory, first: NightOutput, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Folder with a run, a registry and the scores of a nightly run, under the names that the pages use."""
    root = tmp_path_factory.mktemp("docs")
    (root / "RUN").symlink_to(finished.out)
    (root / "SCORES").symlink_to(factory.scores)
    (root / "REGISTRY").symlink_to(factory.registry)
    (root / "part.png").write_bytes((factory.data / "cloth" / "test" / "good" / "000.png").read_bytes())
    return root


def blocks() -> list[Any]:
    """Return a parameter set for each Python block of the pages."""
    parameters = []
    for page in PAGES:
        fenced = re.findall(r"^( *)```python\n(.*?)^\1```", page.read_text(), re.S | re.M)
        for number, code in enumerate(dedent(text) for _, text in fenced):
            if "import onnxruntime" in code:  # tests/pipelines/commands/test_export.py runs it with an exported file
                continue
            parameters.append(pytest.param(code, id=f"{named(page)} {number}"))
    return parameters


@pytest.mark.parametrize("code", blocks())
def test_python_blocks_run(code: str, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace)
    namespace = {"features": np.random.default_rng(0).normal(size=(500, 16)).astype(np.float32)}
    before = set(namespace)
    exec(compile(code.replace("screw", "cloth"), "docs", "exec"), namespace)  # the category of the run is 'cloth'
    assigned = [value for name, value in namespace.items() if name not in before and not name.startswith("__")]
    assert assigned
