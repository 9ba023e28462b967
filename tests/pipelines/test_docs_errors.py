"""Every message that docs/errors.md quotes is one that the code can print."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "errors.md").read_text()


def texts(tree: ast.AST) -> Iterator[str]:
    """Yield every string of a module; each value in an f-string is replaced by …"""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


CODE = "\n".join(
    text
    for package in ("pipelines", "reconpatch")
    for path in sorted((ROOT / package).rglob("*.py"))
    for text in texts(ast.parse(path.read_text()))
)
MESSAGES = re.findall(r"^\| `([^`]*[a-z] [^`]*)` \|", PAGE, re.MULTILINE)


def test_the_page_quotes_messages() -> None:
    assert len(MESSAGES) > 20


@pytest.mark.parametrize("message", MESSAGES)
def test_a_quoted_message_is_one_of_the_code(message: str) -> None:
    assert message in CODE
