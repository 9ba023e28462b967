"""What the tests of the report read from its pages."""

from __future__ import annotations

import json
import re
from pathlib import Path


def pages(out: Path) -> dict[str, str]:
    """Return file → HTML of the report of a run."""
    report = out / "report"
    return {str(path.relative_to(report)): path.read_text() for path in report.rglob("*.html")}


def data_of(page: str) -> dict:
    """Return the data that a category's page draws."""
    match = re.search(r'id="data">(.*?)</script>', page, re.S)
    assert match is not None
    return dict(json.loads(match[1]))


def html_of(page: str) -> str:
    """Return a page with only those characters escaped that have to be."""
    return page.replace("&#34;", '"').replace("&#39;", "'")
