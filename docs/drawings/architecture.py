"""Generate what docs/architecture.md shows of the code: the picture of the layers and the table of all modules.

Run `python docs/drawings/architecture.py` to write docs/layers.svg and the table. In the picture, a folder is above
every folder that it imports. A line means a direct import; an import that also follows from other lines is left out.
The captions and the descriptions in the table are the first lines of the docstrings.
"""

from __future__ import annotations

import ast
import textwrap
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "layers.svg"
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- modules: written by docs/drawings/architecture.py -->", "<!-- end of modules -->"
BOX_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y, MARGIN = 236, 84, 24, 40, 24
CAPTION_WIDTH, CAPTION_LINES = 38, 3  # Characters in a line of a caption, and lines.
Edges = dict[str, set[str]]  # Folder -> folders that it imports.


def folders_of(package: str) -> list[str]:
    """Return the names of a package's folders, each a Python package, in alphabetical order."""
    return sorted(path.parent.name for path in (ROOT / package).glob("*/__init__.py"))


def first_line(path: Path) -> str:
    """Return the first line of the docstring of a module, or of a folder given by its `__init__.py`."""
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring is not None, f"{path} has no docstring."
    return docstring.splitlines()[0]


def caption_of(package: str, folder: str) -> str:
    """Return the first line of the folder's docstring."""
    return first_line(ROOT / package / folder / "__init__.py")


def module_tables() -> str:
    """Return the Markdown of all modules: for each package and folder, a heading and a table."""
    sections = []
    for package in ("reconpatch", "pipelines"):
        folders = [path.parent for path in sorted((ROOT / package).rglob("__init__.py"))]
        for folder in folders:
            modules = sorted(path for path in folder.glob("*.py") if path.stem != "__init__")
            rows = "\n".join(f"| `{path.stem}` | {escape(first_line(path), quote=False)} |" for path in modules)
            name = folder.relative_to(ROOT).as_posix()
            sections.append(
                f"### `{name}`\n\n{first_line(folder / '__init__.py')}\n\n| Module | Subject |\n|---|---|\n{rows}"
            )
    return "\n\n".join(sections)


