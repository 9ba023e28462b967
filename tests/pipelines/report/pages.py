"""Helpers that read the pages of a report."""

from __future__ import annotations

import json
import re
from pathlib import Path


def pages(out: Path) -> dict[str, str]:
    """Return file → HTML text, for all pages of a run's report."""
    report = out / "report"
    return {str(path.relative_to(report)): path.read_text() for path in report.rglob("*.html")}


def data_of(page: str) -> dict:
    """Return the JSON data of a category's page."""
    match = re.search(r'id="data">(.*?)</script>', page, re.S)
    assert match is not None
    return dict(json.loads(match[1]))


def html_of(page: str) -> str:
    """Return a page with unescaped quotation marks, so that it can be compared with `html.escape(quote=False)`."""
    return page.replace("&#34;", '"').replace("&#39;", "'")