def with_tables(page: str) -> str:
    """Return the page with its generated block replaced."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{module_tables()}\n\n{END}{after}"


def imports_of(package: str) -> tuple[Edges, set[str]]:
    """Return which folders of a package import which others, and which of them import `reconpatch`."""
    names = folders_of(package)
    edges: Edges = {name: set() for name in names}
    uses_method = set()
    for name in names:
        for path in (ROOT / package / name).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.ImportFrom) or node.module is None:
                    continue
                top, *rest = node.module.split(".")
                if top == package and rest and rest[0] in edges and rest[0] != name:
                    edges[name].add(rest[0])
                elif top == "reconpatch":
                    uses_method.add(name)
    return edges, uses_method


def layers_of(edges: Edges) -> list[list[str]]:
    """Return the folders by layer, the top layer first; a folder is one layer above the highest one it imports."""
    height: dict[str, int] = {}
    while len(height) < len(edges):
        ready = [name for name in edges if name not in height and edges[name] <= height.keys()]
        assert ready, f"The imports form a circle: {sorted(edges.keys() - height.keys())}."
        height |= {name: 1 + max((height[below] for below in edges[name]), default=-1) for name in ready}
    return [sorted(name for name in edges if height[name] == level) for level in range(max(height.values()), -1, -1)]


def direct(edges: Edges) -> list[tuple[str, str]]:
    """Return the edges that do not follow from others (the transitive reduction)."""

    def reachable(name: str) -> set[str]:
        return edges[name].union(*(reachable(below) for below in edges[name]))

    return sorted(
        (name, below)
        for name, all_below in edges.items()
        for below in all_below
        if not any(below in reachable(between) for between in all_below - {below})
    )


def box(x: float, y: float, *, name: str, caption: str, color: str) -> str:
    """Return the SVG of one folder: a rectangle with its name and its caption."""
    lines = textwrap.wrap(caption, CAPTION_WIDTH)
    if len(lines) > CAPTION_LINES:
        lines = [*lines[: CAPTION_LINES - 1], lines[CAPTION_LINES - 1] + " …"]
    rows = "".join(f'<tspan x="{x + 12}" dy="16">{escape(line)}</tspan>' for line in lines)
    return (
        f'<rect x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="8" fill="{color}" stroke="#5c6b7a"/>'
        f'<text x="{x + 12}" y="{y + 22}" class="name">{escape(name)}</text>'
        f'<text x="{x + 12}" y="{y + 26}" class="caption">{rows}</text>'
    )


def line(upper: tuple[float, float], lower: tuple[float, float]) -> str:
    """Return the SVG of an import, between the top left corners of two boxes.

    A line to a box further right that skips a layer leaves at the side, so that it crosses no other box.
    """
    skips = lower[1] - upper[1] > BOX_HEIGHT + GAP_Y and lower[0] > upper[0]
    x, y = (
        (upper[0] + BOX_WIDTH, upper[1] + BOX_HEIGHT / 2)
        if skips
        else (upper[0] + BOX_WIDTH / 2, upper[1] + BOX_HEIGHT)
    )
    return (
        f'<line x1="{x:g}" y1="{y:g}" x2="{lower[0] + BOX_WIDTH / 2:g}" y2="{lower[1]:g}" '
        'stroke="#8795a3" stroke-width="1.5"/>'
    )


def drawing() -> str:
    """Return the SVG: `pipelines` in layers on the left, `reconpatch` in one column on the right."""
    edges, uses_method = imports_of("pipelines")
    rows = layers_of(edges)
    widest = max(len(row) for row in rows)
    left_width = widest * (BOX_WIDTH + GAP_X) - GAP_X
    corners = {}
    for level, row in enumerate(rows):
        for number, name in enumerate(row):
            x = MARGIN + number * (BOX_WIDTH + GAP_X)
            corners[name] = (x, MARGIN + 34 + level * (BOX_HEIGHT + GAP_Y))
    lines = [line(corners[name], corners[below]) for name, below in direct(edges)]
    boxes = [
        box(
            *corners[name],
            name=f"pipelines/{name}",
            caption=caption_of("pipelines", name),
            color="#dcebfa" if name in uses_method else "#f4f6f8",
        )
        for name in edges
    ]
    right = MARGIN + left_width + 4 * GAP_X
    method = [
        box(
            right,
            MARGIN + 34 + number * (BOX_HEIGHT + 14),
            name=f"reconpatch/{name}",
            caption=caption_of("reconpatch", name),
            color="#e6f4e4",
        )
        for number, name in enumerate(folders_of("reconpatch"))
    ]
    width = right + BOX_WIDTH + MARGIN
    height = MARGIN + 34 + max(len(rows) * (BOX_HEIGHT + GAP_Y), len(method) * (BOX_HEIGHT + 14)) + MARGIN
    headings = (
        f'<text x="{MARGIN}" y="{MARGIN + 12}" class="heading">pipelines: Ray, files, commands. Imports only go down. '
        "Blue: calls the method.</text>"
        f'<text x="{right}" y="{MARGIN + 12}" class="heading">reconpatch: the method on arrays</text>'
    )
    style = (
        "<style>text{font-family:Helvetica,Arial,sans-serif;fill:#1c2733}.name{font-size:14px;font-weight:bold}"
        ".caption{font-size:11.5px}.heading{font-size:14px}</style>"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img" '
        'aria-label="Folders of pipelines and reconpatch in layers">\n'
        f'{style}\n<rect width="100%" height="100%" fill="#ffffff"/>\n{headings}\n'
        + "\n".join([*lines, *boxes, *method])
        + "\n</svg>\n"
    )


if __name__ == "__main__":
    PICTURE.write_text(drawing())
    PAGE.write_text(with_tables(PAGE.read_text()))
